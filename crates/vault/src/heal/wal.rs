//! Damaged and missing files of the WAL archive.

use std::collections::{BTreeMap, BTreeSet};

use super::{HealOptions, HealReport, sources::Source};
use crate::{
    age,
    error::VaultError,
    set_aside::SetAside,
    together,
    vault::Vault,
    wal::{WalArchive, WalArchiveError, WalEffort, WalFile, WalListed},
};

/// What is wrong with an archive, and who may help.
struct WalFindings {
    archive: WalArchive,
    sources: Vec<WalArchive>,
    damaged: Vec<WalFile>,
    /// Files that lie between others of this archive, and that a source has.
    missing: Vec<WalFile>,
}

pub(super) fn plan(
    vault: &Vault,
    sources: &[Source],
    options: &HealOptions,
    report: &mut HealReport,
) -> Result<(), VaultError> {
    let Some(found) = look(vault, sources, options, report)? else {
        return Ok(());
    };
    for file in &found.damaged {
        if found.content(file).is_some() {
            report.wal_healed.push(file.clone());
        } else {
            report.wal_lost.push(file.clone());
        }
    }
    report.wal_healed.extend(found.missing);
    Ok(())
}

pub(super) fn run(
    vault: &Vault,
    sources: &[Source],
    options: &HealOptions,
    aside: &SetAside,
    report: &mut HealReport,
) -> Result<(), VaultError> {
    let Some(found) = look(vault, sources, options, report)? else {
        return Ok(());
    };
    for file in &found.damaged {
        let Some(content) = found.content(file) else {
            report.wal_lost.push(file.clone());
            continue;
        };
        let object = file.key().map_err(WalArchiveError::from)?;
        match aside.copy(&*vault.store, &object) {
            Ok(to) => report.set_aside.extend(to.map(|key| key.to_string())),
            // What cannot be read cannot be kept, and is worth nothing.
            Err(error) if error.is_damage_or_missing() => {}
            Err(error) => return Err(error),
        }
        found
            .archive
            .replace_damaged(file, &content, WalEffort::default())?;
        report.wal_healed.push(file.clone());
    }
    for file in &found.missing {
        if let Some(content) = found.content(file) {
            found.archive.put(file, &content, WalEffort::default())?;
            report.wal_healed.push(file.clone());
        }
    }
    Ok(())
}

impl WalFindings {
    /// The content of a file from the first source that has it whole.
    fn content(&self, file: &WalFile) -> Option<Vec<u8>> {
        self.sources
            .iter()
            .find_map(|source| source.get(file).ok().flatten())
    }
}

/// Damaged files of the archive.
pub(super) fn damaged(vault: &Vault, options: &HealOptions) -> Result<Vec<WalFile>, VaultError> {
    let Some(archive) = vault.existing_wal_archive()? else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for system in archive.systems()? {
        files.extend(archive.list(system)?);
    }
    damaged_files(&archive, &files, options)
}

fn look(
    vault: &Vault,
    sources: &[Source],
    options: &HealOptions,
    report: &mut HealReport,
) -> Result<Option<WalFindings>, VaultError> {
    let Some(archive) = vault.existing_wal_archive()? else {
        return Ok(None);
    };
    let mut files = Vec::new();
    for system in archive.systems()? {
        files.extend(archive.list(system)?);
    }
    let mut archives = Vec::new();
    for source in sources {
        match source.vault.existing_wal_archive() {
            Ok(archive) => archives.extend(archive),
            Err(error) => {
                let place = source.vault.location();
                report.sources_failed.push(format!("{place}: {error}"));
            }
        }
    }
    let damaged = damaged_files(&archive, &files, options)?;
    let missing = missing_files(&files, &archives);
    Ok(Some(WalFindings {
        archive,
        sources: archives,
        damaged,
        missing,
    }))
}

fn damaged_files(
    archive: &WalArchive,
    files: &[WalListed],
    options: &HealOptions,
) -> Result<Vec<WalFile>, VaultError> {
    let least_bytes = age::sealed_bytes(1, 0) as u64;
    let outcomes = together::each(files, |listed| {
        if options.read_data || listed.stored_bytes < least_bytes {
            archive.get(&listed.file).map(drop)
        } else {
            Ok(())
        }
    });
    let mut damaged = Vec::new();
    for (listed, outcome) in files.iter().zip(outcomes) {
        match outcome.map_err(VaultError::from) {
            Ok(()) => {}
            Err(error) if error.is_damage_or_missing() => damaged.push(listed.file.clone()),
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// Segments between the first and the last of their timeline, which no retention removes, and histories of timelines.
/// What is before the first one may have been removed on purpose.
fn missing_files(ours: &[WalListed], sources: &[WalArchive]) -> Vec<WalFile> {
    let mut spans: BTreeMap<(u64, u32), (&str, &str)> = BTreeMap::new();
    let mut known: BTreeSet<&WalFile> = BTreeSet::new();
    for WalListed { file, .. } in ours {
        known.insert(file);
        if is_segment(file) {
            let name = file.name.as_str();
            let span = spans
                .entry((file.system, file.timeline))
                .or_insert((name, name));
            *span = (span.0.min(name), span.1.max(name));
        }
    }
    let systems: BTreeSet<u64> = ours.iter().map(|listed| listed.file.system).collect();
    let mut missing = BTreeSet::new();
    for source in sources {
        for system in &systems {
            let Ok(theirs) = source.list(*system) else {
                continue;
            };
            for WalListed { file, .. } in theirs {
                let span = spans.get(&(file.system, file.timeline));
                let is_between = is_segment(&file)
                    && span.is_some_and(|(first, last)| {
                        *first < file.name.as_str() && file.name.as_str() < *last
                    });
                if (is_between || file.name.ends_with(".history")) && !known.contains(&file) {
                    missing.insert(file);
                }
            }
        }
    }
    missing.into_iter().collect()
}

fn is_segment(file: &WalFile) -> bool {
    file.name.len() == 24
}
