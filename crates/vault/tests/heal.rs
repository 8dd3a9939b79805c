//! A damaged vault is healed from what is whole in it and from its copies, and nothing is lost on the way.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use common::{
    Place, assert_restores, assert_whole, back_up, check, options as backup_options, password,
};
use jiff::Timestamp;
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, cut, delete, files_below, flip_bit, tree_digest},
    restic::Restic,
};
use rekindle_vault::{
    CopyOptions, HealOptions, HealReport, Hold, HoldScope, Password, Snapshot, Store, Thoroughness,
    Vault, WalEffort, WalFile,
    store::{Fault, FaultyStore, LocalStore, MemoryStore, ObjectKey},
};

const SYSTEM: u64 = 7_000_000_000_000_000_000;

/// A vault of two points, a copy of it with keys of its own, and some WAL in both.
struct Setting {
    place: Place,
    points: Vec<(Snapshot, TreeDigest)>,
}

impl Setting {
    fn new() -> Self {
        let place = Place::in_memory();
        let (vault, copy) = (place.create(), create(&place.path("copy"), "other"));
        let mut random = Random::new(8);
        let mut points = Vec::new();
        for number in 0..2 {
            for file in 0..5 {
                let folder = place.source().join(format!("{number}"));
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(format!("{file}")), random.bytes(120_000)).unwrap();
            }
            let point = back_up(&vault, &place.source(), None).unwrap();
            points.push((point, tree_digest(&place.source()).unwrap()));
        }
        for number in 1..6 {
            let content = random.bytes(20_000);
            for vault in [&vault, &copy] {
                let archive = vault.wal_archive().unwrap();
                archive
                    .put(&wal(number), &content, WalEffort::Fast)
                    .unwrap();
            }
        }
        let snapshots: Vec<_> = points.iter().map(|(point, _)| point.clone()).collect();
        vault
            .copy_snapshots_to(&copy, &snapshots, &CopyOptions::default(), &Arc::default())
            .unwrap();
        Self { place, points }
    }

    fn copy(&self) -> Vault {
        open(&self.place.path("copy"), "other")
    }

    fn heal(&self, sources: &[Vault]) -> HealReport {
        let options = HealOptions {
            pack_bytes: 256 << 10,
            ..HealOptions::default()
        };
        self.place.open().heal(sources, &options).unwrap()
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        files_below(&self.place.vault_dir().join(folder)).unwrap()
    }

    /// That every point comes back byte for byte, and that stock restic finds nothing wrong.
    fn assert_all_is_well(&self) {
        let vault = self.place.open();
        assert_whole(&vault);
        let points = vault.snapshots().unwrap();
        assert_eq!(points.len(), 2);
        for (point, (_, expected)) in points.iter().zip(&self.points) {
            let target = self.place.path("out");
            assert_restores(&vault, point, expected, &target);
            fs::remove_dir_all(target).unwrap();
        }
        self.place.restic().check(true).unwrap();
        let archive = vault.wal_archive().unwrap();
        for number in 1..6 {
            let theirs = self.copy().wal_archive().unwrap().get(&wal(number));
            assert_eq!(archive.get(&wal(number)).unwrap(), theirs.unwrap());
        }
    }
}

fn create(dir: &Path, words: &str) -> Vault {
    Vault::create(Arc::new(LocalStore::new(dir)), &Password::new(words)).unwrap()
}

fn open(dir: &Path, words: &str) -> Vault {
    Vault::open(Arc::new(LocalStore::new(dir)), &Password::new(words)).unwrap()
}

fn wal(number: u32) -> WalFile {
    WalFile::named(SYSTEM, format!("0000000100000000{number:08X}")).unwrap()
}

/// Damages every file of a folder, or every second one, in all ways in turn.
fn damage(files: &[PathBuf], every: usize) {
    for (number, file) in files.iter().step_by(every).enumerate() {
        let length = fs::metadata(file).unwrap().len();
        match number % 3 {
            0 => flip_bit(file, length / 2).unwrap(),
            1 => cut(file, length * 2 / 3).unwrap(),
            _ => delete(file).unwrap(),
        }
    }
}

