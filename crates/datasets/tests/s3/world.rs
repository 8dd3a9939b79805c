//! A real server, a vault, and buckets with everything that S3 keeps.

use std::{collections::BTreeMap, io::Read as _, sync::Arc, time::Duration};

use rekindle_datasets::{
    CaptureContext, CaptureError, Captured, Dataset, DatasetRecord, PointSource,
    s3::{BucketRecord, ObjectEntry, S3Buckets},
};
use rekindle_stack::{S3Credentials, S3Tags, S3Versions, Secret};
use rekindle_stores::s3::{Attributes, S3Client, S3Settings};
use rekindle_testing::{
    data::Random,
    servers::{ACCESS_KEY, Ceph, SECRET_KEY},
    temp_dir,
};
use rekindle_vault::{
    BackupOptions, Index, Password, Progress, Snapshot, SnapshotDraft, TreePath, Vault,
    store::LocalStore,
};

pub fn client(port: u16) -> S3Client {
    let keys = Secret::new(format!("{ACCESS_KEY}:{SECRET_KEY}"));
    let keys = S3Credentials::parse(&keys).unwrap();
    let mut settings = S3Settings::new(Some(format!("http://127.0.0.1:{port}")), keys);
    settings.retry_for = Duration::from_secs(3);
    settings.stall = Duration::from_secs(10);
    S3Client::new(settings).unwrap()
}

pub fn buckets(port: u16, names: &[&str]) -> S3Buckets {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    S3Buckets::new(client(port), names, S3Versions::All, S3Tags::New)
}

pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

pub fn at() -> TreePath {
    TreePath::new("uploads/s3").unwrap()
}

/// A vault of one's own.
pub struct TestVault {
    pub vault: Vault,
    _dir: tempfile::TempDir,
}

/// A recovery point of buckets alone.
pub struct Point {
    pub snapshot: Snapshot,
    pub index: Index,
    pub record: DatasetRecord,
    pub captured: Captured,
}

impl Point {
    pub fn source<'a>(&'a self, vault: &'a Vault, progress: &'a Arc<Progress>) -> PointSource<'a> {
        PointSource {
            vault,
            index: &self.index,
            snapshot: &self.snapshot,
            at: at(),
            record: &self.record,
            part: None,
            progress,
        }
    }

    pub fn bucket(&self, name: &str) -> &BucketRecord {
        let DatasetRecord::S3(record) = &self.record else {
            panic!("{:?}", self.record);
        };
        record.buckets.iter().find(|b| b.name == name).unwrap()
    }
}

impl TestVault {
    pub fn new() -> Self {
        let dir = temp_dir().unwrap();
        let store = Arc::new(LocalStore::new(dir.path().join("vault")));
        let vault = Vault::create(store, &Password::new("p")).unwrap();
        Self { vault, _dir: dir }
    }

    pub fn capture(
        &self,
        buckets: &S3Buckets,
        parent: Option<&Point>,
    ) -> Result<Point, CaptureError> {
        let options = BackupOptions {
            parent: parent.map(|point| point.snapshot.clone()),
            ..BackupOptions::default()
        };
        let backup = self.vault.start_backup(options).unwrap();
        let progress = Progress::default();
        let context = CaptureContext {
            at: at(),
            label: "test".into(),
            previous: None,
            progress: &progress,
        };
        let captured = buckets.capture(&backup, &context)?;
        let snapshot = backup.finish(SnapshotDraft::default()).unwrap();
        Ok(Point {
            snapshot,
            index: self.vault.load_index().unwrap(),
            record: captured.record.clone(),
            captured,
        })
    }

