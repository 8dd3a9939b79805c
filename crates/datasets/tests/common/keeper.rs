//! A runtime that knows of one service where its files are and whether it runs, and nothing else.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rekindle_runtimes::{
    ExecCommand, ExecOutcome, ExecStreams, LogRequest, RunState, Runtime, RuntimeError, Sandbox,
    SandboxRequest, ServiceState, Storage, StorageAccess, StorageKind,
};

pub struct Keeper {
    /// Its name; another service is a mistake of who asks.
    pub service: &'static str,
    pub run: RunState,
    pub image: Option<&'static str>,
    /// Where the service sees its volume, and how that is reached.
    pub volume: Option<(&'static str, Reach)>,
}

/// How a volume is reached from here.
#[allow(
    dead_code,
    reason = "each kind of dataset is asked for in some of these ways"
)]
#[derive(Clone)]
pub enum Reach {
    /// By its path.
    Path(PathBuf),
    /// As streams of what lies there, as a container engine hands them out.
    Streams(PathBuf),
    /// Not at all.
    Not,
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
            ..ServiceState::absent(self.service)
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
    fn storage(&self, service: &str) -> Result<Vec<Storage>, RuntimeError> {
        assert_eq!(service, self.service);
        if self.run == RunState::Absent {
            return cannot();
        }
        let volume = self.volume.iter().map(|(inside, reach)| Storage {
            name: "cachedata".to_owned(),
            kind: StorageKind::Volume,
            inside: (*inside).into(),
            here: match reach {
                Reach::Path(here) => Some(here.clone()),
                Reach::Streams(_) | Reach::Not => None,
            },
            read_only: false,
        });
        Ok(volume.collect())
    }
    fn open_storage(&self, _: &str, _: &Storage) -> Result<Box<dyn StorageAccess>, RuntimeError> {
        match &self.volume {
            Some((_, Reach::Path(root) | Reach::Streams(root))) => {
                Ok(Box::new(Streams(root.clone())))
            }
            _ => cannot(),
        }
    }
    fn sandbox(&self, _: &str, _: &SandboxRequest) -> Result<Box<dyn Sandbox>, RuntimeError> {
        cannot()
    }
}

/// Hands files out as `tar` streams.
struct Streams(PathBuf);

struct Running(Child);

impl Read for Running {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.stdout.as_mut().unwrap().read(buffer)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl StorageAccess for Streams {
    fn read(&mut self, path: &Path) -> Result<Box<dyn Read + '_>, RuntimeError> {
        let path = self.0.join(path);
        if !path.exists() {
            return cannot();
        }
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(path.parent().unwrap())
            .arg("-cf")
            .arg("-");
        tar.arg(path.file_name().unwrap()).stdout(Stdio::piped());
        Ok(Box::new(Running(tar.spawn().unwrap())))
    }
    fn write(&mut self, _: &Path, _: &mut (dyn Read + Send)) -> Result<(), RuntimeError> {
        cannot()
    }
    fn rename(&mut self, _: &Path, _: &Path) -> Result<(), RuntimeError> {
        cannot()
    }
    fn copy_file(&mut self, _: &Path, _: &mut dyn Write) -> Result<u64, RuntimeError> {
        cannot()
    }
}
