//! What the tests of this crate share: settings for real servers, and what is done on every one of them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "not every test uses all of it; helpers of tests may panic, and write files that need not survive"
)]

use std::{fs, path::Path, sync::Arc, time::Duration};

use rekindle_stack::{Secret, VaultLocation};
use rekindle_stores::{Store, StoreSettings};
use rekindle_testing::{
    data::Random,
    faults::tree_digest,
    restic::Restic,
    servers::{ACCESS_KEY, SECRET_KEY},
    temp_dir,
};
use rekindle_vault::{
    BackupError, BackupOptions, LocalTree, Password, Progress, RestoreOptions, Snapshot,
    SnapshotDraft, Thoroughness, TreePath, Vault,
};

pub const PASSWORD: &str = "a password of tests";

pub fn password() -> Password {
    Password::new(PASSWORD)
}

pub fn s3_location(port: u16, bucket: &str, prefix: &str) -> VaultLocation {
    VaultLocation::S3 {
        bucket: bucket.into(),
        prefix: prefix.into(),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        region: None,
    }
}

/// With the access keys of the test servers; patient for seconds, not for minutes.
pub fn s3_settings(location: VaultLocation) -> StoreSettings {
    let mut settings = StoreSettings::new(location);
    settings.credentials = Some(Secret::new(format!("{ACCESS_KEY}:{SECRET_KEY}")));
    settings.retry_for = Duration::from_secs(20);
    settings.stall = Duration::from_secs(20);
    settings
}

/// Files of many sizes, 6 MB in all.
pub fn make_source(dir: &Path) {
    let mut random = Random::new(7);
    for (folder, count, length) in [("small", 40, 3_000), ("large", 3, 1_900_000)] {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            fs::write(folder.join(number.to_string()), random.bytes(length)).unwrap();
        }
    }
}

pub fn back_up(vault: &Vault, source: &Path) -> Result<Snapshot, BackupError> {
    let backup = vault.start_backup(BackupOptions {
        threads: Some(2),
        pack_bytes: 512 << 10,
        ..BackupOptions::default()
    })?;
    backup.add_local_tree(&LocalTree {
        source: source.to_owned(),
        at: TreePath::new("source").unwrap(),
        leave_out: &|_| false,
    })?;
    backup.finish(SnapshotDraft::default())
}

pub fn assert_restores(vault: &Vault, snapshot: &Snapshot, source: &Path) {
    let dir = temp_dir().unwrap();
    let target = dir.path().join("restored");
    let options = RestoreOptions::default();
    vault
        .restore(snapshot, &TreePath::root(), &target, &options)
        .unwrap();
    let restored = tree_digest(&target.join("source")).unwrap();
    assert!(restored == tree_digest(source).unwrap());
}

pub fn assert_whole(vault: &Vault) {
    let report = vault.check(Thoroughness::AllData, &Arc::new(Progress::default()));
    let report = report.unwrap();
    assert!(report.is_whole(), "{report:?}");
}

/// Ours and stock restic's, on the same vault: each reads what the other wrote.
pub fn engine_round_trip(store: Arc<dyn Store>, restic: &Restic) {
    let dir = temp_dir().unwrap();
    let source = dir.path().join("source");
    make_source(&source);
    let vault = Vault::create(Arc::clone(&store), &password()).unwrap();
    let first = back_up(&vault, &source).unwrap();
    fs::write(source.join("large/0"), Random::new(8).bytes(700_000)).unwrap();
    back_up(&vault, &source).unwrap();
    assert_whole(&vault);
    drop(vault);

    let vault = Vault::open(store, &password()).unwrap();
    assert_restores(&vault, &vault.find_snapshot("latest").unwrap(), &source);

    restic.check(true).unwrap();
    restic.backup(&[&source]).unwrap();
    restic.forget(&first.id.to_string()).unwrap();
    restic.prune().unwrap();
    restic.check(true).unwrap();
    let target = dir.path().join("by restic");
    let ours = vault.snapshots().unwrap().remove(0);
    restic.restore(&ours.id.to_string(), &target).unwrap();
    let restored = tree_digest(&target.join("source")).unwrap();
    assert!(restored == tree_digest(&source).unwrap());

    assert_eq!(vault.snapshots().unwrap().len(), 2);
    assert_restores(&vault, &ours, &source);
    assert_whole(&vault);
    assert_eq!(vault.locks().unwrap().len(), 0);
}
