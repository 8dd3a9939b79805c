//! Where a unit keeps files that outlive it, as far as its properties tell.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::facts::Facts;
use crate::{Storage, StorageKind};

/// What nobody keeps anything in, or what is the whole machine's.
const NOT_ITS_OWN: [&str; 15] = [
    "/",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/cache",
    "/var/tmp",
    "/etc",
    "/usr",
    "/home",
    "/root",
    "/srv",
    "/opt",
    "/mnt",
    "/media",
    "/boot",
];

/// Gone with the machine's next start, or no files at all.
const FLEETING: [&str; 6] = ["/run", "/var/run", "/tmp", "/dev", "/proc", "/sys"];

/// Directories that the unit names: its state, what is bound into its view, what it may write, where it works. And
/// those that datasets of the service name. Each once, and none within another.
///
/// Caches, logs and what lies in `/run` are not among them. Of a user's unit the state directory is not known.
pub(super) fn storage_of(facts: &Facts, declared: &[Storage], of_user: bool) -> Vec<Storage> {
    let mut found: Vec<Storage> = Vec::new();
    let mut add = |storage: Storage| {
        let inside = &storage.inside;
        let may_be = is_its_own(inside) || declared.contains(&storage);
        if may_be && !found.iter().any(|other| inside.starts_with(&other.inside)) {
            found.retain(|other| !other.inside.starts_with(inside));
            found.push(storage);
        }
    };
    for (name, read_only) in [("BindPaths", false), ("BindReadOnlyPaths", true)] {
        let pairs = facts
            .list(name)
            .iter()
            .filter_map(|bound| Some((text(bound, 0)?, text(bound, 1)?)));
        pairs.for_each(|(here, inside)| add(bound(here, inside, read_only)));
    }
    if !of_user {
        let state = facts
            .texts("StateDirectory")
            .map(|name| Path::new("/var/lib").join(name));
        state.for_each(|path| add(directory(&path)));
    }
    for path in facts.texts("ReadWritePaths") {
        // Source: systemd.exec(5): `-` for one that may be absent, `+` for one below the unit's own root.
        add(directory(Path::new(path.trim_start_matches(['-', '+']))));
    }
    add(directory(Path::new(
        facts.text("WorkingDirectory").trim_start_matches('!'),
    )));
    declared.iter().cloned().for_each(add);
    found
}

fn text(list: &Value, index: usize) -> Option<&str> {
    list.get(index)?.as_str()
}

fn is_its_own(path: &Path) -> bool {
    path.is_absolute()
        && !NOT_ITS_OWN.iter().any(|other| path == Path::new(other))
        && !FLEETING.iter().any(|other| path.starts_with(other))
}

fn directory(path: &Path) -> Storage {
    Storage {
        name: path.display().to_string(),
        kind: StorageKind::Directory,
        inside: path.to_owned(),
        here: Some(path.to_owned()),
        read_only: false,
    }
}

fn bound(here: &str, inside: &str, read_only: bool) -> Storage {
    Storage {
        name: here.to_owned(),
        kind: StorageKind::Bind,
        inside: inside.into(),
        here: Some(PathBuf::from(here)),
        read_only,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn directories_of_its_own_are_named_once_and_no_others() {
        let facts = json!({
            "StateDirectory": ["web"],
            "ReadWritePaths": ["-/srv/web/uploads", "/run/web", "/var", "/var/lib/web/inner"],
            "BindPaths": [["/data/disk", "/srv/disk", false, 0]],
            "BindReadOnlyPaths": [["/etc/web", "/srv/conf", false, 0]],
            "WorkingDirectory": "!/srv/web",
            "CacheDirectory": ["web"],
        });
        let facts = Facts(serde_json::from_value(facts).unwrap());
        let declared = [
            directory(Path::new("/srv/web/uploads")),
            directory(Path::new("/data/more")),
        ];
        let found = storage_of(&facts, &declared, false);
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.inside.to_str().unwrap(), it.name.as_str(), it.read_only))
            .collect();
        let expected = [
            ("/srv/disk", "/data/disk", false),
            ("/srv/conf", "/etc/web", true),
            ("/var/lib/web", "/var/lib/web", false),
            ("/srv/web", "/srv/web", false),
            ("/data/more", "/data/more", false),
        ];
        assert_eq!(found, expected);
        let of_user = storage_of(&facts, &[], true);
        assert!(of_user.iter().all(|it| it.name != "/var/lib/web"));
    }
}
