//! Brings out what can still be read of a vault that cannot be healed: packs, snapshots, the index or the configuration
//! may be gone. Changes nothing in the vault but for a lock, where one can be written.
//!
//! What is in the packs is learnt from the packs themselves. Recovery points whose snapshot files are gone are found by
//! their root trees, which no other tree names.

mod found;
mod open;

use std::path::Path;

pub use found::SalvagePoint;
pub use open::ConfigRemade;
pub(crate) use open::index_of_what_is_there;

use crate::{
    error::VaultError,
    index::Index,
    path::TreePath,
    restore::{FileDamage, RestoreError, RestoreOptions, RestoreReport},
    vault::Vault,
};

/// What is left of a vault, ready to be brought out.
pub struct Salvage {
    pub(self) vault: Vault,
    pub(self) index: Index,
    pub(self) problems: Vec<String>,
}

/// What was brought out of a recovery point.
#[derive(Clone, Debug)]
pub struct SalvagedPoint {
    /// What came back whole, if everything did.
    pub whole: Option<RestoreReport>,
    /// What did not: files with holes, and files and directories of which nothing is left.
    pub damages: Vec<FileDamage>,
}

impl Salvage {
    /// Where the vault is, for people.
    #[must_use]
    pub fn location(&self) -> String {
        self.vault.location()
    }

    /// What is wrong with the vault as a whole: lost configuration, packs that do not tell what is in them, snapshot files
    /// that cannot be read.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Brings a point into `directory`, as [`Vault::restore`] does; files of which a part is lost are brought out with
    /// holes. A directory that is not whole keeps its mark of an unfinished restore.
    ///
    /// # Errors
    /// As the directory cannot be used, or the store fails otherwise than by damage.
    pub fn bring(
        &self,
        point: &SalvagePoint,
        directory: &Path,
        options: RestoreOptions,
    ) -> Result<SalvagedPoint, RestoreError> {
        let options = RestoreOptions {
            keep_damaged: true,
            ..options
        };
        let lock = self.vault.lock_for_reading().or_else(|error| match error {
            // Whoever holds a lock on what is left may be gone for good.
            VaultError::Locked(_) => Ok(None),
            other => Err(other),
        })?;
        let begun = self.vault.begin_restore_by(
            lock,
            (&self.index, &[]),
            &point.snapshot,
            &TreePath::root(),
            directory,
            &options,
        );
        match begun {
            Ok(unfinished) => Ok(SalvagedPoint {
                whole: Some(unfinished.finish()?),
                damages: Vec::new(),
            }),
            Err(RestoreError::Incomplete { damages }) => Ok(SalvagedPoint {
                whole: None,
                damages,
            }),
            Err(error) => Err(error),
        }
    }
}
