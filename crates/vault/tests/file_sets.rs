//! Files of a live machine: everything that can be read comes back, and everything that cannot is told.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    fs::{self, File},
    io::Write,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use common::{AT, Place, assert_whole, draft, options, restore};
use rekindle_testing::{
    data::Random,
    faults::{SmallDisk, tree_digest},
    hard::{SOCKET, attributes_of, is_one_file, populate_files},
    skip,
};
use rekindle_vault::{BackupError, FileSet, Snapshot, TreePath, TreeReport, TroubleKind, Vault};

fn set(source: &Path) -> FileSet<'static> {
    FileSet {
        source: source.to_owned(),
        at: TreePath::new(AT).unwrap(),
        leave_out: &|_, _| false,
        one_file_system: false,
    }
}

fn back_up(vault: &Vault, set: &FileSet<'_>) -> (Snapshot, TreeReport) {
    back_up_after(vault, set, None)
}

fn back_up_after(
    vault: &Vault,
    set: &FileSet<'_>,
    parent: Option<Snapshot>,
) -> (Snapshot, TreeReport) {
    let backup = vault.start_backup(options(parent)).unwrap();
    let report = backup.add_file_set(set).unwrap();
    (backup.finish(draft()).unwrap(), report)
}

#[test]
fn a_hard_tree_comes_back_by_us_and_by_restic() {
    let place = Place::new();
    let source = place.source();
    populate_files(&source, 5).unwrap();
    let vault = place.create();
    let (snapshot, report) = back_up(&vault, &set(&source));
    assert_eq!(report.troubles, []);
    assert_eq!(report.sockets, 1);
    fs::remove_file(source.join(SOCKET)).unwrap();
    let at = |name: &str| place.path(name).join(AT);
    // The directory of the socket has another time now.
    let digest = |dir: &Path| {
        let mut tree = tree_digest(dir).unwrap();
        tree.0.get_mut(Path::new("special")).unwrap().mtime_ns = 0;
        tree
    };
    let before = digest(&source);
    restore(&vault, &snapshot, &place.path("by us")).unwrap();
    let restic = place.restic();
    restic.check(true).unwrap();
    restic
        .restore(&snapshot.id.to_string(), &place.path("by restic"))
        .unwrap();
    for by in ["by us", "by restic"] {
        let differences = before.differences(&digest(&at(by)));
        assert!(differences.is_empty(), "{by}: {}", differences.join("\n"));
        assert_eq!(
            attributes_of(&at(by)).unwrap(),
            attributes_of(&source).unwrap(),
            "{by}"
        );
        let linked = at(by).join("linked");
        for second in ["a/second", "b/c/third"] {
            assert!(is_one_file(&linked.join("z first"), &linked.join(second)).unwrap());
        }
        assert!(!is_one_file(&linked.join("twin 1"), &linked.join("twin 2")).unwrap());
        if rustix::process::geteuid().is_root() {
            let device = fs::symlink_metadata(at(by).join("special/character")).unwrap();
            assert_eq!(
                device.rdev(),
                rustix::fs::makedev(1, 3),
                "{by}: the same device"
            );
        }
    }
    let sparse = fs::metadata(at("by us").join("kinds/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 32 << 20, "holes stay holes");
}

#[test]
fn the_counts_are_those_of_the_tree() {
    let place = Place::new();
    let source = place.source();
    populate_files(&source, 6).unwrap();
    let tree = tree_digest(&source).unwrap();
    let of_kind = |kinds: &[&str]| {
        let entries = tree.0.values().filter(|entry| kinds.contains(&entry.kind));
        (
            entries.clone().count() as u64,
            entries.map(|entry| entry.size).sum::<u64>(),
        )
    };
    let vault = place.create();
    let (first, report) = back_up(&vault, &set(&source));
    assert_eq!((report.files, report.bytes), of_kind(&["file"]));
    assert_eq!(report.directories, of_kind(&["dir"]).0);
    assert_eq!(report.others, of_kind(&["link", "fifo", "block", "char"]).0);
    assert_eq!(report.sockets, of_kind(&["socket"]).0);
    // A second one reads nothing and counts the same.
    let began = first.stored.time;
    while jiff::Timestamp::now().duration_since(began) < jiff::SignedDuration::from_secs(3) {
        thread::sleep(std::time::Duration::from_millis(100));
    }
    let (second, _) = back_up_after(&vault, &set(&source), Some(first));
    let (third, again) = back_up_after(&vault, &set(&source), Some(second));
    assert_eq!(again, report);
    let summary = third.stored.summary.unwrap();
    assert_eq!(summary.data_blobs, 0, "{summary:?}");
    assert_eq!(summary.files_new, 0, "{summary:?}");
    assert!(summary.files_unmodified > 300, "{summary:?}");
}

#[test]
fn a_file_that_vanished_is_told_and_the_others_come_back() {
    let place = Place::new();
    let source = place.source();
    fs::create_dir_all(source.join("gone with all")).unwrap();
    for name in ["a", "b gone", "c", "gone with all/x"] {
        fs::write(source.join(name), name).unwrap();
    }
    let done = AtomicBool::new(false);
    // The walk asks whether to leave out an entry after it was listed.
    let vanish = |path: &Path, _: bool| {
        if path == Path::new("b gone") && !done.swap(true, Ordering::SeqCst) {
            fs::remove_file(source.join("b gone")).unwrap();
        }
        if path == Path::new("gone with all") && source.join(path).exists() {
            fs::remove_dir_all(source.join("gone with all")).unwrap();
        }
        false
    };
    let vault = place.create();
    let set = FileSet {
        leave_out: &vanish,
        ..set(&source)
    };
    let (snapshot, report) = back_up(&vault, &set);
    let told: Vec<_> = report
        .troubles
        .iter()
        .map(|trouble| (trouble.at.to_string(), trouble.kind.clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("/source/b gone".to_owned(), TroubleKind::Vanished),
            ("/source/gone with all".to_owned(), TroubleKind::Vanished)
        ]
    );
    assert_eq!(report.files, 2);
    restore(&vault, &snapshot, &place.path("restored")).unwrap();
    // The time of the directory changed after it was looked at.
    let without_times = |dir: &Path| tree_digest(dir).unwrap().without_times();
    assert_eq!(
        without_times(&place.path("restored").join(AT)),
        without_times(&source)
    );
}

/// Writes to `path` until told to stop.
fn writing<R>(path: &Path, append: bool, while_so: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                let mut file = File::options()
                    .append(append)
                    .write(true)
                    .open(path)
                    .unwrap();
                file.write_all(&number.to_le_bytes()).unwrap();
            }
        });
        let result = while_so();
        stop.store(true, Ordering::SeqCst);
        result
    })
}

