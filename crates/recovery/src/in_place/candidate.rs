//! What is to take the live directory's place.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use rekindle_postgres::{ControlFile, ServerIdentity, server::Owner};
use rekindle_vault::{Ownership, Vault, durable};

use super::{InPlaceError, InPlaceRequest, Refusal, site::Site};
use crate::{
    PointSummary, RecoveryError,
    manifest::Manifest,
    wal::{RECOVERY_TITLE, RestoreAtRequest, TargetAction, plan_restore_at, restore_at},
};

/// What would be built.
pub(super) struct CandidatePlan {
    pub point: PointSummary,
    pub target: String,
    pub identity: ServerIdentity,
    pub bytes: u64,
    pub notes: Vec<String>,
}

/// Decides what is built. Nothing is written.
pub(super) fn plan(
    vault: &Vault,
    request: &InPlaceRequest<'_>,
    site: &Site,
) -> Result<CandidatePlan, RecoveryError> {
    let planned = plan_restore_at(vault, &restore_request(request, site, None))?;
    let identity = identity_of(vault, &request.service, &planned.point)?;
    Ok(CandidatePlan {
        target: match planned.inclusive {
            true => planned.target,
            false => format!("just before {}", planned.target),
        },
        point: planned.point,
        identity,
        bytes: planned.base_bytes.saturating_add(planned.wal_bytes),
        notes: planned.notes,
    })
}

/// What of the candidate speaks against putting it there.
pub(super) fn refusals(planned: &CandidatePlan, site: &Site, major: u32) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let identity = &planned.identity;
    if identity.major != major {
        refusals.push(Refusal::new(
            format!(
                "the recovery point is of PostgreSQL {}, and the live directory of {major}",
                identity.major
            ),
            "restore it with `--to`, and upgrade or dump from there",
        ));
    }
    match ControlFile::read(site.pgdata()) {
        Ok(control) if control.system_identifier != identity.system_identifier => {
            refusals.push(Refusal::new(
                format!(
                    "the recovery point is of another cluster (system identifier {}) than the live \
                     directory ({})",
                    identity.system_identifier, control.system_identifier
                ),
                "is `--service` right? A point of another cluster can be restored with `--to`",
            ));
        }
        // A live directory that is damaged is what this is for.
        _ => {}
    }
    if let Some(free) = site.free_bytes()
        && free < planned.bytes
    {
        refusals.push(Refusal::new(
            format!(
                "the candidate takes {} bytes, and {} has {free} free",
                planned.bytes,
                site.parent().display()
            ),
            "make room there: the old directory is kept beside the new one",
        ));
    }
    refusals
}

/// Builds the candidate, ready to be started; owned as the live directory is.
pub(super) fn build(
    vault: &Vault,
    request: &InPlaceRequest<'_>,
    point: &PointSummary,
    site: &Site,
) -> Result<(), RecoveryError> {
    let candidate = site.candidate();
    if candidate.exists() {
        let failed = InPlaceError::file("remove an earlier candidate", &candidate);
        fs::remove_dir_all(&candidate).map_err(failed)?;
    }
    let mut wanted = restore_request(request, site, Some(ownership(site)?));
    wanted.point = Some(point.id.to_string());
    restore_at(vault, &wanted)?;
    Ok(())
}

/// A point is recovered as from an archive too, and promoted, so that a new timeline begins: on its
/// old one the server would write segments that are in the archive with another content.
fn restore_request(
    request: &InPlaceRequest<'_>,
    site: &Site,
    ownership: Option<Ownership>,
) -> RestoreAtRequest {
    RestoreAtRequest {
        service: request.service.clone(),
        point: request.point.clone(),
        target: request.target.clone(),
        timeline: request.timeline,
        inclusive: request.inclusive,
        action: TargetAction::Promote,
        keeps_archiving: true,
        to: site.candidate(),
        ownership,
        progress: request.progress.clone(),
    }
}

fn identity_of(
    vault: &Vault,
    service: &str,
    point: &PointSummary,
) -> Result<ServerIdentity, RecoveryError> {
    let snapshot = vault.find_snapshot(&point.id.to_string())?;
    let (index, _) = vault.load_readable_index()?;
    let manifest = Manifest::read(vault, &index, &snapshot)?;
    let (_, record) = manifest.postgres_in(point.id, service)?;
    Ok(record.identity.clone())
}

fn ownership(site: &Site) -> Result<Ownership, InPlaceError> {
    let metadata = fs::metadata(site.pgdata());
    let metadata = metadata.map_err(InPlaceError::file("look at", site.pgdata()))?;
    let us = rustix::process::geteuid();
    Ok(match us.is_root() {
        true => Ownership::Of {
            uid: metadata.uid(),
            gid: metadata.gid(),
        },
        false => Ownership::OfThisProcess,
    })
}

/// Takes back what recovery was told, once it has ended: a target that stays in the settings would
/// stop the next recovery, that of a standby made of this server.
pub(super) fn forget_recovery(pgdata: &Path) -> io::Result<()> {
    let auto = pgdata.join("postgresql.auto.conf");
    let text = match fs::read(&auto) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let title = RECOVERY_TITLE.as_bytes();
    let Some(at) = text.windows(title.len()).rposition(|part| part == title) else {
        return Ok(());
    };
    durable::replace(&auto, &text[..at], 0o600)?;
    match Owner::of(pgdata) {
        Ok(owner) => owner.give(&auto).map_err(io::Error::other),
        Err(_) => Ok(()),
    }
}

/// Copies the histories of timelines that the old directory knows and the candidate does not. The
/// number of the timeline that recovery begins must not have been used by any of them.
pub(super) fn take_histories(old: &Path, candidate: &Path) -> Result<(), InPlaceError> {
    let (from, to) = (old.join("pg_wal"), candidate.join("pg_wal"));
    let entries = match fs::read_dir(&from) {
        Ok(entries) => entries,
        // An old directory that has lost its WAL has no histories to give.
        Err(_) => return Ok(()),
    };
    let owner = Owner::of(candidate)?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_history = Path::new(&name)
            .extension()
            .is_some_and(|ext| ext == "history");
        let target = to.join(&name);
        if !is_history || target.exists() {
            continue;
        }
        let copied =
            fs::read(entry.path()).and_then(|content| durable::create(&target, &content, 0o600));
        copied.map_err(InPlaceError::file("copy a timeline's history to", &target))?;
        owner.give(&target)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "what tests write need not survive a power cut"
)]
mod tests {
    use super::*;

    #[test]
    fn what_recovery_was_told_is_taken_back_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let auto = directory.path().join("postgresql.auto.conf");
        let text = format!(
            "# Do not edit\nwork_mem = '4MB'\n{RECOVERY_TITLE}x, written by rekindle\nrecovery_target = 'immediate'\n"
        );
        fs::write(&auto, text).unwrap();
        forget_recovery(directory.path()).unwrap();
        forget_recovery(directory.path()).unwrap();
        assert_eq!(
            fs::read_to_string(&auto).unwrap(),
            "# Do not edit\nwork_mem = '4MB'\n"
        );
    }
}
