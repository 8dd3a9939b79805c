//! Dumps from elsewhere: restored beside the live databases, swapped with them, taken into the
//! vault.
//!
//! Start at [`plan_foreign_restore`], which changes nothing, and [`restore_foreign`], which does
//! what the plan says. [`import`] makes a recovery point of dumps, [`import_tarballs`] of archives of files. A dump is read to its end before
//! anything else happens.

mod checksum;
mod import;
mod leave_out;
mod names;
mod plan;
mod rdb;
mod restore;
mod sessions;
mod tarball;
mod undo;

pub use checksum::verify_checksum;
pub use import::{ImportOutcome, ImportPlan, ImportRequest, PlannedImport, import, plan_import};
pub(crate) use leave_out::leave_out;
pub use plan::{ForeignRestorePlan, PlannedDatabase, Swap, plan_foreign_restore};
pub use rdb::{RdbOutcome, RdbPlan, RdbRequest, import_rdb, plan_rdb};
pub use restore::{ForeignRestoreOutcome, RestoredDatabase, restore_foreign};
pub use tarball::{
    Allowed, ImportKind, PlannedTarball, TarballOutcome, TarballPlan, TarballRequest, import_kind,
    import_tarballs, plan_tarballs,
};
pub use undo::{SwapBack, undo_swap};

use std::{path::PathBuf, sync::Arc};

use rekindle_postgres::dump::foreign::Watch;
pub use rekindle_postgres::dump::foreign::{Compression, DumpForm, ForeignDump};
use rekindle_stack::Stack;
use rekindle_vault::Progress;

use crate::guard::GuardOptions;

/// Which dump, and where to.
pub struct ForeignRestoreRequest<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// The service whose server gets it.
    pub service: String,
    /// The dump: a file, or the directory of a directory archive.
    pub from: PathBuf,
    /// The database: which one of a cluster's dump, and the live one that it is of.
    pub database: Option<String>,
    /// The name of the new database; one with the time in it if `None`.
    pub new_name: Option<String>,
    /// Whether it takes the live database's place, which is set aside.
    pub swap: bool,
    /// What a person has decided about findings.
    pub guards: GuardOptions,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

fn watch(progress: &Arc<Progress>) -> Watch {
    let progress = Arc::clone(progress);
    Arc::new(move |bytes| progress.did_bytes(bytes))
}
