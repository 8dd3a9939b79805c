//! The lists of large objects in directory and tar archives.

use std::collections::BTreeSet;

use super::super::error::Fault;
use super::toc::Entry;

/// Follows which large objects were listed, and which should be.
pub(super) struct LargeObjects {
    /// OIDs that the table of contents creates and no list has named yet.
    missing: BTreeSet<String>,
    has_data: bool,
}

impl LargeObjects {
    /// Those of the table of contents: an entry for each before version 17, entries with a list
    /// of OIDs since then.
    pub(super) fn expected(entries: &[Entry]) -> Self {
        let of_entry = |entry: &Entry| match entry.kind.as_str() {
            "BLOB" => vec![entry.name.clone()],
            "BLOB METADATA" => entry
                .definition
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        Self {
            missing: entries.iter().flat_map(of_entry).collect(),
            has_data: entries
                .iter()
                .any(|entry| entry.has_data && entry.is_large_objects()),
        }
    }

    /// The files in a list of lines `<oid> <file>`.
    pub(super) fn add_list(&mut self, list: &str) -> Result<Vec<String>, Fault> {
        if !list.ends_with('\n') {
            return Err(Fault::not_whole("the list of its large objects is cut"));
        }
        list.lines().map(|line| self.add(line)).collect()
    }

    fn add(&mut self, line: &str) -> Result<String, Fault> {
        let (oid, file) = line
            .split_once(' ')
            .ok_or_else(|| Fault::not_whole("the list of its large objects is damaged"))?;
        self.missing.remove(oid);
        Ok(file.to_owned())
    }

    /// Fails if one was created whose data were not listed. A dump of the schema alone has no data.
    pub(super) fn expect_all(&self) -> Result<(), Fault> {
        match self.missing.first().filter(|_| self.has_data) {
            None => Ok(()),
            Some(oid) => Err(Fault::not_whole(format!(
                "large object {oid} is in no list, and {} like it",
                self.missing.len() - 1
            ))),
        }
    }
}
