//! Files back in their places: built beside while their service runs on, then swapped by renames while it rests.
//!
//! The journal tells which names were given; how far a swap came is told by which of them are there. So undo and discard
//! can be called after a crash at any moment, and called again.

mod aside;
mod content;
mod mapping;
mod mounts;
mod plan;
mod renames;
mod room;
mod swap;

use std::{fs, io::ErrorKind, path::Path};

use rekindle_vault::{Ownership, RestoreOptions};

pub use aside::{FilesAside, OldRoot, Stage, Swap};

pub(crate) use renames::{is_there, rename};
pub(crate) use room::ensure_room;
pub(crate) use swap::inode;

use super::FileSets;
use crate::{Aside, Candidate, InPlaceError, InPlaceSteps, Journal, PointSource, RestoredInPlace};
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

/// Builds everything beside what is there.
pub(super) fn prepare(
    sets: &FileSets,
    source: &PointSource<'_>,
    journal: &mut dyn Journal,
) -> Result<Box<dyn Candidate>, InPlaceError> {
    let plan = Plan::make(sets, source)?;
    let mut aside = FilesAside::new(source.snapshot.id.to_string(), &plan)?;
    aside.enter(Stage::Building, journal)?;
    let mut warnings = plan.warnings.clone();
    if let Err(error) = build_all(&plan, source, &mut aside, &mut warnings) {
        remove_candidates(&aside);
        return Err(error);
    }
    Ok(Box::new(Built {
        aside,
        restored: RestoredInPlace {
            entries: plan.entries(),
            bytes: plan.bytes(),
            set_aside: Vec::new(),
            warnings,
        },
    }))
}

/// Files that wait for their places.
struct Built {
    aside: FilesAside,
    restored: RestoredInPlace,
}

impl Candidate for Built {
    fn swap(
        mut self: Box<Self>,
        journal: &mut dyn Journal,
    ) -> Result<RestoredInPlace, InPlaceError> {
        swap_or_go_back(&mut self.aside, journal)?;
        self.restored.set_aside = self.aside.standing();
        Ok(self.restored)
    }
}

/// Gives each candidate its place. After an error all is as it was, or the error says that it is not.
pub(crate) fn swap_or_go_back(
    aside: &mut FilesAside,
    journal: &mut dyn Journal,
) -> Result<(), InPlaceError> {
    if let Err(error) = look_again(aside) {
        remove_candidates(aside);
        return Err(error);
    }
    let Err(error) = swap_all(aside, journal) else {
        return Ok(());
    };
    Err(match undo(aside) {
        Ok(steps) => {
            // Nobody else tells where what was restored stands now.
            for step in steps {
                tracing::warn!(step, "taken back after an error");
            }
            error
        }
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
    })
}

fn look_again(aside: &mut FilesAside) -> Result<(), InPlaceError> {
    let all = mounts::all()?;
    aside
        .swaps
        .iter_mut()
        .try_for_each(|swap| swap.look_again(&all))
}

fn build_all(
    plan: &Plan,
    source: &PointSource<'_>,
    aside: &mut FilesAside,
    warnings: &mut Vec<String>,
) -> Result<(), InPlaceError> {
    for (target, swap) in plan.targets.iter().zip(&mut aside.swaps) {
        build(target, swap, source, warnings)?;
        if let (true, Some(root)) = (target.keeps_root, root_of(&target.live)?) {
            content::dress(&swap.holder, root)?;
        }
        swap.new_inode = Some(swap::inode(&swap.candidate)?);
    }
    Ok(())
}

/// What a directory that is there looks like itself.
fn root_of(live: &Path) -> Result<Option<OldRoot>, InPlaceError> {
    match fs::symlink_metadata(live) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => Ok(Some(OldRoot::of(&other.map_err(io("look at", live))?))),
    }
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
pub(crate) fn undo(aside: &FilesAside) -> Result<Vec<String>, InPlaceError> {
    aside.ensure_sound()?;
    if aside.is_untouched() {
        aside.swaps.iter().try_for_each(swap::remove_candidate)?;
        return Ok(vec![
            "nothing had been changed; what was being restored is removed".to_owned(),
        ]);
    }
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
pub(crate) fn discard(aside: &FilesAside) -> Result<Vec<String>, InPlaceError> {
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
pub(crate) fn remove_candidates(aside: &FilesAside) {
    for swap in &aside.swaps {
        if let Err(error) = swap::remove_candidate(swap) {
            let path = swap.holder.display();
            tracing::warn!(%path, error = crate::with_causes(&error), "a candidate was left behind");
        }
    }
}

pub(crate) fn refused(reason: impl Into<String>, hint: Option<&str>) -> InPlaceError {
    InPlaceError::Refused {
        reason: reason.into(),
        hint: hint.map(str::to_owned),
    }
}

pub(crate) fn io<'p>(
    doing: &'p str,
    path: &'p std::path::Path,
) -> impl FnOnce(std::io::Error) -> InPlaceError + use<'p> {
    move |source| InPlaceError::Io {
        doing: format!("{doing} {}", path.display()),
        source,
    }
}
