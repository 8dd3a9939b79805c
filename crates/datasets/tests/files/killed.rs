//! Killed before each directory that it makes and before each rename, in a restore and in its undo.

use std::{fs, os::unix::process::ExitStatusExt, path::Path, process::Command};

use rekindle_datasets::DatasetRecord;
use rekindle_testing::{faults::SmallDisk, faults::tree_digest, skip, temp_dir};
use rekindle_vault::durable;

use crate::stand::{FileJournal, Stand};

/// Enough for every rename of the cases below.
const MOST_RENAMES: u32 = 40;

fn settings(place: &Path) -> String {
    fs::read_to_string(place.join("settings")).unwrap()
}

#[test]
#[ignore = "run by another test, which kills it"]
fn restores_in_place() {
    let Some(place) = std::env::var_os("REKINDLE_TEST_PLACE") else {
        return;
    };
    restore(&Stand::new(Path::new(&place)));
}

fn restore(stand: &Stand) {
    let dataset = stand.dataset(&settings(&stand.0)).unwrap();
    let record: DatasetRecord =
        serde_json::from_slice(&fs::read(stand.0.join("record")).unwrap()).unwrap();
    let point = stand.vault().find_snapshot("latest").unwrap();
    stand.with_source(&point, &record, None, |source| {
        let mut journal = FileJournal::of(stand);
        dataset.restore_in_place(source, &mut journal).unwrap();
    });
}

#[test]
#[ignore = "run by another test, which kills it"]
fn goes_back() {
    let Some(place) = std::env::var_os("REKINDLE_TEST_PLACE") else {
        return;
    };
    let stand = Stand::new(Path::new(&place));
    let dataset = stand.dataset(&settings(&stand.0)).unwrap();
    let aside = FileJournal::of(&stand).read().unwrap();
    dataset.undo_in_place(&aside).unwrap();
}

/// Directories in which successors are built; renames that replace a journal, and those that replace nothing. Each system
/// call is counted for itself.
const CALLS: [&str; 3] = ["?mkdir,?mkdirat", "?rename,?renameat", "renameat2"];
const RENAMES: &str = CALLS[2];

/// Runs a test of this file in a process of its own, which is killed at its rename of this number; whether it was.
fn run_killed(test: &str, place: &Path, calls: &str, rename: u32) -> bool {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={calls}"))
        .arg("-e")
        .arg(format!("inject={calls}:signal=SIGKILL:when={rename}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("REKINDLE_TEST_PLACE", place)
        .output()
        .unwrap();
    let was_killed = output.status.signal() == Some(9);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        was_killed || (output.status.success() && text.contains("1 passed")),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    was_killed
}

/// A stack that was backed up and went on; `data` may lie on another disk.
fn prepare(stand: &Stand, data: &Path) {
    let text = format!("paths: [db, .env, {}]", data.display());
    durable::create(&stand.0.join("settings"), text.as_bytes(), 0o600).unwrap();
    let write = |generation: &str| {
        stand.write("db/a", generation);
        stand.write(".env", generation);
        fs::write(data.join("x"), generation).unwrap();
        fs::write(data.join(generation), generation).unwrap();
    };
    write("old");
    let (_, captured) = stand.back_up(&text).unwrap();
    let record = serde_json::to_vec(&captured.record).unwrap();
    durable::create(&stand.0.join("record"), &record, 0o600).unwrap();
    write("new");
    fs::remove_file(data.join("old")).unwrap();
}

fn state(stand: &Stand, data: &Path) -> [rekindle_testing::faults::TreeDigest; 2] {
    [stand.app(""), data.to_owned()].map(|dir| tree_digest(&dir).unwrap().without_times())
}

/// Takes back what an interrupted restore did, and looks whether all is as before.
fn goes_back_to(stand: &Stand, data: &Path, before: &[rekindle_testing::faults::TreeDigest; 2]) {
    let dataset = stand.dataset(&settings(&stand.0)).unwrap();
    let Some(aside) = FileJournal::of(stand).read() else {
        assert_eq!(&state(stand, data), before);
        return;
    };
    dataset.undo_in_place(&aside).unwrap();
    dataset.discard_aside(&aside).unwrap();
    for (before, after) in before.iter().zip(state(stand, data)) {
        assert_eq!(before.differences(&after), Vec::<String>::new());
    }
    fs::remove_file(FileJournal::of(stand).0).unwrap();
}

fn has_strace() -> bool {
    let found = Command::new("strace").arg("-V").output();
    let works = found.is_ok_and(|output| output.status.success());
    if !works {
        skip::record("strace is not installed, which kills at a system call");
    }
    works
}

#[test]
fn a_restore_that_is_killed_while_it_builds_or_at_any_rename_is_taken_back_whole() {
    if !has_strace() {
        return;
    }
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    // A mount point too, where the machine lets us make one.
    let disk = SmallDisk::new(8).ok();
    let data = disk
        .as_ref()
        .map_or_else(|| dir.path().join("data"), |disk| disk.path().to_owned());
    fs::create_dir_all(&data).unwrap();
    prepare(&stand, &data);
    let before = state(&stand, &data);
    for (calls, at_least) in CALLS.into_iter().zip([3, 8, 6]) {
        let mut kills = 0;
        for rename in 1..MOST_RENAMES {
            if !run_killed("killed::restores_in_place", dir.path(), calls, rename) {
                break;
            }
            kills += 1;
            goes_back_to(&stand, &data, &before);
        }
        assert!(
            (at_least..MOST_RENAMES - 1).contains(&kills),
            "{calls} {kills}"
        );
        // This one went through; the next series begins anew.
        if calls != RENAMES {
            goes_back_to(&stand, &data, &before);
        }
    }
    assert_eq!(fs::read_to_string(data.join("x")).unwrap(), "old");
    assert_eq!(stand.read("db/a"), "old");
    // Now it is done; its undo is killed at each rename, and called again.
    let mut kills = 0;
    for rename in 1..MOST_RENAMES {
        if !run_killed("killed::goes_back", dir.path(), RENAMES, rename) {
            break;
        }
        kills += 1;
        goes_back_to(&stand, &data, &before);
        restore(&stand);
    }
    assert!(kills >= 4, "{kills}");
    goes_back_to(&stand, &data, &before);
}