#[test]
fn damaged_and_lost_packs_and_indexes_come_back_from_a_copy_with_other_keys() {
    for every in [1, 2] {
        let setting = Setting::new();
        damage(&setting.files("data"), every);
        damage(&setting.files("index"), 1);
        assert!(!check(&setting.place.open(), Thoroughness::AllData).is_whole());
        let report = setting.heal(&[setting.copy()]);
        assert!(report.is_whole(), "{report:?}");
        assert!(report.blobs_missing > 0 && report.blobs_healed == report.blobs_missing);
        for aside in &report.set_aside {
            assert!(setting.place.vault_dir().join(aside).exists(), "{aside}");
        }
        setting.assert_all_is_well();
        let again = setting.heal(&[setting.copy()]);
        assert!(again.found_nothing(), "{again:?}");
    }
}

#[test]
fn without_a_copy_all_but_the_damaged_piece_is_kept_and_the_next_backup_heals_the_rest() {
    let setting = Setting::new();
    let packs = setting.files("data");
    let pack = packs.iter().max_by_key(|p| fs::metadata(p).unwrap().len());
    flip_bit(pack.unwrap(), 100).unwrap();
    let before = check(&setting.place.open(), Thoroughness::AllData);
    let report = setting.heal(&[]);
    assert!(!report.is_whole());
    assert_eq!((report.damaged_packs.len(), report.set_aside.len()), (1, 1));
    assert_eq!((report.blobs_missing, report.blobs_healed), (1, 0));
    assert!(report.blobs_rescued > 0);
    assert_eq!(report.hits, before.hits, "not one file more");
    let after = check(&setting.place.open(), Thoroughness::AllData);
    assert_eq!(after.hits, before.hits);
    let vault = setting.place.open();
    back_up(&vault, &setting.place.source(), None).unwrap();
    assert_whole(&vault);
}

#[test]
fn a_plan_changes_nothing_and_says_what_would_be_healed() {
    let setting = Setting::new();
    damage(&setting.files("data"), 1);
    damage(&setting.files("snapshots"), 1);
    delete(&setting.files("index")[0]).unwrap();
    let content = || -> Vec<_> {
        let files = setting.files("").into_iter();
        files.map(|file| (fs::read(&file).unwrap(), file)).collect()
    };
    let before = content();
    let options = HealOptions::default();
    let plan = setting.place.open().plan_heal(&[setting.copy()], &options);
    let plan = plan.unwrap();
    assert!(before == content());
    let report = setting.heal(&[setting.copy()]);
    assert_eq!(plan.blobs_missing, report.blobs_missing);
    assert_eq!(plan.blobs_healed, report.blobs_healed);
    assert_eq!(plan.points_healed.len(), report.points_healed.len());
}

#[test]
fn a_damaged_point_comes_back_under_a_new_id_and_remembers_the_old_one() {
    let setting = Setting::new();
    let (point, expected) = &setting.points[0];
    let file = setting
        .place
        .vault_dir()
        .join("snapshots")
        .join(point.id.to_string());
    cut(&file, 50).unwrap();
    let lost = setting.heal(&[]);
    assert_eq!(lost.points_lost, [point.id]);
    assert!(!lost.is_whole() && file.exists());
    let report = setting.heal(&[setting.copy()]);
    let [(old, new)] = report.points_healed[..] else {
        panic!("{report:?}")
    };
    assert_eq!(old, point.id);
    let vault = setting.place.open();
    let healed = vault.find_snapshot(&new.to_string()).unwrap();
    assert_eq!(healed.stored.original, Some(old));
    assert_eq!(healed.stored.time, point.stored.time);
    assert_restores(&vault, &healed, expected, &setting.place.path("healed"));
    setting.assert_all_is_well();
}

