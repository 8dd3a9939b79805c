//! The tablespace map, and where tablespaces lie in a restored tree.

use super::ParseLayoutError;

/// The directory of a restored PGDATA that holds the tablespaces, one directory per OID.
pub const TABLESPACES_DIR: &str = "tablespaces";

/// What `pg_tblspc/<oid>` points to in a restored tree, relative to the link itself.
///
/// A relative target lets the tree start from any directory, whoever restored it: the server makes
/// the links at the start of recovery by `symlink(target, "pg_tblspc/<oid>")`.
pub fn tablespace_link_target(oid: u32) -> String {
    format!("../{TABLESPACES_DIR}/{oid}")
}

/// One line of a `tablespace_map`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablespaceMapEntry {
    /// The tablespace's OID.
    pub oid: u32,
    /// Where its link is to point.
    pub target: String,
}

/// What a `tablespace_map` says: which links the server makes before it replays WAL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablespaceMap {
    /// Its lines, in order.
    pub entries: Vec<TablespaceMapEntry>,
}

impl TablespaceMap {
    /// Reads the text of a `tablespace_map`. A backslash escapes the next character, as
    /// PostgreSQL writes line breaks and backslashes within a path.
    ///
    /// # Errors
    /// If a line has no OID or no target.
    pub fn parse(text: &str) -> Result<Self, ParseLayoutError> {
        let lines = unescaped_lines(text);
        let entries = lines
            .iter()
            .filter(|line| !line.is_empty())
            .map(|line| parse_entry(line));
        Ok(Self {
            entries: entries.collect::<Result<_, _>>()?,
        })
    }

    /// The same tablespaces, lying under [`TABLESPACES_DIR`].
    pub fn relative(oids: impl IntoIterator<Item = u32>) -> Self {
        let entry = |oid| TablespaceMapEntry {
            oid,
            target: tablespace_link_target(oid),
        };
        Self {
            entries: oids.into_iter().map(entry).collect(),
        }
    }

    /// The map that belongs into the tree of a backup: the same tablespaces, at their places there.
    #[must_use]
    pub fn within_tree(&self) -> Self {
        Self::relative(self.entries.iter().map(|entry| entry.oid))
    }

    /// The text as PostgreSQL reads it.
    pub fn to_text(&self) -> String {
        self.entries
            .iter()
            .map(|entry| format!("{} {}\n", entry.oid, escaped(&entry.target)))
            .collect()
    }
}

fn unescaped_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\n' | '\r' => lines.push(String::new()),
            '\\' => push(&mut lines, characters.next().unwrap_or('\\')),
            other => push(&mut lines, other),
        }
    }
    lines
}

fn push(lines: &mut [String], character: char) {
    if let Some(line) = lines.last_mut() {
        line.push(character);
    }
}

fn escaped(path: &str) -> String {
    path.chars().fold(String::new(), |mut text, character| {
        if matches!(character, '\n' | '\r' | '\\') {
            text.push('\\');
        }
        text.push(character);
        text
    })
}

fn parse_entry(line: &str) -> Result<TablespaceMapEntry, ParseLayoutError> {
    let refuse = || ParseLayoutError::new("line of a tablespace map", line);
    let (oid, target) = line.split_once(' ').ok_or_else(refuse)?;
    let oid = oid.parse().map_err(|_| refuse())?;
    match target {
        "" => Err(refuse()),
        target => Ok(TablespaceMapEntry {
            oid,
            target: target.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_survive_writing_and_reading() {
        let map = TablespaceMap {
            entries: vec![
                TablespaceMapEntry {
                    oid: 16384,
                    target: "/srv/fast disk".into(),
                },
                TablespaceMapEntry {
                    oid: 16385,
                    target: "/srv/line\nbreak\\".into(),
                },
            ],
        };
        assert_eq!(TablespaceMap::parse(&map.to_text()).unwrap(), map);
    }

    #[test]
    fn a_rewritten_map_points_beside_the_links() {
        assert_eq!(
            TablespaceMap::relative([16384]).to_text(),
            "16384 ../tablespaces/16384\n"
        );
    }

    #[test]
    fn a_line_without_a_target_is_refused() {
        for text in ["16384\n", "16384 \n", "x /srv\n"] {
            assert!(TablespaceMap::parse(text).is_err(), "{text:?}");
        }
    }
}
