//! What was stopped is started again, and what was paused goes on, whatever happens in between.
//!
//! Before a service is laid to rest, a [note](note) of it is made durable; it is removed once the
//! service goes on. A process that was killed leaves its notes behind, and [`Owed::settle`], at the
//! start of the next run, does what it owed.

mod note;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

use self::note::Note;
use crate::{Identity, RunState, Runtime, RuntimeError};

/// Where notes of one stack lie.
#[derive(Clone, Debug)]
pub struct Owed {
    directory: PathBuf,
    stack: String,
}

/// What was done to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rest {
    /// It was stopped, and is owed a start.
    Stopped,
    /// It was paused, and is owed to go on.
    Paused,
}

/// Why a service was not laid to rest, or a debt not settled.
#[derive(Debug, thiserror::Error)]
pub enum OwedError {
    /// The note of it could not be made, read or removed. Nothing was done to the service.
    #[error("note in {} what is owed to a service", directory.display())]
    Note {
        /// Where the notes lie.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl OwedError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Note { .. } => {
                Some("a directory that this user can write to is needed there".to_owned())
            }
            Self::Runtime(error) => error.hint(),
        }
    }
}

/// A debt of a run that ended before it could pay, and what became of it.
#[derive(Debug, Serialize)]
pub struct Settled {
    /// The service.
    pub service: String,
    /// What the run had done to it.
    pub rest: Rest,
    /// When.
    pub since: Timestamp,
    /// Whether it had to be done: the service may have been started by somebody else.
    pub was_needed: bool,
    /// Why it could not be done; it is tried again at the next run.
    pub failed: Option<String>,
}

impl Owed {
    /// Of a stack, with notes below `state_directory`, which must survive a restart of the machine.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(state_directory: &Path, stack: &str) -> Result<Self, OwedError> {
        let owed = Self {
            directory: state_directory.join("owed"),
            stack: stack.to_owned(),
        };
        note::make(&owed.directory).map_err(owed.note_failed())?;
        Ok(owed)
    }

    fn note_failed(&self) -> impl Fn(io::Error) -> OwedError + use<> {
        let directory = self.directory.clone();
        move |source| OwedError::Note {
            directory: directory.clone(),
            source,
        }
    }

    /// Stops a service that runs, until the guard is dropped. One that does not run is left alone,
    /// also afterwards.
    ///
    /// # Errors
    /// [`OwedError`]; the service runs then, or it is tried to start it again.
    pub fn stop(
        &self,
        runtime: &Arc<dyn Runtime>,
        service: &str,
        limit: Duration,
    ) -> Result<Guard, OwedError> {
        self.rest(runtime, service, Rest::Stopped, &|| {
            runtime.stop(service, limit)
        })
    }

    /// Pauses a service that runs, until the guard is dropped. One that does not run is left alone.
    ///
    /// # Errors
    /// [`OwedError`]; the service runs then, or it is tried to let it go on.
    pub fn pause(&self, runtime: &Arc<dyn Runtime>, service: &str) -> Result<Guard, OwedError> {
        self.rest(runtime, service, Rest::Paused, &|| runtime.pause(service))
    }

    fn rest(
        &self,
        runtime: &Arc<dyn Runtime>,
        service: &str,
        rest: Rest,
        lay_down: &dyn Fn() -> Result<(), RuntimeError>,
    ) -> Result<Guard, OwedError> {
        let runs = match runtime.state(service)?.run {
            RunState::Running => true,
            // It is about to run: a stop keeps it from that, a pause has nothing to hold.
            RunState::Restarting => rest == Rest::Stopped,
            _ => false,
        };
        let mut guard = Guard {
            runtime: Arc::clone(runtime),
            service: service.to_owned(),
            rest,
            note: None,
        };
        if runs {
            let note = Note {
                stack: self.stack.clone(),
                service: service.to_owned(),
                rest,
                by: Identity::ours().map_err(self.note_failed())?,
                at: Timestamp::now(),
            };
            guard.note = Some(note.leave(&self.directory).map_err(self.note_failed())?);
            if let Err(error) = lay_down() {
                // Half of it may be done, and go on by itself: the note stays for the next run.
                guard.note = None;
                let _ = wake(runtime.as_ref(), service, rest);
                return Err(error.into());
            }
        }
        Ok(guard)
    }

    /// Does what runs that are gone owed to the services of this stack. Debts of a process that
    /// lives are its own business.
    ///
    /// # Errors
    /// If the notes cannot be read. What fails for one service is in its [`Settled`].
    pub fn settle(&self, runtime: &dyn Runtime) -> Result<Vec<Settled>, OwedError> {
        let mut settled = Vec::new();
        for (path, note) in Note::all(&self.directory).map_err(self.note_failed())? {
            if note.stack != self.stack || note.by.is_alive() {
                continue;
            }
            let outcome = wake(runtime, &note.service, note.rest);
            if outcome.is_ok() {
                note::remove(&path).map_err(self.note_failed())?;
            }
            settled.push(Settled {
                service: note.service,
                rest: note.rest,
                since: note.at,
                was_needed: *outcome.as_ref().unwrap_or(&true),
                failed: outcome.err().map(|error| error.to_string()),
            });
        }
        Ok(settled)
    }
}

/// Starts what was stopped, lets go on what was paused. False if it runs already, or is gone.
fn wake(runtime: &dyn Runtime, service: &str, rest: Rest) -> Result<bool, RuntimeError> {
    let run = runtime.state(service)?.run;
    let is_asleep = match rest {
        Rest::Paused => run == RunState::Paused,
        Rest::Stopped => matches!(
            run,
            RunState::Stopped | RunState::Failed | RunState::Created
        ),
    };
    match rest {
        _ if !is_asleep => {}
        Rest::Paused => runtime.resume(service)?,
        Rest::Stopped => runtime.start(service)?,
    }
    Ok(is_asleep)
}

/// A service at rest. It goes on when this is dropped, also by a panic; if the process is killed,
/// at the next [`Owed::settle`].
#[must_use]
pub struct Guard {
    runtime: Arc<dyn Runtime>,
    service: String,
    rest: Rest,
    /// Where it is noted; `None` if nothing was done.
    note: Option<PathBuf>,
}

impl Guard {
    /// The service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Whether it ran, and was laid to rest.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.note.is_some()
    }

    /// Lets the service go on, and says if that fails; then it stays noted for the next run.
    ///
    /// # Errors
    /// [`OwedError`].
    pub fn wake(mut self) -> Result<(), OwedError> {
        self.undo()
    }

    fn undo(&mut self) -> Result<(), OwedError> {
        let Some(path) = self.note.take() else {
            return Ok(());
        };
        wake(self.runtime.as_ref(), &self.service, self.rest)?;
        note::remove(&path).map_err(|source| OwedError::Note {
            directory: path.parent().unwrap_or(Path::new("/")).to_owned(),
            source,
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                error,
                service = %self.service,
                "a service that was laid to rest does not go on; it is tried again at the next run"
            );
        }
    }
}