#[test]
fn a_file_that_is_written_to_all_the_time_is_stored_and_told() {
    for append in [false, true] {
        let place = Place::new();
        let source = place.source();
        fs::create_dir(&source).unwrap();
        let file = source.join("busy");
        fs::write(&file, Random::new(1).bytes(3 << 20)).unwrap();
        fs::write(source.join("quiet"), b"quiet").unwrap();
        let vault = place.create();
        // On a busy machine the writer may be at rest just while the file is read.
        let (snapshot, report) = writing(&file, append, || {
            let mut tries = (0..50).map(|_| back_up(&vault, &set(&source)));
            let told = tries.find(|(_, report)| !report.troubles.is_empty());
            told.unwrap()
        });
        let kinds: Vec<_> = report.troubles.iter().map(|t| t.kind.clone()).collect();
        assert_eq!(kinds, [TroubleKind::Changed]);
        assert!(report.troubles[0].to_string().contains("busy"));
        restore(&vault, &snapshot, &place.path("restored")).unwrap();
        let restored = place.path("restored").join(AT);
        assert!(fs::metadata(restored.join("busy")).unwrap().len() >= 3 << 20);
        assert_eq!(fs::read(restored.join("quiet")).unwrap(), b"quiet");
        assert_whole(&vault);
    }
}