#[test]
fn a_held_point_comes_back_though_its_tags_gave_it_another_id_and_is_still_held() {
    for copied_when_held in [false, true] {
        let setting = Setting::new();
        let vault = setting.place.open();
        let (point, expected) = &setting.points[0];
        let hold = Hold {
            name: "incident-7".to_owned(),
            scope: HoldScope::Point(point.id),
            reason: None,
            since: Timestamp::now(),
            until: None,
            by: String::new(),
        };
        vault.add_hold(&hold).unwrap();
        let held = vault.set_tags(point, vec![hold.tag()]).unwrap();
        let copy = setting.copy();
        if copied_when_held {
            let known = copy.copied_snapshots().unwrap();
            let before = known.find(point).unwrap();
            copy.forget(&[before.id]).unwrap();
            let (points, options) = ([held.clone()], CopyOptions::default());
            vault
                .copy_snapshots_to(&copy, &points, &options, &Arc::default())
                .unwrap();
        }
        let files = setting.place.vault_dir().join("snapshots");
        cut(&files.join(held.id.to_string()), 50).unwrap();
        let report = setting.heal(&[copy]);
        let [(old, new)] = report.points_healed[..] else {
            panic!("{report:?}")
        };
        assert_eq!(old, held.id);
        let healed = vault.find_snapshot(&new.to_string()).unwrap();
        assert_eq!(healed.lasting_id(), point.id);
        assert_eq!(healed.stored.tags, [hold.tag()]);
        let holds = vault.holds().unwrap();
        assert_eq!(holds.on(&healed, Timestamp::now()), ["incident-7"]);
        assert_restores(&vault, &healed, expected, &setting.place.path("healed"));
        setting.assert_all_is_well();
    }
}

#[test]
fn archived_wal_that_is_damaged_or_lost_in_between_comes_back() {
    let setting = Setting::new();
    let files = setting.files("rekindle/wal");
    assert_eq!(files.len(), 5);
    flip_bit(&files[1], 300).unwrap();
    delete(&files[2]).unwrap();
    cut(&files[4], 5).unwrap();
    let without = setting.heal(&[]);
    assert_eq!(without.wal_lost, [wal(2), wal(5)]);
    let report = setting.heal(&[setting.copy()]);
    assert_eq!(report.wal_healed, [wal(2), wal(5), wal(3)]);
    assert!(report.is_whole(), "{report:?}");
    setting.assert_all_is_well();
    // What is before the first file was removed by retention, and stays away.
    let archive = setting.place.open().wal_archive().unwrap();
    archive.delete(&wal(1)).unwrap();
    assert!(setting.heal(&[setting.copy()]).wal_healed.is_empty());
}

#[test]
fn keys_and_points_come_back_as_they_were_from_a_copy_of_the_files() {
    let setting = Setting::new();
    setting
        .place
        .open()
        .add_key(&Password::new("second"))
        .unwrap();
    let mirror = setting.place.path("mirror");
    let mut command = Command::new("cp");
    command
        .arg("-a")
        .arg(setting.place.vault_dir())
        .arg(&mirror);
    assert!(command.status().unwrap().success());
    let before = tree_digest(&mirror).unwrap();
    let vault = setting.place.open();
    let spare: BTreeSet<_> = vault
        .keys()
        .unwrap()
        .iter()
        .filter(|k| !k.current)
        .map(|k| k.id)
        .collect();
    for id in &spare {
        let key = setting.place.vault_dir().join("keys").join(id.to_string());
        flip_bit(&key, 40).unwrap();
    }
    for file in setting.files("snapshots") {
        cut(&file, 10).unwrap();
    }
    let lost = vault.heal(&[], &HealOptions::default()).unwrap();
    assert_eq!(lost.keys_lost.len(), 1);
    let mirror = open(&mirror, common::PASSWORD);
    let report = vault.heal(&[mirror], &HealOptions::default()).unwrap();
    assert_eq!(
        (report.keys_healed.len(), report.points_healed.len()),
        (1, 2)
    );
    open(&setting.place.vault_dir(), "second");
    for folder in ["keys", "snapshots"] {
        let now = tree_digest(&setting.place.vault_dir().join(folder)).unwrap();
        let then = before.0.iter().filter_map(|(path, entry)| {
            Some((path.strip_prefix(folder).ok()?.to_owned(), entry.clone()))
        });
        let then = TreeDigest(then.filter(|(path, _)| path != Path::new("")).collect());
        let now = TreeDigest(
            now.0
                .into_iter()
                .filter(|(path, _)| path != Path::new(""))
                .collect(),
        );
        assert_eq!(then.without_times(), now.without_times(), "{folder}");
    }
    setting.assert_all_is_well();
}

#[test]
fn a_copy_that_is_damaged_too_heals_what_it_can_and_a_second_one_the_rest() {
    let setting = Setting::new();
    let third = create(&setting.place.path("third"), "third");
    let snapshots: Vec<_> = setting
        .points
        .iter()
        .map(|(point, _)| point.clone())
        .collect();
    let vault = setting.place.open();
    vault
        .copy_snapshots_to(&third, &snapshots, &CopyOptions::default(), &Arc::default())
        .unwrap();
    for file in setting.files("data") {
        delete(&file).unwrap();
    }
    damage(
        &files_below(&setting.place.path("copy").join("data")).unwrap(),
        2,
    );
    let report = setting.heal(&[setting.copy()]);
    assert!(report.blobs_healed < report.blobs_missing && !report.hits.is_empty());
    let report = setting.heal(&[setting.copy(), third]);
    assert!(report.is_whole(), "{report:?}");
    setting.assert_all_is_well();
}

