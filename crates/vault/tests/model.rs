//! Random sequences of backup, forget, prune, copy, check and crash, by several writers with and
//! without locks and with virtual time, held against a map of points, files and bytes.
//!
//! `REKINDLE_TEST_SEED` repeats one sequence, `REKINDLE_MODEL_SEQUENCES` says how many there are.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests may panic, and show their seed"
)]

#[path = "common/mod.rs"]
mod common;
#[path = "common/world.rs"]
mod world;

use std::{
    collections::BTreeMap,
    env,
    io::ErrorKind,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rekindle_testing::data::Random;
use rekindle_vault::{
    Backup, CopyOptions, Grace, Id, MaxUnused, Progress, PruneError, PruneOptions, Snapshot,
    SnapshotDraft, Store, Thoroughness, Vault, VaultError,
    store::{Fault, FaultyStore},
};
use world::{Files, World, contents, eager, fill, hour};

/// In ordinary runs; some 50 each second on two cores.
const SEQUENCES: u64 = 400;
const STEPS: u64 = 14;
/// A writer without locks ends within the grace; then nothing it wrote is lost.
const GRACE_HOURS: i64 = 24;

/// A backup that is not committed yet.
struct Writer {
    backup: Backup,
    files: Files,
    takes_locks: bool,
    began: i64,
}

/// A vault, and what its points must hold.
struct Side {
    world: World,
    points: BTreeMap<Id, Files>,
}

struct Model {
    random: Random,
    main: Side,
    copy: Side,
    writers: Vec<Writer>,
    now: i64,
    /// A writer without locks gave up after the grace, and has listed packs that were removed.
    has_overstayed: bool,
    story: Vec<String>,
}

impl Side {
    fn new(world: World) -> Self {
        let points = BTreeMap::new();
        Self { world, points }
    }

    fn listed(&self) -> Vec<Snapshot> {
        self.world.vault.snapshots().unwrap()
    }

    /// Each listed point is one of the model's, and holds what it must.
    fn assert_holds(&self) {
        let listed = self.listed();
        let ids: Vec<Id> = listed.iter().map(|point| point.id).collect();
        let mut known: Vec<Id> = self.points.keys().copied().collect();
        known.sort_by_key(|id| ids.iter().position(|listed| listed == id));
        assert_eq!(ids, known, "the points there are");
        for point in &listed {
            let held = contents(&self.world.vault, point).unwrap();
            assert!(held == self.points[&point.id], "point {}", point.id.short());
        }
    }

    fn assert_whole(&self, thoroughness: Thoroughness) {
        let report = common::check(&self.world.vault, thoroughness);
        assert!(report.is_whole(), "{:?} {:?}", report.problems, report.hits);
    }

    /// Nothing is lost that a point needs.
    fn assert_unhurt(&self, thoroughness: Thoroughness) {
        let report = common::check(&self.world.vault, thoroughness);
        assert!(
            report.hits.is_empty(),
            "{:?} {:?}",
            report.problems,
            report.hits
        );
        assert_eq!(report.whole_snapshots.len(), self.points.len());
    }
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            main: Side::new(World::new()),
            copy: Side::new(World::other()),
            writers: Vec::new(),
            now: 0,
            has_overstayed: false,
            story: Vec::new(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn tell(&mut self, what: &str) {
        self.story.push(format!("hour {}: {what}", self.now));
    }

    /// A few files out of a small pool, so that points share much and bring back what was forgotten.
    fn files(&mut self) -> Files {
        let count = 1 + self.below(6);
        let file = |_| {
            let content = self.random.below(14);
            let length = 80 + usize::try_from(content * content).unwrap() * 12;
            let path = format!("dir {}/file {}", self.random.below(3), self.random.below(8));
            (path, Random::new(content).bytes(length))
        };
        (0..count).map(file).collect()
    }

    /// The vault, behind a store that may begin to fail.
    fn faulty(&mut self, vault: &Vault, store: Arc<dyn Store>) -> Vault {
        let at = self.below(50);
        let fault = match self.below(4) {
            0 => Fault::Refused(ErrorKind::StorageFull),
            1 => Fault::LostAcknowledgement,
            _ => Fault::Refused(ErrorKind::TimedOut),
        };
        let is_crash = self.below(3) > 0;
        self.tell(&format!(
            "the store fails at {at}: {fault:?}, for good: {is_crash}"
        ));
        vault.through(Arc::new(if is_crash {
            FaultyStore::failing_from(store, at, fault)
        } else {
            FaultyStore::failing_once(store, at, fault)
        }))
    }

    /// The vault as the next step uses it, and whether it may fail for no reason of its own.
    fn vault(&mut self) -> (Vault, bool) {
        let (vault, store) = (
            self.main.world.vault.clone(),
            Arc::clone(&self.main.world.store),
        );
        if self.below(3) == 0 {
            return (self.faulty(&vault, store), true);
        }
        (vault, false)
    }

    fn step(&mut self) {
        match self.below(20) {
            0..5 => self.back_up(),
            5 | 6 => self.begin(),
            7 | 8 => self.finish(),
            9..12 => self.forget(),
            12..16 => self.prune(),
            16 => self.copy(),
            17 => self.check(Thoroughness::Structure),
            _ => self.now += 1 + i64::try_from(self.random.below(20)).unwrap(),
        }
    }

    /// Until the next prune, the index may name packs that are gone and that no point needs.
    fn check(&self, thoroughness: Thoroughness) {
        if self.has_overstayed {
            self.main.assert_unhurt(thoroughness);
        } else {
            self.main.assert_whole(thoroughness);
        }
    }

    fn back_up(&mut self) {
        let files = self.files();
        let (vault, may_fail) = self.vault();
        let outcome = world::back_up(&vault, &files);
        self.tell(&format!("backup: {:?}", outcome.as_ref().map(|p| p.id)));
        match outcome {
            Ok(point) => drop(self.main.points.insert(point.id, files)),
            Err(error) => {
                assert!(may_fail, "{}", common::chain(&error));
                self.take_unacknowledged(&files);
            }
        }
    }

    /// A point whose acknowledgement was lost is there all the same.
    fn take_unacknowledged(&mut self, files: &Files) {
        for point in self.main.listed() {
            self.main
                .points
                .entry(point.id)
                .or_insert_with(|| files.clone());
        }
    }

    fn begin(&mut self) {
        if self.writers.len() >= 2 {
            return;
        }
        let files = self.files();
        let takes_locks = self.below(2) == 0;
        let world = &self.main.world;
        let vault = if takes_locks {
            world.vault.clone()
        } else {
            world.without_locks()
        };
        let backup = fill(&vault, &files).unwrap();
        let began = self.now;
        self.tell(&format!("begin, with locks: {takes_locks}"));
        self.writers.push(Writer {
            backup,
            files,
            takes_locks,
            began,
        });
    }

    fn finish(&mut self) {
        let Some(writer) = self.writers.pop() else {
            return;
        };
        let is_late = self.now - writer.began >= GRACE_HOURS && !writer.takes_locks;
        self.has_overstayed |= is_late;
        if is_late || self.below(4) == 0 {
            return self.tell("a writer gives up");
        }
        let point = writer.backup.finish(SnapshotDraft::default()).unwrap();
        self.tell(&format!("finish: {}", point.id.short()));
        self.main.points.insert(point.id, writer.files);
    }

    /// Whether somebody with a lock works in the main vault.
    fn is_locked(&self) -> bool {
        self.writers.iter().any(|writer| writer.takes_locks)
    }

    fn forget(&mut self) {
        let ids: Vec<Id> = self.main.points.keys().copied().collect();
        let gone: Vec<Id> = ids
            .into_iter()
            .filter(|_| self.random.below(2) == 0)
            .collect();
        let (vault, may_fail) = self.vault();
        let outcome = vault.forget(&gone);
        self.tell(&format!("forget {gone:?}: {outcome:?}"));
        match outcome {
            Ok(_) => assert!(!self.is_locked(), "a writer's lock was passed over"),
            Err(VaultError::Locked(_)) if self.is_locked() => {}
            Err(error) => assert!(may_fail, "{}", common::chain(&error)),
        }
        let listed: Vec<Id> = self.main.listed().iter().map(|point| point.id).collect();
        let is_there = |id: &Id| listed.contains(id) || !gone.contains(id);
        self.main.points.retain(|id, _| is_there(id));
    }

    fn prune(&mut self) {
        let all_take_locks = self.writers.iter().all(|writer| writer.takes_locks);
        let options = PruneOptions {
            max_unused: match self.below(3) {
                0 => MaxUnused::Unlimited,
                1 => MaxUnused::Percent(10),
                _ => MaxUnused::Percent(0),
            },
            max_repack_bytes: (self.below(4) == 0).then_some(1500),
            grace: if all_take_locks && self.below(4) == 0 {
                Grace::None
            } else {
                Grace::default()
            },
            ..eager(hour(self.now))
        };
        let (vault, may_fail) = self.vault();
        let outcome = vault.prune(&options, &Arc::new(Progress::default()));
        self.tell(&match &outcome {
            Ok(report) => format!(
                "prune ({:?}): marked {}, removed {}, took back {}",
                options.grace, report.marked_packs, report.removed_packs, report.taken_back_packs
            ),
            Err(error) => format!("prune: {}", common::chain(error)),
        });
        match outcome {
            Ok(report) => assert!(report.damaged.is_empty(), "{:?}", report.damaged),
            Err(PruneError::InUse { .. }) if self.is_locked() => {}
            Err(error) => assert!(may_fail && !error.is_damage(), "{}", common::chain(&error)),
        }
    }

    /// Copies all points, forgets what the main vault no longer has, and prunes the copy.
    fn copy(&mut self) {
        let (source, may_fail) = self.vault();
        let (target, store) = (&self.copy.world.vault, &self.copy.world.store);
        let (target, store) = (target.clone(), Arc::clone(store));
        let is_target_bad = self.below(3) == 0;
        let target = if is_target_bad {
            self.faulty(&target, store)
        } else {
            target
        };
        let points = self.main.listed();
        let options = CopyOptions {
            threads: Some(1),
            pack_bytes: 2000,
            commit_bytes: 3000,
        };
        let outcome = source.copy_snapshots_to(&target, &points, &options, &Arc::default());
        self.tell(&format!(
            "copy: {:?}",
            outcome.as_ref().map(|r| r.copied.len())
        ));
        match outcome {
            Ok(report) => assert!(report.is_complete(), "{:?}", report.damages),
            Err(error) => assert!(may_fail || is_target_bad, "{}", common::chain(&error)),
        }
        let by_tree: BTreeMap<Id, &Files> = points
            .iter()
            .map(|point| (point.stored.tree, &self.main.points[&point.id]))
            .collect();
        for copied in self.copy.listed() {
            let of_tree = || (*by_tree[&copied.stored.tree]).clone();
            self.copy.points.entry(copied.id).or_insert_with(of_tree);
        }
        let old: Vec<Id> = self.copy.points.keys().copied().collect();
        let old: Vec<Id> = old
            .into_iter()
            .filter(|_| self.random.below(3) == 0)
            .collect();
        self.copy.world.vault.forget(&old).unwrap();
        self.copy.points.retain(|id, _| !old.contains(id));
        world::prune(&self.copy.world.vault, hour(self.now)).unwrap();
    }

    /// What must be so after every sequence.
    fn end(mut self) {
        self.main.assert_holds();
        self.check(Thoroughness::AllData);
        self.copy.assert_holds();
        self.writers.clear();
        // The waste of all that went wrong goes, and nothing else.
        for later in [1, 26, 51] {
            world::prune(&self.main.world.vault, hour(self.now + later)).unwrap();
        }
        self.main.assert_holds();
        self.main.assert_whole(Thoroughness::AllData);
        self.copy.assert_whole(Thoroughness::AllData);
        let options = eager(hour(self.now + 52));
        let plan = self.main.world.vault.plan_prune(&options).unwrap();
        assert_eq!(plan.unused_bytes + plan.duplicate_bytes, 0);
        // Whoever crashed left a lock that nobody can be behind.
        self.main.world.vault.unlock_stale().unwrap();
        assert!(self.main.world.vault.locks().unwrap().is_empty());
    }
}

/// Plays a sequence; a failure tells what led to it.
fn play(seed: u64) {
    let mut model = Model::new(seed);
    let mut story = Vec::new();
    let played = panic::catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..STEPS {
            model.step();
            story.clone_from(&model.story);
        }
        model.end();
    }));
    if let Err(panicked) = played {
        eprintln!("REKINDLE_TEST_SEED={seed}\n{}", story.join("\n"));
        panic::resume_unwind(panicked);
    }
}

#[test]
fn whatever_happens_every_listed_point_holds_what_was_backed_up() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("REKINDLE_TEST_SEED") {
        return play(seed);
    }
    let first = common::random().below(1 << 40) << 20;
    let count = number("REKINDLE_MODEL_SEQUENCES").unwrap_or(SEQUENCES);
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    play(first + number);
                }
            });
        }
    });
}
