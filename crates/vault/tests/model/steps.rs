//! The steps of a sequence, each by the vault and by the model.

use std::{collections::BTreeMap, io::ErrorKind, sync::Arc};

use rekindle_testing::data::Random;
use rekindle_vault::{
    CopyOptions, Grace, Id, MaxUnused, Progress, PruneError, PruneOptions, SnapshotDraft, Store,
    Thoroughness, Vault, VaultError,
    store::{Fault, FaultyStore},
};

use crate::{
    common,
    meanwhile::{Deed, Done, Meanwhile, Writer},
    referee,
    side::Side,
    world::{self, Files, World, eager, fill, hour},
};

/// Clocks of those who prune differ from the true time by at most so much.
const SKEW_HOURS: i64 = 2;
/// A writer without locks that ends within the grace loses nothing, if one slow clock marks and one
/// fast clock removes.
const SAFE_HOURS: i64 = 24 - 2 * SKEW_HOURS;
/// Stock restic looks at one sequence of so many: it takes as long as a hundred sequences.
const RESTIC_EVERY: u64 = 256;

pub struct Model {
    seed: u64,
    random: Random,
    main: Side,
    copy: Side,
    writers: Vec<Writer>,
    now: i64,
    /// A writer without locks gave up after the grace, and has listed packs that were removed.
    has_overstayed: bool,
    /// A writer without locks has committed, and may count on packs that were marked meanwhile.
    counts_on_marks: bool,
    pub story: Vec<String>,
}

/// The vault as a step uses it.
struct Used {
    vault: Vault,
    /// Whether it may fail for no reason of the step's own.
    may_fail: bool,
    meanwhile: Option<Meanwhile>,
    /// Whether somebody with a lock worked in it when the step began.
    was_locked: bool,
}

impl Model {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Random::new(seed),
            main: Side::new(World::new()),
            copy: Side::new(World::other()),
            writers: Vec::new(),
            now: 0,
            has_overstayed: false,
            counts_on_marks: false,
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

    /// The vault as the next step uses it: sometimes its store fails, sometimes somebody else does
    /// something in the middle.
    fn vault(&mut self) -> Used {
        let vault = self.main.world.vault.clone();
        let store = Arc::clone(&self.main.world.store) as Arc<dyn Store>;
        let was_locked = self.is_locked();
        let mut used = Used {
            vault,
            may_fail: false,
            meanwhile: None,
            was_locked,
        };
        match self.below(3) {
            0 => {
                used.vault = self.faulty(&used.vault, store);
                used.may_fail = true;
            }
            1 => {
                let (at, deed) = (self.below(70), self.deed());
                self.tell(&format!("somebody at {at}: {}", deed.name()));
                let (vault, meanwhile) = Meanwhile::plan(&used.vault, store, at, deed);
                used.vault = vault;
                used.meanwhile = Some(meanwhile);
            }
            _ => {}
        }
        used
    }

    fn deed(&mut self) -> Deed {
        match self.below(6) {
            0 => Deed::Prune(self.prune_options()),
            1 => Deed::Forget(self.some_points()),
            2 | 3 if self.writers.last().is_some_and(|w| !self.is_late(w)) => {
                Deed::Finish(Box::new(self.writers.pop().unwrap()))
            }
            _ => Deed::BackUp(self.files()),
        }
    }

    /// Takes what somebody else has done. Who met a lock did nothing. Returns whether a writer
    /// without locks has committed.
    fn take_meanwhile(&mut self, used: &Used) -> bool {
        let Some(done) = used.meanwhile.as_ref().and_then(Meanwhile::take) else {
            return false;
        };
        match done {
            Done::BackedUp(Ok(point), files) => {
                self.tell(&format!("meanwhile: backup {}", point.id.short()));
                self.main.points.insert(point.id, files);
            }
            Done::BackedUp(Err(error), _) => {
                assert!(error.to_string().contains("locked"), "{error}");
            }
            Done::Finished {
                outcome,
                files,
                takes_locks,
            } => {
                let point = outcome.unwrap();
                self.tell(&format!("meanwhile: finish {}", point.id.short()));
                self.main.points.insert(point.id, files);
                self.counts_on_marks |= !takes_locks;
                return !takes_locks;
            }
            Done::Forgot(Ok(_), gone) => {
                self.tell(&format!("meanwhile: forget {gone:?}"));
                self.main.points.retain(|id, _| !gone.contains(id));
            }
            Done::Forgot(Err(VaultError::Locked(_)), _)
            | Done::Pruned(Ok(_) | Err(PruneError::InUse { .. } | PruneError::NoPoints { .. })) => {
            }
            Done::Forgot(Err(error), _) => panic!("{}", common::chain(&error)),
            Done::Pruned(Err(error)) => panic!("{}", common::chain(&error)),
        }
        false
    }

