//! Tar archives from elsewhere, as a recovery point with files.
//!
//! An archive is read to its end before anything is stored, and once more while it is: every name is held against where
//! it may lead, and links to files are found before the files come.

mod entry;
mod open;
mod store;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rekindle_datasets::{DatasetRecord, files::FilesRecord};
use rekindle_stack::{Dataset, Stack};
use rekindle_vault::{BackupOptions, Progress, Vault};
use serde::Serialize;

pub use open::{ImportKind, import_kind};

use super::checksum::verify_checksum;
use crate::{
    PointSummary, RecoveryError,
    backup::{commit, names},
    manifest::{DatasetEntry, Manifest},
    point::IMPORTED,
    vault::{LOCK_WAIT, compression_of},
};
use entry::Contents;

/// Which archives, and what may be in them.
pub struct TarballRequest<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// The service that they are of.
    pub service: String,
    /// The archives: plain, in gzip or in zstd. Their entries lie in one tree, so no two may be of the same name.
    pub files: Vec<PathBuf>,
    /// What would be refused otherwise.
    pub allowed: Allowed,
    /// Words to find the point by.
    pub tags: Vec<String>,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

/// What an archive may hold only if somebody says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// Symbolic links that lead out of the archive.
    pub outside_links: bool,
    /// Devices and named pipes.
    pub devices: bool,
}

/// What an import would store.
#[derive(Clone, Debug, Serialize)]
pub struct TarballPlan {
    /// Each archive.
    pub files: Vec<PlannedTarball>,
}

/// An archive that would be imported.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedTarball {
    /// Where it lies.
    pub from: PathBuf,
    /// Whether there is a `.sha256` beside it, which fits.
    pub is_verified: bool,
    /// Regular files in it.
    pub files: u64,
    /// Everything else.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// A recovery point made of archives.
#[derive(Debug)]
pub struct TarballOutcome {
    /// As in the list.
    pub point: PointSummary,
    /// What was imported.
    pub files: Vec<PlannedTarball>,
    /// From the first look to the commit.
    pub took: Duration,
}

/// Reads the archives to their ends, and says what an import would store.
///
/// # Errors
/// [`RecoveryError::Checksum`], [`RecoveryError::Tarball`] for what is damaged or must not be in it.
pub fn plan_tarballs(request: &TarballRequest<'_>) -> Result<TarballPlan, RecoveryError> {
    let mut files = Vec::new();
    for (from, contents) in look(request)? {
        files.push(planned(&from, &contents));
    }
    Ok(TarballPlan { files })
}

/// Makes a recovery point of the archives: of all of them, or none at all. It is tagged `imported`, and never counts as
/// the newest state of the service.
///
/// # Errors
/// As [`plan_tarballs`]; as the vault failed.
pub fn import_tarballs(
    vault: &Vault,
    request: &TarballRequest<'_>,
) -> Result<TarballOutcome, RecoveryError> {
    let clock = Instant::now();
    let looked_at = look(request)?;
    let options = BackupOptions {
        compression: compression_of(&request.stack.vault),
        lock_wait: LOCK_WAIT,
        progress: Arc::clone(&request.progress),
        ..BackupOptions::default()
    };
    let backup = vault.start_backup(options)?;
    let mut manifest = Manifest::new(&request.stack.name, backup.started());
    let started = Timestamp::now();
    let path = format!("{}/files", request.service);
    let (mut files, mut directories) = (Vec::new(), HashSet::new());
    for (number, (from, contents)) in looked_at.iter().enumerate() {
        store::Storing {
            backup: &backup,
            at: &path,
            number: number as u64,
            contents,
        }
        .store(from, &mut directories)?;
        let planned = planned(from, contents);
        let verified = match planned.is_verified {
            true => "; its SHA-256 is the one beside it",
            false => "; no checksum lay beside it",
        };
        let text = format!(
            "{}: imported from {}{verified}",
            request.service,
            from.display()
        );
        manifest.warnings.push(text);
        files.push(planned);
    }
    manifest.captured = Timestamp::now();
    manifest.datasets.push(DatasetEntry::imported(
        request.service.clone(),
        path,
        started,
        DatasetRecord::Files(FilesRecord::default()),
    ));
    let mut tags = vec![IMPORTED.to_owned()];
    tags.extend(request.tags.iter().filter(|tag| *tag != IMPORTED).cloned());
    let snapshot = commit(backup, &manifest, tags)?;
    tracing::info!(point = %snapshot.id, "archives imported");
    Ok(TarballOutcome {
        point: PointSummary::of(&snapshot),
        files,
        took: clock.elapsed(),
    })
}

/// Every archive, looked at: checksums first, since they are cheap.
fn look(request: &TarballRequest<'_>) -> Result<Vec<(PathBuf, Contents)>, RecoveryError> {
    let service = request.stack.service(&request.service);
    let service = service.ok_or_else(|| RecoveryError::UnknownService {
        name: request.service.clone(),
        known: names(request.stack),
    })?;
    let has_files = |dataset: &Dataset| matches!(dataset, Dataset::Files(_));
    if !service.datasets.iter().any(has_files) {
        return Err(RecoveryError::NothingToDo {
            reason: format!("`{}` has no dataset of kind `files`", request.service),
        });
    }
    let mut verified = Vec::new();
    for file in &request.files {
        verified.push(verify_checksum(file, &request.progress)?);
    }
    let mut all = Vec::new();
    let mut taken = HashSet::new();
    for (file, is_verified) in request.files.iter().zip(verified) {
        let from = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        let mut contents = Contents::of(&from, request.allowed, &mut taken)?;
        contents.is_verified = is_verified;
        all.push((from, contents));
    }
    Ok(all)
}

fn planned(from: &Path, contents: &Contents) -> PlannedTarball {
    PlannedTarball {
        from: from.to_owned(),
        is_verified: contents.is_verified,
        files: contents.files,
        others: contents.others,
        bytes: contents.bytes,
    }
}

/// Why an archive was not imported.
fn refuse(path: &Path, reason: impl Into<String>) -> RecoveryError {
    RecoveryError::Tarball {
        path: path.to_owned(),
        reason: reason.into(),
    }
}
