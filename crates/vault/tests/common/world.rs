//! Small vaults in memory, and what is done to them in tests that do it thousands of times.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "not every test uses all of it; helpers of tests may panic"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rekindle_vault::{
    BackupError, BackupOptions, BlobKind, Grace, Id, MaxUnused, Node, NodeKind, Password, Progress,
    PruneError, PruneOptions, PruneReport, Snapshot, SnapshotDraft, Store, TreePath, Vault,
    VaultError,
    store::{FileKind, Listed, MemoryStore, ObjectKey, StoreError},
};

/// What a recovery point holds.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A vault's store and the vault in it.
pub struct World {
    pub store: Arc<MemoryStore>,
    pub vault: Vault,
}

type Made = OnceLock<(Vault, BTreeMap<ObjectKey, Vec<u8>>)>;

/// Everything in a store.
pub fn objects(store: &dyn Store) -> BTreeMap<ObjectKey, Vec<u8>> {
    let folders = ["keys", "locks", "snapshots", "index", "data", "rekindle"];
    let listed = folders.iter().flat_map(|f| store.list(f).unwrap());
    let keys = listed.map(|object| object.key).chain([ObjectKey::config()]);
    keys.map(|key| (key.clone(), store.read(&key).unwrap()))
        .collect()
}

pub fn names(store: &dyn Store, kind: FileKind) -> Vec<String> {
    let listed = store.list(kind.folder()).unwrap();
    listed.iter().map(|o| o.key.name().to_owned()).collect()
}

pub fn stored_bytes(store: &dyn Store) -> u64 {
    store
        .list("data")
        .unwrap()
        .iter()
        .map(|o| o.size_bytes)
        .sum()
}

impl World {
    /// An empty vault. A password costs time on purpose, so all are copies of one.
    pub fn new() -> Self {
        static FIRST: Made = OnceLock::new();
        Self::made(&FIRST)
    }

    /// An empty vault with other keys.
    pub fn other() -> Self {
        static OTHER: Made = OnceLock::new();
        Self::made(&OTHER)
    }

    fn made(made: &'static Made) -> Self {
        let (vault, objects) = made.get_or_init(|| {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let password = Password::new("a password of tests".to_owned());
            let vault = Vault::create(Arc::clone(&store), &password).unwrap();
            (vault, objects(&*store))
        });
        Self::of(vault, objects)
    }

    fn of(vault: &Vault, objects: &BTreeMap<ObjectKey, Vec<u8>>) -> Self {
        let store = Arc::new(MemoryStore::new());
        for (key, content) in objects {
            store.create(key, content).unwrap();
        }
        let vault = vault.through(Arc::clone(&store) as Arc<dyn Store>);
        Self { store, vault }
    }

    /// Another vault with the same bytes.
    pub fn copy(&self) -> Self {
        Self::of(&self.vault, &objects(&*self.store))
    }

    /// The vault as somebody sees it who takes no locks.
    pub fn without_locks(&self) -> Vault {
        self.vault
            .through(Arc::new(NoLocks(Arc::clone(&self.store))))
    }
}

pub fn options() -> BackupOptions {
    BackupOptions {
        threads: Some(1),
        pack_bytes: 2000,
        ..BackupOptions::default()
    }
}

/// Adds all files; nothing is committed yet.
pub fn fill(vault: &Vault, files: &Files) -> Result<rekindle_vault::Backup, BackupError> {
    let backup = vault.start_backup(options())?;
    for (path, content) in files {
        backup.add_bytes(&TreePath::new(path).unwrap(), Node::default(), content)?;
    }
    backup.wait_for_files()?;
    Ok(backup)
}

pub fn back_up(vault: &Vault, files: &Files) -> Result<Snapshot, BackupError> {
    fill(vault, files)?.finish(SnapshotDraft::default())
}

/// What a recovery point holds, by the way that readers take.
pub fn contents(vault: &Vault, snapshot: &Snapshot) -> Result<Files, VaultError> {
    let index = vault.load_index()?;
    let mut files = Files::new();
    let mut trees = vec![(String::new(), snapshot.stored.tree)];
    while let Some((at, tree)) = trees.pop() {
        for node in vault.read_tree(&index, &tree)?.nodes {
            let path = format!("{at}/{}", node.display_name());
            match (node.kind, node.subtree) {
                (NodeKind::Dir, Some(subtree)) => trees.push((path, subtree)),
                _ => {
                    let mut content = Vec::new();
                    let copied = vault.copy_file(&index, &node, &mut content);
                    copied.map_err(|error| match error {
                        rekindle_vault::CopyError::Vault(error) => error,
                        other => panic!("{other}"),
                    })?;
                    files.insert(path.trim_start_matches('/').to_owned(), content);
                }
            }
        }
    }
    Ok(files)
}

/// Pieces of points that lie only in packs on their way out. Our readers find them there; stock
/// restic knows nothing of such packs.
pub fn counted_on_leaving(vault: &Vault) -> Vec<Id> {
    let index = vault.load_index().unwrap();
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    let points = vault.snapshots().unwrap();
    let mut trees: Vec<Id> = points.iter().map(|point| point.stored.tree).collect();
    while let Some(tree) = trees.pop() {
        if !seen.insert(tree) {
            continue;
        }
        found.extend((!index.contains(BlobKind::Tree, &tree)).then_some(tree));
        for node in vault.read_tree(&index, &tree).unwrap().nodes {
            trees.extend(node.subtree);
            let content = node.content.into_iter().flatten();
            found.extend(content.filter(|id| !index.contains(BlobKind::Data, id)));
        }
    }
    found
}

/// The moment `hours` after a fixed one.
pub fn hour(hours: i64) -> Timestamp {
    "2026-11-21T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hours)
}

/// Prunes all waste, at a moment of virtual time.
pub fn eager(now: Timestamp) -> PruneOptions {
    PruneOptions {
        max_unused: MaxUnused::Percent(0),
        pack_bytes: 2000,
        grace: Grace::default(),
        wait: Duration::ZERO,
        now: Some(now),
        threads: Some(1),
        ..PruneOptions::default()
    }
}

pub fn prune(vault: &Vault, now: Timestamp) -> Result<PruneReport, PruneError> {
    vault.prune(&eager(now), &Arc::new(Progress::default()))
}

/// A store on which locks leave no trace, for programs that take none.
pub struct NoLocks(pub Arc<MemoryStore>);

fn is_lock(key: &ObjectKey) -> bool {
    key.as_str().starts_with("locks/")
}

impl Store for NoLocks {
    fn location(&self) -> String {
        self.0.location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        if is_lock(key) {
            return Ok(Vec::new());
        }
        self.0.read(key)
    }

    fn read_range(&self, key: &ObjectKey, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.0.read_range(key, at, buffer)
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        if is_lock(key) {
            return Ok(());
        }
        self.0.create(key, content)
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.0.replace(key, content)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        if is_lock(key) {
            return Ok(());
        }
        self.0.delete(key)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        if folder == "locks" {
            return Ok(Vec::new());
        }
        self.0.list(folder)
    }
}
