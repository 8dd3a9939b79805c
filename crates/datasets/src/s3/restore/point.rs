//! A bucket as a recovery point has it: its list, and the contents of its objects.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use rekindle_vault::{FileReader, Id, Node, NodeKind, Tree, TreePath, VaultError};

use super::{S3RestoreError, moment::ensure_known};
use crate::{
    DatasetRecord, PointSource,
    s3::{
        BucketRecord, BucketSettings, ObjectEntry,
        path::{list_path, settings_path},
    },
};

/// Directories that are kept in memory at once. Objects come in the order of their keys, so few are needed.
const MOST_DIRECTORIES: usize = 64;

/// A bucket in a recovery point.
pub struct BucketInPoint<'a> {
    source: &'a PointSource<'a>,
    /// Its name.
    pub bucket: String,
    directories: Mutex<HashMap<TreePath, Arc<Tree>>>,
}

impl<'a> BucketInPoint<'a> {
    /// The bucket of this name.
    #[must_use]
    pub fn new(source: &'a PointSource<'a>, bucket: &str) -> Self {
        Self {
            source,
            bucket: bucket.to_owned(),
            directories: Mutex::default(),
        }
    }

    /// All objects, versions and delete markers, in the order of their keys; those of one key newest first.
    ///
    /// # Errors
    /// If the point has no such bucket, or its list cannot be read.
    pub fn entries(&self) -> Result<Vec<ObjectEntry>, S3RestoreError> {
        let text = self.text(&list_path(&self.bucket))?;
        let lines = text.lines().map(serde_json::from_str);
        lines
            .collect::<Result<_, _>>()
            .map_err(|error| self.bad(&list_path(&self.bucket), error.into()))
    }

    /// The settings of the bucket.
    ///
    /// # Errors
    /// As [`BucketInPoint::entries`].
    pub fn settings(&self) -> Result<BucketSettings, S3RestoreError> {
        let path = settings_path(&self.bucket);
        let text = self.text(&path)?;
        serde_json::from_str(&text).map_err(|error| self.bad(&path, error.into()))
    }

    /// What the point says of the bucket.
    ///
    /// # Errors
    /// If it has no such bucket; the refusal names those that it has.
    pub fn record(&self) -> Result<&'a BucketRecord, S3RestoreError> {
        let buckets = match self.source.record {
            DatasetRecord::S3(record) => record.buckets.as_slice(),
            _ => &[],
        };
        let found = buckets.iter().find(|bucket| bucket.name == self.bucket);
        found.ok_or_else(|| {
            let known: Vec<_> = buckets.iter().map(|b| format!("`{}`", b.name)).collect();
            S3RestoreError::refused(
                format!(
                    "the point has no bucket `{}`; it has {}",
                    self.bucket,
                    known.join(", ")
                ),
                "`--path BUCKET` names one of them",
            )
        })
    }

    /// Refuses a moment of which the point does not know what the bucket held.
    pub(in crate::s3) fn ensure_known(
        &self,
        entries: &[ObjectEntry],
        at: Option<Timestamp>,
    ) -> Result<(), S3RestoreError> {
        let began = self.source.snapshot.stored.time;
        at.map_or(Ok(()), |at| {
            ensure_known(self.record()?, entries, began, at)
        })
    }

    /// The point's id.
    pub(in crate::s3) fn id(&self) -> Id {
        self.source.snapshot.id
    }

    fn text(&self, path: &str) -> Result<String, S3RestoreError> {
        let mut text = String::new();
        self.open(path)?
            .read_to_string(&mut text)
            .map_err(|source| self.bad(path, source))?;
        Ok(text)
    }

    pub(in crate::s3) fn bad(&self, path: &str, source: io::Error) -> S3RestoreError {
        S3RestoreError::Content {
            path: format!("{}/{path}", self.source.at),
            source,
        }
    }

    /// The content at a path below the dataset.
    pub(in crate::s3) fn open(&self, path: &str) -> Result<FileReader<'a>, S3RestoreError> {
        let node = self.node(path)?;
        let node = node.filter(|node| node.kind == NodeKind::File);
        let node = node.ok_or_else(|| self.bad(path, io::ErrorKind::NotFound.into()))?;
        Ok(self.source.vault.file_reader(self.source.index, &node))
    }

    fn node(&self, path: &str) -> Result<Option<Node>, S3RestoreError> {
        let below = TreePath::new(path)
            .map_err(|error| self.bad(path, io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let whole = self.source.at.append(&below);
        let Some((directory, name)) = whole.split() else {
            return Ok(None);
        };
        let Some(tree) = self.directory(&directory)? else {
            return Ok(None);
        };
        let found = tree
            .nodes
            .binary_search_by(|node| node.name.as_slice().cmp(name));
        Ok(match found {
            Ok(at) => tree.nodes.get(at).cloned(),
            // Other writers' trees may be out of order.
            Err(_) => tree.get(name).cloned(),
        })
    }

    fn directory(&self, path: &TreePath) -> Result<Option<Arc<Tree>>, VaultError> {
        let known = || {
            self.directories
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(tree) = known().get(path) {
            return Ok(Some(Arc::clone(tree)));
        }
        let id = match path.split() {
            None => Some(self.source.snapshot.stored.tree),
            Some((above, name)) => match self.directory(&above)? {
                None => None,
                Some(tree) => tree.get(name).and_then(|node| node.subtree),
            },
        };
        let Some(id) = id else {
            return Ok(None);
        };
        let tree = Arc::new(self.source.vault.read_tree(self.source.index, &id)?);
        let mut directories = known();
        if directories.len() >= MOST_DIRECTORIES {
            directories.clear();
        }
        directories.insert(path.clone(), Arc::clone(&tree));
        Ok(Some(tree))
    }

    pub(in crate::s3) fn did_bytes(&self, bytes: u64) {
        self.source.progress.did_bytes(bytes);
    }

    pub(in crate::s3) fn expect_bytes(&self, bytes: u64) {
        self.source.progress.expect_bytes(bytes);
    }
}
