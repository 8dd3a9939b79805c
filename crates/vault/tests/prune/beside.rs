//! Others work in the vault while it is pruned: with locks, without, and at every single moment.

use std::{
    io::Write,
    process::Stdio,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rekindle_testing::data::file_tree;
use rekindle_vault::{
    Grace, LockMode, PackStep, Progress, PruneError, PruneOptions, Snapshot, SnapshotDraft, Store,
    Vault, store::FileKind,
};

use crate::{
    assert_holds, assert_whole,
    common::{self, Place, assert_restores},
    hooked::Hooked,
    noise, with_waste,
    world::{Files, World, back_up, counted_on_leaving, eager, fill, hour, names, prune},
};

/// Points and what they must hold.
type Points = Vec<(Snapshot, Files)>;

/// Runs `act` before each operation of a prune in turn, and looks after each that nothing is lost,
/// then and after two more prunes. Returns how many operations there were.
fn at_every_moment(
    world: &World,
    points: &Points,
    now: i64,
    act: fn(&World, i64) -> Points,
) -> u64 {
    for at in 0.. {
        let here = world.copy();
        let made = Arc::new(Mutex::new(Points::new()));
        let (other, result) = (
            World {
                store: Arc::clone(&here.store),
                vault: here.vault.clone(),
            },
            Arc::clone(&made),
        );
        let action = Box::new(move || *result.lock().unwrap() = act(&other, now));
        let hooked = Hooked::before(Arc::clone(&here.store) as Arc<dyn Store>, at, action);
        match prune(
            &here.vault.through(Arc::clone(&hooked) as Arc<dyn Store>),
            hour(now),
        ) {
            Ok(_) | Err(PruneError::InUse { .. } | PruneError::ChangedMeanwhile) => {}
            Err(error) => panic!("at {at}: {}", common::chain(&error)),
        }
        let is_over = hooked.is_left();
        let made = std::mem::take(&mut *made.lock().unwrap());
        for later in [0, 2, 30, 60] {
            if later > 0 {
                prune(&here.vault, hour(now + later)).unwrap();
            }
            for (point, files) in points.iter().chain(&made) {
                assert_holds(&here.vault, point, files);
            }
            let lost_to_restic = counted_on_leaving(&here.vault);
            assert!(lost_to_restic.is_empty(), "at {at}: {lost_to_restic:?}");
            assert_whole(&here.vault);
        }
        let plan = here.vault.plan_prune(&eager(hour(now + 90))).unwrap();
        assert!(plan.steps.is_empty(), "at {at} all waste is gone: {plan:?}");
        if is_over {
            return at;
        }
    }
    unreachable!()
}

/// What the forgotten points used, and something new.
fn reviving() -> Files {
    noise(0..32, 700)
        .into_iter()
        .chain(noise(20..30, 3000))
        .collect()
}

fn back_up_meanwhile(world: &World, _now: i64) -> Points {
    match back_up(&world.vault, &reviving()) {
        Ok(point) => vec![(point, reviving())],
        Err(error) => {
            assert!(error.to_string().contains("locked"), "{error}");
            Points::new()
        }
    }
}

fn prune_meanwhile(world: &World, now: i64) -> Points {
    match prune(&world.vault, hour(now)) {
        Ok(_) | Err(PruneError::InUse { .. }) => Points::new(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_backup_at_any_moment_of_a_prune_loses_nothing() {
    let (world, point, kept) = with_waste();
    let points = vec![(point, kept)];
    let moments = at_every_moment(&world, &points, 0, back_up_meanwhile);
    assert!(moments > 30, "{moments}");
    prune(&world.vault, hour(0)).unwrap();
    at_every_moment(&world, &points, 25, back_up_meanwhile);
}

#[test]
fn another_prune_at_any_moment_of_a_prune_loses_nothing() {
    let (world, point, kept) = with_waste();
    let points = vec![(point, kept)];
    at_every_moment(&world, &points, 0, prune_meanwhile);
    prune(&world.vault, hour(0)).unwrap();
    at_every_moment(&world, &points, 25, prune_meanwhile);
}

/// A writer without locks that read the index before the prune, and commits at any moment of it.
#[test]
fn a_writer_without_locks_that_ends_within_the_grace_loses_nothing() {
    let (world, point, kept) = with_waste();
    for at in (0..).step_by(3) {
        let here = world.copy();
        let writer = fill(&here.without_locks(), &reviving()).unwrap();
        let made = Arc::new(Mutex::new(None));
        let result = Arc::clone(&made);
        let action = Box::new(move || {
            let draft = SnapshotDraft::default();
            *result.lock().unwrap() = Some(writer.finish(draft).unwrap());
        });
        let hooked = Hooked::before(Arc::clone(&here.store) as Arc<dyn Store>, at, action);
        prune(
            &here.vault.through(Arc::clone(&hooked) as Arc<dyn Store>),
            hour(0),
        )
        .unwrap();
        let is_over = hooked.is_left();
        // Dropped, it commits nothing; then it was too late for this prune.
        let Some(made) = made.lock().unwrap().take() else {
            assert!(is_over);
            return;
        };
        for later in [0, 23, 25, 50, 75] {
            if later > 0 {
                prune(&here.vault, hour(later)).unwrap();
            }
            assert_holds(&here.vault, &point, &kept);
            assert_holds(&here.vault, &made, &reviving());
            assert_whole(&here.vault);
        }
    }
}

#[test]
fn what_a_point_counts_on_after_all_is_taken_back() {
    let (world, ..) = with_waste();
    let writer = fill(&world.without_locks(), &reviving()).unwrap();
    let marked = prune(&world.vault, hour(0)).unwrap().marked_packs;
    let point = writer.finish(SnapshotDraft::default()).unwrap();
    assert_holds(&world.vault, &point, &reviving());
    assert_whole(&world.vault);
    // Our own writer counts on nothing that is on its way out.
    let before = crate::stored_bytes(&*world.store);
    let second = back_up(&world.copy().vault, &reviving()).unwrap();
    assert_eq!(second.stored.tree, point.stored.tree);

    let plan = world.vault.plan_prune(&eager(hour(30))).unwrap();
    let back = |pack: &&rekindle_vault::PlannedPack| pack.step == PackStep::TakeBack;
    assert!(plan.steps.iter().filter(back).count() >= 10, "{plan:?}");
    let report = prune(&world.vault, hour(30)).unwrap();
    assert!(report.taken_back_packs >= 10 && report.taken_back_packs <= marked);
    assert_holds(&world.vault, &point, &reviving());
    assert!(crate::stored_bytes(&*world.store) <= before * 2);
    prune(&world.vault, hour(60)).unwrap();
    assert_holds(&world.vault, &point, &reviving());
    assert_whole(&world.vault);
}

#[test]
fn a_prune_that_may_not_wait_leaves_what_it_packed_anew() {
    let (world, point, kept) = with_waste();
    let running = fill(&world.vault, &reviving()).unwrap();
    let error = prune(&world.vault, hour(0)).unwrap_err();
    assert!(matches!(error, PruneError::InUse { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--wait"));
    let made = running.finish(SnapshotDraft::default()).unwrap();
    for at in [1, 30] {
        prune(&world.vault, hour(at)).unwrap();
        assert_holds(&world.vault, &made, &reviving());
        assert_holds(&world.vault, &point, &kept);
        assert_whole(&world.vault);
    }
}

#[test]
fn a_prune_waits_for_a_backup_and_a_backup_for_a_prune() {
    let (world, point, kept) = with_waste();
    let running = fill(&world.vault, &reviving()).unwrap();
    let vault = world.vault.clone();
    let pruning = thread::spawn(move || {
        let options = PruneOptions {
            wait: Duration::from_secs(60),
            ..eager(hour(0))
        };
        vault.prune(&options, &Arc::new(Progress::default()))
    });
    let made = running.finish(SnapshotDraft::default()).unwrap();
    pruning.join().unwrap().unwrap();
    assert_holds(&world.vault, &made, &reviving());
    assert_holds(&world.vault, &point, &kept);

    let alone = world.vault.lock(LockMode::Exclusive).unwrap();
    let vault = world.vault.clone();
    let waiting = thread::spawn(move || {
        let options = rekindle_vault::BackupOptions {
            lock_wait: Duration::from_secs(60),
            ..crate::world::options()
        };
        vault
            .start_backup(options)?
            .finish(SnapshotDraft::default())
    });
    drop(alone);
    waiting.join().unwrap().unwrap();
    assert!(names(&*world.store, FileKind::Lock).is_empty());
}

/// A vault on disk with waste in it, made by us.
fn on_disk(place: &Place) -> (Vault, Snapshot) {
    let vault = place.create();
    let (one, two) = (place.path("one"), place.source());
    file_tree(&one, 1, 150).unwrap();
    file_tree(&two, 2, 150).unwrap();
    let backup = vault.start_backup(common::options(None)).unwrap();
    for (source, at) in [(&one, "one"), (&two, "two")] {
        let tree = rekindle_vault::LocalTree {
            source: source.clone(),
            at: rekindle_vault::TreePath::new(at).unwrap(),
            leave_out: &|_| false,
        };
        backup.add_local_tree(&tree).unwrap();
    }
    let both = backup.finish(common::draft()).unwrap();
    let point = common::back_up(&vault, &two, None).unwrap();
    vault.forget(&[both.id]).unwrap();
    (vault, point)
}

#[test]
fn restic_is_content_before_between_and_after() {
    let place = Place::new();
    let (vault, point) = on_disk(&place);
    let state = rekindle_testing::faults::tree_digest(&place.source()).unwrap();
    let restic = place.restic();
    restic.check(true).unwrap();
    for at in [0, 30, 60] {
        prune(&vault, hour(at)).unwrap();
        restic.check(true).unwrap();
        assert_restores(&vault, &point, &state, &place.path(&format!("at {at}")));
    }
    let by_restic = place.path("by restic");
    restic.restore(&point.id.to_string(), &by_restic).unwrap();
    common::assert_same(&state, &by_restic.join(common::AT));
}

#[test]
fn restic_may_prune_between_our_phases() {
    let place = Place::new();
    let (vault, point) = on_disk(&place);
    let state = rekindle_testing::faults::tree_digest(&place.source()).unwrap();
    let restic = place.restic();
    let marked = prune(&vault, hour(0)).unwrap();
    assert!(marked.marked_packs > 0);
    // It knows nothing of marks: to it these packs are in no index.
    restic.prune().unwrap();
    restic.check(true).unwrap();
    common::assert_whole(&vault);
    assert_restores(&vault, &point, &state, &place.path("between"));
    let after = prune(&vault, hour(30)).unwrap();
    assert_eq!(after.removed_packs, 0, "restic did it: {after:?}");
    restic.check(true).unwrap();
    assert_restores(&vault, &point, &state, &place.path("after"));
}

#[test]
fn a_running_backup_of_restic_is_waited_for() {
    let place = Place::new();
    let (vault, point) = on_disk(&place);
    let state = rekindle_testing::faults::tree_digest(&place.source()).unwrap();
    let restic = place.restic();
    let mut child = restic
        .command()
        .args(["backup", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while vault.locks().unwrap().is_empty() {
        thread::sleep(Duration::from_millis(10));
    }
    let before = common::check(&vault, rekindle_vault::Thoroughness::Structure).packs;
    let error = prune(&vault, hour(0)).unwrap_err();
    assert!(matches!(error, PruneError::InUse { .. }), "{error}");
    let after = common::check(&vault, rekindle_vault::Thoroughness::Structure).packs;
    assert!(after >= before, "nothing was removed");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"its content")
        .unwrap();
    assert!(child.wait().unwrap().success());
    let at_once = PruneOptions {
        grace: Grace::None,
        ..eager(hour(1))
    };
    let report = vault
        .prune(&at_once, &Arc::new(Progress::default()))
        .unwrap();
    assert!(report.removed_packs > 0);
    restic.check(true).unwrap();
    assert_eq!(vault.snapshots().unwrap().len(), 2);
    assert_restores(&vault, &point, &state, &place.path("after"));
}
