//! Watches a backup: gathers figures while it runs, and holds them against the points before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use rekindle_datasets::{DatasetRecord, with_causes};
use rekindle_stack::Stack;
use rekindle_vault::{
    AddedBytes, Backup, BackupError, Id, Index, Snapshot, TreeChange, TreePath, Vault,
};

use super::{
    Figures, Limits, Suspicion, Tripped, TripwireRecord, Verdict, judge,
    tripped::{hold_what_was_there, standing},
};
use crate::{DatasetEntry, PointSummary, RecoveryError, manifest::Manifest};

/// Looks at each dataset that was captured.
pub(crate) struct Watch<'a> {
    vault: &'a Vault,
    stack: &'a Stack,
    predecessors: Predecessors<'a>,
    held: Held,
    found: BTreeMap<String, Vec<Suspicion>>,
}

/// The services on which a hold of the tripwire stands.
enum Held {
    These(BTreeSet<String>),
    /// Nobody knows; what was suspicious counts as not accepted.
    Unknown(String),
}

impl<'a> Watch<'a> {
    /// To be told the readable points of the vault, oldest first.
    pub fn new(vault: &'a Vault, stack: &'a Stack, snapshots: Vec<Snapshot>) -> Self {
        Self {
            vault,
            stack,
            predecessors: Predecessors::new(vault, &stack.name, snapshots),
            held: Held::look(vault),
            found: BTreeMap::new(),
        }
    }

    /// Judges a dataset that was captured and that added so much; `None` if its tripwire is off. Without a
    /// point to compare it with, or if that cannot be read, it counts as a first one: the backup
    /// goes on.
    ///
    /// # Errors
    /// Only for a path that is none.
    pub fn look(
        &mut self,
        backup: &Backup,
        entry: &DatasetEntry,
        added: AddedBytes,
    ) -> Result<Option<TripwireRecord>, RecoveryError> {
        let (path, service) = (entry.path.as_str(), entry.service.as_str());
        let settings = self.stack.service(service);
        let settings = settings.map(|service| self.stack.tripwire_of(service));
        let Some(limits) = settings.and_then(|s| Limits::of(&s, entry.record.kind())) else {
            return Ok(None);
        };
        let at = TreePath::new(path).map_err(BackupError::from)?;
        let without = restless(path, &entry.record)?;
        let before = self.predecessors.of(backup.index(), path);
        let change = before
            .as_ref()
            .and_then(|(snapshot, _)| change(backup, snapshot, &at, &without));
        let below = backup.files_below(&at, &without);
        let before = before.and_then(|(_, manifest)| manifest.tripwire_at(path).cloned());
        let history = before.map_or_else(Vec::new, |record| {
            record.history_of_next(self.held.is_held(service))
        });
        let mut now = Figures::new(backup.started(), below, added, change);
        let suspicions = judge(&history, &now, &limits);
        if !suspicions.is_empty() {
            now.verdict = Verdict::Suspicious;
        }
        let record = TripwireRecord {
            now: Some(now),
            history,
            suspicions: suspicions.iter().map(ToString::to_string).collect(),
        };
        if !suspicions.is_empty() {
            let found = self.found.entry(service.to_owned()).or_default();
            found.extend(suspicions);
        }
        Ok(Some(record))
    }

    /// Keeps what was there before, of each service that is suspicious, and tells of those on which
    /// an earlier hold still stands. To be called before the point is committed, so that it is never
    /// there without the hold.
    pub fn keep(self, manifest: &Manifest) -> Vec<Tripped> {
        let Self {
            vault, held, found, ..
        } = self;
        let services = manifest.datasets.iter().map(|entry| &entry.service);
        let standing =
            services.filter(|service| held.stands(service) && !found.contains_key(*service));
        let standing: BTreeSet<String> = standing.cloned().collect();
        let now = found
            .into_iter()
            .map(|(service, suspicions)| hold_what_was_there(vault, &service, suspicions));
        let mut tripped: Vec<Tripped> = now.collect();
        tripped.extend(standing.into_iter().map(Tripped::earlier));
        tripped
    }
}

