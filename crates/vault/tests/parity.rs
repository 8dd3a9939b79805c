//! A vault on one disk comes back from its parity: byte for byte up to what was promised, and told exactly beyond.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::PathBuf,
    sync::Arc,
};

use common::{Place, assert_restores, assert_whole, back_up, check, password};
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, cut, delete, files_below, flip_bit, tree_digest},
};
use rekindle_vault::{
    ConfigRemade, Grace, HealOptions, HealReport, ParityReport, ParityScheme, PruneOptions,
    Snapshot, Thoroughness, Vault, WalEffort, WalFile,
    store::{Fault, FaultyStore, LocalStore},
};

const SYSTEM: u64 = 7_000_000_000_000_000_000;
const DATA: usize = 8;
const PARITY: usize = 2;
const BLOCK: u64 = 64 << 10;

fn scheme() -> ParityScheme {
    ParityScheme::new(DATA as u8, PARITY as u8).unwrap()
}

fn update(vault: &Vault) -> ParityReport {
    vault.update_parity(scheme(), &Arc::default()).unwrap()
}

/// A vault of two points with 20 packs or so, and its parity.
struct Setting {
    place: Place,
    points: Vec<(Snapshot, TreeDigest)>,
}

impl Setting {
    fn new() -> Self {
        let place = Place::in_memory();
        let vault = place.create();
        let mut random = Random::new(16);
        let mut points = Vec::new();
        for number in 0..2 {
            let folder = place.source().join(format!("{number}"));
            fs::create_dir_all(&folder).unwrap();
            for file in 0..10 {
                fs::write(folder.join(format!("{file}")), random.bytes(200_000)).unwrap();
            }
            let point = back_up(&vault, &place.source(), None).unwrap();
            points.push((point, tree_digest(&place.source()).unwrap()));
        }
        let setting = Self { place, points };
        let made = update(&setting.place.open());
        assert!(made.left_out.is_empty() && made.too_long.is_empty());
        setting.assert_protected();
        setting
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = files_below(&self.place.vault_dir().join(folder)).unwrap();
        files.sort();
        files
    }

    /// Packs of the class with the most, in groups as they are protected.
    fn groups(&self) -> Vec<Vec<PathBuf>> {
        let mut groups: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for object in self.files("rekindle/parity/groups") {
            let text = String::from_utf8_lossy(&fs::read(&object).unwrap()).into_owned();
            let name = object.file_name().unwrap().to_string_lossy().into_owned();
            let (group, shard) = name.split_once('-').unwrap();
            // The text stands in the object twice, and the set holds each pack once.
            let members = text.split("\"key\":\"").skip(1);
            let keys = members.map(|rest| rest.split('"').next().unwrap().to_owned());
            let packs = keys.filter(|key| key.starts_with("data/"));
            let packs: BTreeSet<_> = packs.map(|key| self.place.vault_dir().join(key)).collect();
            if shard == "0" && !packs.is_empty() {
                groups.insert(group.to_owned(), packs.into_iter().collect());
            }
        }
        groups.into_values().collect()
    }

    fn heal(&self) -> HealReport {
        let options = HealOptions {
            pack_bytes: 256 << 10,
            ..HealOptions::default()
        };
        self.place.open().heal(&[], &options).unwrap()
    }

    /// That all that counts is protected, and all of it well.
    fn assert_protected(&self) {
        let status = self.place.open().parity_status().unwrap();
        assert_eq!(status.unprotected_files, 0, "{status:?}");
        assert!(status.damaged.is_empty(), "{status:?}");
        assert_eq!(status.weakened_groups, 0, "{status:?}");
        let again = update(&self.place.open());
        assert!(again.is_idle(), "{again:?}");
    }

    /// That every point comes back byte for byte, that stock restic finds nothing wrong, and that all is protected.
    fn assert_all_is_well(&self) {
        let vault = self.place.open();
        assert_whole(&vault);
        let points = vault.snapshots().unwrap();
        for (point, (_, expected)) in points.iter().zip(&self.points) {
            let target = self.place.path("out");
            assert_restores(&vault, point, expected, &target);
            fs::remove_dir_all(target).unwrap();
        }
        self.place.restic().check(true).unwrap();
        self.assert_protected();
    }
}

fn wal(number: u32) -> WalFile {
    WalFile::named(SYSTEM, format!("0000000100000000{number:08X}")).unwrap()
}

