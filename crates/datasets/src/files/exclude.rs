//! What is left out, by the patterns of `.gitignore`.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::FilesError;

/// How names begin that a restore in place gives to what it puts at the top of a declared path.
const OWN_NAMES: [&[u8]; 4] = [
    b".rekindle-new-",
    b".rekindle-aside-",
    b".rekindle-back-",
    b".rekindle-restored-",
];

/// Patterns, as if they stood in one `.gitignore` at the top of the dataset: one with a slash at its beginning or in its
/// middle is the place of a path in the recovery point, any other a name anywhere.
pub(super) struct Exclude {
    patterns: Vec<String>,
    matcher: Gitignore,
}

impl Exclude {
    pub fn new(patterns: &[String]) -> Result<Self, FilesError> {
        let bad = |pattern: &str, reason: String| FilesError::BadPattern {
            pattern: pattern.to_owned(),
            reason,
        };
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            if pattern.starts_with('#') {
                let reason = "`#` begins a comment; write `\\#` for the sign itself";
                return Err(bad(pattern, reason.to_owned()));
            }
            builder
                .add_line(None, pattern)
                .map_err(|error| bad(pattern, error.to_string()))?;
        }
        let matcher = builder
            .build()
            .map_err(|error| bad(&patterns.join(" "), error.to_string()))?;
        Ok(Self {
            patterns: patterns.to_vec(),
            matcher,
        })
    }

    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether to leave out what lies at `relative` below a declared path, which lies at `place` below the dataset.
    /// What is below a directory that is left out is not asked about, so nothing of it comes back in by a `!`.
    pub fn leaves_out(&self, place: &Path, relative: &Path, is_directory: bool) -> bool {
        is_own_name(relative)
            || self
                .matcher
                .matched(place.join(relative), is_directory)
                .is_ignore()
    }
}

/// Whether it was put there by a restore in place of ours, at the top of a directory that could not be renamed.
pub(super) fn is_own_name(relative: &Path) -> bool {
    let name = relative.as_os_str().as_encoded_bytes();
    OWN_NAMES.iter().any(|own| name.starts_with(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(patterns: &[&str], path: &str) -> bool {
        let patterns: Vec<_> = patterns.iter().map(|text| (*text).to_owned()).collect();
        let exclude = Exclude::new(&patterns).unwrap();
        let is_directory = path.ends_with('/');
        let path = Path::new(path.trim_end_matches('/'));
        let mut names = path.components();
        let place = Path::new(names.next().unwrap().as_os_str());
        exclude.leaves_out(place, names.as_path(), is_directory)
    }

    #[test]
    fn patterns_mean_what_they_mean_in_a_gitignore() {
        // Patterns, a path below the dataset, whether it is left out. A slash at a path's end: a directory.
        let table: [(&[&str], &str, bool); 22] = [
            (&["*.tmp"], "index/a.tmp", true),
            (&["*.tmp"], "index/deep/er/a.tmp", true),
            (&["*.tmp"], "index/a.tmp.keep", false),
            (&["cache/"], "index/cache/", true),
            (&["cache/"], "index/cache", false),
            (&["cache"], "index/cache", true),
            (&["/index/cache"], "index/cache/", true),
            (&["/index/cache"], "other/index/cache/", false),
            (&["index/cache"], "other/index/cache", false),
            (&["**/cache"], "other/index/cache", true),
            (&["index/**/x"], "index/a/b/x", true),
            (&["index/**"], "index/a", true),
            (&["a?c"], "index/abc", true),
            (&["a[0-9]"], "index/a7", true),
            (&["a[!0-9]"], "index/a7", false),
            (&["*.log", "!keep.log"], "index/keep.log", false),
            (&["!keep.log", "*.log"], "index/keep.log", true),
            (&["\\!odd"], "index/!odd", true),
            (&["\\#odd"], "index/#odd", true),
            (&["a\\*b"], "index/axb", false),
            (&["/etc/nchat/*.bak"], "etc/nchat/x.bak", true),
            (&[], "index/.rekindle-aside-1/x", true),
        ];
        for (patterns, path, expected) in table {
            assert_eq!(left_out(patterns, path), expected, "{patterns:?} {path}");
        }
    }

    #[test]
    fn names_that_are_no_text_are_matched_too() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let exclude = Exclude::new(&["*.tmp".to_owned()]).unwrap();
        let name = Path::new(OsStr::from_bytes(b"\xff\xfe.tmp"));
        assert!(exclude.leaves_out(Path::new("index"), name, false));
    }

    #[test]
    fn what_is_no_pattern_is_refused_by_name() {
        for pattern in ["a\\", "# a comment"] {
            let Err(error) = Exclude::new(&[pattern.to_owned()]) else {
                panic!("{pattern}");
            };
            assert!(error.to_string().contains(pattern), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
