//! The manifest of append-only files, since Redis 7. Source: `aof.c` of Redis, "AOF manifest".

use serde::{Deserialize, Serialize};

/// What an append-only file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AofKind {
    /// All data as of its beginning, an RDB as a rule.
    Base,
    /// What was written since.
    Incremental,
    /// Replaced by a rewrite, and about to be removed.
    History,
}

/// A file that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Its name, in the manifest's own directory.
    pub name: String,
    /// What it is.
    pub kind: AofKind,
    /// The line as it stands.
    line: String,
}

/// A manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Files in the order in which they are loaded.
    pub entries: Vec<ManifestEntry>,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// In words, with the line's number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = entry(line).map_err(|what| format!("line {}: {what}", number + 1))?;
            if entry.kind != AofKind::History {
                entries.push(entry);
            }
        }
        if entries.is_empty() {
            return Err("it names no file".to_owned());
        }
        Ok(Self { entries })
    }

    /// The manifest of a base file alone.
    pub fn of_base(name: &str) -> Self {
        let line = format!("file {name} seq 1 type b");
        Self {
            entries: vec![ManifestEntry {
                name: name.to_owned(),
                kind: AofKind::Base,
                line,
            }],
        }
    }

    /// As it is written, without files that were replaced.
    pub fn to_text(&self) -> String {
        let lines = self.entries.iter().map(|entry| format!("{}\n", entry.line));
        lines.collect()
    }
}

/// `file NAME seq NUMBER type b|i|h`, and what later versions add.
fn entry(line: &str) -> Result<ManifestEntry, &'static str> {
    let words: Vec<_> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let value = |key: &str| {
        let pairs = words.chunks(2);
        pairs
            .filter_map(|pair| pair.first().zip(pair.get(1)))
            .find_map(|(name, value)| (*name == key).then_some(*value))
    };
    let name = value("file").ok_or("no `file`")?;
    if name.contains(['/', '"', '\\']) || name == ".." {
        return Err("a name that is none of a file beside it");
    }
    let kind = match value("type") {
        Some("b") => AofKind::Base,
        Some("i") => AofKind::Incremental,
        Some("h") => AofKind::History,
        _ => return Err("no `type` that is known"),
    };
    Ok(ManifestEntry {
        name: name.to_owned(),
        kind,
        line: line.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_is_left_out() {
        let manifest = Manifest::parse(
            "file a.aof.2.base.rdb seq 2 type b\nfile a.aof.1.base.rdb seq 1 type h\nfile a.aof.3.incr.aof seq 3 type i startoffset 7\n",
        )
        .unwrap();
        let names: Vec<_> = manifest.entries.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["a.aof.2.base.rdb", "a.aof.3.incr.aof"]);
        assert_eq!(
            manifest.to_text(),
            "file a.aof.2.base.rdb seq 2 type b\nfile a.aof.3.incr.aof seq 3 type i startoffset 7\n"
        );
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_refused() {
        for text in [
            "file ../x seq 1 type b",
            "file .. seq 1 type b",
            "file \"a\\x00\" seq 1 type b",
            "seq 1 type b",
            "file a seq 1",
            "",
        ] {
            assert!(Manifest::parse(text).is_err(), "{text}");
        }
    }
}
