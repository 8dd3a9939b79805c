//! Several at once: two backups, a prune, a lock that vanishes, and files that change while they
//! are read.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use common::{
    AT, Place, assert_restores, assert_whole, back_up, chain, draft, options, password, restore,
};
use rekindle_testing::{
    data::{Random, file_tree},
    faults::{files_below, tree_digest},
};
use rekindle_vault::{
    BackupError, Chunking, LocalFile, LocalTree, LockMode, Node, SnapshotDraft, TreePath, Vault,
    VaultError, WhenMissing, store::LocalStore,
};

#[test]
fn two_backups_at_once_are_both_whole() {
    let place = Place::new();
    place.create();
    let sources = [place.path("one"), place.path("two")];
    for source in &sources {
        // Much is the same in both, so that both want to store it.
        file_tree(source, 5, 200).unwrap();
        fs::write(source.join("own"), source.to_str().unwrap()).unwrap();
    }
    let barrier = Arc::new(Barrier::new(2));
    let backups = sources.clone().map(|source| {
        let (vault, barrier) = (place.open(), Arc::clone(&barrier));
        thread::spawn(move || {
            barrier.wait();
            back_up(&vault, &source, None).unwrap()
        })
    });
    let snapshots = backups.map(|backup| backup.join().unwrap());
    let vault = place.open();
    assert_whole(&vault);
    place.restic().check(true).unwrap();
    for (number, (snapshot, source)) in snapshots.iter().zip(&sources).enumerate() {
        let target = place.path(&format!("target {number}"));
        assert_restores(&vault, snapshot, &tree_digest(source).unwrap(), &target);
    }
    // What both stored is stored twice, until somebody prunes.
    place.restic().run(["prune", "--max-unused", "0"]).unwrap();
    assert_whole(&vault);
    let state = tree_digest(&sources[0]).unwrap();
    assert_restores(&vault, &snapshots[0], &state, &place.path("after"));
}

#[test]
fn restic_and_we_back_up_at_once() {
    let place = Place::new();
    let source = place.source();
    file_tree(&source, 6, 100).unwrap();
    let state = tree_digest(&source).unwrap();
    let vault = place.create();
    let restic = place.restic();
    let mut child = restic
        .command()
        .arg("backup")
        .arg(&source)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let snapshot = back_up(&vault, &source, None).unwrap();
    assert!(child.wait().unwrap().success());
    assert_restores(&vault, &snapshot, &state, &place.path("target"));
    assert_whole(&vault);
    restic.check(true).unwrap();
    assert_eq!(vault.snapshots().unwrap().len(), 2);
}

#[test]
fn a_prune_waits_for_a_backup_that_runs() {
    let place = Place::new();
    let source = place.source();
    file_tree(&source, 7, 50).unwrap();
    let vault = place.create();
    let old = back_up(&vault, &source, None).unwrap();
    let backup = vault.start_backup(options(None)).unwrap();
    let tree = LocalTree {
        source: source.clone(),
        at: TreePath::new(AT).unwrap(),
        leave_out: &|_| false,
    };
    backup.add_local_tree(&tree).unwrap();
    backup.wait_for_files().unwrap();
    let restic = place.restic();
    let id = old.id.to_string();
    for refused in [restic.prune().unwrap_err(), restic.forget(&id).unwrap_err()] {
        let refused = refused.to_string();
        assert!(refused.contains("already locked"), "{refused}");
    }
    let snapshot = backup.finish(draft()).unwrap();
    restic.run(["forget", "--prune", &id]).unwrap();
    restic.check(true).unwrap();
    let state = tree_digest(&source).unwrap();
    assert_restores(&vault, &snapshot, &state, &place.path("target"));
}

/// Another process's part; in an ordinary run it has nothing to do.
#[test]
fn child_that_holds_an_exclusive_lock() {
    let Some(dir) = env::var_os("REKINDLE_LOCK_VAULT") else {
        return;
    };
    let vault = Vault::open(Arc::new(LocalStore::new(PathBuf::from(dir))), &password()).unwrap();
    let _lock = vault.lock(LockMode::Exclusive).unwrap();
    println!("locked");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn lock_in_another_process(vault: &Path) -> Child {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "child_that_holds_an_exclusive_lock",
            "--nocapture",
        ])
        .env("REKINDLE_LOCK_VAULT", vault)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("locked")));
    child
}

