//! Every kind of stored file deleted, cut and altered: what is hit is told by name, and everything
//! else is still brought back.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use common::{AT, Place, back_up, chain, check, password, restore};
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, cut, delete, files_below, flip_bit, tree_digest},
};
use rekindle_vault::{
    BlobKind, CheckReport, LockMode, RestoreError, Snapshot, Store, Thoroughness, Vault,
    VaultError,
    store::{Listed, LocalStore, ObjectKey, Operation, StoreError},
};

/// A vault of two snapshots that share some files, and what they hold.
struct Setting {
    place: Place,
    points: Vec<(Snapshot, TreeDigest)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    Delete,
    Cut,
    Empty,
    Flip,
}

const DAMAGES: [Damage; 4] = [Damage::Delete, Damage::Cut, Damage::Empty, Damage::Flip];

impl Setting {
    fn new() -> Self {
        let place = Place::new();
        let source = place.source();
        let mut random = Random::new(77);
        for number in 0..24_usize {
            let folder = source.join(format!("folder {}", number % 3));
            fs::create_dir_all(&folder).unwrap();
            let content = random.bytes(20_000 + number * 5_000);
            fs::write(folder.join(format!("file {number}")), content).unwrap();
        }
        fs::write(source.join("large"), random.bytes(3 << 20)).unwrap();
        fs::hard_link(source.join("folder 0/file 0"), source.join("second name")).unwrap();
        std::os::unix::fs::symlink("large", source.join("link")).unwrap();
        let vault = place.create();
        let mut points = Vec::new();
        points.push((
            back_up(&vault, &source, None).unwrap(),
            tree_digest(&source).unwrap(),
        ));
        fs::remove_dir_all(source.join("folder 1")).unwrap();
        fs::write(source.join("folder 2/new"), random.bytes(300_000)).unwrap();
        points.push((
            back_up(&vault, &source, None).unwrap(),
            tree_digest(&source).unwrap(),
        ));
        Self { place, points }
    }

    /// A copy of the vault to be damaged.
    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.place.path(name);
        let status = Command::new("cp")
            .arg("-a")
            .arg(self.place.vault_dir())
            .arg(&copy)
            .status();
        assert!(status.unwrap().success());
        copy
    }

    /// Restores every point of a damaged vault: whole, or with each missing file told. Returns the
    /// paths that were told, by number of the point.
    fn restore_all(&self, vault: &Vault) -> Vec<BTreeSet<String>> {
        self.points
            .iter()
            .map(|(snapshot, expected)| self.restore_one(vault, snapshot, expected))
            .collect()
    }

    fn restore_one(
        &self,
        vault: &Vault,
        snapshot: &Snapshot,
        expected: &TreeDigest,
    ) -> BTreeSet<String> {
        let target = self.place.path("target");
        let outcome = restore(vault, snapshot, &target);
        let told: BTreeSet<String> = match outcome {
            Ok(_) => BTreeSet::new(),
            Err(RestoreError::Incomplete { damages }) => {
                assert!(damages.iter().all(|damage| !damage.reason.is_empty()));
                damages
                    .iter()
                    .map(|d| d.path.display().to_string())
                    .collect()
            }
            Err(error) => panic!("{}", chain(&error)),
        };
        let found = match tree_digest(&target.join(AT)) {
            Ok(found) => found,
            // Nothing at all, because the very first listing is lost.
            Err(_) => TreeDigest(Default::default()),
        };
        // Of two names of a file one may be lost.
        let (found, expected) = (
            found.without_hard_links(),
            expected.clone().without_hard_links(),
        );
        for (path, entry) in &expected.0 {
            let full = Path::new(AT).join(path).display().to_string();
            let full = full.trim_end_matches('/');
            let is_told = told.iter().any(|told| {
                told.is_empty() || full == *told || full.starts_with(&format!("{told}/"))
            });
            // A directory's listing may be lost, and the directory itself be there.
            if !is_told {
                assert_eq!(found.0.get(path), Some(entry), "{full} is whole or told");
            }
        }
        fs::remove_dir_all(&target).unwrap();
        told
    }
}

fn damage(path: &Path, how: Damage) {
    let length = fs::metadata(path).unwrap().len();
    match how {
        Damage::Delete => delete(path).unwrap(),
        Damage::Cut => cut(path, length * 2 / 3).unwrap(),
        Damage::Empty => cut(path, 0).unwrap(),
        Damage::Flip => flip_bit(path, length / 2).unwrap(),
    }
}

