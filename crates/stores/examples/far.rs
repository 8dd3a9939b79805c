//! Measures how much many requests at once are worth where a store is far away.
//!
//! `cargo run -p rekindle-stores --example far -- [MIB]` starts a Ceph, puts a line of 50 ms and 40 MB/s for
//! each request before it, and does everything twice: asking as a near store is asked, and as a far one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for developers"
)]

use std::{
    env, fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rekindle_stack::{Secret, VaultLocation};
use rekindle_stores::{Store, StoreSettings, open};
use rekindle_testing::{
    data::Random,
    servers::{ACCESS_KEY, Ceph, SECRET_KEY},
    temp_dir,
};
use rekindle_vault::{
    BackupOptions, CopyOptions, Grace, LocalTree, MaxUnused, Password, Progress, PruneOptions,
    RestoreOptions, Snapshot, SnapshotDraft, Thoroughness, TreePath, Vault,
    store::{Distance, Listed, MemoryStore, ObjectKey, StoreError},
};

const LATENCY: Duration = Duration::from_millis(50);
/// Of one request: what one connection to a store in another region usually gives.
const BYTES_PER_SECOND: f64 = 40e6;

/// A line before a store.
struct Line {
    store: Arc<dyn Store>,
    distance: Distance,
}

impl Line {
    #[allow(clippy::cast_precision_loss, reason = "a pace need not be exact")]
    fn carry(bytes: usize) {
        thread::sleep(LATENCY + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND));
    }
}

impl Store for Line {
    fn location(&self) -> String {
        self.store.location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        let found = self.store.read(key);
        Self::carry(found.as_ref().map_or(0, Vec::len));
        found
    }

    fn read_range(&self, key: &ObjectKey, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        Self::carry(buffer.len());
        self.store.read_range(key, at, buffer)
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        Self::carry(content.len());
        self.store.create(key, content)
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        Self::carry(content.len());
        self.store.replace(key, content)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        Self::carry(0);
        self.store.delete(key)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        let listed = self.store.list(folder);
        let pages = listed.as_ref().map_or(1, |listed| 1 + listed.len() / 1000);
        (0..pages).for_each(|_| Self::carry(0));
        listed
    }

    fn distance(&self) -> Distance {
        self.distance
    }
}

fn main() {
    let mib = env::args().nth(1).map_or(256, |text| text.parse().unwrap());
    let ceph = Ceph::start().unwrap();
    ceph.make_bucket("vault").unwrap();
    let dir = temp_dir().unwrap();
    make_source(&dir.path().join("source"), mib);
    let near = measure(&ceph, dir.path(), Distance::Near);
    let far = measure(&ceph, dir.path(), Distance::Far);
    println!("{:<28} {:>8} {:>8} {:>6}", "", "as near", "as far", "ratio");
    for ((what, near), (_, far)) in near.iter().zip(&far) {
        let ratio = near.as_secs_f64() / far.as_secs_f64();
        println!(
            "{what:<28} {:>7.2}s {:>7.2}s {ratio:>5.1}x",
            near.as_secs_f64(),
            far.as_secs_f64()
        );
    }
}

/// One large part that does not shrink, and many small files in many folders.
fn make_source(dir: &Path, mib: usize) {
    let mut random = Random::new(1);
    let large = dir.join("large");
    fs::create_dir_all(&large).unwrap();
    for number in 0..mib / 4 {
        let end = if number % 2 == 0 { "kept" } else { "gone" };
        fs::write(
            large.join(format!("{number:04}.{end}")),
            random.bytes(4 << 20),
        )
        .unwrap();
    }
    for number in 0..600 {
        let folder = dir.join(format!("small/{}/{number}", number % 20));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), random.bytes(5000)).unwrap();
    }
}

fn measure(ceph: &Ceph, dir: &Path, distance: Distance) -> Vec<(&'static str, Duration)> {
    let mut settings = StoreSettings::new(VaultLocation::S3 {
        bucket: "vault".into(),
        prefix: format!("{distance:?}"),
        endpoint: Some(format!("http://127.0.0.1:{}", ceph.port())),
        region: None,
    });
    settings.credentials = Some(Secret::new(format!("{ACCESS_KEY}:{SECRET_KEY}")));
    let store = open(&settings).unwrap();
    let password = Password::new("a password of measurements");
    let direct = Vault::create(Arc::clone(&store), &password).unwrap();
    let vault = direct.through(Arc::new(Line { store, distance }));
    let source = dir.join("source");

    let mut taken = Vec::new();
    let mut time = |what, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        taken.push((what, start.elapsed()));
    };
    let mut first = None;
    let all = |_: &Path| false;
    time("backup", &mut || {
        first = Some(back_up(&vault, &source.join("large"), &all))
    });
    let first = first.unwrap();
    let second = back_up(&direct, &source.join("small"), &all);
    let target = dir.join(format!("{distance:?}"));
    time("restore", &mut || restore(&vault, &first, &target));
    fs::remove_dir_all(&target).unwrap();
    time("restore of 620 folders", &mut || {
        restore(&vault, &second, &target)
    });
    let progress = Arc::new(Progress::default());
    time("copy out", &mut || {
        let other = Vault::create(Arc::new(MemoryStore::new()), &password).unwrap();
        let points = [first.clone(), second.clone()];
        let options = CopyOptions::default();
        vault
            .copy_snapshots_to(&other, &points, &options, &progress)
            .unwrap();
    });
    time("check, structure", &mut || {
        assert!(
            vault
                .check(Thoroughness::Structure, &progress)
                .unwrap()
                .is_whole()
        );
    });
    time("check, all data", &mut || {
        assert!(
            vault
                .check(Thoroughness::AllData, &progress)
                .unwrap()
                .is_whole()
        );
    });
    for number in 0..40 {
        let new = dir.join("new");
        fs::create_dir_all(&new).unwrap();
        fs::write(new.join("file"), number.to_string()).unwrap();
        back_up(&direct, &new, &all);
    }
    time("index of 42 files", &mut || {
        assert!(vault.load_index().unwrap().len() > 600)
    });
    // Half of each pack becomes waste.
    let is_gone = |path: &Path| path.extension().is_some_and(|end| end == "gone");
    let half = back_up(&direct, &source.join("large"), &is_gone);
    direct.forget(&[first.id]).unwrap();
    let options = PruneOptions {
        max_unused: MaxUnused::Percent(0),
        grace: Grace::None,
        ..PruneOptions::default()
    };
    time("prune", &mut || {
        drop(vault.prune(&options, &progress).unwrap())
    });
    restore(&direct, &half, &target.with_extension("half"));
    taken
}

fn back_up(vault: &Vault, source: &Path, leave_out: &(dyn Fn(&Path) -> bool + Sync)) -> Snapshot {
    let backup = vault.start_backup(BackupOptions::default()).unwrap();
    backup
        .add_local_tree(&LocalTree {
            source: source.to_owned(),
            at: TreePath::new("source").unwrap(),
            leave_out,
        })
        .unwrap();
    backup.finish(SnapshotDraft::default()).unwrap()
}

fn restore(vault: &Vault, snapshot: &Snapshot, target: &Path) {
    let options = RestoreOptions::default();
    vault
        .restore(snapshot, &TreePath::root(), target, &options)
        .unwrap();
}
