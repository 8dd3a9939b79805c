//! What was intended, durable before it is done.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rekindle_stack::Stack;
use rekindle_vault::{Vault, durable};
use serde::{Deserialize, Serialize};

use super::{InPlaceError, live::Place, site::Site};

/// The version of the journal. Within it, fields are only added.
const FORMAT: u32 = 1;

/// How far a restore in place is. Each stage is written before its step is begun, so a step may have
/// been done, half done or not done when its stage is read; all of them can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The candidate is being built; the live server serves.
    Building,
    /// The live server is being stopped.
    Stopping,
    /// The live directory is being renamed.
    SettingAside,
    /// The candidate is being renamed to the live directory's name.
    Promoting,
    /// The restored server is being started, and recovers.
    Starting,
    /// The restored server is being looked at.
    Checking,
    /// Done; the old directory stands aside.
    Held,
    /// On the way back: the restored server is being stopped.
    StoppingRestored,
    /// On the way back: the restored directory is being renamed.
    SettingRestoredAside,
    /// On the way back: the old directory is being renamed to its own name.
    PuttingBack,
    /// On the way back: the old server is being started.
    StartingOld,
    /// The old directory is in its place again.
    Undone,
}

impl Stage {
    /// What is being done, for people.
    #[must_use]
    pub const fn doing(self) -> &'static str {
        match self {
            Self::Building => "building the candidate beside the live directory",
            Self::Stopping => "stopping the server",
            Self::SettingAside => "setting the old directory aside",
            Self::Promoting => "putting the candidate in its place",
            Self::Starting => "starting the restored server; it recovers",
            Self::Checking => "checking the restored server",
            Self::Held => "holding the old directory",
            Self::StoppingRestored => "stopping the restored server",
            Self::SettingRestoredAside => "setting the restored directory aside",
            Self::PuttingBack => "putting the old directory back",
            Self::StartingOld => "starting the old server",
            Self::Undone => "done with going back",
        }
    }

    /// Whether it ended: nothing is half done.
    pub(super) const fn is_settled(self) -> bool {
        matches!(self, Self::Held | Self::Undone)
    }

    /// Whether it is on the way back.
    pub(super) const fn is_way_back(self) -> bool {
        matches!(
            self,
            Self::StoppingRestored
                | Self::SettingRestoredAside
                | Self::PuttingBack
                | Self::StartingOld
        )
    }
}

/// A restore in place, as `<PGDATA>.rekindle-swap.json` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    pub format: u32,
    pub service: String,
    pub stage: Stage,
    /// When it was begun.
    pub started: Timestamp,
    /// The recovery point, in hexadecimal.
    pub point: String,
    /// The moment, in words.
    pub target: String,
    pub data_directory: PathBuf,
    pub candidate: PathBuf,
    /// Where the old directory stands, or will.
    pub set_aside: PathBuf,
    /// Where the restored directory stands after going back, or will.
    #[serde(default)]
    pub restored_aside: Option<PathBuf>,
    /// Tells the cluster from all others; of the old and of the restored directory alike.
    pub system_identifier: u64,
    /// The timeline of the old server when it was left.
    pub old_timeline: u32,
    /// Whether the old server ran before.
    pub was_running: bool,
    /// How the old server was started.
    pub start_options: String,
    /// Where its output went.
    pub log: PathBuf,
    /// Directories of earlier restores in place that are still there.
    #[serde(default)]
    pub left_over: Vec<PathBuf>,
}

impl Journal {
    pub(super) const FORMAT: u32 = FORMAT;

    /// Reads the journal of a place; `None` if there is none.
    pub(super) fn read(site: &Site) -> Result<Option<Self>, InPlaceError> {
        let path = site.journal();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(InPlaceError::file("read", &path)(error)),
        };
        let bad = |reason: String| InPlaceError::BadJournal {
            path: path.clone(),
            reason,
        };
        let journal: Self =
            serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if journal.format != FORMAT {
            return Err(bad(format!("its format is {}", journal.format)));
        }
        // What it names is renamed and, when discarded, removed: all of it must lie here.
        let all = [
            &journal.data_directory,
            &journal.candidate,
            &journal.set_aside,
        ];
        let paths = all.into_iter().chain(&journal.restored_aside);
        for named in paths.chain(&journal.left_over) {
            if named.parent() != Some(site.parent()) {
                return Err(bad(format!("it names {}", named.display())));
            }
        }
        if journal.data_directory != site.pgdata() {
            return Err(bad("it is of another directory".to_owned()));
        }
        Ok(Some(journal))
    }

    /// Makes the journal say `stage`, durably.
    pub(super) fn enter(&mut self, site: &Site, stage: Stage) -> Result<(), InPlaceError> {
        self.stage = stage;
        self.write(site)
    }

    pub(super) fn write(&self, site: &Site) -> Result<(), InPlaceError> {
        let path = site.journal();
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| InPlaceError::file("write", &path)(error.into()))?;
        durable::replace(&path, &bytes, 0o600).map_err(InPlaceError::file("write", &path))
    }

    /// Removes the journal, durably.
    pub(super) fn remove(site: &Site) -> Result<(), InPlaceError> {
        let path = site.journal();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(InPlaceError::file("remove", &path)(error))
            }
            _ => durable::sync_folder(site.parent())
                .map_err(InPlaceError::file("make durable", site.parent())),
        }
    }

    /// The directories beside the live one that exist because of this and of earlier ones.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let own = [
            Some(&self.candidate),
            Some(&self.set_aside),
            self.restored_aside.as_ref(),
        ];
        let all = own.into_iter().flatten().chain(&self.left_over);
        let mut all: Vec<_> = all.filter(|path| path.exists()).cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// In words, for whoever finds it.
    pub(super) fn state(&self) -> String {
        match self.stage {
            Stage::Held => format!("is held: the old directory is {}", self.set_aside.display()),
            Stage::Undone => "was taken back".to_owned(),
            stage => format!("was interrupted while {}", stage.doing()),
        }
    }
}