fn open(vault: &Path) -> Result<Vault, VaultError> {
    Vault::open(Arc::new(LocalStore::new(vault)), &password())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn only_file(vault: &Path, folder: &str) -> PathBuf {
    files_below(&vault.join(folder)).unwrap()[0].clone()
}

fn says(report: &CheckReport, name: &str) -> bool {
    let losses = report.problems.iter().filter(|problem| problem.is_loss);
    losses
        .into_iter()
        .any(|problem| problem.text.contains(name))
}

/// The paths that the check says are hit, by number of the point, without the slash before them.
fn hits(setting: &Setting, report: &CheckReport) -> Vec<BTreeSet<String>> {
    let of = |snapshot: &Snapshot| {
        let hits = report.hits.iter().filter(|hit| hit.snapshot == snapshot.id);
        hits.map(|hit| hit.path.to_string()[1..].to_owned())
            .collect()
    };
    setting
        .points
        .iter()
        .map(|(snapshot, _)| of(snapshot))
        .collect()
}

#[test]
fn a_damaged_config_is_told_as_such() {
    let setting = Setting::new();
    for how in DAMAGES {
        let vault = setting.copy(&format!("{how:?}"));
        damage(&vault.join("config"), how);
        let error = open(&vault).unwrap_err();
        assert!(matches!(error, VaultError::Damaged { .. }), "{error}");
        let said = chain(&error);
        assert!(
            said.contains("config") && said.contains(vault.to_str().unwrap()),
            "{said}"
        );
        // What is left of a vault must not be taken for an empty place.
        Vault::create(Arc::new(LocalStore::new(&vault)), &password()).unwrap_err();
        assert_eq!(files_below(&vault.join("keys")).unwrap().len(), 1);
    }
}

#[test]
fn a_damaged_key_is_told_by_name_and_another_opens() {
    let setting = Setting::new();
    for how in DAMAGES {
        let vault = setting.copy(&format!("{how:?}"));
        let key = only_file(&vault, "keys");
        let second = rekindle_vault::Password::new("second");
        open(&vault).unwrap().add_key(&second).unwrap();
        damage(&key, how);
        let error = open(&vault).unwrap_err();
        let said = chain(&error);
        if how == Damage::Delete {
            assert!(matches!(error, VaultError::WrongPassword { .. }), "{said}");
        } else {
            assert!(said.contains(&name_of(&key)), "{how:?}: {said}");
        }
        let opened = Vault::open(Arc::new(LocalStore::new(&vault)), &second).unwrap();
        assert_eq!(setting.restore_all(&opened), vec![BTreeSet::new(); 2]);
    }
}

#[test]
fn the_only_key_damaged_is_no_wrong_password() {
    let setting = Setting::new();
    for how in DAMAGES {
        let vault = setting.copy(&format!("{how:?}"));
        let key = only_file(&vault, "keys");
        damage(&key, how);
        let error = open(&vault).unwrap_err();
        assert!(
            !matches!(error, VaultError::WrongPassword { .. }),
            "{error}"
        );
        let said = chain(&error);
        assert!(
            how == Damage::Delete || said.contains(&name_of(&key)),
            "{said}"
        );
        assert!(said.contains("key"), "{said}");
    }
}

#[test]
fn a_damaged_snapshot_is_told_and_the_others_are_there() {
    let setting = Setting::new();
    for how in DAMAGES {
        let dir = setting.copy(&format!("{how:?}"));
        let (lost, kept) = (&setting.points[1].0, &setting.points[0]);
        let file = dir.join("snapshots").join(lost.id.to_string());
        damage(&file, how);
        let vault = open(&dir).unwrap();
        let (readable, failed) = vault.readable_snapshots().unwrap();
        assert_eq!(readable.len(), 1);
        assert_eq!(vault.find_snapshot("latest").unwrap().id, kept.0.id);
        let report = check(&vault, Thoroughness::Structure);
        if how == Damage::Delete {
            // It is forgotten as by `forget`, and nothing can know better.
            assert!(failed.is_empty() && report.is_whole());
        } else {
            let error = chain(&vault.snapshots().unwrap_err());
            assert!(error.contains(&lost.id.to_string()), "{error}");
            assert!(!report.is_whole() && says(&report, &lost.id.to_string()));
            let error = chain(&vault.find_snapshot(&lost.id.to_string()).unwrap_err());
            assert!(error.contains(&lost.id.to_string()), "{error}");
        }
        assert!(report.whole_snapshots.contains(&kept.0.id));
        assert_eq!(
            setting.restore_one(&vault, &kept.0, &kept.1),
            BTreeSet::new()
        );
        let next = back_up(&vault, &setting.place.source(), None).unwrap();
        let now = &setting.points[1].1;
        assert_eq!(setting.restore_one(&vault, &next, now), BTreeSet::new());
    }
}

#[test]
fn a_damaged_index_file_stops_backups_and_not_restores() {
    let setting = Setting::new();
    for how in DAMAGES {
        for number in 0..2 {
            let dir = setting.copy(&format!("{how:?} {number}"));
            let file = files_below(&dir.join("index")).unwrap()[number].clone();
            damage(&file, how);
            let vault = open(&dir).unwrap();
            let report = check(&vault, Thoroughness::Structure);
            assert!(!report.is_whole());
            let told = setting.restore_all(&vault);
            assert_eq!(hits(&setting, &report), told, "{how:?} {number}");
            assert!(told.iter().any(|told| !told.is_empty()));
            let backup = back_up(&vault, &setting.place.source(), None);
            if how == Damage::Delete {
                // What is in no index is stored anew, so the new point is whole.
                let next = backup.unwrap();
                let now = &setting.points[1].1;
                assert_eq!(setting.restore_one(&vault, &next, now), BTreeSet::new());
            } else {
                assert!(says(&report, &name_of(&file)));
                let error = chain(&backup.unwrap_err());
                assert!(error.contains(&name_of(&file)), "{error}");
                assert_eq!(vault.snapshots().unwrap().len(), 2, "nothing was committed");
            }
        }
    }
}

/// Packs that hold blobs of this kind, with a place within the first of those blobs and one in the
/// header.
fn packs_of(vault: &Vault, dir: &Path, kind: BlobKind) -> Vec<(PathBuf, u64, u64)> {
    let packs = vault.load_index().unwrap().by_pack();
    let holding = packs.iter().filter_map(|(id, blobs)| {
        let blob = blobs.iter().find(|blob| blob.kind == kind)?;
        let name = id.to_string();
        let path = dir.join("data").join(&name[..2]).join(&name);
        let length = fs::metadata(&path).unwrap().len();
        Some((path, u64::from(blob.offset + blob.length / 2), length - 20))
    });
    holding.collect()
}

#[test]
fn a_damaged_pack_costs_only_what_is_in_it() {
    let setting = Setting::new();
    let whole = setting.place.open();
    for kind in [BlobKind::Data, BlobKind::Tree] {
        let count = packs_of(&whole, &setting.place.vault_dir(), kind).len();
        // Some of the data, and both listings.
        for number in [0, count / 2, count - 1] {
            for how in DAMAGES {
                let dir = setting.copy("damaged");
                let (pack, body, _) = packs_of(&open(&dir).unwrap(), &dir, kind)[number].clone();
                match how {
                    Damage::Flip => flip_bit(&pack, body).unwrap(),
                    Damage::Cut => cut(&pack, body).unwrap(),
                    _ => damage(&pack, how),
                }
                let vault = open(&dir).unwrap();
                let report = check(&vault, Thoroughness::AllData);
                let context = format!("{kind:?} {number} {how:?}");
                assert!(
                    !report.is_whole() && says(&report, &name_of(&pack)),
                    "{context}"
                );
                let told = setting.restore_all(&vault);
                if how == Damage::Flip {
                    assert_eq!(hits(&setting, &report), told, "{context}");
                } else {
                    // The first blobs of a cut pack can still be read, and so are restored.
                    let hit = hits(&setting, &report);
                    assert!(
                        hit.iter().zip(&told).all(|(hit, told)| told.is_subset(hit)),
                        "{context} {hit:?} {told:?}"
                    );
                    let structure = check(&vault, Thoroughness::Structure);
                    assert!(says(&structure, &name_of(&pack)), "{context}");
                }
                assert!(told.iter().any(|told| !told.is_empty()), "{context}");
                for (point, hit) in setting.points.iter().zip(&hits(&setting, &report)) {
                    assert_eq!(report.whole_snapshots.contains(&point.0.id), hit.is_empty());
                }
                fs::remove_dir_all(&dir).unwrap();
            }
        }
    }
}

#[test]
fn a_damaged_header_is_told_and_costs_no_file() {
    let setting = Setting::new();
    for how in [Damage::Cut, Damage::Flip] {
        let dir = setting.copy(&format!("{how:?}"));
        let vault = open(&dir).unwrap();
        let (pack, _, header) = packs_of(&vault, &dir, BlobKind::Data)[0].clone();
        match how {
            Damage::Cut => cut(&pack, header).unwrap(),
            _ => flip_bit(&pack, header).unwrap(),
        }
        let report = check(&vault, Thoroughness::AllData);
        assert!(says(&report, &name_of(&pack)), "{:?}", report.problems);
        let structure = check(&vault, Thoroughness::Structure);
        assert_eq!(says(&structure, &name_of(&pack)), how == Damage::Cut);
        assert_eq!(setting.restore_all(&vault), vec![BTreeSet::new(); 2]);
    }
}

#[test]
fn a_damaged_lock_is_in_nobodys_way() {
    let setting = Setting::new();
    for how in DAMAGES {
        let dir = setting.copy(&format!("{how:?}"));
        let vault = open(&dir).unwrap();
        // A process that is killed leaves its lock like this.
        std::mem::forget(vault.lock(LockMode::Shared).unwrap());
        damage(&only_file(&dir, "locks"), how);
        vault.locks().unwrap();
        let next = back_up(&vault, &setting.place.source(), None).unwrap();
        let now = &setting.points[1].1;
        assert_eq!(setting.restore_one(&vault, &next, now), BTreeSet::new());
        assert!(check(&vault, Thoroughness::AllData).is_whole());
    }
}

#[test]
fn links_and_modes_come_back_although_a_file_is_damaged() {
    let setting = Setting::new();
    let dir = setting.copy("damaged");
    let vault = open(&dir).unwrap();
    let index = vault.load_index().unwrap();
    let large = vault.find_node(&index, &setting.points[0].0, "source/large");
    let first = large.unwrap().unwrap().content.unwrap()[0];
    let at = index.find(BlobKind::Data, &first).unwrap();
    let name = at.pack.to_string();
    let pack = dir.join("data").join(&name[..2]).join(&name);
    let body = u64::from(at.blob.offset + at.blob.length / 2);
    flip_bit(&pack, body).unwrap();
    let target = setting.place.path("links");
    let error = restore(&vault, &setting.points[0].0, &target).unwrap_err();
    assert!(matches!(error, RestoreError::Incomplete { .. }), "{error}");
    let link = fs::read_link(target.join(AT).join("link")).unwrap();
    assert_eq!(link, Path::new("large"));
    let (found, expected) = (tree_digest(&target.join(AT)).unwrap(), &setting.points[0].1);
    for folder in ["folder 0", "folder 1", "folder 2", ""] {
        assert_eq!(
            found.0.get(Path::new(folder)),
            expected.0.get(Path::new(folder))
        );
    }
    // A directory that is not whole cannot pass for one that is, and is begun anew.
    assert!(fs::exists(target.join("REKINDLE-RESTORE-UNFINISHED")).unwrap());
    flip_bit(&pack, body).unwrap();
    common::assert_restores(&vault, &setting.points[0].0, expected, &target);
}

#[test]
fn a_data_folder_that_is_not_there_is_no_empty_vault() {
    let setting = Setting::new();
    let dir = setting.copy("damaged");
    let vault = open(&dir).unwrap();
    fs::remove_dir_all(dir.join("data")).unwrap();
    let report = check(&vault, Thoroughness::Structure);
    assert!(report.whole_snapshots.is_empty() && !report.is_whole());
    assert_eq!(
        hits(&setting, &report)
            .iter()
            .filter(|hit| hit.is_empty())
            .count(),
        0
    );
    fs::remove_dir_all(&dir).unwrap();
    for error in [
        vault.snapshots().unwrap_err(),
        vault.load_index().err().unwrap(),
        back_up(&vault, &setting.place.source(), None)
            .map(drop)
            .map_err(|error| match error {
                rekindle_vault::BackupError::Vault(error) => error,
                other => panic!("{other}"),
            })
            .unwrap_err(),
    ] {
        assert!(chain(&error).contains("No such file"), "{}", chain(&error));
    }
}

/// A disk of which one place cannot be read any more.
struct BadSector {
    inner: LocalStore,
    pack: String,
}

impl BadSector {
    fn ensure_readable(&self, key: &ObjectKey) -> Result<(), StoreError> {
        if key.name() != self.pack {
            return Ok(());
        }
        let source = std::io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
        let place = self.inner.location();
        Err(StoreError::new(
            Operation::Read,
            key.as_str(),
            place,
            source,
        ))
    }
}

impl Store for BadSector {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.ensure_readable(key)?;
        self.inner.read(key)
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        self.ensure_readable(key)?;
        self.inner.read_range(key, offset, buffer)
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.inner.create(key, content)
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.inner.replace(key, content)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(folder)
    }
}

#[test]
fn a_bad_sector_costs_only_the_files_on_it() {
    let setting = Setting::new();
    let dir = setting.place.vault_dir();
    let (pack, ..) = packs_of(&open(&dir).unwrap(), &dir, BlobKind::Data)[0].clone();
    let inner = LocalStore::new(&dir);
    let pack = name_of(&pack);
    let store = Arc::new(BadSector {
        inner,
        pack: pack.clone(),
    });
    let vault = Vault::open(store, &password()).unwrap();
    let told = setting.restore_all(&vault);
    assert!(told.iter().any(|told| !told.is_empty()));
    let report = check(&vault, Thoroughness::AllData);
    assert!(says(&report, &pack), "{:?}", report.problems);
    assert!(
        report.problems[0].text.contains("Input/output error"),
        "{:?}",
        report.problems
    );
    assert_eq!(hits(&setting, &report), told);
}
