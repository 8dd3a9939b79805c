//! A vault in a directory, and servers in configuration's words.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekindle_datasets::redis::{RedisRecord, RedisServer};
use rekindle_datasets::{
    Aside, CaptureContext, CaptureError, Captured, Dataset, DatasetRecord, InPlaceError, Journal,
    PointSource, Surroundings,
};
use rekindle_runtimes::Runtime;
use rekindle_stack::{self as stack, Stack};
use rekindle_testing::redis::Redis;
use rekindle_vault::store::LocalStore;
use rekindle_vault::{
    BackupOptions, Index, Password, Progress, RestoreOptions, Snapshot, SnapshotDraft, TreePath,
    Vault,
};

use super::keeper::Keeper;

pub const AT: &str = "cache/redis";

pub struct Point {
    pub vault: Vault,
    pub index: Index,
    pub snapshot: Snapshot,
    pub record: DatasetRecord,
    pub captured: Option<Captured>,
}

pub fn password() -> Password {
    Password::new("test")
}

pub fn new_vault(dir: &Path) -> Vault {
    Vault::create(Arc::new(LocalStore::new(dir)), &password()).unwrap()
}

/// The server as `rekindle.yaml` describes it, with more lines for the dataset.
pub fn described(url: &str, more: &str, state: &Path) -> RedisServer {
    surrounded(url, more, state, None)
}

/// The same, with what runs it.
pub fn surrounded(url: &str, more: &str, state: &Path, keeper: Option<Keeper>) -> RedisServer {
    let text = format!(
        "stack: test\nvault: {{ at: /nowhere, password: x }}\nservices:\n  cache: {{ datasets: [ {{ kind: redis, url: \"{url}\" {more} }} ] }}\n"
    );
    let loaded = Stack::parse(&text, Path::new("/rekindle.yaml")).unwrap();
    let service = loaded.stack.services.first().unwrap();
    let stack::Dataset::Redis(settings) = &service.datasets[0] else {
        panic!("no redis");
    };
    let surroundings = Surroundings {
        service: "cache".into(),
        directory: "/".into(),
        runtime: keeper.map(|keeper| Arc::new(keeper) as Arc<dyn Runtime>),
    };
    RedisServer::from_settings(settings, &surroundings)
        .unwrap()
        .with_state_directory(state.to_owned())
        .with_quiet_limit(Duration::from_secs(20))
}

pub fn server(redis: &Redis, more: &str, state: &Path) -> RedisServer {
    described(&format!("redis://127.0.0.1:{}", redis.port()), more, state)
}

pub fn capture(vault: &Vault, server: &RedisServer) -> Result<Point, CaptureError> {
    capture_after(vault, server, None)
}

pub fn capture_after(
    vault: &Vault,
    server: &RedisServer,
    previous: Option<&DatasetRecord>,
) -> Result<Point, CaptureError> {
    let options = BackupOptions {
        threads: Some(1),
        ..BackupOptions::default()
    };
    let backup = vault.start_backup(options).unwrap();
    let context = CaptureContext {
        at: TreePath::new(AT).unwrap(),
        label: "test".into(),
        previous,
        progress: &Progress::default(),
    };
    let captured = server.capture(&backup, &context)?;
    let snapshot = backup.finish(SnapshotDraft::default()).unwrap();
    Ok(Point {
        vault: vault.clone(),
        index: vault.load_index().unwrap(),
        snapshot,
        record: captured.record.clone(),
        captured: Some(captured),
    })
}

impl Point {
    pub fn of(vault: Vault, snapshot: Snapshot, record: DatasetRecord) -> Self {
        Self {
            index: vault.load_index().unwrap(),
            vault,
            snapshot,
            record,
            captured: None,
        }
    }

    pub fn captured(&self) -> &Captured {
        self.captured.as_ref().unwrap()
    }

    pub fn redis(&self) -> &RedisRecord {
        match &self.record {
            DatasetRecord::Redis(record) => record,
            other => panic!("{other:?}"),
        }
    }

    /// Puts the point's files into an empty directory.
    pub fn restore_to(&self, dir: &Path) {
        let at = TreePath::new(AT).unwrap();
        self.vault
            .restore(&self.snapshot, &at, dir, &RestoreOptions::default())
            .unwrap();
    }

    pub fn source<'a>(&'a self, progress: &'a Arc<Progress>) -> PointSource<'a> {
        PointSource {
            vault: &self.vault,
            index: &self.index,
            snapshot: &self.snapshot,
            at: TreePath::new(AT).unwrap(),
            record: &self.record,
            part: None,
            progress,
        }
    }
}

/// A journal in memory.
#[derive(Default)]
pub struct Remembered(pub Vec<Aside>);

impl Journal for Remembered {
    fn write(&mut self, aside: &Aside) -> Result<(), InPlaceError> {
        self.0.push(aside.clone());
        Ok(())
    }
}

impl Remembered {
    pub fn last(&self) -> &Aside {
        self.0.last().unwrap()
    }
}