#[test]
fn an_exclusive_lock_keeps_all_others_out_until_its_process_dies() {
    let place = Place::new();
    fs::create_dir(place.source()).unwrap();
    let vault = place.create();
    let snapshot = back_up(&vault, &place.source(), None).unwrap();
    let mut child = lock_in_another_process(&place.vault_dir());
    let refused = [
        chain(&back_up(&vault, &place.source(), None).unwrap_err()),
        chain(&restore(&vault, &snapshot, &place.path("target")).unwrap_err()),
        chain(&vault.lock(LockMode::Exclusive).err().unwrap()),
        chain(&vault.set_tags(&snapshot, Vec::new()).unwrap_err()),
        place
            .restic()
            .backup(&[&place.source()])
            .unwrap_err()
            .to_string(),
    ];
    let pid = child.id().to_string();
    for text in &refused {
        assert!(text.contains("locked") && text.contains(&pid), "{text}");
    }
    assert!(vault.unlock_stale().unwrap().is_empty(), "it is alive");
    assert_eq!(vault.locks().unwrap().len(), 1, "the refused left none");
    child.kill().unwrap();
    child.wait().unwrap();
    back_up(&vault, &place.source(), None).unwrap();
    assert!(vault.locks().unwrap().is_empty());
}

#[test]
fn a_shared_lock_keeps_only_the_exclusive_out() {
    let place = Place::new();
    fs::create_dir(place.source()).unwrap();
    let vault = place.create();
    let shared = vault.lock(LockMode::Shared).unwrap();
    back_up(&place.open(), &place.source(), None).unwrap();
    let error = vault.lock(LockMode::Exclusive).err().unwrap();
    assert!(matches!(error, VaultError::Locked(_)), "{error}");
    drop(shared);
    vault.lock(LockMode::Exclusive).unwrap();
}

#[test]
fn a_backup_whose_lock_was_removed_commits_nothing() {
    let place = Place::new();
    fs::create_dir(place.source()).unwrap();
    fs::write(place.source().join("file"), b"content").unwrap();
    let vault = place.create();
    let backup = vault.start_backup(options(None)).unwrap();
    let tree = LocalTree {
        source: place.source(),
        at: TreePath::new(AT).unwrap(),
        leave_out: &|_| false,
    };
    backup.add_local_tree(&tree).unwrap();
    // What a person does who takes a running backup for a dead one.
    place.restic().unlock(true).unwrap();
    let error = backup.finish(draft()).unwrap_err();
    assert!(
        matches!(error, BackupError::Vault(VaultError::LockLost { .. })),
        "{error}"
    );
    assert!(vault.snapshots().unwrap().is_empty());
    back_up(&vault, &place.source(), None).unwrap();
    assert_whole(&vault);
}

const BLOCK: usize = 8192;

/// A block that says where it belongs, in each of its 512 byte sectors.
fn stamped(number: u64) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        block.extend_from_slice(&(number * BLOCK as u64 + 1).to_le_bytes());
        block.extend((0..504).map(|at| (number as u8).wrapping_mul(31).wrapping_add(at as u8)));
    }
    block
}

/// Every byte is what belongs there or zero: a block that is just being written may be read in part.
fn assert_nothing_is_shifted(path: &Path) {
    let content = fs::read(path).unwrap();
    for (number, block) in content.chunks(BLOCK).enumerate() {
        let expected = stamped(number as u64);
        let is_fine = |(found, expected): (&u8, &u8)| *found == 0 || found == expected;
        assert!(
            block.iter().zip(&expected).all(is_fine),
            "{} at block {number}",
            path.display()
        );
    }
}

fn write_stamped(path: &Path, blocks: u64) {
    let file = fs::File::create(path).unwrap();
    for number in 0..blocks {
        file.write_all_at(&stamped(number), number * BLOCK as u64)
            .unwrap();
    }
}

/// Cuts, regrows, removes and makes anew, until told to stop.
fn mutate(dir: &Path, sizes: &[u64], stop: &AtomicBool, seed: u64) {
    let mut random = Random::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let number = usize::try_from(random.below(sizes.len() as u64)).unwrap();
        let (path, blocks) = (dir.join(number.to_string()), sizes[number]);
        if random.below(6) == 0 && number > 1 {
            fs::remove_file(&path).unwrap();
            thread::yield_now();
            write_stamped(&path, random.below(blocks).min(500));
            continue;
        }
        let file = fs::File::options().write(true).open(&path).unwrap();
        let kept = random.below(blocks);
        file.set_len(kept * BLOCK as u64).unwrap();
        thread::yield_now();
        let grown = kept + random.below(blocks);
        file.set_len(grown * BLOCK as u64).unwrap();
        for _ in 0..random.below(200) {
            let block = random.below(grown + 1);
            file.write_all_at(&stamped(block), block * BLOCK as u64)
                .unwrap();
        }
    }
}

