//! What a restore to a moment would do.

use std::path::PathBuf;

use rekindle_postgres::{SegmentSize, Timeline};
use rekindle_vault::{Snapshot, Vault, WalArchive};
use serde::Serialize;

use super::{
    archive::ArchiveView,
    bases::{BasePoint, Bases},
    choose::{Chosen, TargetError, Wanted, choose},
    moments::{self, ArchiveTimes},
    target::{RecoveryTarget, RestoreAtRequest},
    windows::Moment,
};
use crate::{PointSummary, RecoveryError, restore::free_bytes};

/// What a restore to a moment would do.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreAtPlan {
    /// The service.
    pub service: String,
    /// The moment, in words; times in UTC.
    pub target: String,
    /// Whether the target itself is part of it.
    pub inclusive: bool,
    /// The recovery point that it begins from.
    pub point: PointSummary,
    /// The server's major version.
    pub major: u32,
    /// The end of its base backup.
    pub base: Moment,
    /// The timelines that are followed, oldest first.
    pub timelines: Vec<Timeline>,
    /// Where it ends, as far as that is known beforehand.
    pub end: Moment,
    /// WAL files that are fetched from the archive.
    pub wal_segments: u64,
    /// Bytes of the base backup's files.
    pub base_bytes: u64,
    /// Bytes of WAL.
    pub wal_bytes: u64,
    /// Where it would go.
    pub to: PathBuf,
    /// Free bytes there; `None` if that cannot be asked.
    pub free_bytes: Option<u64>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What would be done, in order.
    pub steps: Vec<String>,
}

/// The way to a moment, and where it is fetched from.
pub(crate) struct Prepared {
    pub snapshot: Snapshot,
    pub archive: Option<WalArchive>,
    pub view: ArchiveView,
    pub chosen: Chosen,
}

/// Says what a restore to a moment would do.
///
/// # Errors
/// [`RecoveryError::Target`] if the moment cannot be restored, with the nearest that can.
pub fn plan_restore_at(
    vault: &Vault,
    request: &RestoreAtRequest,
) -> Result<RestoreAtPlan, RecoveryError> {
    let prepared = prepare(vault, request)?;
    Ok(describe(&prepared, request))
}

/// Finds the way to the moment. Nothing is written.
pub(crate) fn prepare(
    vault: &Vault,
    request: &RestoreAtRequest,
) -> Result<Prepared, RecoveryError> {
    let bases = Bases::read(vault, &request.service)?;
    let point = match &request.point {
        Some(point) => Some(vault.find_snapshot(point)?.id),
        None => None,
    };
    let Some((system, size)) = cluster(&bases, point) else {
        let service = request.service.clone();
        return Err(match point {
            Some(point) => TargetError::NotABase { point, service },
            None => TargetError::NoBase { service },
        }
        .into());
    };
    let archive = moments::archive_of(vault)?;
    let view = moments::view(archive.as_ref(), system, size)?;
    let times = ArchiveTimes::new(archive.clone(), system, size);
    let wanted = Wanted {
        service: &request.service,
        target: &request.target,
        timeline: request.timeline,
        inclusive: request.inclusive,
        point,
    };
    let chosen = choose(&view, &bases.of_system(system), &wanted, &times)?;
    let snapshot = vault.find_snapshot(&chosen.base.id.to_string())?;
    Ok(Prepared {
        snapshot,
        archive,
        view,
        chosen,
    })
}

/// The cluster of the point that was named, else that of the newest one.
fn cluster(bases: &Bases, point: Option<rekindle_vault::Id>) -> Option<(u64, SegmentSize)> {
    let is_meant = |base: &&BasePoint| point.is_none_or(|point| base.id == point);
    let base = bases.points.iter().rev().find(is_meant)?;
    Some((base.system, base.segment_size))
}

impl Prepared {
    /// WAL files to fetch.
    pub fn wal_files(&self) -> u64 {
        self.chosen.segments.len() as u64 + u64::from(self.chosen.partial.is_some())
    }

    /// What they take up on disk.
    pub fn wal_bytes(&self) -> u64 {
        self.wal_files() * self.view.size().bytes()
    }

    /// The timelines of the way.
    fn timelines(&self) -> Vec<Timeline> {
        let lineage = &self.chosen.lineage;
        let from = self.chosen.base.timeline;
        let all = lineage.entries().iter().map(|entry| entry.timeline);
        all.chain([lineage.timeline()])
            .skip_while(|timeline| *timeline != from)
            .collect()
    }
}

fn describe(prepared: &Prepared, request: &RestoreAtRequest) -> RestoreAtPlan {
    let chosen = &prepared.chosen;
    let to = request.to.display();
    let wal_segments = prepared.wal_files();
    let mut steps = vec![
        format!("make sure that {to} is empty and has room; mark it as unfinished"),
        "restore the base backup, every blob verified against its hash".to_owned(),
    ];
    if wal_segments > 0 {
        steps.push(format!(
            "fetch {wal_segments} WAL file(s) into pg_wal, so that replay needs no network"
        ));
    }
    steps.push("write the recovery settings and recovery.signal".to_owned());
    steps
        .push("name global/pg_control, without which no server starts; remove the mark".to_owned());
    let ends = match (&request.target, request.inclusive) {
        (RecoveryTarget::Latest, _) => "the server replays to the end".to_owned(),
        (target, true) => format!("the server replays to {target}, itself included"),
        (target, false) => format!("the server replays to just before {target}"),
    };
    steps.push(format!("at its start, {ends}"));
    RestoreAtPlan {
        service: request.service.clone(),
        target: request.target.to_string(),
        inclusive: request.inclusive,
        point: PointSummary::of(&prepared.snapshot),
        major: chosen.base.major,
        base: Moment::of_base(&chosen.base),
        timelines: prepared.timelines(),
        end: chosen.end,
        wal_segments,
        base_bytes: chosen.base.bytes,
        wal_bytes: prepared.wal_bytes(),
        to: request.to.clone(),
        free_bytes: free_bytes(&request.to),
        notes: chosen.notes.clone(),
        steps,
    }
}
