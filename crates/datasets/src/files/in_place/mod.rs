//! Files back in their places: built beside, then swapped by renames.
//!
//! The journal tells which names were given; how far a swap came is told by which of them are there. So undo and discard
//! can be called after a crash at any moment, and called again.

mod aside;
mod content;
mod mounts;
mod plan;
mod renames;
mod swap;

use std::fs;

use rekindle_vault::{Ownership, RestoreOptions};

pub use aside::{FilesAside, OldRoot, Stage, Swap};

use super::FileSets;
use crate::{Aside, InPlaceError, InPlaceSteps, Journal, PointSource, RestoredInPlace};
use plan::{Plan, Target};

/// The part of a journal that is of files.
pub(super) fn of_files(aside: &Aside) -> Result<&FilesAside, InPlaceError> {
    match aside {
        Aside::Files(files) => Ok(files),
        _ => Err(refused(
            "what was set aside is of another kind of dataset",
            None,
        )),
    }
}

/// What a restore would do.
pub(super) fn plan(
    sets: &FileSets,
    source: &PointSource<'_>,
) -> Result<InPlaceSteps, InPlaceError> {
    Plan::make(sets, source).map(|plan| plan.in_words())
}

/// Builds everything beside what is there, then swaps.
pub(super) fn restore(
    sets: &FileSets,
    source: &PointSource<'_>,
    journal: &mut dyn Journal,
) -> Result<RestoredInPlace, InPlaceError> {
    let plan = Plan::make(sets, source)?;
    let mut aside = FilesAside::new(source.snapshot.id.to_string(), &plan)?;
    aside.enter(Stage::Building, journal)?;
    let mut warnings = plan.warnings.clone();
    let built = build_all(&plan, source, &mut aside, &mut warnings);
    if let Err(error) = built {
        remove_candidates(&aside);
        return Err(error);
    }
    if let Err(error) = swap_all(&mut aside, journal) {
        return Err(match undo(&aside) {
            Ok(_) => error,
            Err(undo_error) => InPlaceError::Refused {
                reason: format!(
                    "{}; and what was there could not be put back: {}",
                    crate::with_causes(&error),
                    crate::with_causes(&undo_error)
                ),
                hint: Some(
                    "take the restore back once the cause is gone: nothing was deleted".to_owned(),
                ),
            },
        });
    }
    Ok(RestoredInPlace {
        entries: plan.entries(),
        bytes: plan.bytes(),
        set_aside: aside.standing(),
        warnings,
    })
}

fn build_all(
    plan: &Plan,
    source: &PointSource<'_>,
    aside: &mut FilesAside,
    warnings: &mut Vec<String>,
) -> Result<(), InPlaceError> {
    for (target, swap) in plan.targets.iter().zip(&mut aside.swaps) {
        build(target, swap, source, warnings)?;
        swap.new_inode = Some(swap::inode(&swap.candidate)?);
    }
    Ok(())
}

/// Restores one target into a directory of its own on the same file system. Every byte is verified and durable then.
fn build(
    target: &Target,
    swap: &Swap,
    source: &PointSource<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), InPlaceError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().mode(0o700).create(&swap.holder);
    made.map_err(io("make the directory", &swap.holder))?;
    let options = RestoreOptions {
        ownership: Ownership::of_this_process(),
        progress: std::sync::Arc::clone(source.progress),
        ..RestoreOptions::default()
    };
    let report = source
        .vault
        .restore(source.snapshot, &target.at, &swap.holder, &options)
        .map_err(Box::new)?;
    let place = &target.live;
    warnings.extend(
        report
            .left_out
            .iter()
            .map(|what| format!("not restored below {}: {what}", place.display())),
    );
    Ok(())
}

/// Each step is in the journal before it is done.
fn swap_all(aside: &mut FilesAside, journal: &mut dyn Journal) -> Result<(), InPlaceError> {
    for number in 0..aside.swaps.len() {
        aside.enter(Stage::SettingAside { number }, journal)?;
        swap::set_aside(&aside.swaps[number])?;
    }
    for number in 0..aside.swaps.len() {
        aside.enter(Stage::Promoting { number }, journal)?;
        swap::promote(&aside.swaps[number])?;
    }
    aside.enter(Stage::Held, journal)
}

/// Brings back what was there, whatever the journal says was intended.
pub(super) fn undo(aside: &FilesAside) -> Result<Vec<String>, InPlaceError> {
    aside.ensure_sound()?;
    let mut done = Vec::new();
    for swap in aside.swaps.iter().rev() {
        done.extend(swap::undo(swap)?);
    }
    remove_candidates(aside);
    if done.is_empty() {
        done.push("nothing had been changed".to_owned());
    }
    Ok(done)
}

/// Deletes what was set aside: the former state after a restore, the restored state after an undo.
pub(super) fn discard(aside: &FilesAside) -> Result<Vec<String>, InPlaceError> {
    aside.ensure_sound()?;
    for swap in &aside.swaps {
        swap::ensure_discardable(swap, aside.stage)?;
    }
    let mut done = Vec::new();
    for swap in &aside.swaps {
        done.extend(swap::discard(swap)?);
    }
    Ok(done)
}

/// Removes what was being built: it has never been in anybody's place. What cannot be removed takes room and no more.
fn remove_candidates(aside: &FilesAside) {
    for swap in &aside.swaps {
        if let Err(error) = swap::remove_candidate(swap) {
            let path = swap.holder.display();
            tracing::warn!(%path, error = crate::with_causes(&error), "a candidate was left behind");
        }
    }
}

fn refused(reason: impl Into<String>, hint: Option<&str>) -> InPlaceError {
    InPlaceError::Refused {
        reason: reason.into(),
        hint: hint.map(str::to_owned),
    }
}

fn io<'p>(
    doing: &'p str,
    path: &'p std::path::Path,
) -> impl FnOnce(std::io::Error) -> InPlaceError + use<'p> {
    move |source| InPlaceError::Io {
        doing: format!("{doing} {}", path.display()),
        source,
    }
}