#[test]
fn a_file_that_was_replaced_once_is_read_again_and_no_trouble() {
    let place = Place::new();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    let (old, new) = (vec![b'o'; 2 << 20], vec![b'n'; 1 << 20]);
    fs::write(source.join("replaced"), &old).unwrap();
    fs::write(source.join("rewritten"), &old).unwrap();
    fs::write(place.path("new"), &new).unwrap();
    // The last name that is looked at: the others are looked at by then, and may be read.
    fs::write(source.join("zzz"), b"").unwrap();
    let replaced = AtomicBool::new(false);
    let replace = |path: &Path, _: bool| {
        if path == Path::new("zzz") && replaced.load(Ordering::SeqCst) {
            fs::rename(place.path("new"), source.join("replaced")).ok();
            fs::write(source.join("rewritten"), &new).unwrap();
        }
        if path == Path::new("zzz") {
            replaced.store(true, Ordering::SeqCst);
        }
        false
    };
    let vault = place.create();
    let set = FileSet {
        leave_out: &replace,
        ..set(&source)
    };
    let (snapshot, report) = back_up(&vault, &set);
    assert_eq!(report.troubles, []);
    restore(&vault, &snapshot, &place.path("restored")).unwrap();
    for name in ["replaced", "rewritten"] {
        let restored = fs::read(place.path("restored").join(AT).join(name)).unwrap();
        assert!(
            restored == old || restored == new,
            "{name}: one whole content, not a mixture"
        );
    }
}

#[test]
fn the_way_to_what_is_restored_is_as_open_as_any_directory() {
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a"), "a").unwrap();
    let vault = place.create();
    let (snapshot, _) = back_up(&vault, &set(&source));
    restore(&vault, &snapshot, &place.path("way/on/restored")).unwrap();
    let mode = |path: &str| fs::metadata(place.path(path)).unwrap().mode() & 0o7777;
    fs::create_dir(place.path("by hand")).unwrap();
    assert_eq!([mode("way"), mode("way/on")], [mode("by hand"); 2]);
    assert_eq!(mode("way/on/restored"), 0o700, "its owner opens it");
}

