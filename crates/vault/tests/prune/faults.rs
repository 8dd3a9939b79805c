//! Each operation of the store fails in turn; processes are killed; the disk is full.

use std::{io::ErrorKind, sync::Arc};

use rekindle_testing::{faults::SmallDisk, skip};
use rekindle_vault::{
    Progress, PruneOptions, Snapshot, Store, Vault,
    store::{Fault, FaultyStore, LocalStore},
};

use crate::{
    assert_holds, assert_whole,
    common::{self, password},
    noise, with_waste,
    world::{Files, World, back_up, eager, hour, prune, stored_bytes},
};

const FAULTS: [(Fault, bool); 6] = [
    (Fault::Refused(ErrorKind::Other), false),
    (Fault::Refused(ErrorKind::TimedOut), true),
    (Fault::Refused(ErrorKind::StorageFull), false),
    (Fault::Refused(ErrorKind::StorageFull), true),
    (Fault::LostAcknowledgement, false),
    (Fault::LostAcknowledgement, true),
];

/// What is left when a prune was interrupted at this operation: nothing is lost, others can work,
/// and the next prunes end where one without faults ends.
fn survives(world: &World, point: &Snapshot, kept: &Files, now: i64) {
    let clean = world.copy();
    for at in [now, now + 30, now + 60] {
        prune(&clean.vault, hour(at)).unwrap();
    }
    let expected = stored_bytes(&*clean.store);
    for (fault, and_later) in FAULTS {
        for at in 0.. {
            assert!(at < 1000, "so small a piece of work ends");
            let here = world.copy();
            let inner = Arc::clone(&here.store) as Arc<dyn Store>;
            let faulty = Arc::new(if and_later {
                FaultyStore::failing_from(inner, at, fault)
            } else {
                FaultyStore::failing_once(inner, at, fault)
            });
            let vault = here.vault.through(Arc::clone(&faulty) as Arc<dyn Store>);
            let outcome = prune(&vault, hour(now));
            drop(vault);
            let is_over = faulty.operations() <= at;
            assert!(outcome.is_ok() || !is_over, "{outcome:?}");
            assert_holds(&here.vault, point, kept);
            assert_whole(&here.vault);
            // The lock of the dead: this process is alive, and knows that it is not its own.
            let added = noise(100..102, 900);
            let next = back_up(&here.vault, &added).unwrap();
            here.vault.forget(&[next.id]).unwrap();
            for later in [now + 1, now + 30, now + 60] {
                prune(&here.vault, hour(later)).unwrap();
                assert_holds(&here.vault, point, kept);
            }
            assert_whole(&here.vault);
            let after = stored_bytes(&*here.store);
            let context = format!("{fault:?} {and_later} at {at}: {after} of {expected}");
            assert!(after <= expected + expected / 8, "{context}");
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn marking_survives_every_fault_of_the_store() {
    let (world, point, kept) = with_waste();
    survives(&world, &point, &kept, 0);
}

#[test]
fn removing_survives_every_fault_of_the_store() {
    let (world, point, kept) = with_waste();
    prune(&world.vault, hour(0)).unwrap();
    survives(&world, &point, &kept, 25);
}

#[test]
fn a_full_disk_packs_nothing_anew_and_still_marks() {
    let Some(disk) = skip::unless_available(SmallDisk::new(24)) else {
        return;
    };
    let dir = disk.path().join("vault");
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(&dir));
    let vault = Vault::create(Arc::clone(&store), &password()).unwrap();
    let files = |numbers: std::ops::Range<u64>| noise(numbers, 120_000);
    let with_packs_of_a_mebibyte = |files: &Files| {
        let options = rekindle_vault::BackupOptions {
            pack_bytes: 1 << 20,
            ..crate::world::options()
        };
        let backup = vault.start_backup(options).unwrap();
        for (path, content) in files {
            let path = rekindle_vault::TreePath::new(path).unwrap();
            let node = rekindle_vault::Node::default();
            backup.add_bytes(&path, node, content).unwrap();
        }
        backup.finish(Default::default()).unwrap()
    };
    let mixed = with_packs_of_a_mebibyte(&files(0..80));
    let kept: Files = files(0..80).into_iter().step_by(2).collect();
    let point = with_packs_of_a_mebibyte(&kept);
    let unused = with_packs_of_a_mebibyte(&files(100..150));
    for snapshot in [&mixed, &unused] {
        vault.forget(&[snapshot.id]).unwrap();
    }
    // 16 MiB are full. A file takes the rest but a little for index files.
    let free = rustix_free(disk.path());
    let filler = disk.path().join("filler");
    std::fs::write(
        &filler,
        vec![1; usize::try_from(free).unwrap() - (600 << 10)],
    )
    .unwrap();
    let options = PruneOptions {
        pack_bytes: 1 << 20,
        ..eager(hour(0))
    };
    let progress = Arc::new(Progress::default());
    let report = vault.prune(&options, &progress).unwrap();
    assert!(report.repack_stopped.is_some(), "{report:?}");
    assert!(
        report.marked_packs > 3 && report.stayed_packs > 3,
        "{report:?}"
    );
    assert_holds(&vault, &point, &kept);
    common::assert_whole(&vault);
    let later = PruneOptions {
        now: Some(hour(25)),
        ..options.clone()
    };
    // Now there is room.
    let removed = vault.prune(&later, &progress).unwrap();
    assert!(removed.removed_bytes > 5 << 20, "{removed:?}");
    let last = PruneOptions {
        now: Some(hour(26)),
        ..options
    };
    let last = vault.prune(&last, &progress).unwrap();
    assert_eq!(last.repack_stopped, None, "{last:?}");
    assert_holds(&vault, &point, &kept);
    common::assert_whole(&vault);
}

/// Bytes that can still be written.
fn rustix_free(path: &std::path::Path) -> u64 {
    let output = std::process::Command::new("df")
        .args(["--output=avail", "-B1"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().unwrap().trim().parse().unwrap()
}
