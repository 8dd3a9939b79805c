//! The server's manifest, changed as the tree is.
//!
//! `pg_verifybackup` compares a manifest with what it finds on disk, where it follows links: a
//! tablespace is found under `pg_tblspc/<oid>` and under `tablespaces/<oid>`, so both are listed.
//! Source of the format: PostgreSQL manual, "Backup Manifest Format"; the server writes one file a
//! line.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::layout::TABLESPACES_DIR;

const CHECKSUM_KEY: &str = "\"Manifest-Checksum\": \"";
const FILES_BEGIN: &str = "\"Files\": [";
const PATH_KEY: &str = "{ \"Path\": \"";

/// In what the tree differs from what the server sent.
#[derive(Default)]
pub(super) struct Changes {
    /// Files that were left out.
    pub(super) removed: BTreeSet<String>,
    /// Tablespaces that came as archives of their own: listed under `pg_tblspc` only.
    pub(super) separate: BTreeSet<u32>,
    /// Tablespaces that came with the base archive: listed under `tablespaces` only.
    pub(super) within_base: BTreeSet<u32>,
    /// The present content of `tablespace_map`, if it was rewritten.
    pub(super) tablespace_map: Option<String>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.separate.is_empty()
            && self.within_base.is_empty()
            && self.tablespace_map.is_none()
    }

    /// The manifest that describes the tree; `None` if `manifest` is not written as expected, for
    /// no manifest is better than one that calls a good tree damaged.
    pub(super) fn apply(&self, manifest: Vec<u8>) -> Option<Vec<u8>> {
        if self.is_empty() {
            return Some(manifest);
        }
        let text = std::str::from_utf8(&manifest).ok()?;
        let (head, rest) = text.split_at(text.find(FILES_BEGIN)? + FILES_BEGIN.len());
        let files_end = rest.find("\n],")?;
        let (files, tail) = rest.split_at(files_end);
        let tail = &tail[..tail.find(CHECKSUM_KEY)?];
        let lines = files.lines().filter(|line| !line.is_empty());
        let listed: Option<Vec<Vec<String>>> = lines.map(|line| self.listed(line)).collect();
        let body = format!("{head}\n{}{tail}", listed?.concat().join(",\n"));
        let checksum: String = Sha256::digest(&body)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some(format!("{body}{CHECKSUM_KEY}{checksum}\"}}\n").into_bytes())
    }

    /// What becomes of one line: none, one or two, without the comma at the end.
    fn listed(&self, line: &str) -> Option<Vec<String>> {
        let line = line.trim_end_matches(',');
        // A path that is not UTF-8 is written in another way, and is none of those below.
        let Some(rest) = line.strip_prefix(PATH_KEY) else {
            return Some(vec![line.to_owned()]);
        };
        let (path, rest) = rest.split_once('"')?;
        if self.removed.contains(path) {
            return Some(Vec::new());
        }
        if let ("tablespace_map", Some(map)) = (path, &self.tablespace_map) {
            return Some(vec![with_content(line, map)?]);
        }
        let with_path = |path: String| format!("{PATH_KEY}{path}\"{rest}");
        if let Some((oid, inside)) = within(path, "pg_tblspc") {
            if self.within_base.contains(&oid) {
                return Some(Vec::new());
            }
            if self.separate.contains(&oid) {
                let second = with_path(format!("{TABLESPACES_DIR}/{oid}/{inside}"));
                return Some(vec![line.to_owned(), second]);
            }
        }
        match within(path, TABLESPACES_DIR) {
            Some((oid, inside)) if self.within_base.contains(&oid) => Some(vec![
                line.to_owned(),
                with_path(format!("pg_tblspc/{oid}/{inside}")),
            ]),
            _ => Some(vec![line.to_owned()]),
        }
    }
}

/// OID and rest of a path within a tablespace.
fn within<'a>(path: &'a str, directory: &str) -> Option<(u32, &'a str)> {
    let (oid, inside) = path
        .strip_prefix(directory)?
        .strip_prefix('/')?
        .split_once('/')?;
    Some((oid.parse().ok()?, inside))
}

/// The line of a file whose content was replaced.
fn with_content(line: &str, content: &str) -> Option<String> {
    let line = with_value(line, "\"Size\": ", ',', &content.len().to_string())?;
    let crc = crc32c::crc32c(content.as_bytes()).to_ne_bytes();
    let checksum: String = crc.iter().map(|byte| format!("{byte:02x}")).collect();
    with_value(&line, "\"Checksum\": \"", '"', &checksum)
}

fn with_value(line: &str, key: &str, end: char, value: &str) -> Option<String> {
    let (before, rest) = line.split_once(key)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{key}{value}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> String {
        format!(
            "{{ \"Path\": \"{path}\", \"Size\": 3, \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00000000\" }}"
        )
    }

    fn manifest(paths: &[&str]) -> String {
        let lines: Vec<String> = paths.iter().map(|path| line(path)).collect();
        let body = format!(
            "{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{}\n],\n\"WAL-Ranges\": [\n],\n",
            lines.join(",\n")
        );
        let checksum: String = Sha256::digest(&body)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{body}\"Manifest-Checksum\": \"{checksum}\"}}\n")
    }

    fn applied(changes: &Changes, paths: &[&str]) -> String {
        String::from_utf8(changes.apply(manifest(paths).into_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_removed_file_is_not_listed_even_as_the_last() {
        let changes = Changes {
            removed: ["backup_label.old".to_owned()].into(),
            ..Changes::default()
        };
        assert_eq!(
            applied(&changes, &["PG_VERSION", "backup_label.old"]),
            manifest(&["PG_VERSION"])
        );
    }

    #[test]
    fn tablespaces_are_listed_where_they_are_found() {
        let both = manifest(&["pg_tblspc/7/PG_15/5/1", "tablespaces/7/PG_15/5/1"]);
        let separate = Changes {
            separate: [7].into(),
            ..Changes::default()
        };
        assert_eq!(applied(&separate, &["pg_tblspc/7/PG_15/5/1"]), both);
        let within_base = Changes {
            within_base: [7].into(),
            ..Changes::default()
        };
        let found = applied(&within_base, &["tablespaces/7/PG_15/5/1"]);
        assert_eq!(
            found,
            manifest(&["tablespaces/7/PG_15/5/1", "pg_tblspc/7/PG_15/5/1"])
        );
    }

    #[test]
    fn what_is_not_written_as_expected_is_dropped() {
        let changes = Changes {
            separate: [7].into(),
            ..Changes::default()
        };
        assert!(changes.apply(b"{}".to_vec()).is_none());
        assert!(Changes::default().apply(b"{}".to_vec()).is_some());
    }
}
