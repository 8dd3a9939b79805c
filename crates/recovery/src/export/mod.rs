//! A recovery point as plain, dated files, for those who need them: dumps, archives, each with its SHA-256.
//!
//! Start at [`plan_export`], which changes nothing, and [`export`], which does what the plan says. Everything is streamed
//! out of the vault; a file gets its name when it is whole and durable.

mod plan;
mod run;
mod sink;
mod tar;

use std::{path::PathBuf, sync::Arc, time::Duration};

use rekindle_vault::{Progress, Vault};
use serde::Serialize;

pub use plan::{ExportForm, PlannedFile};

use crate::{PointSummary, RecoveryError, find_point::find_point, manifest::Manifest};

/// What to export, and where to.
pub struct ExportRequest {
    /// An id, the beginning of one, a tag, `@` and a time, or `latest`.
    pub point: String,
    /// Only this service.
    pub service: Option<String>,
    /// A directory, which is made if it is not there. What is in it stays.
    pub to: PathBuf,
    /// Whether archives of `pg_dump` become SQL text, by `pg_restore`.
    pub plain_sql: bool,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

/// What an export would write.
#[derive(Clone, Debug, Serialize)]
pub struct ExportPlan {
    /// The point.
    pub point: PointSummary,
    /// Where to.
    pub to: PathBuf,
    /// The files, in order.
    pub files: Vec<PlannedFile>,
    /// What is in the point and has no file.
    pub left_out: Vec<String>,
    /// The list of all files, which is written last.
    pub manifest: String,
}

/// What an export wrote.
#[derive(Clone, Debug)]
pub struct ExportOutcome {
    /// The point.
    pub point: PointSummary,
    /// Where to.
    pub to: PathBuf,
    /// What was written.
    pub files: Vec<ExportedFile>,
    /// What could not be read in the vault, and why. The manifest says so, too.
    pub failed: Vec<FailedFile>,
    /// What is in the point and not in the files.
    pub left_out: Vec<String>,
    /// The list of all files.
    pub manifest: String,
    /// From the first look to the last fsync.
    pub took: Duration,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportedFile {
    /// Its name.
    pub name: String,
    /// What it is, in words.
    pub what: String,
    /// Its length.
    pub bytes: u64,
    /// Of its content, in hexadecimal digits; also in a file beside it.
    pub sha256: String,
}

/// A file that was not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedFile {
    /// Its name.
    pub name: String,
    /// Why not.
    pub reason: String,
}

/// Says which files an export would write.
///
/// # Errors
/// If the point or service is not there, or a file of one of the names is.
pub fn plan_export(vault: &Vault, request: &ExportRequest) -> Result<ExportPlan, RecoveryError> {
    let snapshot = find_point(vault, &request.point, request.service.as_deref())?;
    let (index, _) = vault.load_readable_index()?;
    let manifest = Manifest::read(vault, &index, &snapshot)?;
    let found = plan::Found {
        vault,
        index: &index,
        snapshot: &snapshot,
        manifest: &manifest,
    };
    let plan = found.plan(request)?;
    plan::refuse_existing(&plan)?;
    Ok(plan)
}

/// Writes the files.
///
/// # Errors
/// As [`plan_export`]; as the directory could not be written: files that have their names are whole then. What cannot be
/// read in the vault does not stop the rest; it is in [`ExportOutcome::failed`].
pub fn export(vault: &Vault, request: &ExportRequest) -> Result<ExportOutcome, RecoveryError> {
    run::export(vault, request)
}
