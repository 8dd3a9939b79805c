//! Back in their places: what is there is set aside, undo brings it back, discard alone deletes.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use rekindle_datasets::{Aside, InPlaceError, Journal};
use rekindle_testing::{faults::SmallDisk, faults::tree_digest, skip, temp_dir};

use crate::stand::{FileJournal, Stand};

const SETTINGS: &str = "paths: [db, .env]";

/// A stack that was backed up and went on.
fn went_on(stand: &Stand) -> (rekindle_vault::Snapshot, rekindle_datasets::Captured) {
    stand.write("db/a", "old a");
    stand.write("db/deep/b", "old b");
    stand.write(".env", "old");
    let point = stand.back_up(SETTINGS).unwrap();
    stand.write("db/a", "new a");
    fs::remove_dir_all(stand.app("db/deep")).unwrap();
    stand.write("db/c", "new c");
    stand.write(".env", "new");
    point
}

fn is_as_backed_up(stand: &Stand) -> bool {
    stand.names("db") == ["a", "deep"]
        && stand.read("db/a") == "old a"
        && stand.read(".env") == "old"
}

fn is_as_it_went_on(stand: &Stand) -> bool {
    stand.names("db") == ["a", "c"] && stand.read("db/a") == "new a" && stand.read(".env") == "new"
}

#[test]
fn a_restore_in_place_sets_aside_and_undo_brings_back_and_discard_deletes() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let (point, captured) = went_on(&stand);
    let dataset = stand.dataset(SETTINGS).unwrap();
    let mut journal = FileJournal::of(&stand);
    stand.with_source(&point, &captured.record, None, |source| {
        let planned = dataset.plan_in_place(source).unwrap();
        assert_eq!((planned.entries, planned.set_aside.len()), (3, 2));
        assert_eq!(planned.stop_after, Some(2), "built before it is stopped");
        assert!(is_as_it_went_on(&stand), "a plan changes nothing");
        let done = dataset.restore_in_place(source, &mut journal).unwrap();
        assert_eq!(done.entries, 3);
        assert!(done.set_aside[0].contains("db.rekindle-aside-"), "{done:?}");
    });
    assert!(is_as_backed_up(&stand));
    let aside = journal.read().unwrap();
    assert!(aside.needs_stopped_service());
    let done = dataset.undo_in_place(&aside).unwrap();
    assert!(is_as_it_went_on(&stand), "{done:?}");
    let again = dataset.undo_in_place(&aside).unwrap();
    assert_eq!(again, ["nothing had been changed"]);
    assert!(is_as_it_went_on(&stand));
    let restored = stand.names("").into_iter();
    assert_eq!(
        restored
            .filter(|name| name.contains("rekindle-restored"))
            .count(),
        2
    );
    dataset.discard_aside(&aside).unwrap();
    assert_eq!(stand.names(""), [".env", "db"]);
    assert!(is_as_it_went_on(&stand));

    // And once more without going back.
    stand.with_source(&point, &captured.record, None, |source| {
        dataset.restore_in_place(source, &mut journal).unwrap();
    });
    dataset.discard_aside(&journal.read().unwrap()).unwrap();
    assert_eq!(stand.names(""), [".env", "db"]);
    assert!(is_as_backed_up(&stand));
}

#[test]
fn one_file_and_one_folder_come_back_alone() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let (point, captured) = went_on(&stand);
    let dataset = stand.dataset(SETTINGS).unwrap();
    let mut journal = FileJournal::of(&stand);
    for part in ["db/a", "db/deep"] {
        stand.with_source(&point, &captured.record, Some(part), |source| {
            dataset.restore_in_place(source, &mut journal).unwrap();
        });
    }
    assert_eq!(stand.read("db/a"), "old a");
    assert_eq!(stand.read("db/deep/b"), "old b");
    assert_eq!(stand.read("db/c"), "new c", "what was not asked for stays");
    assert_eq!(stand.read(".env"), "new");
    // `db/deep` was not there: undo takes it away again, and nothing else.
    dataset.undo_in_place(&journal.read().unwrap()).unwrap();
    assert!(!stand.app("db/deep").exists());
    assert_eq!(stand.read("db/a"), "old a");
}

#[test]
fn what_is_not_in_the_point_or_not_declared_is_refused() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let (point, captured) = went_on(&stand);
    let dataset = stand.dataset(SETTINGS).unwrap();
    for (part, named) in [("db/c", "db/c"), ("etc", "etc")] {
        let error = stand.with_source(&point, &captured.record, Some(part), |source| {
            dataset.plan_in_place(source).map(drop).unwrap_err()
        });
        assert!(error.to_string().contains(named), "{error}");
    }
    // A path that is declared since then stays as it is, and that is said.
    let grown = stand.dataset("paths: [db, .env, extra]").unwrap();
    stand.with_source(&point, &captured.record, None, |source| {
        let planned = grown.plan_in_place(source).unwrap();
        assert!(planned.warnings[0].contains("`extra`"), "{planned:?}");
    });
}