#[test]
fn as_many_lost_packs_of_each_group_as_there_are_parity_objects_come_back() {
    let setting = Setting::new();
    let before = fs_digest(&setting.files("data"));
    let mut lost = 0;
    for (number, group) in setting.groups().iter().enumerate() {
        for (at, pack) in group.iter().take(PARITY).enumerate() {
            lost += 1;
            let length = fs::metadata(pack).unwrap().len();
            match (number + at) % 4 {
                0 => delete(pack).unwrap(),
                1 => cut(pack, length / 3).unwrap(),
                2 => cut(pack, 0).unwrap(),
                _ => (0..length)
                    .step_by(5000)
                    .for_each(|byte| flip_bit(pack, byte).unwrap()),
            }
        }
    }
    assert!(lost >= 6, "{lost} packs are not many");
    assert!(!check(&setting.place.open(), Thoroughness::AllData).is_whole());
    let plan = setting
        .place
        .open()
        .plan_heal(&[], &HealOptions::default())
        .unwrap();
    assert_eq!(
        (plan.parity.rebuilt.len(), plan.blobs_healed),
        (lost, plan.blobs_missing)
    );
    let report = setting.heal();
    assert_eq!(report.parity.rebuilt.len(), lost);
    assert!(
        report.is_whole() && report.parity.beyond.is_empty(),
        "{report:?}"
    );
    assert_eq!(fs_digest(&setting.files("data")), before);
    setting.assert_all_is_well();
}

fn fs_digest(files: &[PathBuf]) -> BTreeMap<PathBuf, Vec<u8>> {
    files
        .iter()
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect()
}

#[test]
fn damage_in_every_pack_comes_back_as_long_as_it_lies_at_different_places() {
    let setting = Setting::new();
    let mut hit = 0;
    for group in setting.groups() {
        for (at, pack) in group.iter().enumerate() {
            // Of each row, blocks of two members.
            let byte = (at / PARITY) as u64 * BLOCK + 17;
            if byte < fs::metadata(pack).unwrap().len() {
                flip_bit(pack, byte).unwrap();
                hit += 1;
            }
        }
    }
    assert!(hit >= 10, "{hit} packs are not many");
    let report = setting.heal();
    assert_eq!(report.parity.rebuilt.len(), hit);
    setting.assert_all_is_well();
}

#[test]
fn damage_beyond_the_parity_is_named_and_all_else_comes_back() {
    let setting = Setting::new();
    let groups = setting.groups();
    let full = groups.iter().position(|group| group.len() == DATA).unwrap();
    let mut beyond = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        let losses = if number == full { PARITY + 1 } else { 1 };
        for pack in group.iter().take(losses) {
            delete(pack).unwrap();
            beyond.extend((number == full).then(|| pack.file_name().unwrap().to_owned()));
        }
    }
    let report = setting.heal();
    assert_eq!(
        report.parity.beyond.len(),
        PARITY + 1,
        "{:?}",
        report.parity
    );
    for name in beyond {
        let name = name.to_string_lossy().into_owned();
        assert!(
            report.parity.beyond.iter().any(|text| text.contains(&name)),
            "{name}"
        );
    }
    assert_eq!(report.parity.rebuilt.len(), groups.len() - 1);
    assert!(!report.hits.is_empty());
    let after = check(&setting.place.open(), Thoroughness::AllData);
    assert_eq!(after.hits, report.hits);
    // What is left is protected again.
    setting.assert_protected();
}

#[test]
fn of_a_pack_that_comes_back_in_part_every_whole_piece_is_kept() {
    let setting = Setting::new();
    let groups = setting.groups();
    let full = groups.iter().find(|group| group.len() == DATA).unwrap();
    // One block of each is beyond two parity blocks, all others are not.
    delete(&full[0]).unwrap();
    delete(&full[1]).unwrap();
    flip_bit(&full[2], BLOCK + 5).unwrap();
    let report = setting.heal();
    assert_eq!(report.parity.beyond.len(), PARITY + 1);
    assert!(report.parity.rebuilt.is_empty());
    assert!(report.blobs_rescued > 0, "{report:?}");
    let lost = report.blobs_missing - report.blobs_healed;
    assert!((1..=9).contains(&lost), "{lost} pieces of three packs");
    setting.assert_protected();
}

