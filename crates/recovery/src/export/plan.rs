//! Which files a point becomes.

use std::{fs, path::Path};

use jiff::tz::TimeZone;
use rekindle_datasets::{
    DatasetRecord,
    postgres::{BASE, DUMP, LogicalRecord},
};
use rekindle_postgres::dump::foreign::DumpForm;
use rekindle_vault::{Index, Node, NodeKind, Snapshot, Vault};
use serde::Serialize;

use super::{ExportPlan, ExportRequest};
use crate::{
    PointSummary, RecoveryError,
    manifest::{self, DatasetEntry, Manifest},
};

/// How something of a point becomes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportForm {
    /// The file, as it lies in the point.
    AsStored,
    /// A directory as `.tar.gz`, with owners, modes, times, links and extended attributes.
    Tar,
    /// An archive of `pg_dump` as SQL text.
    PlainSql,
}

/// A file that would be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedFile {
    /// Its name.
    pub name: String,
    /// What it is, in words.
    pub what: String,
    /// How it is made.
    pub form: ExportForm,
    /// Where its content lies in the point.
    pub tree_path: String,
    /// Bytes of that, before it is packed.
    pub source_bytes: u64,
}

/// A point, opened.
pub(super) struct Found<'a> {
    pub(super) vault: &'a Vault,
    pub(super) index: &'a Index,
    pub(super) snapshot: &'a Snapshot,
    pub(super) manifest: &'a Manifest,
}

