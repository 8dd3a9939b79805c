//! Which recovery point tells of a moment.

use jiff::Timestamp;
use rekindle_vault::{Snapshot, Vault};

use crate::{RecoveryError, find_point::find_point};

/// The point that is named; else the first one of the service that was begun after the moment, because the fewest versions
/// have been removed by then; else the newest. Without a moment, the newest.
pub(crate) fn point_of_moment(
    vault: &Vault,
    point: Option<&str>,
    service: &str,
    at: Option<Timestamp>,
) -> Result<Snapshot, RecoveryError> {
    let (None, Some(at)) = (point, at) else {
        return find_point(vault, point.unwrap_or("latest"), Some(service));
    };
    let newest = find_point(vault, "latest", Some(service))?;
    let prefix = format!("/{service}/");
    let (snapshots, failed) = vault.readable_snapshots()?;
    for error in failed {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a recovery point was passed over"
        );
    }
    let first = snapshots
        .into_iter()
        .filter(|snapshot| {
            snapshot
                .stored
                .paths
                .iter()
                .any(|path| path.starts_with(&prefix))
        })
        .filter(|snapshot| snapshot.stored.time >= at)
        .min_by_key(|snapshot| snapshot.stored.time);
    Ok(first.unwrap_or(newest))
}
