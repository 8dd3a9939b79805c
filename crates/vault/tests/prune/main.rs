//! A prune removes what no recovery point uses, and nothing else, whatever happens meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/hooked.rs"]
mod hooked;
#[path = "../common/world.rs"]
mod world;

mod beside;
mod damaged;
mod faults;
mod killed;

use std::sync::Arc;

use rekindle_testing::data::Random;
use rekindle_vault::{
    Grace, MaxUnused, PackStep, Progress, PruneError, PruneOptions, Snapshot, Store, Thoroughness,
    Vault,
    store::{FileKind, ObjectKey},
};
use world::{Files, World, back_up, contents, eager, hour, names, prune, stored_bytes};

/// Files of noise, named by their numbers.
fn noise(numbers: std::ops::Range<u64>, bytes: usize) -> Files {
    let file = |n| {
        (
            format!("dir {}/file {n}", n % 3),
            Random::new(n).bytes(bytes),
        )
    };
    numbers.map(file).collect()
}

fn assert_holds(vault: &Vault, snapshot: &Snapshot, files: &Files) {
    assert!(contents(vault, snapshot).unwrap() == *files, "as it was");
}

fn assert_whole(vault: &Vault) {
    let report = common::check(vault, Thoroughness::AllData);
    assert!(report.is_whole(), "{:?} {:?}", report.problems, report.hits);
}

/// Two points, of which one is forgotten: half of what it alone used lies in packs of its own, and
/// half beside what the other one uses.
fn with_waste() -> (World, Snapshot, Files) {
    let world = World::new();
    let mixed: Files = noise(0..20, 700);
    let old = back_up(&world.vault, &mixed).unwrap();
    back_up(&world.vault, &noise(20..30, 3000)).unwrap();
    let kept: Files = mixed.into_iter().step_by(2).collect();
    let point = back_up(&world.vault, &kept).unwrap();
    for snapshot in world.vault.snapshots().unwrap() {
        if snapshot.id != point.id {
            world.vault.forget(&[snapshot.id]).unwrap();
        }
    }
    assert_ne!(old.id, point.id);
    (world, point, kept)
}

#[test]
fn what_is_marked_goes_when_its_grace_is_over() {
    let (world, point, kept) = with_waste();
    let before = stored_bytes(&*world.store);
    let first = prune(&world.vault, hour(0)).unwrap();
    assert!(
        first.marked_packs > 5 && first.removed_packs == 0,
        "{first:?}"
    );
    assert!(first.repacked_bytes > 5000, "{first:?}");
    assert_eq!(first.due, Some(hour(24)));
    assert!(stored_bytes(&*world.store) > before, "nothing is gone yet");
    assert_whole(&world.vault);
    assert_holds(&world.vault, &point, &kept);

    let early = prune(&world.vault, hour(23)).unwrap();
    assert_eq!((early.marked_packs, early.removed_packs), (0, 0));
    assert_eq!(early.waiting_packs, first.marked_packs);
    assert_eq!(early.index_files_written, 0, "there was nothing to do");

    let last = prune(&world.vault, hour(24)).unwrap();
    assert_eq!(last.removed_packs, first.marked_packs);
    assert_eq!(last.removed_bytes, first.marked_bytes);
    let used: usize = kept.values().map(Vec::len).sum();
    let after = stored_bytes(&*world.store);
    assert!(after < used as u64 * 12 / 10 + 4000, "{after} for {used}");
    assert_whole(&world.vault);
    assert_holds(&world.vault, &point, &kept);
    let idle = world.vault.plan_prune(&eager(hour(48))).unwrap();
    assert!(idle.steps.is_empty(), "{:?}", idle.steps);
    assert_eq!((idle.unused_bytes, idle.duplicate_bytes), (0, 0));
}

#[test]
fn a_plan_is_what_is_done_and_changes_nothing() {
    let (world, ..) = with_waste();
    let before = world::objects(&*world.store);
    let plan = world.vault.plan_prune(&eager(hour(0))).unwrap();
    assert!(world::objects(&*world.store) == before);
    let count = |step| plan.steps.iter().filter(|pack| pack.step == step).count();
    assert!(count(PackStep::Leave) >= 10, "{plan:?}");
    assert!(count(PackStep::RepackWaste) >= 3, "{plan:?}");
    let report = prune(&world.vault, hour(0)).unwrap();
    assert_eq!(report.repacked_bytes, plan.repack_bytes);
    assert_eq!(report.marked_bytes, plan.leaving_bytes);
    assert_eq!(report.marked_packs, plan.steps.len() as u64);
    let later = world.vault.plan_prune(&eager(hour(30))).unwrap();
    let removed = |pack: &rekindle_vault::PlannedPack| pack.step == PackStep::Remove;
    assert!(later.steps.iter().all(removed), "{later:?}");
    assert_eq!(later.removed_bytes, report.marked_bytes);
}

#[test]
fn a_little_waste_may_stay() {
    let (world, ..) = with_waste();
    let with = |max_unused| PruneOptions {
        max_unused,
        ..eager(hour(0))
    };
    let none = world
        .vault
        .plan_prune(&with(MaxUnused::Percent(0)))
        .unwrap();
    let some = world
        .vault
        .plan_prune(&with(MaxUnused::Bytes(3000)))
        .unwrap();
    let all = world.vault.plan_prune(&with(MaxUnused::Unlimited)).unwrap();
    assert_eq!((none.remaining_waste_bytes, all.repack_bytes), (0, 0));
    assert!(some.repack_bytes > 0 && some.repack_bytes < none.repack_bytes);
    assert!(some.remaining_waste_bytes <= 3000 && some.remaining_waste_bytes > 0);
    let limited = PruneOptions {
        max_repack_bytes: Some(2000),
        ..eager(hour(0))
    };
    let limited = world.vault.plan_prune(&limited).unwrap();
    assert!(limited.repack_bytes <= 2000 && limited.repack_bytes > 0);
}