impl Found<'_> {
    pub(super) fn plan(&self, request: &ExportRequest) -> Result<ExportPlan, RecoveryError> {
        let datasets = self.manifest.datasets.iter();
        let wanted: Vec<_> = datasets
            .filter(|entry| {
                request
                    .service
                    .as_ref()
                    .is_none_or(|name| *name == entry.service)
            })
            .collect();
        if let (Some(service), true) = (&request.service, wanted.is_empty()) {
            return Err(RecoveryError::ServiceNotInPoint {
                point: self.snapshot.id,
                service: service.clone(),
                known: self.manifest.services(),
            });
        }
        let time = self.snapshot.stored.time.to_zoned(TimeZone::UTC);
        let stamp = time.strftime("%Y%m%d_%H%M%S").to_string();
        let mut plan = ExportPlan {
            point: PointSummary::of(self.snapshot),
            to: request.to.clone(),
            files: Vec::new(),
            left_out: self.manifest.skipped.clone(),
            manifest: manifest_name(&request.to, &stamp),
        };
        for entry in wanted {
            let mut files = Files {
                found: self,
                entry,
                stamp: &stamp,
                plan: &mut plan,
            };
            files.add_dataset(request.plain_sql)?;
        }
        if request.service.is_none() {
            let what = "what the recovery point says of itself".to_owned();
            let name = format!("recovery-point_{stamp}.json");
            let bytes = self.bytes(manifest::PATH)?;
            plan.files.push(PlannedFile {
                name,
                what,
                form: ExportForm::AsStored,
                tree_path: manifest::PATH.to_owned(),
                source_bytes: bytes,
            });
        }
        make_distinct(&mut plan.files);
        Ok(plan)
    }

    fn node(&self, path: &str) -> Result<Option<Node>, RecoveryError> {
        match self.vault.find_node(self.index, self.snapshot, path) {
            Ok(node) => Ok(node),
            Err(rekindle_vault::VaultError::NoSuchPath { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn bytes(&self, path: &str) -> Result<u64, RecoveryError> {
        let node = self.node(path)?;
        node.as_ref().map_or(Ok(0), |node| self.bytes_of(node))
    }

    fn bytes_of(&self, node: &Node) -> Result<u64, RecoveryError> {
        let Some(subtree) = &node.subtree else {
            return Ok(node.size);
        };
        let mut bytes = 0;
        for child in self.vault.read_tree(self.index, subtree)?.nodes {
            bytes += self.bytes_of(&child)?;
        }
        Ok(bytes)
    }
}

/// The files of one dataset.
struct Files<'a, 'b> {
    found: &'a Found<'b>,
    entry: &'a DatasetEntry,
    stamp: &'a str,
    plan: &'a mut ExportPlan,
}

impl Files<'_, '_> {
    fn add_dataset(&mut self, plain_sql: bool) -> Result<(), RecoveryError> {
        let service = self.entry.service.clone();
        match &self.entry.record {
            DatasetRecord::Postgres(record) => {
                if record.physical.is_some() {
                    let what = format!(
                        "the data directory of `{service}`, which recovers when it is started"
                    );
                    self.add(BASE, "pgdata", "tar.gz", ExportForm::Tar, what)?;
                }
                match &record.logical {
                    Some(logical) => self.add_dumps(&logical.clone(), plain_sql),
                    None => Ok(()),
                }
            }
            DatasetRecord::Files(_) => {
                let what = format!("the files of `{service}`");
                self.add("", "files", "tar.gz", ExportForm::Tar, what)
            }
            _ => self.add_each(),
        }
    }

    fn add_dumps(&mut self, logical: &LogicalRecord, plain_sql: bool) -> Result<(), RecoveryError> {
        let service = self.entry.service.clone();
        let globals = format!("{DUMP}/globals.sql");
        if self
            .found
            .node(&format!("{}/{globals}", self.entry.path))?
            .is_some()
        {
            let what = format!("roles and tablespaces of `{service}`");
            self.add(&globals, "globals", "sql", ExportForm::AsStored, what)?;
        }
        let mut done: Vec<&str> = Vec::new();
        for database in &logical.databases {
            // A cluster's text has several databases in one file.
            if done.contains(&database.file.as_str()) {
                continue;
            }
            done.push(&database.file);
            let path = format!("{DUMP}/{}", database.file);
            let name = &database.database.name;
            let what = format!("the database `{name}` of `{service}`");
            let (ending, form) = match (database.format, plain_sql) {
                (DumpForm::Plain | DumpForm::PlainCluster, _) => ("sql", ExportForm::AsStored),
                (DumpForm::Custom | DumpForm::Tar, true) => ("sql", ExportForm::PlainSql),
                (DumpForm::Custom, false) => ("dump", ExportForm::AsStored),
                (DumpForm::Tar, false) => ("tar", ExportForm::AsStored),
                (DumpForm::Directory, _) => ("dir.tar.gz", ExportForm::Tar),
            };
            self.add(&path, &format!("{name}_dump"), ending, form, what)?;
        }
        Ok(())
    }

    /// Files as they lie, directories packed: Redis, buckets, MeiliSearch, and what a later version may know.
    fn add_each(&mut self) -> Result<(), RecoveryError> {
        let Some(node) = self.found.node(&self.entry.path)? else {
            return Ok(());
        };
        let Some(subtree) = node.subtree else {
            return Ok(());
        };
        let (service, kind) = (self.entry.service.clone(), self.entry.record.kind());
        for child in self
            .found
            .vault
            .read_tree(self.found.index, &subtree)?
            .nodes
        {
            let name = String::from_utf8_lossy(&child.name).into_owned();
            let (stem, ending) = match name.rsplit_once('.') {
                Some((stem, ending)) if !stem.is_empty() && child.kind == NodeKind::File => {
                    (stem, ending)
                }
                _ => (name.as_str(), ""),
            };
            let what = format!("`{name}` of `{service}` ({kind})");
            match child.kind {
                NodeKind::Dir => self.add(&name, &name, "tar.gz", ExportForm::Tar, what)?,
                _ => self.add(&name, stem, ending, ExportForm::AsStored, what)?,
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        below: &str,
        what_file: &str,
        ending: &str,
        form: ExportForm,
        what: String,
    ) -> Result<(), RecoveryError> {
        let tree_path = format!("{}/{below}", self.entry.path);
        let tree_path = tree_path.trim_end_matches('/').to_owned();
        let safe = safe(what_file);
        let (service, stamp) = (&self.entry.service, self.stamp);
        let dot = if ending.is_empty() { "" } else { "." };
        self.plan.files.push(PlannedFile {
            name: format!("{service}_{safe}_{stamp}{dot}{ending}"),
            what,
            form,
            source_bytes: self.found.bytes(&tree_path)?,
            tree_path,
        });
        Ok(())
    }
}

/// Names of databases and buckets may hold anything; those of files that people type had better not.
fn safe(name: &str) -> String {
    let one = |c: char| match c {
        c if c.is_alphanumeric() || "-_.".contains(c) => c,
        _ => '_',
    };
    name.chars().map(one).collect()
}

/// `a/b` and `a_b` would have the same file.
fn make_distinct(files: &mut [PlannedFile]) {
    for at in 1..files.len() {
        let (before, rest) = files.split_at_mut(at);
        let mut number = 2;
        let original = rest[0].name.clone();
        while before.iter().any(|file| file.name == rest[0].name) {
            rest[0].name = format!("{number}_{original}");
            number += 1;
        }
    }
}

/// A directory may hold several exports.
fn manifest_name(to: &Path, stamp: &str) -> String {
    const NAME: &str = "MANIFEST.txt";
    match to.join(NAME).symlink_metadata() {
        Ok(_) => format!("MANIFEST_{stamp}.txt"),
        Err(_) => NAME.to_owned(),
    }
}

/// Nothing is replaced.
pub(super) fn refuse_existing(plan: &ExportPlan) -> Result<(), RecoveryError> {
    let names = plan.files.iter().map(|file| file.name.as_str());
    for name in names.chain([plan.manifest.as_str()]) {
        for name in [name.to_owned(), format!("{name}.sha256")] {
            let path = plan.to.join(name);
            if fs::symlink_metadata(&path).is_ok() {
                return Err(RecoveryError::ExportExists { path });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_for_people_to_type_and_no_two_are_the_same() {
        assert_eq!(safe("shop"), "shop");
        assert_eq!(safe("../a b/ü"), ".._a_b_ü");
        let file = |name: &str| PlannedFile {
            name: name.to_owned(),
            what: String::new(),
            form: ExportForm::AsStored,
            tree_path: String::new(),
            source_bytes: 0,
        };
        let mut files = [file("a"), file("a"), file("b"), file("a")];
        make_distinct(&mut files);
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a", "2_a", "b", "3_a"]);
    }
}
