//! One bucket into a running backup.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use jiff::Timestamp;
use rekindle_stores::s3::S3Client;
use rekindle_vault::{Backup, BackupError, Chunking, Node, NodeKind, Progress, TreePath};

use super::{
    entry::ObjectEntry,
    fetch::{Fetch, Seen, Tags, Wanted},
    path::{list_path, settings_path},
    plan::{Work, in_order, works},
    previous::Previous,
    record::{BucketRecord, VersioningRecord},
    settings::BucketSettings,
};
use crate::{CaptureError, entry_time};

/// So many objects are named one by one where something is said of them.
const MOST_NAMED: usize = 20;

/// What of a bucket is captured, and where it goes.
pub struct BucketCapture<'a> {
    pub client: &'a S3Client,
    pub backup: &'a Backup,
    /// The dataset's place.
    pub at: &'a TreePath,
    pub bucket: &'a str,
    pub with_versions: bool,
    pub tags: Tags,
    pub progress: &'a Progress,
}

/// A captured bucket.
pub struct CapturedBucket {
    pub record: BucketRecord,
    pub warnings: Vec<String>,
    pub partly: Vec<String>,
}

impl BucketCapture<'_> {
    /// Captures the bucket. A listing that fails or is cut fails the capture; an object that cannot be read does not.
    pub fn run(&self) -> Result<CapturedBucket, CaptureError> {
        let settings = BucketSettings::read(self.client, self.bucket)?;
        let keeps_versions = matches!(
            settings.versioning,
            VersioningRecord::On | VersioningRecord::Suspended
        );
        let with_versions = self.with_versions && keeps_versions;
        let began = Timestamp::now();
        let listed = match with_versions {
            true => self.client.list_versions(self.bucket, "")?,
            false => self.client.list_objects(self.bucket, "")?,
        };
        let (listed, set_aside) = in_order(listed);
        let bytes = listed.iter().map(|entry| entry.size).sum();
        self.progress.expect_bytes(bytes);
        let list = self.place(&list_path(self.bucket))?;
        let works = {
            let mut previous = Previous::open(self.backup, &list);
            works(self.bucket, listed, |key| previous.of(key).to_vec())
        };
        let fetch = Fetch {
            client: self.client,
            backup: self.backup,
            bucket: self.bucket,
            at: self.at,
            tags: self.tags,
            seen: Seen::default(),
        };
        let entries = self.bring(&fetch, works)?;
        let record = BucketRecord {
            name: self.bucket.to_owned(),
            versioning: settings.versioning,
            with_versions,
            set_aside,
            listed: Some(began),
            fetched: fetch.seen.objects.load(Ordering::Relaxed),
            fetched_bytes: fetch.seen.bytes.load(Ordering::Relaxed),
            ..counted(&entries)
        };
        self.refuse_nothing(&fetch.seen, &record, &entries)?;
        self.write_list(&list, &entries)?;
        self.write_settings(&settings)?;
        Ok(CapturedBucket {
            warnings: self.warnings(&settings, &fetch.seen),
            partly: self.partly(&entries),
            record,
        })
    }

    fn place(&self, below: &str) -> Result<TreePath, BackupError> {
        Ok(self.at.append(&TreePath::new(below)?))
    }

    /// Takes over what is the same, and reads the rest. The entries are in the order of the listing.
    fn bring(&self, fetch: &Fetch<'_>, works: Vec<Work>) -> Result<Vec<ObjectEntry>, CaptureError> {
        let mut entries: Vec<Option<ObjectEntry>> = Vec::with_capacity(works.len());
        let mut wanted = Vec::new();
        for (number, work) in works.into_iter().enumerate() {
            match work.path {
                None => entries.push(Some(ObjectEntry::listed(&work.listed))),
                Some(path) => {
                    entries.push(None);
                    wanted.push(Wanted {
                        number,
                        listed: work.listed,
                        path,
                        same: work.same,
                    });
                }
            }
        }
        for (number, entry) in fetch.all(wanted)? {
            if let Some(place) = entries.get_mut(number) {
                *place = Some(entry);
            }
        }
        Ok(entries.into_iter().flatten().collect())
    }

    /// A bucket of which nothing may be read is no capture of it.
    fn refuse_nothing(
        &self,
        seen: &Seen,
        record: &BucketRecord,
        entries: &[ObjectEntry],
    ) -> Result<(), CaptureError> {
        let contents = entries.iter().filter(|entry| !entry.deleted).count() as u64;
        let all_denied = contents > 0
            && record.missing == contents
            && seen.denied.load(Ordering::Relaxed) == contents;
        match all_denied {
            true => Err(CaptureError::S3NothingReadable {
                bucket: self.bucket.to_owned(),
                objects: contents,
            }),
            false => Ok(()),
        }
    }

    fn write_list(&self, list: &TreePath, entries: &[ObjectEntry]) -> Result<(), CaptureError> {
        let mut writer =
            self.backup
                .file_writer(list.clone(), self.own_file(), Chunking::ContentDefined);
        let mut lines = Vec::with_capacity(1 << 20);
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)
                .map_err(|error| BackupError::from(rekindle_vault::VaultError::from(error)))?;
            lines.push(b'\n');
            if lines.len() >= 1 << 19 {
                writer.write(&lines)?;
                lines.clear();
            }
        }
        writer.write(&lines)?;
        Ok(writer.finish()?)
    }

    fn write_settings(&self, settings: &BucketSettings) -> Result<(), CaptureError> {
        let json = serde_json::to_vec_pretty(settings)
            .map_err(|error| BackupError::from(rekindle_vault::VaultError::from(error)))?;
        let path = self.place(&settings_path(self.bucket))?;
        Ok(self.backup.add_bytes(&path, self.own_file(), &json)?)
    }

    /// A file of our own, which is no object.
    fn own_file(&self) -> Node {
        let time = entry_time(self.backup.started().as_second());
        Node {
            mode: Node::go_mode(NodeKind::File, 0o600),
            mtime: time,
            atime: time,
            ctime: time,
            links: 1,
            ..Node::default()
        }
    }

    fn warnings(&self, settings: &BucketSettings, seen: &Seen) -> Vec<String> {
        let bucket = self.bucket;
        let mut warnings = settings.warnings();
        if seen.no_tags.load(Ordering::Relaxed) {
            warnings.push(format!(
                "bucket `{bucket}`: the server keeps no tags of objects"
            ));
        }
        let denied = seen.denied_tags.load(Ordering::Relaxed);
        if denied > 0 {
            warnings.push(format!(
                "bucket `{bucket}`: the tags of {denied} objects are not in the point: the server did not give them to these access keys"
            ));
        }
        let odd = seen.odd_etags.load(Ordering::Relaxed);
        if odd > 0 {
            warnings.push(format!(
                "bucket `{bucket}`: the server's tags of {odd} objects are not the MD5 of their bytes, which were the same when \
                 they were read twice"
            ));
        }
        warnings
    }

    /// Objects that are not in the point, by name; if there are very many of them, how many, and why.
    fn partly(&self, entries: &[ObjectEntry]) -> Vec<String> {
        let missing = entries.iter().filter_map(|entry| {
            let why = entry.missing.as_deref()?;
            Some((entry, why))
        });
        let mut named = Vec::new();
        let mut more: BTreeMap<&str, u64> = BTreeMap::new();
        for (entry, why) in missing {
            if named.len() < MOST_NAMED {
                named.push(format!("{}: {why}", entry.shown(self.bucket)));
            } else {
                *more.entry(why).or_default() += 1;
            }
        }
        let more = more.into_iter().map(|(why, count)| {
            let list = list_path(self.bucket);
            format!(
                "{count} more objects of bucket `{}`, which `{list}` in the point names: {why}",
                self.bucket
            )
        });
        named.extend(more);
        named
    }
}

/// The figures of a list.
fn counted(entries: &[ObjectEntry]) -> BucketRecord {
    let mut record = BucketRecord::default();
    for entry in entries {
        if entry.missing.is_some() {
            record.missing += 1;
        }
        match (entry.deleted, entry.latest) {
            (true, _) => record.delete_markers += 1,
            (false, true) => {
                record.objects += 1;
                record.bytes += entry.size;
            }
            (false, false) => {
                record.older_versions += 1;
                record.older_bytes += entry.size;
            }
        }
    }
    record
}