/// Stops the mutation also when an assertion fails, or the test would wait for it for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Backs up each file in both ways; files may vanish and be unsteady, and that is told.
fn back_up_moving(vault: &Vault, source: &Path) -> Result<rekindle_vault::Snapshot, BackupError> {
    let backup = vault.start_backup(options(None))?;
    backup.add_local_tree(&LocalTree {
        source: source.to_owned(),
        at: TreePath::new("content")?,
        leave_out: &|_| false,
    })?;
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        let file = LocalFile {
            source: path.clone(),
            node: Node::of_metadata(&metadata),
            most_bytes: metadata.len(),
            chunking: Chunking::Fixed { bytes: 64 << 10 },
            when_missing: WhenMissing::LeaveOut,
            inspect: None,
        };
        let name = path.file_name().unwrap().to_str().unwrap();
        backup.add_local_file(TreePath::new(format!("pages/{name}"))?, file)?;
    }
    backup.finish(SnapshotDraft::default())
}

#[test]
fn content_is_never_shifted_although_files_change_while_they_are_read() {
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    // The first two are longer than what one thread reads.
    let sizes = [9000, 5000, 300, 40, 3];
    for (number, blocks) in sizes.iter().enumerate() {
        write_stamped(&source.join(number.to_string()), *blocks);
    }
    let vault = place.create();
    let stop = AtomicBool::new(false);
    let (mut committed, mut unsteady) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| mutate(&source, &sizes, &stop, 8));
        let _stop = Stop(&stop);
        for round in 0..12 {
            match back_up_moving(&vault, &source) {
                Ok(snapshot) => {
                    committed += 1;
                    let target = place.path(&format!("target {round}"));
                    restore(&vault, &snapshot, &target).unwrap();
                    files_below(&target)
                        .unwrap()
                        .iter()
                        .for_each(|path| assert_nothing_is_shifted(path));
                    fs::remove_dir_all(&target).unwrap();
                }
                Err(BackupError::Unsteady { source_path }) => {
                    unsteady += 1;
                    assert!(source_path.contains(AT), "{source_path}");
                }
                Err(error) => panic!("{}", chain(&error)),
            }
        }
    });
    eprintln!("{committed} committed, {unsteady} refused");
    assert!(committed > 0);
    assert_whole(&vault);
}

#[test]
fn a_source_that_is_not_there_or_not_readable_is_told_by_name() {
    let place = Place::new();
    let vault = place.create();
    let error = back_up(&vault, &place.path("nowhere"), None).unwrap_err();
    let said = chain(&error);
    assert!(
        said.contains("nowhere") && said.contains("No such file"),
        "{said}"
    );
    let backup = vault.start_backup(options(None)).unwrap();
    let file = LocalFile {
        source: place.path("gone"),
        node: Node::default(),
        most_bytes: 100,
        chunking: Chunking::ContentDefined,
        when_missing: WhenMissing::Fail,
        inspect: None,
    };
    let _ = backup.add_local_file(TreePath::new("x").unwrap(), file);
    let error = backup.finish(draft()).unwrap_err();
    assert!(chain(&error).contains("gone"), "{}", chain(&error));
    assert!(vault.snapshots().unwrap().is_empty());
    assert!(vault.locks().unwrap().is_empty());
}

#[test]
fn a_stream_that_is_not_finished_is_not_in_any_point() {
    let place = Place::new();
    let vault = place.create();
    let path = || TreePath::new("stream").unwrap();
    let node = Node::default;
    // Given up before the commit.
    let backup = vault.start_backup(options(None)).unwrap();
    let mut writer = backup.file_writer(path(), node(), Chunking::ContentDefined);
    writer.write(b"half of it").unwrap();
    drop(writer);
    let error = backup.finish(draft()).unwrap_err();
    assert!(matches!(error, BackupError::Unfinished(_)), "{error}");
    // Still open at the commit.
    let backup = vault.start_backup(options(None)).unwrap();
    let mut writer = backup.file_writer(path(), node(), Chunking::ContentDefined);
    writer.write(b"half of it").unwrap();
    let error = backup.finish(draft()).unwrap_err();
    assert!(chain(&error).contains("stream"), "{}", chain(&error));
    drop(writer);
    assert!(vault.snapshots().unwrap().is_empty());
}

#[test]
fn a_file_that_became_a_pipe_is_gone_and_nobody_waits_for_its_writer() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let place = Place::new();
    let vault = place.create();
    let pipe = place.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for when_missing in [WhenMissing::LeaveOut, WhenMissing::Fail] {
        let backup = vault.start_backup(options(None)).unwrap();
        let file = LocalFile {
            source: pipe.clone(),
            node: Node::default(),
            most_bytes: 100,
            chunking: Chunking::ContentDefined,
            when_missing,
            inspect: None,
        };
        let _ = backup.add_local_file(TreePath::new("x").unwrap(), file);
        let outcome = backup.finish(draft());
        match when_missing {
            WhenMissing::LeaveOut => drop(outcome.unwrap()),
            WhenMissing::Fail => {
                let said = chain(&outcome.unwrap_err());
                assert!(said.contains("no regular file"), "{said}");
            }
        }
    }
}