impl Held {
    fn look(vault: &Vault) -> Self {
        match vault.holds() {
            Ok(holds) if holds.unreadable.is_empty() => {
                let standing = standing(holds.all, Timestamp::now());
                Self::These(standing.into_iter().map(|hold| hold.service).collect())
            }
            Ok(holds) => Self::Unknown(holds.unreadable.join("; ")),
            Err(error) => Self::Unknown(with_causes(&error)),
        }
        .told()
    }

    fn told(self) -> Self {
        if let Self::Unknown(reason) = &self {
            tracing::warn!(reason, "which holds stand is not known");
        }
        self
    }

    fn is_held(&self, service: &str) -> bool {
        match self {
            Self::These(services) => services.contains(service),
            Self::Unknown(_) => true,
        }
    }

    fn stands(&self, service: &str) -> bool {
        matches!(self, Self::These(services) if services.contains(service))
    }
}

/// How much changed; `None` if nobody can say.
fn change(
    backup: &Backup,
    before: &Snapshot,
    at: &TreePath,
    without: &[TreePath],
) -> Option<TreeChange> {
    let compared = backup.change_since(before, at, without);
    compared
        .inspect_err(|error| {
            let error = with_causes(error);
            tracing::warn!(%error, %at, "how much changed since the last point is not known");
        })
        .ok()
        .flatten()
}

/// Points of other stacks with a service of the same name that are passed over in search of ours.
const MOST_TRIED: usize = 5;

/// The points that a backup's datasets are compared with.
struct Predecessors<'a> {
    vault: &'a Vault,
    stack: &'a str,
    snapshots: Vec<Snapshot>,
    manifests: HashMap<Id, Option<Manifest>>,
}

impl<'a> Predecessors<'a> {
    fn new(vault: &'a Vault, stack: &'a str, snapshots: Vec<Snapshot>) -> Self {
        Self {
            vault,
            stack,
            snapshots,
            manifests: HashMap::new(),
        }
    }

    /// The newest point that has the dataset at `path` of the same stack, and its manifest.
    fn of(&mut self, index: &Index, path: &str) -> Option<(Snapshot, Manifest)> {
        let in_tree = format!("/{path}");
        let has = |snapshot: &&Snapshot| {
            snapshot.stored.paths.contains(&in_tree) && !PointSummary::of(snapshot).is_imported()
        };
        let newest_first = self.snapshots.iter().rev().filter(has).take(MOST_TRIED);
        let newest_first: Vec<Snapshot> = newest_first.cloned().collect();
        newest_first.into_iter().find_map(|snapshot| {
            let manifest = self.manifest(index, &snapshot)?;
            (manifest.stack == self.stack).then_some((snapshot, manifest))
        })
    }

    fn manifest(&mut self, index: &Index, snapshot: &Snapshot) -> Option<Manifest> {
        if let Some(known) = self.manifests.get(&snapshot.id) {
            return known.clone();
        }
        let manifest = Manifest::read(self.vault, index, snapshot)
            .inspect_err(|error| tracing::debug!(%error, "a point has no manifest"))
            .ok();
        self.manifests.insert(snapshot.id, manifest.clone());
        manifest
    }
}

/// What is never the same from one point to the next.
fn restless(path: &str, record: &DatasetRecord) -> Result<Vec<TreePath>, RecoveryError> {
    let names: &[&str] = match record {
        DatasetRecord::Postgres(_) => &["base/pg_wal"],
        _ => &[],
    };
    let paths = names
        .iter()
        .map(|name| TreePath::new(format!("{path}/{name}")));
    let paths: Result<_, _> = paths.collect();
    Ok(paths.map_err(BackupError::from)?)
}