    pub fn step(&mut self) {
        match self.below(21) {
            0..5 => self.back_up(),
            5 | 6 => self.begin(),
            7 | 8 => self.finish(),
            9..12 => self.forget(),
            12..16 => self.prune(),
            16 => self.copy(),
            17 => self.check(Thoroughness::Structure),
            18 => self.rebuild_index(),
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
        if !self.counts_on_marks {
            self.main.assert_readable_by_all();
        }
    }

    fn back_up(&mut self) {
        let files = self.files();
        let used = self.vault();
        let outcome = world::back_up(&used.vault, &files);
        self.tell(&format!("backup: {:?}", outcome.as_ref().map(|p| p.id)));
        self.take_meanwhile(&used);
        match outcome {
            Ok(point) => drop(self.main.points.insert(point.id, files)),
            Err(error) => {
                assert!(used.may_fail, "{}", common::chain(&error));
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

    fn is_late(&self, writer: &Writer) -> bool {
        self.now - writer.began >= SAFE_HOURS && !writer.takes_locks
    }

    fn finish(&mut self) {
        let Some(writer) = self.writers.pop() else {
            return;
        };
        let is_late = self.is_late(&writer);
        self.has_overstayed |= is_late;
        if is_late || self.below(4) == 0 {
            return self.tell("a writer gives up");
        }
        let point = writer.backup.finish(SnapshotDraft::default()).unwrap();
        self.tell(&format!("finish: {}", point.id.short()));
        self.main.points.insert(point.id, writer.files);
        self.counts_on_marks |= !writer.takes_locks;
    }

    /// Whether somebody with a lock works in the main vault.
    fn is_locked(&self) -> bool {
        self.writers.iter().any(|writer| writer.takes_locks)
    }

    fn some_points(&mut self) -> Vec<Id> {
        let ids: Vec<Id> = self.main.points.keys().copied().collect();
        ids.into_iter()
            .filter(|_| self.random.below(2) == 0)
            .collect()
    }

    fn forget(&mut self) {
        let gone = self.some_points();
        let used = self.vault();
        let outcome = used.vault.forget(&gone);
        self.tell(&format!("forget {gone:?}: {outcome:?}"));
        self.take_meanwhile(&used);
        match outcome {
            Ok(_) => assert!(!self.is_locked(), "a writer's lock was passed over"),
            Err(VaultError::Locked(_)) if used.was_locked => {}
            Err(error) => assert!(used.may_fail, "{}", common::chain(&error)),
        }
        let listed: Vec<Id> = self.main.listed().iter().map(|point| point.id).collect();
        let is_there = |id: &Id| listed.contains(id) || !gone.contains(id);
        self.main.points.retain(|id, _| is_there(id));
    }

    fn prune_options(&mut self) -> PruneOptions {
        let all_take_locks = self.writers.iter().all(|writer| writer.takes_locks);
        let skew = i64::try_from(self.below(2 * SKEW_HOURS.unsigned_abs() + 1)).unwrap();
        PruneOptions {
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
            ..eager(hour(self.now + skew - SKEW_HOURS))
        }
    }

    fn prune(&mut self) {
        let options = self.prune_options();
        let had_points = !self.main.points.is_empty();
        let used = self.vault();
        let outcome = used.vault.prune(&options, &Arc::new(Progress::default()));
        self.tell(&match &outcome {
            Ok(report) => format!(
                "prune ({:?}): marked {}, removed {}, took back {}",
                options.grace, report.marked_packs, report.removed_packs, report.taken_back_packs
            ),
            Err(error) => format!("prune: {}", common::chain(error)),
        });
        let committed_without_lock = self.take_meanwhile(&used);
        match outcome {
            Ok(report) => {
                assert!(report.damaged.is_empty(), "{:?}", report.damaged);
                self.counts_on_marks = committed_without_lock;
                if !self.counts_on_marks {
                    self.main.assert_readable_by_all();
                }
            }
            Err(PruneError::InUse { .. }) if used.was_locked => {}
            Err(PruneError::NoPoints { .. }) if !had_points || self.main.points.is_empty() => {}
            Err(error) => assert!(
                used.may_fail && !error.is_damage(),
                "{}",
                common::chain(&error)
            ),
        }
    }

    /// The index made anew from what packs say of themselves.
    fn rebuild_index(&mut self) {
        let used = self.vault();
        let outcome = used.vault.rebuild_index(&Arc::default());
        let written = outcome.as_ref().map(|report| report.written.len());
        self.tell(&format!("rebuild index: {written:?}"));
        self.take_meanwhile(&used);
        match outcome {
            Ok(report) => assert!(report.left.is_empty() && report.set_aside.is_empty()),
            Err(VaultError::Locked(_)) if used.was_locked => {}
            // All that the index names is gone, and no point needs it.
            Err(VaultError::Damaged { .. }) if self.has_overstayed => {}
            Err(error) => assert!(used.may_fail, "{}", common::chain(&error)),
        }
    }

    /// Copies all points, forgets what the main vault no longer has, and prunes the copy.
    fn copy(&mut self) {
        let points = self.main.listed();
        let by_tree: BTreeMap<Id, Files> = points
            .iter()
            .map(|point| (point.stored.tree, self.main.points[&point.id].clone()))
            .collect();
        let source = self.vault();
        let (target, store) = (&self.copy.world.vault, &self.copy.world.store);
        let (target, store) = (target.clone(), Arc::clone(store));
        let is_target_bad = self.below(3) == 0;
        let target = if is_target_bad {
            self.faulty(&target, store)
        } else {
            target
        };
        let options = CopyOptions {
            threads: Some(1),
            pack_bytes: 2000,
            commit_bytes: 3000,
        };
        let outcome = source
            .vault
            .copy_snapshots_to(&target, &points, &options, &Arc::default());
        self.tell(&format!(
            "copy: {:?}",
            outcome.as_ref().map(|r| r.copied.len())
        ));
        self.take_meanwhile(&source);
        match outcome {
            Ok(report) => assert!(report.is_complete(), "{:?}", report.damages),
            Err(error) => assert!(
                source.may_fail || is_target_bad,
                "{}",
                common::chain(&error)
            ),
        }
        for copied in self.copy.listed() {
            let of_tree = || by_tree[&copied.stored.tree].clone();
            self.copy.points.entry(copied.id).or_insert_with(of_tree);
        }
        self.forget_in_copy();
        self.copy.prune(self.now);
    }

    fn forget_in_copy(&mut self) {
        let old: Vec<Id> = self.copy.points.keys().copied().collect();
        let old: Vec<Id> = old
            .into_iter()
            .filter(|_| self.random.below(3) == 0)
            .collect();
        self.copy.world.vault.forget(&old).unwrap();
        self.copy.points.retain(|id, _| !old.contains(id));
    }

    /// What must be so after every sequence.
    pub fn end(&mut self) {
        let has_referee = self.seed.is_multiple_of(RESTIC_EVERY);
        self.main.assert_holds();
        self.check(Thoroughness::AllData);
        self.copy.assert_holds();
        if has_referee && !self.has_overstayed && !self.counts_on_marks {
            referee::assert_read_by_restic(&self.main);
        }
        self.writers.clear();
        // The waste of all that went wrong goes, and nothing else.
        for later in [1, 26, 51] {
            self.main.prune(self.now + SKEW_HOURS + later);
        }
        self.main.assert_holds();
        self.main.assert_whole(Thoroughness::AllData);
        self.main.assert_readable_by_all();
        self.copy.assert_whole(Thoroughness::AllData);
        let options = eager(hour(self.now + SKEW_HOURS + 52));
        let plan = self.main.world.vault.plan_prune(&options).unwrap();
        assert_eq!(plan.unused_bytes + plan.duplicate_bytes, 0);
        if has_referee {
            referee::assert_read_by_restic(&self.main);
            referee::assert_read_by_restic(&self.copy);
        }
        // Whoever crashed left a lock that nobody can be behind.
        self.main.world.vault.unlock_stale().unwrap();
        assert!(self.main.world.vault.locks().unwrap().is_empty());
    }
}
