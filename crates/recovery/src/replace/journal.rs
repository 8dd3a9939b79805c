//! What was intended and what was set aside, durable before it is done.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rekindle_datasets::{Aside, InPlaceError};
use rekindle_stack::Stack;
use rekindle_vault::durable;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::ReplaceError;
use crate::damage::state_directory;

/// The version of the journal. Within it, fields are only added.
const FORMAT: u32 = 1;

/// How far it is. Each stage is written before its step is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// What will take the place is being built beside what is there, while the service runs on.
    Building,
    /// The service is being stopped.
    Stopping,
    /// What is there is being set aside, and replaced.
    Restoring,
    /// The service is being started.
    Starting,
    /// Done; what was there stands aside.
    Held,
    /// What was there is being brought back.
    GoingBack,
}

/// A restore in place, as its journal tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub format: u32,
    pub stack: String,
    pub service: String,
    pub kind: String,
    /// The recovery point, in hexadecimal.
    pub point: String,
    pub started: Timestamp,
    pub stage: Stage,
    /// Whether the service ran before it was stopped for this.
    pub was_running: bool,
    /// What stands aside; nothing yet if `None`.
    pub aside: Option<Aside>,
    /// Of restores before this one, oldest first: what they set aside is still there.
    #[serde(default)]
    pub earlier: Vec<Earlier>,
}

/// What an earlier restore in place set aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Earlier {
    pub point: String,
    pub started: Timestamp,
    pub aside: Aside,
}

/// A dataset of which a former state stands aside.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// The service.
    pub service: String,
    /// Of which kind.
    pub kind: String,
    /// The recovery point that took its place, in hexadecimal.
    pub point: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether the restore did not come to its end, and has to be taken back.
    pub is_unfinished: bool,
}

/// The journal of one dataset, locked against everybody else.
pub(super) struct Journal {
    path: PathBuf,
    pub record: Option<Record>,
    _lock: File,
}

impl Journal {
    /// Opens the journal of a dataset; it may not be there yet.
    pub fn open(stack: &Stack, service: &str, kind: &str) -> Result<Self, ReplaceError> {
        let folder = folder(stack);
        let path = folder.join(format!("{service}.{kind}.json"));
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| ReplaceError::Journal {
                doing,
                path,
                source,
            }
        };
        fs::create_dir_all(&folder).map_err(failed("make a place for", &path))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(format!("{service}.{kind}.lock")))
            .map_err(failed("lock", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let service = service.to_owned();
                return Err(ReplaceError::UnderWay { service });
            }
            other => other.map_err(|errno| failed("lock", &path)(errno.into()))?,
        }
        let record = read(&path).map_err(failed("read", &path))?;
        Ok(Self {
            path,
            record,
            _lock: lock,
        })
    }

    /// Makes the record durable.
    pub fn save(&mut self, record: Record) -> Result<(), ReplaceError> {
        let saved = self.save_to_disk(&record);
        self.record = Some(record);
        saved.map_err(|source| ReplaceError::Journal {
            doing: "write",
            path: self.path.clone(),
            source,
        })
    }

    fn save_to_disk(&self, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
        durable::replace(&self.path, &text, 0o600)
    }

    /// What was set aside last is back: what earlier restores set aside stands aside as before. Returns how many those are.
    pub fn take_back(&mut self) -> Result<usize, ReplaceError> {
        let Some(mut record) = self.record.clone() else {
            return Ok(0);
        };
        let still_aside = record.earlier.len();
        match record.earlier.pop() {
            Some(before) => self.save(Record {
                stage: Stage::Held,
                point: before.point,
                started: before.started,
                was_running: false,
                aside: Some(before.aside),
                ..record
            })?,
            None => self.remove()?,
        }
        Ok(still_aside)
    }

    /// Whether a restore or an undo was killed while it had the service stopped: it is owed a start.
    pub fn owes_start(&self) -> bool {
        let record = self.record.as_ref();
        record.is_some_and(|record| record.was_running && record.stage != Stage::Held)
    }

    /// Says how far it is, if it was begun.
    pub fn set_stage(&mut self, stage: Stage) -> Result<(), ReplaceError> {
        match self.record.clone() {
            Some(record) => self.save(Record { stage, ..record }),
            None => Ok(()),
        }
    }

    /// Ends it: nothing stands aside any more.
    pub fn remove(&mut self) -> Result<(), ReplaceError> {
        self.record = None;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ReplaceError::Journal {
                doing: "remove",
                path: self.path.clone(),
                source: error,
            }),
            _ => Ok(()),
        }
    }
}

/// What a dataset tells while it changes the world goes into the record.
impl rekindle_datasets::Journal for Journal {
    fn write(&mut self, aside: &Aside) -> Result<(), InPlaceError> {
        let Some(mut record) = self.record.clone() else {
            return Err(InPlaceError::Journal {
                path: self.path.display().to_string(),
                source: io::Error::other("it was not begun"),
            });
        };
        record.aside = Some(aside.clone());
        let saved = self.save_to_disk(&record);
        saved.map_err(|source| InPlaceError::Journal {
            path: self.path.display().to_string(),
            source,
        })?;
        self.record = Some(record);
        Ok(())
    }
}

/// Where the journals of a stack lie. Two stacks of one name in two directories are two.
fn folder(stack: &Stack) -> PathBuf {
    let place = rekindle_vault::Id::of(stack.directory.as_os_str().as_encoded_bytes());
    let name = format!("{}-{}", stack.name, place.short());
    state_directory().join("in-place").join(name)
}

fn read(path: &Path) -> io::Result<Option<Record>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let record: Record = serde_json::from_slice(&text).map_err(io::Error::other)?;
    if record.format != FORMAT {
        let text = format!(
            "it is of version {}, and this program knows {FORMAT}",
            record.format
        );
        return Err(io::Error::other(text));
    }
    Ok(Some(record))
}

impl Record {
    /// Whether nothing that is live can have been changed: at most a candidate is there, or a copy.
    pub fn is_untouched(&self) -> bool {
        self.stage != Stage::Held && self.aside.as_ref().is_none_or(Aside::is_untouched)
    }

    /// A restore that is about to begin, after what stands aside already.
    pub fn new(
        stack: &Stack,
        service: &str,
        kind: &str,
        point: String,
        before: Option<Self>,
    ) -> Self {
        let mut earlier = Vec::new();
        if let Some(before) = before {
            earlier.extend(before.earlier);
            earlier.extend(before.aside.map(|aside| Earlier {
                point: before.point,
                started: before.started,
                aside,
            }));
        }
        Self {
            format: FORMAT,
            stack: stack.name.to_string(),
            service: service.to_owned(),
            kind: kind.to_owned(),
            point,
            started: Timestamp::now(),
            stage: Stage::Building,
            was_running: false,
            aside: None,
            earlier,
        }
    }
}

/// Datasets of the stack of which a former state stands aside on this machine. What cannot be read is passed over with a
/// warning in the log.
#[must_use]
pub fn held(stack: &Stack) -> Vec<Held> {
    let Ok(entries) = fs::read_dir(folder(stack)) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let journals = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let records = journals.filter_map(|path| {
        read(&path)
            .inspect_err(
                |error| tracing::warn!(%error, path = %path.display(), "a journal cannot be read"),
            )
            .ok()
            .flatten()
    });
    let mut all: Vec<Held> = records
        .map(|record| Held {
            is_unfinished: record.stage != Stage::Held,
            service: record.service,
            kind: record.kind,
            point: record.point,
            since: record.started,
        })
        .collect();
    all.sort_by(|a, b| (&a.service, &a.kind).cmp(&(&b.service, &b.kind)));
    all
}