#[test]
fn damaged_index_files_and_recovery_points_come_back_as_they_were() {
    let setting = Setting::new();
    let files: Vec<_> = ["index", "snapshots"]
        .iter()
        .flat_map(|folder| setting.files(folder))
        .collect();
    let before = fs_digest(&files);
    for (number, file) in files.iter().enumerate() {
        match number % 2 {
            0 => flip_bit(file, 40).unwrap(),
            _ => cut(file, 10).unwrap(),
        }
    }
    // A whole group of more damaged files than parity cannot come back.
    let report = setting.heal();
    assert_eq!(
        files.len() - report.parity.rebuilt.len(),
        report.parity.beyond.len()
    );
    let setting = Setting::new();
    for (file, bytes) in &before {
        assert!(bytes.len() > 10, "{}", file.display());
    }
    for folder in ["index", "snapshots"] {
        flip_bit(&setting.files(folder)[0], 40).unwrap();
    }
    let (index, points) = (setting.files("index"), setting.files("snapshots"));
    let report = setting.heal();
    assert_eq!(report.parity.rebuilt.len(), 2, "{report:?}");
    assert!(report.is_whole() && !report.index_was_wrong);
    assert_eq!(
        (setting.files("index"), setting.files("snapshots")),
        (index, points)
    );
    setting.assert_all_is_well();
}

#[test]
fn a_lost_configuration_comes_back_as_it_was() {
    let setting = Setting::new();
    let config = setting.place.vault_dir().join("config");
    let before = fs::read(&config).unwrap();
    delete(&config).unwrap();
    let store = Arc::new(LocalStore::new(setting.place.vault_dir()));
    let how = Vault::remake_config(store, &password(), &[]).unwrap();
    assert_eq!(how, ConfigRemade::Same);
    assert_eq!(fs::read(&config).unwrap(), before);
    setting.assert_all_is_well();
}

#[test]
fn damaged_wal_comes_back_as_it_was() {
    let setting = Setting::new();
    let mut random = Random::new(3);
    let vault = setting.place.open();
    let archive = vault.wal_archive().unwrap();
    for number in 1..12 {
        archive
            .put(&wal(number), &random.bytes(100_000), WalEffort::Fast)
            .unwrap();
    }
    let contents: Vec<_> = (1..12)
        .map(|number| archive.get(&wal(number)).unwrap())
        .collect();
    update(&vault);
    let files = setting.files(&format!("rekindle/wal/{SYSTEM}"));
    assert_eq!(files.len(), 11);
    flip_bit(&files[1], 70_000).unwrap();
    cut(&files[7], 50_000).unwrap();
    let report = setting.heal();
    assert_eq!(report.parity.rebuilt.len(), 2, "{report:?}");
    let after: Vec<_> = (1..12)
        .map(|number| archive.get(&wal(number)).unwrap())
        .collect();
    assert_eq!(after, contents);
    setting.assert_all_is_well();
}

#[test]
fn damaged_parity_is_told_and_made_anew() {
    let setting = Setting::new();
    let objects = setting.files("rekindle/parity/groups");
    for (number, object) in objects.iter().enumerate() {
        let length = fs::metadata(object).unwrap().len();
        match number % 5 {
            0 => flip_bit(object, 20).unwrap(),
            1 => flip_bit(object, length / 2).unwrap(),
            2 => cut(object, length / 2).unwrap(),
            3 => delete(object).unwrap(),
            _ => fs_garbage(object),
        }
    }
    let report = check(&setting.place.open(), Thoroughness::AllData);
    assert!(report.is_whole(), "no recovery point is hit");
    let told = report
        .problems
        .iter()
        .filter(|problem| problem.text.contains("parity"));
    assert!(told.count() >= objects.len() / 2, "{:?}", report.problems);
    // What is left of it still brings back what it can.
    let healed = setting.heal();
    assert!(!healed.parity.damaged.is_empty() && healed.is_whole());
    setting.assert_all_is_well();
    assert!(
        check(&setting.place.open(), Thoroughness::AllData)
            .problems
            .is_empty()
    );
}

fn fs_garbage(file: &PathBuf) {
    delete(file).unwrap();
    fs::write(file, [7; 3000]).unwrap();
}

#[test]
fn parity_with_damage_of_its_own_still_brings_back_a_pack() {
    let setting = Setting::new();
    for object in setting.files("rekindle/parity/groups") {
        // The head; the tail says the same.
        flip_bit(&object, 30).unwrap();
    }
    let mut lost = 0;
    for group in setting.groups() {
        delete(&group[0]).unwrap();
        lost += 1;
    }
    let report = setting.heal();
    assert_eq!(report.parity.rebuilt.len(), lost);
    setting.assert_all_is_well();
}