    /// The list of a bucket in a point.
    pub fn list(&self, point: &Point, bucket: &str) -> Vec<ObjectEntry> {
        let text = self.read(point, &format!(".rekindle/{bucket}/objects.jsonl"));
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// A file of the dataset.
    pub fn read(&self, point: &Point, path: &str) -> Vec<u8> {
        let path = at().append(&TreePath::new(path).unwrap());
        let node = self
            .vault
            .find_node(&point.index, &point.snapshot, path.as_bytes());
        let node = node.unwrap().unwrap();
        let mut bytes = Vec::new();
        self.vault
            .file_reader(&point.index, &node)
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    }
}

pub fn put(client: &S3Client, bucket: &str, key: &str, body: &[u8]) {
    let none = Attributes::default();
    client
        .put(bucket, key, body.to_vec().into(), &none)
        .unwrap();
}

/// Everything that belongs to an object.
pub fn rich_attributes() -> Attributes {
    Attributes {
        headers: map(&[
            ("content-type", "image/x; q=1"),
            ("cache-control", "max-age=60"),
            ("content-disposition", "attachment; filename=\"a\""),
            ("content-encoding", "gzip"),
        ]),
        metadata: map(&[("owner", "zoë"), ("n", "1")]),
        storage_class: Some(Ceph::COLD.into()),
        tags: Some(map(&[("project", "a b"), ("ü", "&")])),
    }
}

pub const ODD_KEYS: [&str; 12] = [
    "../x",
    "a//b",
    "folder/",
    "folder/x",
    "prefix",
    "prefix/inside",
    "/abs",
    "sp ace+%41",
    "ü/ß",
    "c\u{1}\n",
    "./.",
    "a/../../b",
];

/// A bucket with versions: odd keys, attributes, several versions, delete markers, an object in parts.
pub fn fill_versioned(client: &S3Client, bucket: &str) {
    client.create_bucket(bucket, false).unwrap();
    // From before there were versions.
    put(client, bucket, "before", b"null version");
    client.set_versioning(bucket, true).unwrap();
    for key in ODD_KEYS {
        put(client, bucket, key, key.as_bytes());
    }
    let long = "l".repeat(700);
    put(client, bucket, &long, b"long");
    for (key, versions) in [("often", 4), ("prefix", 2), ("before", 1)] {
        for number in 0..versions {
            put(client, bucket, key, format!("{key} {number}").as_bytes());
        }
    }
    put(client, bucket, "deleted", b"deleted 1");
    client.delete(bucket, "deleted", None).unwrap();
    put(client, bucket, "back", b"back 1");
    client.delete(bucket, "back", None).unwrap();
    put(client, bucket, "back", b"back 2");
    let attributes = rich_attributes();
    client
        .put(bucket, "rich", (&b"rich"[..]).into(), &attributes)
        .unwrap();
    put(client, bucket, "empty", b"");
    in_parts(client, bucket, "parts", 12 << 20, 5 << 20);
    let one_piece = Random::new(8).bytes(17 << 20);
    put(client, bucket, "large", &one_piece);
}

pub fn in_parts(client: &S3Client, bucket: &str, key: &str, size: usize, part: usize) {
    let content = Random::new(9).bytes(size);
    let attributes = rich_attributes();
    let upload = client.begin_parts(bucket, key, &attributes).unwrap();
    for (number, part) in (1..).zip(content.chunks(part)) {
        upload.put(number, part.to_vec().into()).unwrap();
    }
    upload.finish().unwrap();
}

/// Many small objects in a bucket without versions.
pub fn fill_many(client: &S3Client, bucket: &str, count: usize) {
    client.create_bucket(bucket, false).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for number in (thread..count).step_by(8) {
                    let body = format!("object {number}");
                    put(
                        client,
                        bucket,
                        &format!("many/{number:05}"),
                        body.as_bytes(),
                    );
                }
            });
        }
    });
}

/// An object or delete marker with everything that must be the same after a restore.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole {
    pub key: String,
    pub is_latest: bool,
    pub is_marker: bool,
    pub body: Vec<u8>,
    pub attributes: Option<Attributes>,
}

/// All versions of a bucket, in their order, read from the server itself.
pub fn whole(client: &S3Client, bucket: &str) -> Vec<Whole> {
    let listed = client.list_versions(bucket, "").unwrap();
    let one = |listed: &rekindle_stores::s3::ListedVersion| {
        let (mut body, mut attributes) = (Vec::new(), None);
        if !listed.is_marker {
            let version = listed.version.as_deref();
            let fetched = client.get(bucket, &listed.key, version, None, None);
            let fetched = fetched.unwrap();
            let mut found = fetched.head.attributes;
            found.tags = Some(client.tags(bucket, &listed.key, version).unwrap());
            (body, attributes) = (fetched.body.to_vec(), Some(found));
        }
        Whole {
            key: listed.key.clone(),
            is_latest: listed.is_latest,
            is_marker: listed.is_marker,
            body,
            attributes,
        }
    };
    // A request takes its time; many at once take hardly more.
    std::thread::scope(|scope| {
        let threads: Vec<_> = listed
            .chunks(listed.len().div_ceil(12).max(1))
            .map(|listed| scope.spawn(move || listed.iter().map(one).collect::<Vec<_>>()))
            .collect();
        let read = threads.into_iter();
        read.flat_map(|thread| thread.join().unwrap()).collect()
    })
}
