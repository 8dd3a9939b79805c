//! A lost, damaged or wrong index is made anew from the packs.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{fs, path::PathBuf, sync::Arc};

use common::{Place, assert_restores, assert_whole, back_up, chain, check};
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, cut, delete, files_below, flip_bit, tree_digest},
};
use rekindle_vault::{
    LockMode, Progress, ReindexReport, Snapshot, Thoroughness, Vault, VaultError,
};

/// A vault of two points, each with index files of its own.
fn setting() -> (Place, Vec<(Snapshot, TreeDigest)>) {
    let place = Place::in_memory();
    let mut random = Random::new(5);
    let vault = place.create();
    let points = (0..2)
        .map(|number| {
            fs::create_dir_all(place.source()).unwrap();
            for file in 0..6 {
                let path = place.source().join(format!("{number} {file}"));
                fs::write(path, random.bytes(150_000)).unwrap();
            }
            let point = back_up(&vault, &place.source(), None).unwrap();
            (point, tree_digest(&place.source()).unwrap())
        })
        .collect();
    (place, points)
}

fn index_files(place: &Place) -> Vec<PathBuf> {
    files_below(&place.vault_dir().join("index")).unwrap()
}

fn packs(place: &Place) -> Vec<PathBuf> {
    files_below(&place.vault_dir().join("data")).unwrap()
}

fn rebuild(vault: &Vault) -> ReindexReport {
    vault.rebuild_index(&Arc::new(Progress::default())).unwrap()
}

fn assert_all_restore(place: &Place, points: &[(Snapshot, TreeDigest)]) {
    let vault = place.open();
    assert_whole(&vault);
    for (point, expected) in points {
        let target = place.path("out");
        assert_restores(&vault, point, expected, &target);
        fs::remove_dir_all(target).unwrap();
    }
    place.restic().check(true).unwrap();
}

#[test]
fn an_index_that_is_gone_is_made_anew_and_stock_restic_agrees() {
    let (place, points) = setting();
    for file in index_files(&place) {
        delete(&file).unwrap();
    }
    let vault = place.open();
    assert!(!check(&vault, Thoroughness::Structure).is_whole());
    let plan = vault.plan_rebuild_index(&Arc::default()).unwrap();
    assert_eq!(plan.packs_unlisted.len(), packs(&place).len());
    assert!(index_files(&place).is_empty(), "a plan changes nothing");
    let report = rebuild(&vault);
    assert!(!report.written.is_empty() && report.removed.is_empty());
    assert_all_restore(&place, &points);
    let again = rebuild(&vault);
    assert!(again.plan.is_right() && again.written.is_empty());
}

#[test]
fn index_files_that_are_right_are_left_alone() {
    let (place, points) = setting();
    let files = index_files(&place);
    delete(&files[0]).unwrap();
    let report = rebuild(&place.open());
    assert!(report.removed.is_empty() && report.set_aside.is_empty());
    assert!(files[1..].iter().all(|file| file.exists()));
    assert_all_restore(&place, &points);
}

#[test]
fn a_damaged_index_file_is_set_aside_and_no_longer_in_the_way() {
    let (place, points) = setting();
    for (number, file) in index_files(&place).iter().enumerate() {
        let length = fs::metadata(file).unwrap().len();
        if number == 0 {
            cut(file, length / 2).unwrap();
        } else {
            flip_bit(file, length / 2).unwrap();
        }
    }
    let vault = place.open();
    back_up(&vault, &place.source(), None)
        .map(drop)
        .unwrap_err();
    let report = rebuild(&vault);
    assert_eq!(
        report.plan.damaged_index_files.len(),
        report.set_aside.len()
    );
    for aside in &report.set_aside {
        assert!(aside.starts_with("rekindle/set-aside/"), "{aside}");
        assert!(place.vault_dir().join(aside).exists());
    }
    assert_all_restore(&place, &points);
    back_up(&vault, &place.source(), None).unwrap();
}

#[test]
fn a_pack_without_its_header_stays_listed_as_the_index_knows_it_and_is_told() {
    for index_is_lost in [false, true] {
        let (place, points) = setting();
        let pack = packs(&place)[0].clone();
        let length = fs::metadata(&pack).unwrap().len();
        flip_bit(&pack, length - 10).unwrap();
        let files = index_files(&place);
        let doomed = if index_is_lost {
            &files[..]
        } else {
            &files[..0]
        };
        doomed.iter().for_each(|file| delete(file).unwrap());
        let vault = place.open();
        let report = rebuild(&vault);
        let [told] = &report.plan.unreadable_packs[..] else {
            panic!("{:?}", report.plan.unreadable_packs)
        };
        assert_eq!(told.size_bytes, length);
        assert!(pack.ends_with(told.id.to_string()));
        assert_eq!(told.known_blobs == 0, index_is_lost);
        if !index_is_lost {
            assert!(report.plan.is_right(), "{:?}", report.plan);
            let target = place.path("out");
            assert_restores(&vault, &points[0].0, &points[0].1, &target);
        }
    }
}

#[test]
fn a_pack_that_is_gone_is_no_longer_named() {
    let (place, _) = setting();
    let pack = packs(&place)[0].clone();
    delete(&pack).unwrap();
    let vault = place.open();
    let report = rebuild(&vault);
    assert_eq!(report.plan.packs_gone.len(), 1);
    assert_eq!(report.removed.len(), 1);
    let report = check(&vault, Thoroughness::AllData);
    assert!(!report.is_whole() && !report.hits.is_empty());
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn a_vault_whose_packs_are_all_gone_keeps_its_index() {
    let (place, _) = setting();
    let before = index_files(&place);
    fs::rename(place.vault_dir().join("data"), place.path("data")).unwrap();
    let error = place.open().rebuild_index(&Arc::default()).unwrap_err();
    assert!(chain(&error).contains("mounted"), "{}", chain(&error));
    assert_eq!(index_files(&place), before);
}

#[test]
fn nobody_else_may_work_in_the_vault_meanwhile() {
    let (place, _) = setting();
    let vault = place.open();
    let _lock = vault.lock(LockMode::Shared).unwrap();
    let error = vault.rebuild_index(&Arc::default()).unwrap_err();
    assert!(matches!(error, VaultError::Locked(_)), "{error}");
}