/// A restore in place that is not forgotten yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// How far it is.
    pub stage: Stage,
    /// Whether it was interrupted, and has to be finished or undone.
    pub is_interrupted: bool,
    /// When it was begun.
    pub started: Timestamp,
    /// The moment that was restored, in words.
    pub target: String,
    /// The live directory.
    pub data_directory: PathBuf,
    /// What stands beside it.
    pub directories: Vec<PathBuf>,
}

/// Tells of a restore in place of a data directory that is held, was taken back, or was interrupted.
///
/// # Errors
/// If its journal cannot be read.
pub fn hold_of(data_directory: &Path) -> Result<Option<Hold>, InPlaceError> {
    let site = Site::of(data_directory)?;
    let journal = Journal::read(&site)?;
    Ok(journal.map(|journal| Hold {
        stage: journal.stage,
        is_interrupted: !journal.stage.is_settled(),
        started: journal.started,
        target: journal.target.clone(),
        directories: journal.directories(),
        data_directory: journal.data_directory,
    }))
}

/// Tells the same of a service; `None` also if it cannot be found out where its directory is.
#[must_use]
pub fn hold_of_service(stack: &Stack, service: &str, vault: Option<&Vault>) -> Option<Hold> {
    let place = Place::find(stack, service, vault).ok()?;
    hold_of(place.site.pgdata()).ok().flatten()
}

/// The restores in place of a stack's services on this machine that are not ended, in words. A
/// journal that cannot be read is one too. A service whose directory is not known has none here.
pub(crate) fn open_recoveries(stack: &Stack, vault: &Vault) -> Vec<String> {
    let of_service = |service: &rekindle_stack::Service| {
        let name = service.name.as_str();
        let place = Place::find(stack, name, Some(vault)).ok()?;
        match Journal::read(&place.site) {
            Ok(None) => None,
            Ok(Some(journal)) => {
                let state = journal.state();
                Some(format!("the restore in place of `{name}` {state}"))
            }
            Err(error) => Some(rekindle_datasets::with_causes(&error)),
        }
    };
    stack.services.iter().filter_map(of_service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(site: &Site) -> Journal {
        Journal {
            format: FORMAT,
            service: "db".into(),
            stage: Stage::Building,
            started: Timestamp::UNIX_EPOCH,
            point: "ab".into(),
            target: "x".into(),
            data_directory: site.pgdata().to_owned(),
            candidate: site.candidate(),
            set_aside: site.aside("before", Timestamp::UNIX_EPOCH),
            restored_aside: None,
            system_identifier: 7,
            old_timeline: 1,
            was_running: true,
            start_options: String::new(),
            log: site.log(),
            left_over: Vec::new(),
        }
    }

    #[test]
    fn what_was_entered_is_read_again() {
        let root = tempfile::tempdir().unwrap();
        let site = Site::of(&root.path().join("data")).unwrap();
        assert_eq!(Journal::read(&site).unwrap(), None);
        let mut written = journal(&site);
        written.enter(&site, Stage::Promoting).unwrap();
        assert_eq!(Journal::read(&site).unwrap(), Some(written));
        Journal::remove(&site).unwrap();
        assert_eq!(Journal::read(&site).unwrap(), None);
    }

    #[test]
    fn a_journal_that_names_other_places_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let site = Site::of(&root.path().join("data")).unwrap();
        let mut written = journal(&site);
        written.left_over = vec!["/etc".into()];
        written.write(&site).unwrap();
        let error = Journal::read(&site).unwrap_err();
        assert!(error.to_string().contains("/etc"), "{error}");
    }
}