/// A small vault in memory whose pack of data is damaged, and a whole copy of it.
fn in_memory() -> (Arc<MemoryStore>, Vault, Snapshot) {
    let place = Place::in_memory();
    fs::create_dir_all(place.source()).unwrap();
    for file in 0..3 {
        let content = Random::new(file).bytes(9_000);
        fs::write(place.source().join(format!("{file}")), content).unwrap();
    }
    let store = Arc::new(MemoryStore::new());
    let vault = Vault::create(Arc::clone(&store) as Arc<dyn Store>, &password()).unwrap();
    let backup = vault.start_backup(backup_options(None)).unwrap();
    let tree = rekindle_vault::LocalTree {
        source: place.source(),
        at: rekindle_vault::TreePath::new(common::AT).unwrap(),
        leave_out: &|_| false,
    };
    backup.add_local_tree(&tree).unwrap();
    let point = backup.finish(common::draft()).unwrap();
    let copy = Vault::create(Arc::new(MemoryStore::new()), &password()).unwrap();
    let points = [point.clone()];
    vault
        .copy_snapshots_to(&copy, &points, &CopyOptions::default(), &Arc::default())
        .unwrap();
    for (id, blobs) in vault.load_index().unwrap().by_pack() {
        if blobs[0].kind == rekindle_vault::BlobKind::Data {
            let key = ObjectKey::of(rekindle_vault::store::FileKind::Pack, &id);
            let mut bytes = store.read(&key).unwrap();
            bytes[50] ^= 1;
            store.overwrite(&key, bytes);
        }
    }
    (store, copy, point)
}

/// Heals with a fault at one operation of the store; returns how many there were.
fn heal_with_fault(at: u64, fault: Fault) -> u64 {
    let (store, copy, _) = in_memory();
    let inner = Arc::clone(&store) as Arc<dyn Store>;
    let faulty = Arc::new(FaultyStore::failing_once(inner, u64::MAX, fault));
    let vault = Vault::open(Arc::clone(&faulty) as Arc<dyn Store>, &password()).unwrap();
    faulty.restart(at);
    let copies = std::slice::from_ref(&copy);
    let options = HealOptions::default();
    let outcome = vault.heal(copies, &options);
    let operations = faulty.operations();
    drop(outcome);
    // A lock that could not be removed would be in our own way.
    let vault = Vault::open(store, &password()).unwrap();
    vault.unlock_stale().unwrap();
    let report = vault.heal(copies, &options).unwrap();
    assert!(report.is_whole(), "{at} {fault:?}: {report:?}");
    assert_whole(&vault);
    operations
}

#[test]
fn whatever_fails_while_healing_the_next_run_heals_it_all() {
    let operations = heal_with_fault(u64::MAX - 1, Fault::LostAcknowledgement);
    assert!(operations > 20, "{operations}");
    // One of three, another one in each run; they wait for locks more than they work.
    let shift = common::random().below(3);
    let chosen: Vec<u64> = (shift..operations).step_by(3).collect();
    std::thread::scope(|scope| {
        for some in chosen.chunks(chosen.len().div_ceil(8)) {
            scope.spawn(move || {
                for &at in some {
                    let fault = if at % 2 == 0 {
                        Fault::Refused(ErrorKind::Other)
                    } else {
                        Fault::LostAcknowledgement
                    };
                    heal_with_fault(at, fault);
                }
            });
        }
    });
}

#[test]
fn stock_restic_reads_a_healed_vault() {
    let setting = Setting::new();
    damage(&setting.files("data"), 1);
    setting.heal(&[setting.copy()]);
    let restic = Restic::new(setting.place.vault_dir(), common::PASSWORD);
    let out = setting.place.path("by restic");
    restic
        .restore(&setting.points[1].0.id.to_string(), &out)
        .unwrap();
    let differences = setting.points[1]
        .1
        .differences(&tree_digest(&out.join(common::AT)).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}
