//! Every kind of file that a vault has, deleted, cut and altered, and what then comes of a check, a restore, a backup, a
//! prune and healing: a clear error that names the file, or a result that lost nothing.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{fmt, fs, sync::Arc};

use common::{Place, chain, draft, options, password};
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, tree_digest},
};
use rekindle_vault::{
    BlobKind, CheckReport, CopyOptions, HealOptions, HealReport, LocalTree, LockMode, PackedBlob,
    Progress, PruneOptions, RestoreError, Snapshot, Store, Thoroughness, TreePath, Vault,
    VaultError, WalEffort, WalFile,
    store::{FileKind, MemoryStore, ObjectKey},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Delete,
    Cut,
    Alter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Config,
    Key,
    Index,
    PackHeader,
    PackBody,
    Snapshot,
    Lock,
    Wal,
}

/// What an operation on the damaged vault came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// As if nothing had happened.
    Well,
    /// It says what is lost, by name, and does the rest.
    Told,
    /// It refuses, and names the damaged file.
    Refused,
    /// It makes good what was damaged; everything can be restored.
    Healed,
}

use Damage::{Alter, Cut, Delete};
use Outcome::{Healed, Refused, Told, Well};
use What::{Config, Index, Key, Lock, PackBody, PackHeader, Wal};

/// What, how; then check, restore, backup, prune, heal.
#[rustfmt::skip]
const MATRIX: [(What, Damage, [Outcome; 5]); 24] = [
    // Nothing opens without it; healing makes it anew.
    (Config,         Delete, [Refused, Refused, Refused, Refused, Healed]),
    (Config,         Cut,    [Refused, Refused, Refused, Refused, Healed]),
    (Config,         Alter,  [Refused, Refused, Refused, Refused, Healed]),
    // The only key of the password: without it nobody can do anything.
    (Key,            Delete, [Refused, Refused, Refused, Refused, Refused]),
    (Key,            Cut,    [Refused, Refused, Refused, Refused, Refused]),
    (Key,            Alter,  [Refused, Refused, Refused, Refused, Refused]),
    // What is in no index is stored again by a backup, and looks like a loss to a prune.
    (Index,          Delete, [Told,    Told,    Healed,  Refused, Healed]),
    (Index,          Cut,    [Told,    Told,    Refused, Refused, Healed]),
    (Index,          Alter,  [Told,    Told,    Refused, Refused, Healed]),
    // A header is needed only for an index that is lost; a pack without its end counts as lost before a backup.
    (PackHeader,     Delete, [Told,    Told,    Healed,  Refused, Healed]),
    (PackHeader,     Cut,    [Told,    Well,    Healed,  Refused, Healed]),
    (PackHeader,     Alter,  [Told,    Well,    Well,    Well,    Healed]),
    // Altered data is found by reading it only, so a backup and a prune cannot know.
    (PackBody,       Delete, [Told,    Told,    Healed,  Refused, Healed]),
    (PackBody,       Cut,    [Told,    Told,    Healed,  Refused, Healed]),
    (PackBody,       Alter,  [Told,    Told,    Well,    Well,    Healed]),
    // One that is gone cannot be told from one that was forgotten; the older point is there.
    (What::Snapshot, Delete, [Well,    Refused, Well,    Well,    Well]),
    (What::Snapshot, Cut,    [Told,    Refused, Well,    Refused, Healed]),
    (What::Snapshot, Alter,  [Told,    Refused, Well,    Refused, Healed]),
    // May be anybody's: who must be alone stays out. A prune that finds nothing to remove need not be.
    (Lock,           Delete, [Well,    Well,    Well,    Well,    Well]),
    (Lock,           Cut,    [Well,    Well,    Well,    Well,    Refused]),
    (Lock,           Alter,  [Well,    Well,    Well,    Well,    Refused]),
    // Only whole recovery windows know of a gap; files between others come back from a copy.
    (Wal,            Delete, [Well,    Well,    Well,    Well,    Healed]),
    (Wal,            Cut,    [Told,    Well,    Well,    Well,    Healed]),
    (Wal,            Alter,  [Told,    Well,    Well,    Well,    Healed]),
];