#[test]
fn without_grace_all_is_done_at_once() {
    let (world, point, kept) = with_waste();
    let before = stored_bytes(&*world.store);
    let options = PruneOptions {
        grace: Grace::None,
        ..eager(hour(0))
    };
    let plan = world.vault.plan_prune(&options).unwrap();
    assert_eq!(plan.leaving_bytes, 0);
    let report = world.vault.prune(&options, &Default::default()).unwrap();
    assert_eq!((report.marked_packs, report.due), (0, None));
    assert_eq!(report.removed_bytes, plan.removed_bytes);
    assert!(stored_bytes(&*world.store) < before / 2);
    assert_whole(&world.vault);
    assert_holds(&world.vault, &point, &kept);
    assert!(world.vault.plan_prune(&options).unwrap().steps.is_empty());
}

/// Removes all that nothing needs, also where there is no point.
fn prune_at_once(vault: &Vault) {
    let options = PruneOptions {
        grace: Grace::None,
        ..eager(hour(25))
    };
    vault.prune(&options, &Default::default()).unwrap();
}

#[test]
fn a_vault_without_points_is_emptied_only_when_that_is_asked_for() {
    let (world, point, _) = with_waste();
    world.vault.forget(&[point.id]).unwrap();
    prune(&world.vault, hour(0)).unwrap();
    let error = prune(&world.vault, hour(25)).unwrap_err();
    assert!(matches!(error, PruneError::NoPoints { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--now"));
    prune_at_once(&world.vault);
    for kind in [FileKind::Pack, FileKind::Index, FileKind::Lock] {
        assert!(names(&*world.store, kind).is_empty(), "{kind:?}");
    }
    let files = noise(0..3, 1000);
    let point = back_up(&world.vault, &files).unwrap();
    assert_holds(&world.vault, &point, &files);
}

#[test]
fn points_whose_snapshot_files_are_lost_can_be_salvaged_after_any_number_of_prunes() {
    let (world, point, kept) = with_waste();
    let lost = ObjectKey::of(FileKind::Snapshot, &point.id);
    let file = world.store.read(&lost).unwrap();
    world.store.delete(&lost).unwrap();
    prune(&world.vault, hour(0)).unwrap();
    for at in [25, 50, 75] {
        prune(&world.vault, hour(at)).unwrap_err();
    }
    world.store.create(&lost, &file).unwrap();
    assert_holds(&world.vault, &point, &kept);
    prune(&world.vault, hour(100)).unwrap();
    assert_holds(&world.vault, &point, &kept);
    assert_whole(&world.vault);
}

#[test]
fn small_packs_are_joined_when_they_are_many() {
    let world = World::new();
    let mut points = Vec::new();
    for number in 0..60 {
        let files = noise(number..number + 1, 300);
        points.push((back_up(&world.vault, &files).unwrap(), files));
    }
    let before = names(&*world.store, FileKind::Pack).len();
    let with = |pack_bytes, now| PruneOptions {
        pack_bytes,
        ..eager(hour(now))
    };
    // They make no full one and are not many.
    let large = world.vault.plan_prune(&with(1 << 20, 0)).unwrap();
    assert!(large.steps.is_empty(), "{large:?}");
    let progress = Arc::new(Progress::default());
    world.vault.prune(&with(8000, 0), &progress).unwrap();
    prune(&world.vault, hour(25)).unwrap();
    let after = names(&*world.store, FileKind::Pack).len();
    assert!(after * 3 < before, "{after} of {before} packs");
    assert!(
        names(&*world.store, FileKind::Index).len() < 3,
        "and index files"
    );
    for (point, files) in &points {
        assert_holds(&world.vault, point, files);
    }
    assert_whole(&world.vault);
    let again = world.vault.plan_prune(&with(8000, 50)).unwrap();
    assert!(again.steps.is_empty(), "each is joined once: {again:?}");
}

#[test]
fn a_clock_that_cannot_be_right_prunes_nothing() {
    let (world, ..) = with_waste();
    let before = world::objects(&*world.store);
    let error = prune(&world.vault, jiff::Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(error.to_string().contains("clock"), "{error}");
    assert!(world::objects(&*world.store) == before);
}

#[test]
fn a_clock_that_jumps_far_makes_marks_wait_anew() {
    let (world, point, kept) = with_waste();
    prune(&world.vault, hour(0)).unwrap();
    let far = hour(24 * 365 * 50);
    let jumped = prune(&world.vault, far).unwrap();
    assert!(jumped.removed_packs == 0 && jumped.waiting_packs > 0);
    let back = prune(&world.vault, hour(1)).unwrap();
    assert!(back.removed_packs == 0 && back.waiting_packs > 0);
    assert_eq!(back.due, Some(hour(25)), "the grace began anew");
    assert!(prune(&world.vault, hour(26)).unwrap().removed_packs > 0);
    assert_holds(&world.vault, &point, &kept);
    assert_whole(&world.vault);
}

#[test]
fn what_points_share_is_walked_and_counted_once() {
    let world = World::new();
    let files = noise(0..5, 1000);
    for _ in 0..40 {
        back_up(&world.vault, &files).unwrap();
    }
    let plan = world.vault.plan_prune(&eager(hour(0))).unwrap();
    assert_eq!((plan.snapshots, plan.blobs), (40, 5 + 4));
}
