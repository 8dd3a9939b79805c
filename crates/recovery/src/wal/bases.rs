//! The base backups that recovery can begin from.

use jiff::Timestamp;
use rekindle_datasets::postgres::PostgresRecord;
use rekindle_postgres::{Lsn, SegmentSize, Timeline};
use rekindle_vault::{Id, Snapshot, Vault};

use crate::{RecoveryError, manifest::Manifest};

/// A recovery point that holds a base backup of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePoint {
    /// The point.
    pub id: Id,
    /// Where its dataset lies in the point.
    pub path: String,
    /// Which cluster it is of.
    pub system: u64,
    /// The server's major version.
    pub major: u32,
    /// Bytes of the cluster's WAL segments.
    pub segment_size: SegmentSize,
    /// The timeline of both places.
    pub timeline: Timeline,
    /// Where replay begins.
    pub start: Lsn,
    /// Where it is consistent.
    pub stop: Lsn,
    /// When it was, by the clock of the machine that made it.
    pub stop_time: Timestamp,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The base backups of a service, oldest first, and which points could not be looked into.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bases {
    pub points: Vec<BasePoint>,
    pub unreadable: Vec<String>,
}

impl Bases {
    /// Reads the manifests of all points that have something of the service.
    pub fn read(vault: &Vault, service: &str) -> Result<Self, RecoveryError> {
        let (snapshots, failed) = vault.readable_snapshots()?;
        let mut bases = Self {
            unreadable: failed
                .iter()
                .map(|error| rekindle_datasets::with_causes(error))
                .collect(),
            ..Self::default()
        };
        let path = format!("/{service}/postgres");
        let of_service = |snapshot: &Snapshot| snapshot.stored.paths.contains(&path);
        let snapshots: Vec<_> = snapshots.into_iter().filter(of_service).collect();
        if snapshots.is_empty() {
            return Ok(bases);
        }
        let (index, _) = vault.load_readable_index()?;
        for snapshot in &snapshots {
            match Manifest::read(vault, &index, snapshot) {
                Ok(manifest) => bases.points.extend(base_of(&manifest, service, snapshot)),
                Err(error) => bases
                    .unreadable
                    .push(rekindle_datasets::with_causes(&error)),
            }
        }
        bases.points.sort_by_key(|base| base.stop_time);
        Ok(bases)
    }

    /// The cluster that the newest point is of; a service may have been set up anew.
    pub fn newest_system(&self) -> Option<u64> {
        self.points.last().map(|base| base.system)
    }

    /// The points of one cluster.
    pub fn of_system(&self, system: u64) -> Vec<BasePoint> {
        let same = self.points.iter().filter(|base| base.system == system);
        same.cloned().collect()
    }
}

fn base_of(manifest: &Manifest, service: &str, snapshot: &Snapshot) -> Option<BasePoint> {
    let (entry, record) = manifest.postgres(service)?;
    let PostgresRecord {
        identity, physical, ..
    } = record;
    let physical = physical.as_ref()?;
    Some(BasePoint {
        id: snapshot.id,
        path: entry.path.clone(),
        system: identity.system_identifier,
        major: identity.major,
        segment_size: identity.wal_segment_size,
        timeline: physical.timeline,
        start: physical.start_lsn,
        stop: physical.stop_lsn,
        stop_time: physical.stop_time,
        bytes: physical.bytes,
    })
}