/// The files of a vault, to be taken as often as needed.
struct Setting {
    place: Place,
    /// Opened once: a password costs time on purpose.
    vault: Vault,
    /// A pack of data, how long it is, and a byte inside one of its blobs.
    pack: (ObjectKey, usize, usize),
    files: Vec<(ObjectKey, Vec<u8>)>,
    expected: TreeDigest,
    copy: Vault,
    wal: Vec<(WalFile, Vec<u8>)>,
}

impl Setting {
    fn new() -> Self {
        let place = Place::in_memory();
        fs::create_dir_all(place.source().join("folder")).unwrap();
        let mut random = Random::new(31);
        for number in 0..4 {
            let path = place.source().join("folder").join(format!("{number}"));
            fs::write(path, random.bytes(30_000)).unwrap();
        }
        let store = Arc::new(MemoryStore::new());
        let vault = Vault::create(Arc::clone(&store) as Arc<dyn Store>, &password()).unwrap();
        let copy = Vault::create(Arc::new(MemoryStore::new()), &password()).unwrap();
        let point = back_up(&vault, &place).unwrap();
        let mut wal = Vec::new();
        for number in 1..4 {
            let name = format!("0000000100000000{number:08X}");
            let file = WalFile::named(7, name).unwrap();
            wal.push((file, random.bytes(5_000)));
        }
        for vault in [&vault, &copy] {
            let archive = vault.wal_archive().unwrap();
            for (file, content) in &wal {
                archive.put(file, content, WalEffort::Fast).unwrap();
            }
        }
        let points = [point.clone()];
        let progress = Arc::new(Progress::default());
        vault
            .copy_snapshots_to(&copy, &points, &CopyOptions::default(), &progress)
            .unwrap();
        // A process that is killed leaves its lock like this.
        std::mem::forget(vault.lock(LockMode::Shared).unwrap());
        let files = files_of(&store);
        vault.release_own_locks().unwrap();
        let expected = tree_digest(&place.source()).unwrap();
        Self {
            place,
            pack: pack_of_data(&vault, &store),
            vault,
            files,
            expected,
            copy,
            wal,
        }
    }

    /// A vault with one file damaged; returns its key.
    fn damaged(&self, what: What, how: Damage) -> (Arc<MemoryStore>, ObjectKey) {
        let store = Arc::new(MemoryStore::new());
        for (key, content) in &self.files {
            // All but one case without a lock: whoever wants to be alone would wait for it.
            if what == Lock || !key.as_str().starts_with("locks/") {
                store.create(key, content).unwrap();
            }
        }
        let (key, at) = self.victim(what);
        let mut content = store.read(&key).unwrap();
        match how {
            Delete => store.delete(&key).unwrap(),
            Cut => {
                content.truncate(at);
                store.overwrite(&key, content);
            }
            Alter => {
                content[at] ^= 1;
                store.overwrite(&key, content);
            }
        }
        (store, key)
    }

    /// The file to be damaged, and at which byte.
    fn victim(&self, what: What) -> (ObjectKey, usize) {
        let first = |folder: &str| {
            let prefix = format!("{folder}/");
            let mut files = self.files.iter();
            let found = files.find(|(key, _)| key.as_str().starts_with(&prefix));
            let (key, content) = found.unwrap();
            (key.clone(), content.len() / 2)
        };
        match what {
            Config => (ObjectKey::config(), 40),
            Key => first("keys"),
            Index => first("index"),
            What::Snapshot => first("snapshots"),
            Lock => first("locks"),
            Wal => {
                let (key, middle) = first("rekindle/wal/7");
                let text = key.as_str().replace("0001.zst", "0002.zst");
                (ObjectKey::parse(&text).unwrap(), middle)
            }
            PackHeader => (self.pack.0.clone(), self.pack.1 - 20),
            PackBody => (self.pack.0.clone(), self.pack.2),
        }
    }

    /// The damaged vault. Only what hits the configuration or the key shows when it is opened.
    fn open(&self, store: &Arc<MemoryStore>, what: What) -> Result<Vault, VaultError> {
        let store = Arc::clone(store) as Arc<dyn Store>;
        match what {
            Config | Key => Vault::open(store, &password()),
            _ => Ok(self.vault.through(store)),
        }
    }

