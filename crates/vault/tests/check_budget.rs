//! A check within a daily budget sees everything in time, and tells damage until it is healed.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::fs;

use common::{Place, back_up, check};
use rekindle_testing::{
    data::Random,
    faults::{files_below, flip_bit},
};
use rekindle_vault::{BudgetedCheck, Thoroughness, Vault, VerifiedRecord, WalEffort, WalFile};

const SYSTEM: u64 = 7_000_000_000_000_000_000;

fn setting() -> (Place, Vault) {
    let place = Place::in_memory();
    fs::create_dir_all(place.source()).unwrap();
    let mut random = Random::new(11);
    for number in 0..6 {
        let path = place.source().join(format!("{number}"));
        fs::write(path, random.bytes(300_000)).unwrap();
    }
    let vault = place.create();
    back_up(&vault, &place.source(), None).unwrap();
    let archive = vault.wal_archive().unwrap();
    for number in 1..3 {
        let file = WalFile::named(SYSTEM, format!("0000000100000000{number:08X}")).unwrap();
        let content = random.bytes(50_000);
        archive.put(&file, &content, WalEffort::Fast).unwrap();
    }
    (place, vault)
}

/// A day's check.
fn day(place: &Place, vault: &Vault, budget_bytes: u64) -> BudgetedCheck {
    let folder = place.path("state");
    let mut record = VerifiedRecord::open(&folder, &vault.config().id).unwrap();
    let progress = std::sync::Arc::default();
    let done = vault.check_within(budget_bytes, &mut record, &progress);
    record.save().unwrap();
    done.unwrap()
}

#[test]
fn every_byte_is_verified_within_some_days_and_the_coverage_says_so() {
    let (place, vault) = setting();
    let all = check(&vault, Thoroughness::AllData).verified_bytes;
    let mut seen = 0;
    let mut days = 0;
    while seen < all {
        let today = day(&place, &vault, 400_000);
        assert!(today.report.is_whole());
        assert!(today.report.verified_bytes <= 400_000);
        assert_eq!(today.coverage.stored_bytes, all);
        seen += today.report.verified_bytes;
        // Nothing is read twice before everything was read once.
        assert_eq!(today.coverage.verified_bytes, seen.min(all));
        assert_eq!(today.coverage.all_since().is_some(), seen >= all);
        days += 1;
    }
    assert!(days >= 3, "{days}");
    // What is new comes first.
    fs::write(place.source().join("new"), Random::new(12).bytes(100_000)).unwrap();
    back_up(&vault, &place.source(), None).unwrap();
    assert_eq!(day(&place, &vault, 0).coverage.all_since(), None);
    for _ in 0..4 {
        day(&place, &vault, 100_000);
    }
    assert!(day(&place, &vault, 0).coverage.all_since().is_some());
    // A lost record only means to begin anew.
    fs::remove_dir_all(place.path("state")).unwrap();
    assert_eq!(day(&place, &vault, 1).coverage.verified_files, 1);
}

#[test]
fn damage_is_told_each_day_and_does_not_keep_the_rest_from_being_read() {
    let (place, vault) = setting();
    for folder in ["data", "rekindle/wal"] {
        let file = files_below(&place.vault_dir().join(folder)).unwrap()[0].clone();
        let middle = fs::metadata(&file).unwrap().len() / 2;
        flip_bit(&file, middle).unwrap();
    }
    let expected = check(&vault, Thoroughness::AllData);
    let first = day(&place, &vault, u64::MAX);
    assert_eq!(first.report.hits, expected.hits);
    let damaged = first.coverage.files - first.coverage.verified_files;
    assert_eq!((damaged, first.coverage.all_since()), (2, None));
    let next = day(&place, &vault, 1);
    assert_eq!(next.report.hits, expected.hits, "it is told again");
    assert_eq!(next.report.problems.len(), expected.problems.len());
    assert!(
        next.report.verified_bytes > 1,
        "another file was read as well"
    );
}
