//! Real servers that a vault may lie on: Ceph's S3 gateway, rclone's poor S3, OpenSSH's SFTP; and stand-ins
//! that say so: Azurite, [`MadeUpS3`].

mod azurite;
mod ceph;
mod rclone;
mod refusing;
mod sshd;

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use azurite::Azurite;
pub use ceph::Ceph;
pub use rclone::Rclone;
pub(crate) use rclone::program as rclone_program;
pub use refusing::{MadeUpS3, Rule};
pub use sshd::Sshd;

use crate::TestingError;

/// The access key of all S3 servers here.
pub const ACCESS_KEY: &str = "TESTKEY12345";
/// Its secret.
pub const SECRET_KEY: &str = "TESTSECRET1234567890";

/// Servers start within seconds; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// A child process that is ended, by its id, when its owner is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `command`, whose output goes to a file `log`.
fn start(command: &mut Command, log: &Path) -> Result<Server, TestingError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let file = std::fs::File::create(log).map_err(TestingError::file("create", log))?;
    let copy = file
        .try_clone()
        .map_err(TestingError::file("create", log))?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(file))
        .stderr(Stdio::from(copy));
    match command.spawn() {
        Ok(child) => Ok(Server(child)),
        Err(source) => Err(TestingError::Run { program, source }),
    }
}

/// Waits until `is_ready`.
fn wait_until(
    what: &Path,
    log: &Path,
    mut is_ready: impl FnMut() -> bool,
) -> Result<(), TestingError> {
    let start = Instant::now();
    while !is_ready() {
        if start.elapsed() > PATIENCE {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let tail = text.lines().rev().take(20).collect::<Vec<_>>();
            return Err(TestingError::Server {
                data_dir: what.to_owned(),
                why: "it did not become ready".into(),
                log: tail.into_iter().rev().collect::<Vec<_>>().join("\n"),
            });
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Whether this machine has a program; if not, why tests of it are skipped.
fn needs(program: &str, what: &str) -> Result<(), TestingError> {
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin"];
    let is_there = places
        .iter()
        .any(|dir| Path::new(dir).join(program).exists());
    if is_there {
        return Ok(());
    }
    Err(TestingError::Unavailable {
        what: what.into(),
        why: format!("there is no program `{program}`; `make deps` installs it"),
    })
}