#[test]
fn a_small_backup_costs_little_parity() {
    let setting = Setting::new();
    fs::write(
        setting.place.source().join("new"),
        Random::new(5).bytes(30_000),
    )
    .unwrap();
    let vault = setting.place.open();
    back_up(&vault, &setting.place.source(), None).unwrap();
    let status = vault.parity_status().unwrap();
    assert!(status.unprotected_files > 0);
    let plan = vault.plan_parity(scheme()).unwrap();
    let made = update(&vault);
    assert_eq!(made.groups_made, plan.groups_made);
    assert!(made.read_bytes < 200_000, "{made:?}");
    setting.assert_all_is_well();
}

#[test]
fn a_prune_takes_no_protection_from_what_stays() {
    for grace in [Grace::None, Grace::For(std::time::Duration::ZERO)] {
        let setting = Setting::new();
        fs::remove_dir_all(setting.place.source().join("0")).unwrap();
        let vault = setting.place.open();
        let last = back_up(&vault, &setting.place.source(), None).unwrap();
        let old: Vec<_> = setting.points.iter().map(|(point, _)| point.id).collect();
        vault.forget(&old).unwrap();
        let options = PruneOptions {
            grace,
            pack_bytes: 256 << 10,
            ..PruneOptions::default()
        };
        let mut removed = 0;
        for _ in 0..3 {
            let report = vault.prune(&options, &Arc::default()).unwrap();
            assert_eq!(report.held_for_parity, 0);
            removed += report.removed_packs;
            let status = vault.parity_status().unwrap();
            assert!(
                status.unprotected_files <= 2,
                "index files of this prune at most: {status:?}"
            );
        }
        assert!(removed > 5, "{removed}");
        update(&vault);
        setting.assert_protected();
        for group in setting.groups() {
            group
                .iter()
                .take(PARITY)
                .for_each(|pack| delete(pack).unwrap());
        }
        assert!(setting.heal().is_whole());
        assert_whole(&vault);
        let expected = tree_digest(&setting.place.source()).unwrap();
        assert_restores(&vault, &last, &expected, &setting.place.path("out"));
        setting.place.restic().check(true).unwrap();
    }
}

/// Of one group, a pack that the next prune removes and one that stays; and how that prune is asked for.
fn a_group_of_which_some_go(setting: &Setting) -> (PruneOptions, PathBuf, PathBuf) {
    let vault = setting.place.open();
    vault.forget(&[setting.points[0].0.id]).unwrap();
    fs::remove_dir_all(setting.place.source().join("0")).unwrap();
    back_up(&vault, &setting.place.source(), None).unwrap();
    vault.forget(&[setting.points[1].0.id]).unwrap();
    update(&vault);
    let options = PruneOptions {
        grace: Grace::None,
        max_unused: rekindle_vault::MaxUnused::Unlimited,
        pack_bytes: 256 << 10,
        ..PruneOptions::default()
    };
    let plan = vault.plan_prune(&options).unwrap();
    let going: BTreeSet<String> = plan
        .steps
        .iter()
        .map(|step| step.pack.to_string())
        .collect();
    let goes = |pack: &PathBuf| going.contains(&*pack.file_name().unwrap().to_string_lossy());
    let groups = setting.groups();
    // Of data: what is damaged of trees ends a prune before it removes anything.
    let is_of_data = |pack: &PathBuf| fs::metadata(pack).unwrap().len() > 100_000;
    let halves = groups.into_iter().find_map(|group| {
        let (go, stay): (Vec<_>, Vec<_>) = group.into_iter().filter(is_of_data).partition(goes);
        Some((go.into_iter().next()?, stay.into_iter().next()?))
    });
    let (goes, stays) = halves.unwrap();
    (options, goes, stays)
}

/// What the newest point restores to is what lies there now, and stock restic finds nothing wrong.
fn assert_newest_is_well(setting: &Setting) {
    let vault = setting.place.open();
    let newest = vault.find_snapshot("latest").unwrap();
    let expected = tree_digest(&setting.place.source()).unwrap();
    let target = setting.place.path("out");
    assert_restores(&vault, &newest, &expected, &target);
    fs::remove_dir_all(target).unwrap();
    setting.place.restic().check(true).unwrap();
}

