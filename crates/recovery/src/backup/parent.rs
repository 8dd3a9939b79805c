//! The points before: what is taken over unread, and what is compared.

use rekindle_vault::{Index, Snapshot, Vault};

use super::{BackupRequest, jobs::wanted};
use crate::{RecoveryError, manifest::Manifest};

/// The newest point of the same machine that has one of the wanted services: most of its files are
/// still the same.
pub(super) fn newest_like(
    snapshots: &[Snapshot],
    request: &BackupRequest<'_>,
) -> Result<Option<Snapshot>, RecoveryError> {
    let services: Vec<_> = wanted(request)?
        .iter()
        .map(|service| format!("/{}/", service.name))
        .collect();
    let host = rekindle_vault::Host::current().name;
    let newest = snapshots.iter().rev().find(|snapshot| {
        let has = |service: &String| {
            snapshot
                .stored
                .paths
                .iter()
                .any(|path| path.starts_with(service))
        };
        snapshot.stored.hostname == host && services.iter().any(has)
    });
    Ok(newest.cloned())
}

pub(super) fn readable_snapshots(vault: &Vault) -> Result<Vec<Snapshot>, RecoveryError> {
    let (snapshots, failed) = vault.readable_snapshots()?;
    for error in failed {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a recovery point was passed over"
        );
    }
    Ok(snapshots)
}

/// A parent whose manifest cannot be read only costs the hints that are in it.
pub(super) fn previous_manifest(
    vault: &Vault,
    index: &Index,
    snapshot: &Snapshot,
) -> Option<Manifest> {
    Manifest::read(vault, index, snapshot)
        .inspect_err(|error| tracing::debug!(%error, "the parent has no manifest"))
        .ok()
}