    fn restore(&self, vault: &Vault) -> Result<(), RestoreError> {
        let target = tempfile::tempdir_in(self.place.path(".")).unwrap();
        let point = vault.find_snapshot("latest")?;
        common::restore(vault, &point, target.path())?;
        common::assert_same(&self.expected, &target.path().join(common::AT));
        Ok(())
    }

    fn is_all_there(&self, vault: &Vault) -> bool {
        let report = check(vault);
        let wal = vault.wal_archive().unwrap();
        let has =
            |(file, content): &(WalFile, Vec<u8>)| wal.get(file).unwrap().as_ref() == Some(content);
        report.is_whole() && self.wal.iter().all(has) && self.restore(vault).is_ok()
    }
}

fn pack_of_data(vault: &Vault, store: &MemoryStore) -> (ObjectKey, usize, usize) {
    let packs = vault.load_index().unwrap().by_pack();
    let has_data = |blobs: &[PackedBlob]| blobs.iter().any(|blob| blob.kind == BlobKind::Data);
    let (pack, blobs) = packs.iter().find(|(_, blobs)| has_data(blobs)).unwrap();
    let key = ObjectKey::of(FileKind::Pack, pack);
    let length = store.read(&key).unwrap().len();
    (key, length, blobs[1].offset as usize + 100)
}

fn files_of(store: &MemoryStore) -> Vec<(ObjectKey, Vec<u8>)> {
    let folders = ["keys", "index", "snapshots", "data", "locks", "rekindle"];
    let listed = folders
        .iter()
        .flat_map(|folder| store.list(folder).unwrap());
    let keys = listed.map(|listed| listed.key).chain([ObjectKey::config()]);
    keys.map(|key| {
        let content = store.read(&key).unwrap();
        (key, content)
    })
    .collect()
}

fn back_up(vault: &Vault, place: &Place) -> Result<Snapshot, rekindle_vault::BackupError> {
    let backup = vault.start_backup(options(None))?;
    backup.add_local_tree(&LocalTree {
        source: place.source(),
        at: TreePath::new(common::AT).unwrap(),
        leave_out: &|_| false,
    })?;
    backup.finish(draft())
}

fn check(vault: &Vault) -> CheckReport {
    vault.check(Thoroughness::AllData, &Arc::default()).unwrap()
}

/// A refusal must name the damaged file, so that a person knows where to look.
fn refused(error: &dyn std::error::Error, key: &ObjectKey, what: What, how: Damage) -> Outcome {
    let said = chain(error);
    let name = match what {
        // What is gone has no name any more.
        Config => "config",
        Key if how == Delete => "key",
        What::Snapshot if how == Delete => "no recovery point",
        _ => key.name(),
    };
    assert!(
        said.contains(name) || said.contains("pack") || said.contains("blob"),
        "{said}"
    );
    Refused
}

fn check_outcome(vault: &Vault, key: &ObjectKey) -> Outcome {
    let report = check(vault);
    if report.is_whole() {
        return Well;
    }
    let texts: Vec<_> = report.problems.iter().map(|p| p.text.clone()).collect();
    // A file that is gone and that nothing names shows by what it hits.
    assert!(
        texts.iter().any(|text| text.contains(key.name())) || !report.hits.is_empty(),
        "{texts:?}"
    );
    Told
}

fn restore_outcome(setting: &Setting, vault: &Vault, cell: &Cell) -> Outcome {
    match setting.restore(vault) {
        Ok(()) => Well,
        Err(RestoreError::Incomplete { damages }) => {
            assert!(damages.iter().all(|damage| !damage.reason.is_empty()));
            Told
        }
        // Where the very first listing is lost, nothing can be told but that.
        Err(error) if cell.what == Index => {
            assert!(!chain(&error).is_empty());
            Told
        }
        Err(error) => refused(&error, &cell.key, cell.what, cell.how),
    }
}

