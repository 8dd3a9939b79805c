//! Where an object lies in a recovery point: its key as a path, escaped where a key is no path.
//!
//! The rule, which `docs/format.md` describes for strangers: a key is cut at its slashes. In each part control characters
//! and `%` become `%` and two hex digits; an empty part is `%`, and `.` and `..` are `%2E` and `%2E%2E`. A part too long
//! for a file's name goes on in the next name if one ends with `%+`. The last name of an object whose key and a slash
//! begin other keys gets a `%` behind it, because a file cannot be a directory as well. A `%` that no two hex digits
//! follow is in no key, so nothing of this can be mistaken.

/// File systems take 255 bytes; there is room for what stands behind a part.
const LONGEST_NAME: usize = 240;
/// Beside the buckets; no bucket's name begins with a dot.
pub const BESIDE: &str = ".rekindle";

const EMPTY: &str = "%";
const GOES_ON: &str = "%+";
const ALSO_A_FOLDER: &str = "%";
const VERSIONS: &str = "%v";

/// Where the current content of an object lies, below the dataset.
pub fn object_path(bucket: &str, key: &str, is_also_a_folder: bool) -> String {
    let mut path = format!("{bucket}/{}", escaped(key));
    if is_also_a_folder {
        path.push_str(ALSO_A_FOLDER);
    }
    path
}

/// Where an older content of an object lies, below the dataset.
pub fn version_path(bucket: &str, key: &str, version: &str) -> String {
    let version = escaped_part(version).join("/");
    format!(
        "{BESIDE}/{bucket}/versions/{}{VERSIONS}/{version}",
        escaped(key)
    )
}

/// Where the list of a bucket's objects lies, below the dataset.
pub fn list_path(bucket: &str) -> String {
    format!("{BESIDE}/{bucket}/objects.jsonl")
}

/// Where the settings of a bucket lie, below the dataset.
pub fn settings_path(bucket: &str) -> String {
    format!("{BESIDE}/{bucket}/bucket.json")
}

/// The key of the object that lies at a path below its bucket; `None` if no object does.
pub fn key_of(path: &str) -> Option<String> {
    let mut key = String::new();
    let mut names = path.split('/').peekable();
    let (mut is_first, mut goes_on) = (true, false);
    while let Some(name) = names.next() {
        if !is_first && !goes_on {
            key.push('/');
        }
        is_first = false;
        let part = match (name.strip_suffix(GOES_ON), names.peek()) {
            (Some(part), Some(_)) => {
                goes_on = true;
                part
            }
            (Some(_), None) => return None,
            (None, more) => {
                goes_on = false;
                let marked = name
                    .strip_suffix(ALSO_A_FOLDER)
                    .filter(|rest| !rest.is_empty());
                marked.filter(|_| more.is_none()).unwrap_or(name)
            }
        };
        if part != EMPTY {
            unescape_into(part, &mut key)?;
        }
    }
    Some(key)
}

fn escaped(key: &str) -> String {
    let parts = key.split('/').map(|part| escaped_part(part).join("/"));
    parts.collect::<Vec<_>>().join("/")
}

/// The names that a part of a key becomes: one, unless it is very long.
fn escaped_part(part: &str) -> Vec<String> {
    match part {
        "" => return vec![EMPTY.to_owned()],
        "." | ".." => return vec![part.replace('.', "%2E")],
        _ => {}
    }
    let mut names = Vec::new();
    let mut name = String::new();
    for character in part.chars() {
        let unit = match character {
            '%' | '/' => format!("%{:02X}", u32::from(character)),
            c if c.is_ascii_control() => format!("%{:02X}", u32::from(c)),
            c => c.to_string(),
        };
        if name.len() + unit.len() > LONGEST_NAME {
            name.push_str(GOES_ON);
            names.push(std::mem::take(&mut name));
        }
        name.push_str(&unit);
    }
    names.push(name);
    names
}

fn unescape_into(part: &str, key: &mut String) -> Option<()> {
    let mut rest = part;
    while let Some((plain, after)) = rest.split_once('%') {
        key.push_str(plain);
        let code = u8::from_str_radix(after.get(..2)?, 16).ok()?;
        key.push(char::from(code));
        rest = after.get(2..)?;
    }
    key.push_str(rest);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rekindle_vault::TreePath;

    use super::*;

    fn keys() -> Vec<String> {
        let mut keys: Vec<String> = [
            "plain/a.txt",
            "../x",
            "..",
            ".",
            "a/./b",
            "a//b",
            "a/",
            "a",
            "a//",
            "/",
            "//",
            "/abs",
            "%",
            "%%",
            "a%",
            "%2E",
            "a%/b",
            "a%v",
            "a%v/b",
            "a%+",
            "a%+/b",
            "ü/ß",
            "c\u{1}\n\u{7f}\0",
            "\u{85}",
            ".rekindle/x",
            "a/%",
        ]
        .map(str::to_owned)
        .into();
        for length in [239, 240, 241, 480, 481, 1000] {
            keys.push("l".repeat(length));
            keys.push(format!("{}/x", "l".repeat(length)));
            keys.push("%".repeat(length));
            keys.push("ü".repeat(length / 2));
        }
        keys.sort();
        keys.dedup();
        keys
    }

    #[test]
    fn every_key_has_a_path_of_its_own_that_is_one_and_tells_it() {
        let mut paths = BTreeMap::new();
        for key in keys() {
            for is_folder in [false, true] {
                let path = object_path("b", &key, is_folder);
                let inside = path.strip_prefix("b/").unwrap();
                assert_eq!(key_of(inside).as_ref(), Some(&key), "{path}");
                let tree_path = TreePath::new(&path).unwrap();
                assert!(tree_path.names().all(|name| name.len() <= 255), "{path}");
                assert_eq!(tree_path.as_bytes(), path.as_bytes());
                assert_eq!(paths.insert(path, key.clone()), None);
            }
        }
    }

    #[test]
    fn versions_lie_beside_all_objects_and_never_in_the_way_of_each_other() {
        let paths: Vec<_> = keys()
            .iter()
            .flat_map(|key| ["null", "a/b", &"v".repeat(300)].map(|v| version_path("b", key, v)))
            .collect();
        for path in &paths {
            assert!(
                TreePath::new(path)
                    .unwrap()
                    .names()
                    .all(|name| name.len() <= 255)
            );
            let below = format!("{path}/");
            let taken = paths.iter().filter(|p| *p == path || p.starts_with(&below));
            assert_eq!(taken.count(), 1, "{path}");
        }
    }

    #[test]
    fn ordinary_keys_are_paths_as_they_are() {
        assert_eq!(
            object_path("b", "2024/Zoë & co/a b.jpg", false),
            "b/2024/Zoë & co/a b.jpg"
        );
        assert_eq!(object_path("b", "photos/", false), "b/photos/%");
        assert_eq!(object_path("b", "a", true), "b/a%");
        for wrong in ["a%", "x%zz", "x%+"] {
            let _ = key_of(wrong);
        }
        assert_eq!(key_of("x%zz"), None);
        assert_eq!(key_of("x%+"), None);
    }
}
