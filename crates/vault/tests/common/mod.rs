//! What the tests of this crate share: a place with a vault in it, and what is done to every vault.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "not every test uses all of it; helpers of tests may panic, write files that need not survive, and show their seed"
)]

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, tree_digest},
    restic::Restic,
    temp_dir,
};
use rekindle_vault::{
    BackupError, BackupOptions, CheckReport, LocalTree, Password, Progress, RestoreError,
    RestoreOptions, RestoreReport, Snapshot, SnapshotDraft, Thoroughness, TreePath, Vault,
    store::LocalStore,
};
use tempfile::TempDir;

pub const PASSWORD: &str = "a password of tests";
/// Where sources lie in recovery points.
pub const AT: &str = "source";

pub fn password() -> Password {
    Password::new(PASSWORD)
}

/// A temporary directory for a vault, a source and what is restored.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(temp_dir().unwrap())
    }

    /// One in memory, where the machine has such a place: whoever restores a hundred times would
    /// wait for all other writers of a busy disk a hundred times.
    pub fn in_memory() -> Self {
        let memory = tempfile::Builder::new()
            .prefix("rk-")
            .tempdir_in("/dev/shm");
        memory.map_or_else(|_| Self::new(), Self)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn vault_dir(&self) -> PathBuf {
        self.path("vault")
    }

    pub fn source(&self) -> PathBuf {
        self.path(AT)
    }

    pub fn create(&self) -> Vault {
        Vault::create(Arc::new(LocalStore::new(self.vault_dir())), &password()).unwrap()
    }

    pub fn open(&self) -> Vault {
        Vault::open(Arc::new(LocalStore::new(self.vault_dir())), &password()).unwrap()
    }

    pub fn restic(&self) -> Restic {
        Restic::new(self.vault_dir(), PASSWORD)
    }
}

/// Small packs, so that small tests have many of them.
pub fn options(parent: Option<Snapshot>) -> BackupOptions {
    BackupOptions {
        threads: Some(2),
        pack_bytes: 256 << 10,
        parent,
        ..BackupOptions::default()
    }
}

pub fn draft() -> SnapshotDraft {
    SnapshotDraft {
        paths: vec![format!("/{AT}")],
        tags: Vec::new(),
    }
}

/// Backs up a directory as [`AT`].
pub fn back_up(
    vault: &Vault,
    source: &Path,
    parent: Option<Snapshot>,
) -> Result<Snapshot, BackupError> {
    let backup = vault.start_backup(options(parent))?;
    backup.add_local_tree(&LocalTree {
        source: source.to_owned(),
        at: TreePath::new(AT).unwrap(),
        leave_out: &|_| false,
    })?;
    backup.finish(draft())
}

pub fn restore(
    vault: &Vault,
    snapshot: &Snapshot,
    target: &Path,
) -> Result<RestoreReport, RestoreError> {
    let options = RestoreOptions {
        threads: Some(2),
        ..RestoreOptions::default()
    };
    vault.restore(snapshot, &TreePath::root(), target, &options)
}

pub fn check(vault: &Vault, thoroughness: Thoroughness) -> CheckReport {
    vault
        .check(thoroughness, &Arc::new(Progress::default()))
        .unwrap()
}

/// Reads every stored byte and panics if anything is lost.
pub fn assert_whole(vault: &Vault) {
    let report = check(vault, Thoroughness::AllData);
    assert!(report.is_whole(), "{:?} {:?}", report.problems, report.hits);
}

pub fn assert_same(expected: &TreeDigest, dir: &Path) {
    let differences = expected.differences(&tree_digest(dir).unwrap());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Restores a snapshot of [`back_up`] to `target`, and panics if it is not as `expected`.
pub fn assert_restores(vault: &Vault, snapshot: &Snapshot, expected: &TreeDigest, target: &Path) {
    restore(vault, snapshot, target).unwrap();
    assert_same(expected, &target.join(AT));
}

/// An error with all its causes, as a person would see it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Random numbers that differ in each run; `REKINDLE_TEST_SEED` repeats one.
pub fn random() -> Random {
    let seed = env::var("REKINDLE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = seed.unwrap_or(u64::from(now.subsec_nanos()));
    eprintln!("REKINDLE_TEST_SEED={seed}");
    Random::new(seed)
}