#[test]
fn what_a_prune_removes_beside_a_damaged_pack_is_not_missed() {
    let setting = Setting::new();
    let (options, goes, stays) = a_group_of_which_some_go(&setting);
    flip_bit(&stays, 1000).unwrap();
    let report = setting
        .place
        .open()
        .prune(&options, &Arc::default())
        .unwrap();
    // The group lets go by what leaves, which is whole; it holds on where it was to be made anew and met the damage.
    assert!(report.held_for_parity > 0 || !goes.exists(), "{report:?}");
    assert!(setting.heal().is_whole());
    assert_newest_is_well(&setting);
}

#[test]
fn a_pack_that_parity_needs_outlives_a_prune() {
    let setting = Setting::new();
    let (options, goes, stays) = a_group_of_which_some_go(&setting);
    // Its share cannot be taken out, because it is not what it was; and the group cannot be made anew without the other.
    flip_bit(&goes, 1000).unwrap();
    flip_bit(&stays, 1000).unwrap();
    let report = setting
        .place
        .open()
        .prune(&options, &Arc::default())
        .unwrap();
    assert!(report.held_for_parity > 0, "{report:?}");
    assert!(goes.exists());
    assert!(setting.heal().is_whole());
    assert_newest_is_well(&setting);
    // Once all is whole again, it goes.
    let again = setting.place.open();
    again.prune(&options, &Arc::default()).unwrap();
    assert!(!goes.exists());
    assert_newest_is_well(&setting);
}

#[test]
fn after_a_prune_by_stock_restic_the_next_update_protects_what_is_left() {
    let setting = Setting::new();
    let restic = setting.place.restic();
    let first = setting.points[0].0.id.to_string();
    fs::remove_dir_all(setting.place.source().join("0")).unwrap();
    let vault = setting.place.open();
    back_up(&vault, &setting.place.source(), None).unwrap();
    restic.forget(&first).unwrap();
    restic.forget(&setting.points[1].0.id.to_string()).unwrap();
    restic.prune().unwrap();
    assert!(vault.parity_status().unwrap().weakened_groups > 0);
    update(&vault);
    setting.assert_protected();
    for group in setting.groups() {
        delete(&group[0]).unwrap();
    }
    assert!(setting.heal().is_whole());
    restic.check(true).unwrap();
}

#[test]
fn a_making_that_ends_anywhere_leaves_all_protection_there_was() {
    let mut failed = 0;
    for at in (0..).step_by(13) {
        let setting = Setting::new();
        fs::write(
            setting.place.source().join("new"),
            Random::new(5).bytes(400_000),
        )
        .unwrap();
        back_up(&setting.place.open(), &setting.place.source(), None).unwrap();
        let fault = Fault::Refused(ErrorKind::Other);
        let store = LocalStore::new(setting.place.vault_dir());
        let faulty = FaultyStore::failing_from(store, u64::MAX, fault);
        let faulty = Arc::new(faulty);
        let vault = Vault::open(Arc::clone(&faulty) as _, &password()).unwrap();
        faulty.restart(at);
        // Another scheme: every group is made anew.
        let other = ParityScheme::new(DATA as u8, 3).unwrap();
        let outcome = vault.update_parity(other, &Arc::default());
        drop(vault);
        let is_done = outcome.is_ok();
        failed += u64::from(!is_done);
        setting.place.open().unlock_stale().unwrap();
        let locks = setting.files("locks");
        locks.iter().for_each(|lock| delete(lock).unwrap());
        let groups = setting.groups();
        let losses: BTreeSet<_> = groups
            .iter()
            .filter(|g| g.len() > 1)
            .map(|group| group[0].clone())
            .collect();
        losses.iter().take(2).for_each(|pack| delete(pack).unwrap());
        assert!(setting.heal().is_whole(), "after {at} operations");
        assert_whole(&setting.place.open());
        if is_done {
            break;
        }
    }
    assert!(failed > 3, "{failed}");
}

#[test]
fn parity_that_is_removed_is_gone_and_the_vault_is_as_before() {
    let setting = Setting::new();
    let vault = setting.place.open();
    assert_eq!(vault.parity_scheme().unwrap(), Some(scheme()));
    assert!(vault.remove_parity().unwrap() > 4);
    assert_eq!(vault.parity_scheme().unwrap(), None);
    assert!(setting.files("rekindle/parity").is_empty());
    assert_whole(&vault);
    assert!(setting.heal().found_nothing());
}
