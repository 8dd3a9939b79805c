//! Which configuration file counts.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The file that counts when nobody names one, below the current directory and below `/etc`.
pub const FILE_NAME: &str = "rekindle.yaml";
const SYSTEM_FILE: &str = "/etc/rekindle/rekindle.yaml";

/// No configuration file was found.
#[derive(Debug, thiserror::Error)]
#[error("no {FILE_NAME} found; looked at{}", listed(.looked_at))]
pub struct ConfigNotFound {
    /// The places looked at, in order, and who named them.
    pub looked_at: Vec<(PathBuf, &'static str)>,
}

/// Finds the file: `explicit` (from `--config`), else `env` (from `$REKINDLE_CONFIG`), else
/// `rekindle.yaml` in `cwd`, else `/etc/rekindle/rekindle.yaml`.
///
/// A file that was named must exist: nothing else is looked at then, so that a misspelt name
/// cannot end in another stack's configuration. An empty variable counts as not set.
///
/// # Errors
/// [`ConfigNotFound`] with the places looked at.
pub fn find_config(
    explicit: Option<&Path>,
    env: Option<&OsStr>,
    cwd: &Path,
) -> Result<PathBuf, ConfigNotFound> {
    find(explicit, env, cwd, Path::new(SYSTEM_FILE))
}

fn find(
    explicit: Option<&Path>,
    env: Option<&OsStr>,
    cwd: &Path,
    system: &Path,
) -> Result<PathBuf, ConfigNotFound> {
    let places = match (explicit, env.filter(|path| !path.is_empty())) {
        (Some(path), _) => vec![(cwd.join(path), "--config")],
        (None, Some(path)) => vec![(cwd.join(path), "$REKINDLE_CONFIG")],
        (None, None) => {
            vec![
                (cwd.join(FILE_NAME), "current directory"),
                (system.to_owned(), "system"),
            ]
        }
    };
    match places.iter().find(|(path, _)| path.exists()) {
        Some((path, _)) => Ok(path.clone()),
        None => Err(ConfigNotFound { looked_at: places }),
    }
}

fn listed(places: &[(PathBuf, &'static str)]) -> String {
    places.iter().fold(String::new(), |mut text, (path, who)| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {} ({who})", path.display());
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_explicit_place_wins_and_a_named_file_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let (here, system) = (dir.path().join(FILE_NAME), dir.path().join("system.yaml"));
        let find = |explicit: Option<&str>, env: Option<&str>| {
            find(
                explicit.map(Path::new),
                env.map(OsStr::new),
                dir.path(),
                &system,
            )
        };
        assert_eq!(find(None, None).unwrap_err().looked_at.len(), 2);
        std::fs::File::create(&system).unwrap();
        assert_eq!(find(None, None).unwrap(), system);
        std::fs::File::create(&here).unwrap();
        assert_eq!(find(None, Some("")).unwrap(), here);
        assert_eq!(find(None, Some("system.yaml")).unwrap(), system);
        assert_eq!(
            find(Some("rekindle.yaml"), Some("system.yaml")).unwrap(),
            here
        );
        let missing = find(Some("/nonexistent/r.yaml"), None).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "no rekindle.yaml found; looked at\n  /nonexistent/r.yaml (--config)"
        );
    }
}
