//! Archived WAL goes along, under the other vault's key.

use super::*;
use rekindle_testing::faults::{files_below, flip_bit};
use rekindle_vault::{CopyRecord, WalArchive, WalEffort, WalFile, wal_frame};

const SYSTEM: u64 = 7_300_000_000_000_000_001;

fn file(name: &str) -> WalFile {
    WalFile::named(SYSTEM, name).unwrap()
}

fn segment(number: u32) -> WalFile {
    file(&format!("0000000100000000{number:08X}"))
}

fn content(seed: u64) -> Vec<u8> {
    let mut content = Random::new(seed).bytes(40_000);
    content.resize(80_000, 0);
    content
}

fn names(archive: &WalArchive) -> Vec<String> {
    let listed = archive.list(SYSTEM).unwrap();
    listed.into_iter().map(|listed| listed.file.name).collect()
}

/// Five segments, a history and a part; and an empty archive of another vault.
fn setting(place: &Place) -> (WalArchive, WalArchive) {
    let from = place.create().wal_archive().unwrap();
    for number in 1..=5 {
        let plain = content(number.into());
        from.put(&segment(number), &plain, WalEffort::Fast).unwrap();
    }
    from.put(
        &file("00000002.history"),
        b"1\t0/3000000\tx\n",
        WalEffort::Fast,
    )
    .unwrap();
    let frame = wal_frame(&content(6)[..20_000], WalEffort::Fast);
    from.replace_partial(&file("000000010000000000000006.partial"), &[&frame])
        .unwrap();
    let (_, to) = in_memory(&other_password());
    (from, to.wal_archive().unwrap())
}

fn copy_wal(from: &WalArchive, to: &WalArchive) -> rekindle_vault::WalCopyReport {
    from.copy_to(to, false, &Progress::default()).unwrap()
}

#[test]
fn every_file_is_the_same_under_another_key_and_none_is_copied_twice() {
    let place = Place::in_memory();
    let (from, to) = setting(&place);
    let report = copy_wal(&from, &to);
    assert!(report.is_complete());
    assert_eq!(report.copied, 7);
    assert_eq!(names(&from), names(&to));
    for listed in from.list(SYSTEM).unwrap() {
        let (ours, theirs) = (from.get(&listed.file), to.get(&listed.file));
        assert_eq!(
            ours.unwrap().unwrap(),
            theirs.unwrap().unwrap(),
            "{}",
            listed.file
        );
    }
    assert_eq!(copy_wal(&from, &to).copied, 0);
    from.put(&segment(7), &content(7), WalEffort::Fast).unwrap();
    assert_eq!(copy_wal(&from, &to).copied, 1);
}

#[test]
fn a_part_that_grew_is_brought_and_the_whole_takes_over() {
    let place = Place::in_memory();
    let (from, to) = setting(&place);
    copy_wal(&from, &to);
    let part = file("000000010000000000000006.partial");
    let frame = wal_frame(&content(6)[..30_000], WalEffort::Fast);
    from.replace_partial(&part, &[&frame]).unwrap();
    assert_eq!(copy_wal(&from, &to).copied, 1);
    assert_eq!(to.get(&part).unwrap().unwrap(), content(6)[..30_000]);
    // A copy that has more of it, from a receiver, keeps that.
    let frame = wal_frame(&content(6)[..35_000], WalEffort::Fast);
    to.replace_partial(&part, &[&frame]).unwrap();
    assert_eq!(copy_wal(&from, &to).copied, 0);
    assert_eq!(to.get(&part).unwrap().unwrap().len(), 35_000);
    from.put(&segment(6), &content(6), WalEffort::Fast).unwrap();
    assert_eq!(copy_wal(&from, &to).copied, 1);
    assert_eq!(to.get(&segment(6)).unwrap().unwrap(), content(6));
}

#[test]
fn a_damaged_segment_is_told_and_not_carried_on() {
    let place = Place::in_memory();
    let (from, to) = setting(&place);
    let objects = files_below(&place.vault_dir().join("rekindle/wal")).unwrap();
    let third = objects
        .iter()
        .find(|path| path.to_str().unwrap().contains("00000003.zst"));
    flip_bit(third.unwrap(), 5000).unwrap();
    let report = copy_wal(&from, &to);
    assert_eq!(report.copied, 6);
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged[0].0, segment(3));
    assert!(
        !names(&to).contains(&segment(3).name),
        "a hole, and no damage"
    );
}

#[test]
fn another_content_under_the_same_name_is_told_and_left_alone() {
    let place = Place::in_memory();
    let (from, to) = setting(&place);
    let part = file("000000010000000000000006.partial");
    let other = wal_frame(&content(99)[..10_000], WalEffort::Fast);
    to.replace_partial(&part, &[&other]).unwrap();
    let report = copy_wal(&from, &to);
    assert_eq!((report.copied, report.refused.len()), (6, 1));
    assert_eq!(report.refused[0].0, part);
    assert_eq!(to.get(&part).unwrap().unwrap(), content(99)[..10_000]);
}

#[test]
fn a_copy_that_removes_old_wal_does_not_get_it_back() {
    let place = Place::in_memory();
    let (from, to) = setting(&place);
    copy_wal(&from, &to);
    to.delete(&segment(1)).unwrap();
    to.delete(&segment(2)).unwrap();
    to.delete(&segment(4)).unwrap();
    let report = from.copy_to(&to, true, &Progress::default()).unwrap();
    assert_eq!(report.copied, 1, "only the hole is filled");
    assert_eq!(copy_wal(&from, &to).copied, 2);
}

#[test]
fn what_is_remembered_of_a_copy_is_read_back_and_is_no_business_of_restic() {
    let place = Place::in_memory();
    let main = place.create();
    assert_eq!(main.copy_record("offsite").unwrap(), None);
    let mut record = CopyRecord {
        id: "00ff".to_owned(),
        location: "/mnt/offsite".to_owned(),
        since: "2026-01-02T03:04:05Z".parse().unwrap(),
        last_success: None,
        last_failure: None,
        last_error: None,
    };
    main.remember_copy("offsite", &record).unwrap();
    record.last_error = Some("no route to host".to_owned());
    main.remember_copy("offsite", &record).unwrap();
    assert_eq!(place.open().copy_record("offsite").unwrap(), Some(record));
    let path = place.vault_dir().join("rekindle/copies/offsite");
    let stored = fs::read(&path).unwrap();
    assert!(
        !stored.windows(7).any(|bytes| bytes == b"offsite"),
        "it is sealed"
    );
    place.restic().check(true).unwrap();
    flip_bit(&path, 30).unwrap();
    let error = main.copy_record("offsite").unwrap_err();
    assert!(matches!(error, VaultError::Damaged { .. }), "{error}");
    assert!(main.copy_record("../x").is_err());
}
