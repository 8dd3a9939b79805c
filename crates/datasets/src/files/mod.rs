//! Files and directories of this machine.
//!
//! Start at [`FileSets`]. Where a path lies in a recovery point is decided in `place.rs`, what is left out in
//! `exclude.rs`; both are pure.

mod capture;
mod error;
mod exclude;
pub(crate) mod in_place;
mod place;
mod record;

use std::path::Path;

use rekindle_stack::FilesDataset;
use rekindle_vault::Backup;

pub use error::FilesError;
pub use in_place::{FilesAside, OldRoot, Stage, Swap};
pub use record::{FilesRecord, PathKind, PathRecord, TroubleRecord};

use crate::{
    Aside, Candidate, CaptureContext, CaptureError, Captured, Dataset, InPlaceError, InPlaceSteps,
    Journal, PointSource, Surroundings,
};
use exclude::Exclude;
use place::Declared;

/// The paths of one dataset.
pub struct FileSets {
    paths: Vec<Declared>,
    exclude: Exclude,
    one_file_system: bool,
}

impl FileSets {
    /// The paths of the configuration.
    ///
    /// # Errors
    /// [`FilesError`] if a path cannot be in a recovery point, if one lies in another, or if a pattern is none.
    pub fn from_settings(
        settings: &FilesDataset,
        surroundings: &Surroundings,
    ) -> Result<Self, FilesError> {
        let declared =
            |path: &Path, is_optional| Declared::new(path, is_optional, &surroundings.directory);
        let paths = settings.paths.iter().map(|path| declared(path, false));
        let optional = settings
            .optional_paths
            .iter()
            .map(|path| declared(path, true));
        let paths: Vec<_> = paths.chain(optional).collect::<Result<_, _>>()?;
        place::ensure_apart(&paths)?;
        Ok(Self {
            paths,
            exclude: Exclude::new(&settings.exclude)?,
            one_file_system: settings.one_file_system,
        })
    }
}

impl Dataset for FileSets {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn describe(&self) -> String {
        let names: Vec<_> = self
            .paths
            .iter()
            .map(|path| format!("`{}`", path.declared.display()))
            .collect();
        let exclude = match self.exclude.patterns() {
            [] => String::new(),
            patterns => format!(", without {}", patterns.join(", ")),
        };
        format!("files: {}{exclude}", names.join(", "))
    }

    fn capture(
        &self,
        backup: &Backup,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, CaptureError> {
        capture::capture(self, backup, context)
    }

    fn plan_in_place(&self, source: &PointSource<'_>) -> Result<InPlaceSteps, InPlaceError> {
        in_place::plan(self, source)
    }

    /// The service rests for the swap: whoever has a file open goes on with the one that was set aside.
    fn prepare_in_place(
        &self,
        source: &PointSource<'_>,
        journal: &mut dyn Journal,
    ) -> Result<Option<Box<dyn Candidate>>, InPlaceError> {
        in_place::prepare(self, source, journal).map(Some)
    }

    fn undo_in_place(&self, aside: &Aside) -> Result<Vec<String>, InPlaceError> {
        in_place::undo(in_place::of_files(aside)?)
    }

    fn discard_aside(&self, aside: &Aside) -> Result<Vec<String>, InPlaceError> {
        in_place::discard(in_place::of_files(aside)?)
    }
}
