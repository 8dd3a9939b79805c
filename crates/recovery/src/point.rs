//! Recovery points as they are listed.

use jiff::Timestamp;
use rekindle_vault::{Difference, Id, Snapshot, Vault};
use serde::Serialize;

use crate::{RecoveryError, find_point::find_point, manifest::Manifest};

/// The tag of points that are made of dumps from elsewhere. They never count as the newest state of
/// a service: how old their data is, nobody knows.
pub(crate) const IMPORTED: &str = "imported";

/// How far it is proven that a point can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All bytes were acknowledged by the store.
    Stored,
    /// Read back; every hash matches.
    Checked,
    /// A real server started on it in isolation.
    Restored,
    /// Checks of the data passed.
    Queried,
    /// All datasets together, with references between them.
    Whole,
}

impl Level {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Checked => "checked",
            Self::Restored => "restored",
            Self::Queried => "queried",
            Self::Whole => "whole",
        }
    }
}

/// A recovery point in a list.
#[derive(Clone, Debug, Serialize)]
pub struct PointSummary {
    /// restic's snapshot id.
    pub id: Id,
    /// When the backup began.
    pub time: Timestamp,
    /// What is in it: `<service>/<kind>`.
    pub datasets: Vec<String>,
    /// How far it is proven.
    pub level: Level,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Bytes that it added to the vault.
    pub added_bytes: u64,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The machine that made it.
    pub host: String,
}

impl PointSummary {
    /// Whether it is made of dumps from elsewhere.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.tags.iter().any(|tag| tag == IMPORTED)
    }

    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let stored = &snapshot.stored;
        let summary = stored.summary.clone().unwrap_or_default();
        let own = |path: &String| path.trim_start_matches('/').to_owned();
        Self {
            id: snapshot.id,
            time: stored.time,
            datasets: stored.paths.iter().map(own).collect(),
            level: Level::Stored,
            size_bytes: summary.total_bytes_processed,
            added_bytes: summary.data_added_packed,
            tags: stored.tags.clone(),
            host: stored.hostname.clone(),
        }
    }
}

/// All points, and those that cannot be read.
#[derive(Clone, Debug, Serialize)]
pub struct PointList {
    /// Oldest first.
    pub points: Vec<PointSummary>,
    /// Why others cannot be read.
    pub unreadable: Vec<String>,
}

/// Everything of one point.
#[derive(Clone, Debug, Serialize)]
pub struct PointDetail {
    /// As in the list.
    #[serde(flatten)]
    pub summary: PointSummary,
    /// What it says of itself; `None` if it was not made by this program.
    pub manifest: Option<Manifest>,
}

/// Lists all points.
///
/// # Errors
/// As the store failed to list; single unreadable points are in the result.
pub fn points(vault: &Vault) -> Result<PointList, RecoveryError> {
    let (snapshots, failed) = vault.readable_snapshots()?;
    Ok(PointList {
        points: snapshots.iter().map(PointSummary::of).collect(),
        unreadable: failed.iter().map(ToString::to_string).collect(),
    })
}

/// Tells everything of the point `wanted`: an id, the beginning of one, a tag, `@` and a time, or `latest`.
///
/// # Errors
/// If there is no such point, or the vault cannot be read.
pub fn show_point(vault: &Vault, wanted: &str) -> Result<PointDetail, RecoveryError> {
    let snapshot = find_point(vault, wanted, None)?;
    let (index, _) = vault.load_readable_index()?;
    let manifest = match Manifest::read(vault, &index, &snapshot) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            tracing::debug!(%error, "the point has no manifest");
            None
        }
    };
    Ok(PointDetail {
        summary: PointSummary::of(&snapshot),
        manifest,
    })
}

/// Compares two points, file by file.
///
/// # Errors
/// If one of them is not there, or the vault cannot be read.
pub fn diff_points(vault: &Vault, old: &str, new: &str) -> Result<Vec<Difference>, RecoveryError> {
    let (old, new) = (find_point(vault, old, None)?, find_point(vault, new, None)?);
    Ok(vault.diff(&vault.load_index()?, &old, &new)?)
}