#[test]
fn what_only_root_can_read_is_told_by_name_when_somebody_else_backs_up() {
    if !rustix::process::geteuid().is_root() {
        skip::record("only root can become somebody else");
        return;
    }
    let place = Place::new();
    let source = place.source();
    fs::create_dir_all(source.join("closed directory")).unwrap();
    for (name, mode) in [
        ("open", 0o644),
        ("closed", 0o600),
        ("closed directory/x", 0o644),
    ] {
        fs::write(source.join(name), name).unwrap();
        fs::set_permissions(source.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(
        source.join("closed directory"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    let exe = std::env::current_exe().unwrap();
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let copy = place.path("test program");
    fs::copy(exe, &copy).unwrap();
    let output = Command::new(&copy)
        .args(["--exact", "nobody_backs_up", "--ignored", "--nocapture"])
        .env("REKINDLE_TEST_PLACE", place.path(""))
        .env("TMPDIR", place.path(""))
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by another test, as a user who may not read everything"]
fn nobody_backs_up() {
    let Some(place) = std::env::var_os("REKINDLE_TEST_PLACE") else {
        return;
    };
    let place = Path::new(&place);
    let store = rekindle_vault::store::LocalStore::new(place.join("vault of nobody"));
    let vault = Vault::create(std::sync::Arc::new(store), &common::password()).unwrap();
    let (snapshot, report) = back_up(&vault, &set(&place.join(AT)));
    let told: Vec<_> = report.troubles.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for (told, name) in told.iter().zip(["closed", "closed directory"]) {
        assert!(
            told.contains(&format!("{name}` cannot be read: Permission denied")),
            "{told}"
        );
    }
    assert_eq!(report.files, 1);
    restore(&vault, &snapshot, &place.join("of nobody")).unwrap();
    let restored = place.join("of nobody").join(AT);
    assert_eq!(fs::read(restored.join("open")).unwrap(), b"open");
    assert!(!restored.join("closed").exists());
    assert!(restored.join("closed directory").is_dir());
}

#[test]
fn a_walk_may_stay_on_its_file_system() {
    let place = Place::new();
    let source = place.source();
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("here"), b"here").unwrap();
    let disk = match SmallDisk::new(4) {
        Ok(disk) => disk,
        Err(error) => return skip::record(&error.to_string()),
    };
    fs::write(disk.path().join("there"), b"there").unwrap();
    // The small disk is mounted where it likes; its parent is the source then.
    let name = disk.path().file_name().unwrap().to_owned();
    let above = disk.path().parent().unwrap().to_owned();
    let only = move |path: &Path, _: bool| !path.starts_with(&name);
    let vault = place.create();
    for stays in [false, true] {
        let set = FileSet {
            leave_out: &only,
            one_file_system: stays,
            ..set(&above)
        };
        let (snapshot, report) = back_up(&vault, &set);
        let target = place.path(&format!("restored {stays}"));
        restore(&vault, &snapshot, &target).unwrap();
        let mounted = target.join(AT).join(disk.path().file_name().unwrap());
        assert!(mounted.is_dir(), "the mount point itself is there");
        assert_eq!(mounted.join("there").exists(), !stays);
        let passed_over = if stays {
            vec![disk.path().to_owned()]
        } else {
            Vec::new()
        };
        assert_eq!(report.other_file_systems, passed_over);
    }
}

#[test]
fn a_source_may_be_a_file_or_lead_to_one() {
    let place = Place::new();
    fs::create_dir(place.path("real")).unwrap();
    fs::write(place.path("real/.env"), b"SECRET=1").unwrap();
    symlink(place.path("real/.env"), place.path("link")).unwrap();
    symlink(place.path("real"), place.path("link to directory")).unwrap();
    let vault = place.create();
    for source in ["real/.env", "link"] {
        let (snapshot, report) = back_up(&vault, &set(&place.path(source)));
        assert_eq!((report.files, report.directories), (1, 0));
        let target = place.path(&format!("restored {}", source.len()));
        restore(&vault, &snapshot, &target).unwrap();
        assert_eq!(fs::read(target.join(AT)).unwrap(), b"SECRET=1");
    }
    let (_, report) = back_up(&vault, &set(&place.path("link to directory")));
    assert_eq!((report.files, report.directories), (1, 1));
}

#[test]
fn a_source_that_is_not_there_is_an_error_that_names_it() {
    let place = Place::new();
    let vault = place.create();
    let backup = vault.start_backup(options(None)).unwrap();
    let error = backup.add_file_set(&set(&place.source())).unwrap_err();
    assert!(matches!(error, BackupError::Read { .. }), "{error}");
    assert!(error.to_string().contains("/source"), "{error}");
}

#[test]
fn a_folder_that_became_a_link_is_not_followed() {
    let place = Place::new();
    let source = place.source();
    fs::create_dir_all(source.join("folder")).unwrap();
    fs::create_dir(place.path("elsewhere")).unwrap();
    fs::write(place.path("elsewhere/secret"), b"secret").unwrap();
    fs::write(source.join("folder/own"), b"own").unwrap();
    let swapped = AtomicBool::new(false);
    let swap = |path: &Path, _: bool| {
        if path == Path::new("folder/own") && !swapped.swap(true, Ordering::SeqCst) {
            fs::rename(source.join("folder"), place.path("folder aside")).unwrap();
            fs::rename(place.path("elsewhere"), place.path("elsewhere aside")).unwrap();
            fs::create_dir(place.path("elsewhere")).unwrap();
            fs::write(place.path("elsewhere/own"), b"secret").unwrap();
            symlink(place.path("elsewhere"), source.join("folder")).unwrap();
        }
        false
    };
    let vault = place.create();
    let set = FileSet {
        leave_out: &swap,
        ..set(&source)
    };
    let (snapshot, report) = back_up(&vault, &set);
    assert!(swapped.load(Ordering::SeqCst));
    assert_eq!(report.troubles.len(), 1, "{:?}", report.troubles);
    restore(&vault, &snapshot, &place.path("restored")).unwrap();
    let file = place.path("restored").join(AT).join("folder/own");
    assert!(!file.exists(), "what lies elsewhere is not ours");
}
