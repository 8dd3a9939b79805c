//! Which entries of an imported archive belong to which declared path. An archive knows nothing of `rekindle.yaml`, so
//! names must tell, and where they do not, nothing is guessed. Pure.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use rekindle_vault::TreePath;

use super::refused;
use crate::{
    InPlaceError,
    files::place::{Declared, rest_below},
};

/// A declared path and where it lies below the dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped<'s> {
    pub declared: &'s Declared,
    pub base: TreePath,
}

/// What an archive holds, as far as it matters here.
pub(super) struct Archive {
    /// The names at its top, and whether each is a directory.
    pub tops: Vec<(Vec<u8>, bool)>,
    /// For each declared path, whether the archive has its whole place.
    pub has_place: Vec<bool>,
    /// Whether the only declared path is a directory that has an entry of the name of the only one in the archive.
    pub looks_like_content: bool,
}

/// Where an archive's entries go, and what goes nowhere.
#[derive(Debug)]
pub(super) struct Mapping<'s> {
    pub mapped: Vec<Mapped<'s>>,
    pub unmatched: Vec<String>,
}

const ELSEWHERE: &str = "restore it to a directory with `--to`, and look what it is";

/// Finds the declared paths in an archive: by their whole place, else by their last name at the archive's top; else all of
/// the archive is the content of the only path.
pub(super) fn map<'s>(
    paths: &'s [Declared],
    archive: &Archive,
) -> Result<Mapping<'s>, InPlaceError> {
    let mapped: Vec<_> = paths
        .iter()
        .zip(&archive.has_place)
        .filter_map(|(declared, has_place)| {
            let is_by_place = *has_place && !declared.place.as_bytes().is_empty();
            let base = match is_by_place {
                true => declared.place.clone(),
                false => by_name(declared, archive)?,
            };
            Some(Mapped { declared, base })
        })
        .collect();
    if mapped.is_empty() {
        return all_of_it(paths, archive);
    }
    ensure_apart(&mapped)?;
    let is_unmatched = |name: &&[u8]| {
        let mut tops = mapped.iter().filter_map(|path| path.base.names().next());
        !tops.any(|top| top == *name)
    };
    let names = archive.tops.iter().map(|(name, _)| name.as_slice());
    let unmatched = names.filter(is_unmatched).map(text).collect();
    Ok(Mapping { mapped, unmatched })
}

fn by_name(declared: &Declared, archive: &Archive) -> Option<TreePath> {
    let wanted = declared.source.file_name()?;
    let mut tops = archive.tops.iter().map(|(name, _)| name.as_slice());
    tops.find(|name| *name == wanted.as_bytes())?;
    TreePath::root().join(wanted)
}

/// The archive of a directory's content, as `tar -C DIR .` makes it.
fn all_of_it<'s>(paths: &'s [Declared], archive: &Archive) -> Result<Mapping<'s>, InPlaceError> {
    let [declared] = paths else {
        let reason = format!(
            "the imported archive has {}, and none of them is called like a path of rekindle.yaml",
            listed(archive)
        );
        return Err(refused(reason, Some(ELSEWHERE)));
    };
    if let ([(name, true)], false) = (archive.tops.as_slice(), archive.looks_like_content) {
        let reason = format!(
            "the imported archive has one directory, `{}`: whether that is `{}` under another name or lies in it, it does \
             not tell",
            text(name),
            declared.declared.display()
        );
        return Err(refused(reason, Some(ELSEWHERE)));
    }
    Ok(Mapping {
        mapped: vec![Mapped {
            declared,
            base: TreePath::root(),
        }],
        unmatched: Vec::new(),
    })
}

