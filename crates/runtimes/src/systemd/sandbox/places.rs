//! Which directories a sandbox has of its own, in the place of the live ones. Nothing is asked but whether they are there.

use std::path::{Path, PathBuf};

use zbus::Variant;

use crate::{
    Storage,
    systemd::{bus::Property, facts::Facts},
};

/// Where systemd makes the directories that a unit names. Source: systemd.exec(5), "RuntimeDirectory=".
const MADE: [(&str, &str); 4] = [
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
    ("RuntimeDirectory", "/run"),
];

/// What every process of a sandbox sees.
pub(super) struct Places {
    /// The directory that systemd makes for the sandbox, and removes when it ends.
    home: PathBuf,
    /// Fresh directories of `home`, by the paths at which they are seen.
    fresh: Vec<PathBuf>,
    /// Directories of this machine that were asked for, and where they are seen.
    mounts: Vec<(PathBuf, PathBuf)>,
}

impl Places {
    /// `name` is that of the directory below `/run`. What the unit names is covered by something fresh, unless what was
    /// asked for covers it.
    pub fn of(
        name: &str,
        facts: &Facts,
        declared: &[Storage],
        mounts: &[(PathBuf, PathBuf)],
    ) -> Self {
        // Shared memory has names, too, and the live one's must not be found.
        let mut all = vec![PathBuf::from("/dev/shm")];
        for (property, below) in MADE {
            all.extend(facts.texts(property).map(|own| Path::new(below).join(own)));
        }
        let bound = facts.list("BindPaths").iter();
        let bound = bound.filter_map(|bound| bound.get(1)?.as_str());
        let written = facts.texts("ReadWritePaths");
        let written = written.map(|path| path.trim_start_matches(['-', '+']));
        let named = bound.chain(written).map(PathBuf::from);
        let declared = declared.iter().map(|storage| storage.inside.clone());
        // A single file, settings, and what is not there stay as they are, and can only be read.
        let is_data = |path: &PathBuf| path.is_dir() && !path.starts_with("/etc");
        all.extend(named.chain(declared).filter(is_data).map(of_today));
        let mut fresh: Vec<PathBuf> = Vec::new();
        for path in all {
            let is_covered = mounts.iter().any(|(_, inside)| path.starts_with(inside))
                || fresh.iter().any(|other| path.starts_with(other));
            if !is_covered && path != Path::new("/") {
                fresh.retain(|other| !other.starts_with(&path));
                fresh.push(path);
            }
        }
        Self {
            home: Path::new("/run").join(name),
            fresh,
            mounts: mounts.to_vec(),
        }
    }

    /// The directory that goes with the sandbox.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// One asked for that lies neither on anything nor in something fresh: systemd would make a directory for it, and
    /// that would stay.
    pub fn baseless(&self) -> Option<&Path> {
        let memory = ["/run", "/tmp", "/var/tmp"].map(Path::new);
        let is_fresh = |path: &Path| {
            let fresh = self.fresh.iter().map(PathBuf::as_path);
            fresh.chain(memory).any(|fresh| path.starts_with(fresh))
        };
        let mut insides = self.mounts.iter().map(|(_, inside)| inside.as_path());
        insides.find(|inside| !inside.exists() && !is_fresh(inside))
    }

    /// The directories that systemd makes, for the unit that keeps them.
    pub fn made(&self) -> Property {
        let home = self.home.strip_prefix("/run").unwrap_or(&self.home);
        let parts = (0..self.fresh.len()).map(|number| home.join(number.to_string()));
        let all = std::iter::once(home.to_owned()).chain(parts);
        let all: Vec<String> = all.map(|path| path.display().to_string()).collect();
        ("RuntimeDirectory", all.into())
    }

    /// The view of the machine: all of it can be read, nothing of it written but what is here. `/run` is empty, since the
    /// sockets of live services are there.
    pub fn view(&self) -> Vec<Property> {
        let bind = |from: &Path, to: &Path, may_be_absent: bool| -> Bound {
            let shown = |path: &Path| path.display().to_string();
            (shown(from), shown(to), may_be_absent, RECURSIVE)
        };
        let mut binds = vec![bind(&self.home, &self.home, false)];
        // How a service says that it is ready, and what it logs.
        for path in ["/run/systemd/notify", "/run/systemd/journal"].map(Path::new) {
            binds.push(bind(path, path, true));
        }
        for (number, path) in self.fresh.iter().enumerate() {
            binds.push(bind(&self.home.join(number.to_string()), path, false));
        }
        for (here, inside) in &self.mounts {
            binds.push(bind(here, inside, false));
        }
        let run = vec![("/run".to_owned(), "mode=0755".to_owned())];
        vec![
            ("ProtectSystem", "strict".to_owned().into()),
            ("PrivateTmp", true.into()),
            ("TemporaryFileSystem", run.into()),
            ("BindPaths", Variant::from(binds)),
        ]
    }
}

/// `/var/run` is an old name of `/run`.
fn of_today(path: PathBuf) -> PathBuf {
    match path.strip_prefix("/var/run") {
        Ok(below) => Path::new("/run").join(below),
        Err(_) => path,
    }
}

/// From, to, whether the first may be absent, flags.
type Bound = (String, String, bool, u64);

/// `MS_REC`: with what is mounted below. Source: mount(2).
const RECURSIVE: u64 = 1 << 14;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::StorageKind;

    fn facts(value: serde_json::Value) -> Facts {
        Facts(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn live_directories_are_covered_by_fresh_ones_or_by_those_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let (data, more) = (home.path().join("data"), home.path().join("more"));
        for path in [&data, &more] {
            std::fs::create_dir(path).unwrap();
        }
        let declared = Storage {
            name: "data".into(),
            kind: StorageKind::Directory,
            inside: data.clone(),
            here: Some(data.clone()),
            read_only: false,
        };
        let facts = facts(json!({
            "StateDirectory": ["web", "web/inner"], "RuntimeDirectory": ["web"],
            "ReadWritePaths": [more.to_str().unwrap(), "-/nowhere/at/all"],
        }));
        let asked = [("/candidate".into(), "/var/lib/web".into())];
        let places = Places::of("x", &facts, &[declared], &asked);
        let expected = [Path::new("/dev/shm"), Path::new("/run/web"), &more, &data];
        assert_eq!(places.fresh, expected);
        assert_eq!(places.home(), Path::new("/run/x"));
        let (_, made) = places.made();
        let made_of = ["x", "x/0", "x/1", "x/2", "x/3"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(made, made_of.into());
    }

    #[test]
    fn a_mount_that_would_leave_a_directory_behind_is_found() {
        let facts = facts(json!({"StateDirectory": ["web"]}));
        for (inside, is_baseless) in [
            ("/nowhere/at/all", true),
            ("/usr", false),
            ("/var/lib/web/pgdata", false),
            ("/run/x/y", false),
        ] {
            let asked = [("/usr".into(), PathBuf::from(inside))];
            let places = Places::of("x", &facts, &[], &asked);
            assert_eq!(places.baseless().is_some(), is_baseless, "{inside}");
        }
    }
}