#[test]
fn a_link_in_a_declared_path_is_followed_and_one_below_is_not() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    fs::create_dir_all(dir.path().join("big disk/data/inner")).unwrap();
    fs::write(dir.path().join("big disk/data/inner/x"), "old").unwrap();
    symlink(dir.path().join("big disk/data"), stand.app("data")).unwrap();
    let (point, captured) = stand.back_up("paths: [data]").unwrap();
    fs::write(dir.path().join("big disk/data/inner/x"), "new").unwrap();
    let dataset = stand.dataset("paths: [data]").unwrap();
    let mut journal = FileJournal::of(&stand);
    stand.with_source(&point, &captured.record, None, |source| {
        dataset.restore_in_place(source, &mut journal).unwrap();
    });
    assert!(
        fs::symlink_metadata(stand.app("data"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(stand.read("data/inner/x"), "old");
    // Somebody puts a link in the way.
    fs::rename(stand.app("data/inner"), dir.path().join("moved")).unwrap();
    symlink(dir.path().join("moved"), stand.app("data/inner")).unwrap();
    let error = stand.with_source(&point, &captured.record, Some("data/inner/x"), |source| {
        dataset.plan_in_place(source).map(drop).unwrap_err()
    });
    assert!(error.to_string().contains("is no directory"), "{error}");
}

#[test]
fn a_disk_without_room_is_noticed_before_anything_is_changed() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let disk = match SmallDisk::new(8) {
        Ok(disk) => disk,
        Err(error) => return skip::record(&error.to_string()),
    };
    let data = disk.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("large"), vec![7_u8; 5 << 20]).unwrap();
    let settings = format!("paths: [{}]", data.display());
    let (point, captured) = stand.back_up(&settings).unwrap();
    let before = tree_digest(disk.path()).unwrap();
    let dataset = stand.dataset(&settings).unwrap();
    let mut journal = FileJournal::of(&stand);
    let error = stand.with_source(&point, &captured.record, None, |source| {
        dataset
            .restore_in_place(source, &mut journal)
            .map(drop)
            .unwrap_err()
    });
    assert!(matches!(error, InPlaceError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("are needed"), "{error}");
    assert!(journal.read().is_none());
    assert_eq!(tree_digest(disk.path()).unwrap(), before);
}

#[test]
fn a_mount_point_keeps_its_place_and_its_content_is_swapped_and_swapped_back() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let disk = match SmallDisk::new(8) {
        Ok(disk) => disk,
        Err(error) => return skip::record(&error.to_string()),
    };
    let write = |name: &str, text: &str| fs::write(disk.path().join(name), text).unwrap();
    write("a", "old a");
    fs::create_dir(disk.path().join("deep")).unwrap();
    write("deep/b", "old b");
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o750)).unwrap();
    let settings = format!("paths: [{}]", disk.path().display());
    let (point, captured) = stand.back_up(&settings).unwrap();
    write("a", "new a");
    write("c", "new c");
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let went_on = tree_digest(disk.path()).unwrap();
    let dataset = stand.dataset(&settings).unwrap();
    let mut journal = FileJournal::of(&stand);
    let restore = |journal: &mut FileJournal| {
        stand.with_source(&point, &captured.record, None, |source| {
            dataset.restore_in_place(source, journal).unwrap();
        });
    };
    let read = |name: &str| fs::read_to_string(disk.path().join(name)).unwrap();
    let mode = || fs::metadata(disk.path()).unwrap().mode() & 0o777;
    restore(&mut journal);
    assert_eq!(
        (read("a"), read("deep/b")),
        ("old a".into(), "old b".into())
    );
    assert!(!disk.path().join("c").exists());
    assert_eq!(mode(), 0o750);
    // What is held does not go into the next point.
    let (_, again) = stand.back_up(&settings).unwrap();
    assert_eq!(crate::stand::record(&again).files(), 2);
    let aside = journal.read().unwrap();
    dataset.undo_in_place(&aside).unwrap();
    dataset.discard_aside(&aside).unwrap();
    let mut after = tree_digest(disk.path()).unwrap();
    let root = std::path::Path::new("");
    after.0.get_mut(root).unwrap().mtime_ns = went_on.0[root].mtime_ns;
    assert_eq!(after.differences(&went_on), Vec::<String>::new());
    restore(&mut journal);
    dataset.discard_aside(&journal.read().unwrap()).unwrap();
    assert_eq!(read("a"), "old a");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 2);
}

