//! What the parent point has of a bucket, read beside the listing: both are in the order of their keys.

use std::io::{BufRead as _, BufReader, Lines};

use rekindle_vault::{Backup, FileReader, TreePath};

use super::entry::ObjectEntry;

/// The parent's list of a bucket. It only saves work: one that cannot be read is as good as none.
pub struct Previous<'a> {
    lines: Option<Lines<BufReader<FileReader<'a>>>>,
    /// Entries of the key asked for last.
    group: Vec<ObjectEntry>,
    /// The first of another key.
    ahead: Option<ObjectEntry>,
}

impl<'a> Previous<'a> {
    /// Of the list at this path of the parent.
    pub fn open(backup: &'a Backup, list: &TreePath) -> Self {
        let file = backup.parent_file(list);
        Self {
            lines: file.map(|file| BufReader::with_capacity(1 << 20, file).lines()),
            group: Vec::new(),
            ahead: None,
        }
    }

    /// The entries of a key. Keys must be asked for in their order.
    pub fn of(&mut self, key: &str) -> &[ObjectEntry] {
        if self.group.first().is_some_and(|entry| entry.key == key) {
            return &self.group;
        }
        self.group.clear();
        while let Some(entry) = self.next() {
            match entry.key.as_str().cmp(key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => self.group.push(entry),
                std::cmp::Ordering::Greater => {
                    self.ahead = Some(entry);
                    break;
                }
            }
        }
        &self.group
    }

    fn next(&mut self) -> Option<ObjectEntry> {
        if let Some(entry) = self.ahead.take() {
            return Some(entry);
        }
        let line = self.lines.as_mut()?.next()?;
        let entry = line.and_then(|line| Ok(serde_json::from_str(&line)?));
        entry
            .inspect_err(|error| {
                tracing::warn!(%error, "the parent's list of objects ends early; what follows is read anew");
                self.lines = None;
            })
            .ok()
    }
}
