//! A vault, and what its points must hold.

use std::{collections::BTreeMap, sync::Arc};

use rekindle_vault::{Grace, Id, PruneOptions, Snapshot, Thoroughness};

use crate::{
    common,
    world::{Files, World, contents, counted_on_leaving, eager, hour},
};

pub struct Side {
    pub world: World,
    pub points: BTreeMap<Id, Files>,
}

impl Side {
    pub fn new(world: World) -> Self {
        let points = BTreeMap::new();
        Self { world, points }
    }

    pub fn listed(&self) -> Vec<Snapshot> {
        self.world.vault.snapshots().unwrap()
    }

    /// Each listed point is one of the model's, and holds what it must.
    pub fn assert_holds(&self) {
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

    pub fn assert_whole(&self, thoroughness: Thoroughness) {
        let report = common::check(&self.world.vault, thoroughness);
        assert!(report.is_whole(), "{:?} {:?}", report.problems, report.hits);
    }

    /// Nothing is lost that a point needs.
    pub fn assert_unhurt(&self, thoroughness: Thoroughness) {
        let report = common::check(&self.world.vault, thoroughness);
        assert!(
            report.hits.is_empty(),
            "{:?} {:?}",
            report.problems,
            report.hits
        );
        assert_eq!(report.whole_snapshots.len(), self.points.len());
    }

    /// Prunes all waste, while nobody works here. Where there is no point, that is to be asked for.
    pub fn prune(&self, now: i64) {
        let options = PruneOptions {
            grace: if self.points.is_empty() {
                Grace::None
            } else {
                Grace::default()
            },
            ..eager(hour(now))
        };
        self.world.vault.prune(&options, &Arc::default()).unwrap();
    }

    /// Every point can be read by programs that know nothing of packs on their way out.
    pub fn assert_readable_by_all(&self) {
        let lost = counted_on_leaving(&self.world.vault);
        assert!(lost.is_empty(), "a point counts on what leaves: {lost:?}");
    }
}