#[test]
fn something_mounted_further_down_is_refused() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let disk = match SmallDisk::new(4) {
        Ok(disk) => disk,
        Err(error) => return skip::record(&error.to_string()),
    };
    stand.write("db/a", "a");
    let (point, captured) = stand.back_up("paths: [db]").unwrap();
    let mount = stand.app("db/mounted");
    fs::create_dir(&mount).unwrap();
    let status = std::process::Command::new("mount")
        .arg("--bind")
        .arg(disk.path())
        .arg(&mount)
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return skip::record("bind mounts are not allowed here");
    }
    let dataset = stand.dataset("paths: [db]").unwrap();
    let planned = stand.with_source(&point, &captured.record, None, |source| {
        dataset.plan_in_place(source).map(drop)
    });
    let unmounted = std::process::Command::new("umount").arg(&mount).status();
    assert!(unmounted.unwrap().success());
    let error = planned.unwrap_err();
    assert!(
        error.to_string().contains("db/mounted is mounted in"),
        "{error}"
    );
}

/// Refuses to write after so many times, as a disk that is full does.
struct FailingJournal {
    inner: FileJournal,
    left: u32,
}

impl Journal for FailingJournal {
    fn write(&mut self, aside: &Aside) -> Result<(), InPlaceError> {
        if self.left == 0 {
            return Err(InPlaceError::Journal {
                path: "journal".to_owned(),
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.left -= 1;
        self.inner.write(aside)
    }
}

#[test]
fn a_failure_at_any_step_leaves_everything_as_it_was() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let (point, captured) = went_on(&stand);
    let before = tree_digest(&stand.app("")).unwrap().without_times();
    let dataset = stand.dataset(SETTINGS).unwrap();
    let mut failed = 0;
    for left in 0.. {
        let mut journal = FailingJournal {
            inner: FileJournal::of(&stand),
            left,
        };
        let outcome = stand.with_source(&point, &captured.record, None, |source| {
            dataset.restore_in_place(source, &mut journal).map(drop)
        });
        if outcome.is_ok() {
            break;
        }
        failed += 1;
        assert!(is_as_it_went_on(&stand), "after {left} steps");
        if let Some(aside) = journal.inner.read() {
            dataset.undo_in_place(&aside).unwrap();
            dataset.discard_aside(&aside).unwrap();
        }
        let after = tree_digest(&stand.app("")).unwrap().without_times();
        assert_eq!(after.differences(&before), Vec::<String>::new(), "{left}");
    }
    assert_eq!(failed, 6, "building, two set aside, two promoted, held");
    assert!(is_as_backed_up(&stand));
}

#[test]
fn a_journal_that_names_other_places_is_not_acted_on() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let (point, captured) = went_on(&stand);
    let dataset = stand.dataset(SETTINGS).unwrap();
    let mut journal = FileJournal::of(&stand);
    stand.with_source(&point, &captured.record, None, |source| {
        dataset.restore_in_place(source, &mut journal).unwrap();
    });
    let Some(Aside::Files(mut aside)) = journal.read() else {
        panic!("no journal");
    };
    aside.swaps[0].aside = stand.app(".env");
    let aside = Aside::Files(aside);
    for outcome in [dataset.discard_aside(&aside), dataset.undo_in_place(&aside)] {
        assert!(outcome.unwrap_err().to_string().contains("other places"));
    }
    assert!(is_as_backed_up(&stand));
    assert!(stand.app(".env").exists());
}

#[test]
fn what_was_set_aside_is_not_deleted_while_an_undo_is_half_done() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    let (point, captured) = went_on(&stand);
    let dataset = stand.dataset(SETTINGS).unwrap();
    let mut journal = FileJournal::of(&stand);
    stand.with_source(&point, &captured.record, None, |source| {
        dataset.restore_in_place(source, &mut journal).unwrap();
    });
    let aside = journal.read().unwrap();
    let Aside::Files(files) = &aside else {
        panic!("{aside:?}");
    };
    // The undo was killed between its two renames, and the service made an empty directory in the gap.
    fs::rename(stand.app("db"), &files.swaps[0].restored).unwrap();
    assert!(dataset.discard_aside(&aside).is_err());
    fs::create_dir(stand.app("db")).unwrap();
    assert!(dataset.discard_aside(&aside).is_err());
    fs::remove_dir(stand.app("db")).unwrap();
    dataset.undo_in_place(&aside).unwrap();
    assert!(is_as_it_went_on(&stand));
}
