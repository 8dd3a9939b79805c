//! Where a declared path lies, on this machine and in a recovery point.

use std::path::{Component, Path, PathBuf};

use rekindle_vault::TreePath;

use super::FilesError;

/// A path of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// Relative to the directory of `rekindle.yaml` if it lies there, else absolute.
    pub declared: PathBuf,
    /// Where it lies on this machine.
    pub source: PathBuf,
    /// Where it lies below the dataset: the declared path without the slash at its beginning.
    pub place: TreePath,
    /// Whether it may be absent.
    pub is_optional: bool,
}

impl Declared {
    /// A path; a relative one begins at `directory`, that of `rekindle.yaml`.
    pub fn new(path: &Path, is_optional: bool, directory: &Path) -> Result<Self, FilesError> {
        let source: PathBuf = directory.join(path).components().collect();
        let declared = match source.strip_prefix(directory) {
            Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
            Ok(rest) => rest,
            Err(_) => &source,
        };
        let bad = |reason| FilesError::BadPath {
            path: declared.to_owned(),
            reason,
        };
        let mut place = TreePath::root();
        for component in declared.components() {
            place = match component {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => place
                    .join(name)
                    .ok_or_else(|| bad("it holds a zero byte"))?,
                _ => return Err(bad("`..` leads out of its place in a recovery point")),
            };
        }
        Ok(Self {
            declared: declared.to_owned(),
            source: source.clone(),
            place,
            is_optional,
        })
    }

    /// The place as people write it.
    pub fn place_text(&self) -> String {
        String::from_utf8_lossy(self.place.as_bytes()).into_owned()
    }
}

/// No path may hold another one: on this machine it would be captured and restored twice, in the recovery point two
/// things would have one place.
pub(super) fn ensure_apart(paths: &[Declared]) -> Result<(), FilesError> {
    for (number, one) in paths.iter().enumerate() {
        for other in &paths[number + 1..] {
            let sources =
                one.source.starts_with(&other.source) || other.source.starts_with(&one.source);
            let places = rest_below(&one.place, &other.place).is_some()
                || rest_below(&other.place, &one.place).is_some();
            let reason = match (sources, places) {
                (true, _) => "hold each other",
                (false, true) => "would have one place in a recovery point",
                (false, false) => continue,
            };
            return Err(FilesError::NotApart {
                one: one.declared.clone(),
                other: other.declared.clone(),
                reason,
            });
        }
    }
    Ok(())
}

/// The way from `above` down to `path`, empty if they are the same; `None` if it does not lie there.
pub(super) fn rest_below<'p>(above: &TreePath, path: &'p TreePath) -> Option<&'p [u8]> {
    let rest = path.as_bytes().strip_prefix(above.as_bytes())?;
    match rest {
        _ if above.as_bytes().is_empty() => Some(rest),
        [] => Some(rest),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(path: &str) -> Declared {
        Declared::new(Path::new(path), false, Path::new("/srv/app")).unwrap()
    }

    #[test]
    fn a_place_is_the_path_as_written_without_its_first_slash() {
        for (path, source, place) in [
            ("vector_db/", "/srv/app/vector_db", "vector_db"),
            ("./config//inner/.", "/srv/app/config/inner", "config/inner"),
            (".env", "/srv/app/.env", ".env"),
            ("/etc/nchat/", "/etc/nchat", "etc/nchat"),
            ("/srv/app/data", "/srv/app/data", "data"),
            (".", "/srv/app", ""),
        ] {
            let found = declared(path);
            assert_eq!(found.source, Path::new(source), "{path}");
            assert_eq!(found.place_text(), place, "{path}");
        }
    }

    #[test]
    fn a_path_that_leads_upwards_is_refused() {
        let error = Declared::new(Path::new("../x"), false, Path::new("/srv/app")).unwrap_err();
        assert!(error.to_string().contains("`../x`"), "{error}");
        assert!(error.hint().unwrap().contains("absolute"));
    }

    #[test]
    fn paths_that_meet_are_refused_and_namesakes_are_not() {
        for (one, other) in [
            ("a", "a/b"),
            ("a", "a"),
            ("etc/x", "/etc/x"),
            ("etc", "/etc/x"),
            ("data", "/srv/app/data"),
            ("data", "/srv/app/data/inner"),
            (".", "a"),
        ] {
            let error = ensure_apart(&[declared(one), declared(other)]).unwrap_err();
            assert!(error.to_string().contains(&format!("`{one}`")), "{error}");
            assert!(ensure_apart(&[declared(other), declared(one)]).is_err());
        }
        ensure_apart(&[declared("a"), declared("ab"), declared("/a b")]).unwrap();
    }

    #[test]
    fn a_way_down_goes_by_whole_names() {
        let path = |text| TreePath::new(text).unwrap();
        assert_eq!(rest_below(&path("a"), &path("a/b/c")), Some(&b"b/c"[..]));
        assert_eq!(rest_below(&path("a"), &path("a")), Some(&b""[..]));
        assert_eq!(rest_below(&path(""), &path("a")), Some(&b"a"[..]));
        assert_eq!(rest_below(&path("a"), &path("ab")), None);
        assert_eq!(rest_below(&path("a/b"), &path("a")), None);
    }
}
