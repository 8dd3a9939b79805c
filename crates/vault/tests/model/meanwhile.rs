//! What somebody else does in the middle of an operation.

use std::sync::{Arc, Mutex};

use rekindle_vault::{
    Backup, BackupError, Id, Progress, PruneError, PruneOptions, PruneReport, Snapshot,
    SnapshotDraft, Store, Vault, VaultError,
};

use crate::{
    hooked::Hooked,
    world::{self, Files},
};

/// A backup that is not committed yet.
pub struct Writer {
    pub backup: Backup,
    pub files: Files,
    pub takes_locks: bool,
    pub began: i64,
}

/// What is to be done.
pub enum Deed {
    BackUp(Files),
    Finish(Box<Writer>),
    Forget(Vec<Id>),
    Prune(PruneOptions),
}

/// What was done, and what came of it.
pub enum Done {
    BackedUp(Result<Snapshot, BackupError>, Files),
    Finished {
        outcome: Result<Snapshot, BackupError>,
        files: Files,
        takes_locks: bool,
    },
    Forgot(Result<usize, VaultError>, Vec<Id>),
    Pruned(Result<PruneReport, PruneError>),
}

impl Deed {
    pub fn name(&self) -> &'static str {
        match self {
            Self::BackUp(_) => "back up",
            Self::Finish(writer) if writer.takes_locks => "finish",
            Self::Finish(_) => "finish, without locks",
            Self::Forget(_) => "forget",
            Self::Prune(_) => "prune",
        }
    }

    fn perform(self, vault: &Vault) -> Done {
        match self {
            Self::BackUp(files) => Done::BackedUp(world::back_up(vault, &files), files),
            Self::Finish(writer) => Done::Finished {
                outcome: writer.backup.finish(SnapshotDraft::default()),
                files: writer.files,
                takes_locks: writer.takes_locks,
            },
            Self::Forget(ids) => Done::Forgot(vault.forget(&ids), ids),
            Self::Prune(options) => {
                Done::Pruned(vault.prune(&options, &Arc::new(Progress::default())))
            }
        }
    }
}

/// A deed that waits for its moment.
#[derive(Clone, Default)]
pub struct Meanwhile(Arc<Mutex<Option<Done>>>);

impl Meanwhile {
    /// The vault on which the deed is done before operation number `at` of whoever uses it.
    pub fn plan(vault: &Vault, store: Arc<dyn Store>, at: u64, deed: Deed) -> (Vault, Self) {
        let this = Self::default();
        let (done, others) = (Arc::clone(&this.0), vault.clone());
        let action = move || {
            let outcome = deed.perform(&others);
            *done.lock().unwrap() = Some(outcome);
        };
        let hooked = Hooked::before(store, at, Box::new(action));
        (vault.through(hooked), this)
    }

    /// What was done, if its moment came.
    pub fn take(&self) -> Option<Done> {
        self.0.lock().unwrap().take()
    }
}