fn ensure_apart(mapped: &[Mapped<'_>]) -> Result<(), InPlaceError> {
    for (number, one) in mapped.iter().enumerate() {
        for other in &mapped[number + 1..] {
            let meet = rest_below(&one.base, &other.base).is_some()
                || rest_below(&other.base, &one.base).is_some();
            if meet {
                let reason = format!(
                    "`{}` and `{}` would both be had from {} of the imported archive",
                    one.declared.declared.display(),
                    other.declared.declared.display(),
                    one.base
                );
                return Err(refused(reason, Some(ELSEWHERE)));
            }
        }
    }
    Ok(())
}

/// The first names at the top, as people read them.
fn listed(archive: &Archive) -> String {
    const MOST: usize = 5;
    let names: Vec<_> = archive
        .tops
        .iter()
        .take(MOST)
        .map(|(name, _)| format!("`{}`", text(name)))
        .collect();
    match archive.tops.len() {
        0 => "nothing in it".to_owned(),
        count if count > MOST => format!("{} and {} more", names.join(", "), count - MOST),
        _ => names.join(", "),
    }
}

fn text(name: &[u8]) -> String {
    OsStr::from_bytes(name).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn declared(paths: &[&str]) -> Vec<Declared> {
        let each = paths.iter();
        each.map(|path| Declared::new(Path::new(path), false, Path::new("/srv/app")).unwrap())
            .collect()
    }

    /// Directories end with a slash; places are those that the archive has as a whole.
    fn archive(tops: &[&str], has_place: &[bool], looks_like_content: bool) -> Archive {
        let top = |name: &&str| {
            let plain = name.trim_end_matches('/');
            (plain.as_bytes().to_vec(), name.ends_with('/'))
        };
        Archive {
            tops: tops.iter().map(top).collect(),
            has_place: has_place.to_vec(),
            looks_like_content,
        }
    }

    fn bases(mapping: &Mapping<'_>) -> Vec<String> {
        let each = mapping.mapped.iter();
        each.map(|path| format!("{} {}", path.declared.declared.display(), path.base))
            .collect()
    }

    #[test]
    fn paths_are_found_by_their_place_and_else_by_their_name() {
        let paths = declared(&["vector_db", "/etc/nchat", ".env"]);
        let found = archive(
            &["vector_db/", "nchat/", ".env"],
            &[true, false, true],
            false,
        );
        let found = map(&paths, &found).unwrap();
        assert_eq!(
            bases(&found),
            ["vector_db /vector_db", "/etc/nchat /nchat", ".env /.env"]
        );
        let whole = archive(&["etc/", "readme"], &[false, true, false], false);
        let whole = map(&paths, &whole).unwrap();
        assert_eq!(bases(&whole), ["/etc/nchat /etc/nchat"]);
        assert_eq!(whole.unmatched, ["readme"]);
    }

    #[test]
    fn all_of_an_archive_is_the_content_of_the_only_path() {
        let paths = declared(&["uploads"]);
        for tops in [&["a", "b/"][..], &["a"], &[]] {
            let found = map(&paths, &archive(tops, &[false], false)).unwrap();
            assert_eq!(bases(&found), ["uploads /"], "{tops:?}");
        }
        // Not even a lone directory is in doubt, if the path has one of that name.
        let found = map(&paths, &archive(&["2026/"], &[false], true)).unwrap();
        assert_eq!(bases(&found), ["uploads /"]);
    }

    #[test]
    fn what_no_name_decides_is_refused() {
        let one = declared(&["uploads"]);
        let error = map(&one, &archive(&["uploads-2026/"], &[false], false)).unwrap_err();
        assert!(error.to_string().contains("`uploads-2026`"), "{error}");
        assert!(error.hint().unwrap().contains("--to"));
        let two = declared(&["a", "b"]);
        let error = map(&two, &archive(&["x", "y/"], &[false, false], false)).unwrap_err();
        assert!(error.to_string().contains("`x`, `y`"), "{error}");
        let same = declared(&["one/data", "two/data"]);
        let error = map(&same, &archive(&["data/"], &[false, false], false)).unwrap_err();
        assert!(error.to_string().contains("would both be had"), "{error}");
    }
}