/// A backup heals if all that it needed and that was lost is there again, also for the older point.
fn backup_outcome(setting: &Setting, vault: &Vault, cell: &Cell) -> Outcome {
    let was_whole = setting.restore(vault).is_ok() && check(vault).is_whole();
    match back_up(vault, &setting.place) {
        Err(error) => {
            let before = setting.files.iter();
            let snapshots = before.filter(|(key, _)| key.as_str().starts_with("snapshots/"));
            let now = vault.readable_snapshots().unwrap().0.len();
            assert!(now <= snapshots.count(), "nothing was committed");
            refused(&error, &cell.key, cell.what, cell.how)
        }
        Ok(_) if !was_whole && matches!(cell.what, Index | PackHeader | PackBody) => {
            // What is altered without a trace in lengths is not seen by a backup.
            if cell.how == Alter {
                Well
            } else {
                assert!(check(vault).hits.is_empty());
                setting.restore(vault).unwrap();
                Healed
            }
        }
        Ok(_) => {
            setting.restore(vault).unwrap();
            Well
        }
    }
}

/// A prune that cannot see everything removes nothing.
fn prune_outcome(store: &MemoryStore, vault: &Vault, cell: &Cell) -> Outcome {
    let packs = store.list("data").unwrap();
    match vault.prune(&PruneOptions::default(), &Arc::default()) {
        Err(error) => {
            assert_eq!(store.list("data").unwrap(), packs, "nothing was removed");
            refused(&error, &cell.key, cell.what, cell.how)
        }
        Ok(_) => Well,
    }
}

fn heal_outcome(setting: &Setting, store: &Arc<MemoryStore>, cell: &Cell) -> Outcome {
    let copies = std::slice::from_ref(&setting.copy);
    if matches!(cell.what, Config | Key) {
        let store = Arc::clone(store) as Arc<dyn Store>;
        if let Err(error) = Vault::remake_config(store, &password(), copies) {
            return refused(&error, &cell.key, cell.what, cell.how);
        }
    }
    let vault = setting.open(store, cell.what).unwrap();
    let report: HealReport = match vault.heal(copies, &HealOptions::default()) {
        Err(error) if cell.what == Lock => return refused(&error, &cell.key, cell.what, cell.how),
        report => report.unwrap(),
    };
    assert!(report.is_whole(), "{cell}: {report:?}");
    if report.found_nothing() && cell.what != Config {
        return Well;
    }
    assert!(setting.is_all_there(&vault), "{cell}");
    Healed
}

struct Cell {
    what: What,
    how: Damage,
    key: ObjectKey,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} ({})", self.what, self.how, self.key)
    }
}

/// Opens the vault, or tells what came of that.
fn with_vault(
    setting: &Setting,
    store: &Arc<MemoryStore>,
    cell: &Cell,
    work: impl FnOnce(&Vault) -> Outcome,
) -> Outcome {
    match setting.open(store, cell.what) {
        Ok(vault) => work(&vault),
        Err(error) => {
            assert!(
                matches!(error, VaultError::Damaged { .. }),
                "{cell}: {error}"
            );
            refused(&error, &cell.key, cell.what, cell.how)
        }
    }
}

#[test]
fn each_operation_on_each_damage_ends_as_the_table_says() {
    let setting = Setting::new();
    let mut wrong = Vec::new();
    for (what, how, expected) in MATRIX {
        let fresh = || {
            let (store, key) = setting.damaged(what, how);
            (store, Cell { what, how, key })
        };
        let found = std::thread::scope(|scope| {
            // Whoever wants to be alone waits a moment; the others need not.
            let setting = &setting;
            let handles = [
                scope.spawn(move || {
                    let (store, cell) = fresh();
                    with_vault(setting, &store, &cell, |vault| {
                        check_outcome(vault, &cell.key)
                    })
                }),
                scope.spawn(move || {
                    let (store, cell) = fresh();
                    with_vault(setting, &store, &cell, |vault| {
                        restore_outcome(setting, vault, &cell)
                    })
                }),
                scope.spawn(move || {
                    let (store, cell) = fresh();
                    with_vault(setting, &store, &cell, |vault| {
                        backup_outcome(setting, vault, &cell)
                    })
                }),
                scope.spawn(move || {
                    let (store, cell) = fresh();
                    with_vault(setting, &store, &cell, |vault| {
                        prune_outcome(&store, vault, &cell)
                    })
                }),
                scope.spawn(move || {
                    let (store, cell) = fresh();
                    heal_outcome(setting, &store, &cell)
                }),
            ];
            handles.map(|handle| handle.join().unwrap())
        });
        if found != expected {
            wrong.push(format!("{what:?} {how:?}: {found:?}, and not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
