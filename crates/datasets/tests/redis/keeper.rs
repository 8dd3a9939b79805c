//! A runtime that knows of one service where its files are and whether it runs, and nothing else.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rekindle_runtimes::{
    ExecCommand, ExecOutcome, ExecStreams, LogRequest, RunState, Runtime, RuntimeError, Sandbox,
    SandboxRequest, ServiceState, Storage, StorageAccess, StorageKind,
};

pub struct Keeper {
    pub run: RunState,
    pub image: Option<&'static str>,
    /// A volume, where the service sees it and where it is.
    pub volume: Option<(&'static str, Option<PathBuf>)>,
}

fn cannot<T>() -> Result<T, RuntimeError> {
    Err(RuntimeError::Unsupported {
        runtime: "a fixture".to_owned(),
        what: "cannot".to_owned(),
    })
}

impl Runtime for Keeper {
    fn describe(&self) -> String {
        "a fixture".to_owned()
    }
    fn list(&self) -> Result<Vec<ServiceState>, RuntimeError> {
        Ok(vec![ServiceState {
            run: self.run,
            image: self.image.map(str::to_owned),
            ..ServiceState::absent("cache")
        }])
    }
    fn start(&self, _: &str) -> Result<(), RuntimeError> {
        cannot()
    }
    fn stop(&self, _: &str, _: Duration) -> Result<(), RuntimeError> {
        cannot()
    }
    fn pause(&self, _: &str) -> Result<(), RuntimeError> {
        cannot()
    }
    fn resume(&self, _: &str) -> Result<(), RuntimeError> {
        cannot()
    }
    fn logs(&self, _: &str, _: &LogRequest, _: &mut dyn Write) -> Result<(), RuntimeError> {
        cannot()
    }
    fn exec(
        &self,
        _: &str,
        _: &ExecCommand,
        _: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError> {
        cannot()
    }
    fn address(&self, _: &str, _: u16) -> Result<Option<SocketAddr>, RuntimeError> {
        Ok(None)
    }
    fn storage(&self, _: &str) -> Result<Vec<Storage>, RuntimeError> {
        if self.run == RunState::Absent {
            return cannot();
        }
        let volume = self.volume.iter().map(|(inside, here)| Storage {
            name: "cachedata".to_owned(),
            kind: StorageKind::Volume,
            inside: (*inside).into(),
            here: here.clone(),
            read_only: false,
        });
        Ok(volume.collect())
    }
    fn open_storage(&self, _: &str, _: &Storage) -> Result<Box<dyn StorageAccess>, RuntimeError> {
        cannot()
    }
    fn sandbox(&self, _: &str, _: &SandboxRequest) -> Result<Box<dyn Sandbox>, RuntimeError> {
        cannot()
    }
}
