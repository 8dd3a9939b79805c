//! What the vault and this machine say, gathered for the choice.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use rekindle_datasets::with_causes;
use rekindle_stack::Stack;
use rekindle_vault::{Holds, Id, Snapshot, Vault};

use super::{Block, Circumstances, ForgetGuard, RetentionPoint, RetentionPolicy};
use crate::{PointSummary, RecoveryError, in_place, services_with_postgres, wal};

/// Everything that [`super::decide`] needs.
pub(super) struct Facts {
    pub points: Vec<RetentionPoint>,
    pub circumstances: Circumstances,
    pub unreadable: Vec<String>,
    pub holds: Holds,
}

impl Facts {
    pub fn gather(
        vault: &Vault,
        stack: &Stack,
        policy: &RetentionPolicy,
        now: Timestamp,
    ) -> Result<Self, RecoveryError> {
        let (snapshots, failed) = vault.readable_snapshots()?;
        let needed = needed_by_wal(vault, stack, policy, &snapshots, now)?;
        let mut blocks = open_recoveries(stack, vault);
        // Last, because one may be made at any time, and none must be overlooked.
        let holds = vault.holds()?;
        blocks.extend(blocks_of(&holds, now));
        let points = snapshots.iter().map(|snapshot| {
            let summary = PointSummary::of(snapshot);
            RetentionPoint {
                id: summary.id,
                time: summary.time,
                level: summary.level,
                is_imported: summary.is_imported(),
                datasets: summary.datasets,
                tags: summary.tags,
                holds: holds.on(snapshot, now),
                wal: needed.get(&snapshot.id).cloned().unwrap_or_default(),
            }
        });
        Ok(Self {
            points: points.collect(),
            circumstances: Circumstances {
                now,
                zone: TimeZone::system(),
                services: protected_services(stack),
                blocks,
            },
            unreadable: failed.iter().map(|error| with_causes(error)).collect(),
            holds,
        })
    }
}

fn protected_services(stack: &Stack) -> std::collections::BTreeSet<String> {
    let services = stack.services.iter();
    services
        .filter(|service| !service.datasets.is_empty())
        .map(|service| service.name.to_string())
        .collect()
}

fn blocks_of(holds: &Holds, now: Timestamp) -> Vec<Block> {
    let block = |text: String| Block {
        guard: Some(ForgetGuard::Hold),
        text,
    };
    let whole = holds.on_all(now);
    let whole = whole
        .iter()
        .map(|name| block(format!("hold `{name}` on the whole vault")));
    let unreadable = holds
        .unreadable
        .iter()
        .map(|text| block(format!("nobody knows what it is about: {text}")));
    whole.chain(unreadable).collect()
}

fn open_recoveries(stack: &Stack, vault: &Vault) -> Vec<Block> {
    let open = in_place::open_recoveries(stack, vault).into_iter();
    open.map(|text| Block {
        guard: Some(ForgetGuard::OpenRecovery),
        text,
    })
    .collect()
}

/// The base backups that moments within each service's `retention.wal` begin from.
fn needed_by_wal(
    vault: &Vault,
    stack: &Stack,
    policy: &RetentionPolicy,
    snapshots: &[Snapshot],
    now: Timestamp,
) -> Result<BTreeMap<Id, Vec<String>>, RecoveryError> {
    let mut needed: BTreeMap<Id, Vec<String>> = BTreeMap::new();
    for service in services_with_postgres(stack) {
        let Some(period) = policy.wal_of(&service) else {
            continue;
        };
        match wal::needed_bases(vault, &service, period, now)? {
            wal::NeededBases::These(bases) => {
                for (id, text) in bases {
                    needed.entry(id).or_default().push(text);
                }
            }
            wal::NeededBases::All(text) => {
                let path = format!("/{service}/postgres");
                let of_it = snapshots.iter().filter(|s| s.stored.paths.contains(&path));
                for snapshot in of_it {
                    needed.entry(snapshot.id).or_default().push(text.clone());
                }
            }
        }
    }
    Ok(needed)
}
