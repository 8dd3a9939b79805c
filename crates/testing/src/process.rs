//! Child processes, the `postgres` user, free ports and temporary directories.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::TestingError;

/// Ports handed out. Below the kernel's range for outgoing connections (32768 on Linux), so that
/// no client's connection takes a port between our look and the server's bind.
const PORTS: std::ops::Range<u32> = 20_000..32_000;

/// Returns a TCP port of 127.0.0.1 that nobody listened on a moment ago.
///
/// # Errors
/// [`TestingError::Unavailable`] if a thousand ports in a row are taken.
pub fn free_port() -> Result<u16, TestingError> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let span = PORTS.end - PORTS.start;
    // Processes of one test run start far apart; a multiplier coprime to the span spreads their ids.
    let base = std::process::id().wrapping_mul(7_919);
    for _ in 0..1000 {
        let offset = base.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        let Ok(port) = u16::try_from(PORTS.start + offset) else {
            continue;
        };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(TestingError::Unavailable {
        what: "a free port of 127.0.0.1".into(),
        why: "a thousand in a row are taken".into(),
    })
}

/// Makes a temporary directory that every user may enter, with a path short enough for sockets.
///
/// `tempfile`'s own are closed to others, and a server that runs as `postgres` could not reach
/// what lies in them.
///
/// # Errors
/// [`TestingError::File`].
pub fn temp_dir() -> Result<TempDir, TestingError> {
    let parent = Path::new("/var/tmp");
    let dir = tempfile::Builder::new()
        .prefix("rk-")
        .tempdir_in(parent)
        .map_err(TestingError::file("make a temporary directory in", parent))?;
    set_mode(dir.path(), 0o755)?;
    Ok(dir)
}

/// Ids of the user that servers run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Returns who servers run as: `postgres` when we are root, else `None` for ourselves.
///
/// # Errors
/// [`TestingError::Unavailable`] if we are root and there is no user `postgres`.
pub fn server_owner() -> Result<Option<Owner>, TestingError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let path = Path::new("/etc/passwd");
    let passwd = fs::read_to_string(path).map_err(TestingError::file("read", path))?;
    passwd
        .lines()
        .find_map(owner_of_postgres)
        .map(Some)
        .ok_or_else(|| TestingError::Unavailable {
            what: "user postgres".into(),
            why: "PostgreSQL refuses to run as root; `make deps` installs it with its user".into(),
        })
}

fn owner_of_postgres(line: &str) -> Option<Owner> {
    let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
    Some(Owner {
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    })
}

/// Makes `command` run as the user of the servers. No effect unless we are root.
///
/// # Errors
/// As [`server_owner`].
pub fn as_server_owner(command: &mut Command) -> Result<(), TestingError> {
    if let Some(owner) = server_owner()? {
        command
            .uid(owner.uid)
            .gid(owner.gid)
            .env("HOME", "/var/tmp");
    }
    // The child may not be allowed into our working directory; PostgreSQL's tools complain then.
    command.current_dir("/");
    Ok(())
}

/// Runs `program` with `arguments` as the user of the servers and returns its stdout.
///
/// # Errors
/// [`TestingError::Failed`] with stderr if it ends with anything but 0.
pub fn run_as_postgres<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, TestingError> {
    let mut command = Command::new(program);
    command.args(arguments);
    as_server_owner(&mut command)?;
    run(&mut command)
}

/// Runs `command` with empty input and returns its stdout; bytes that are no UTF-8 are replaced.
///
/// # Errors
/// [`TestingError::Run`] if it does not start, [`TestingError::Failed`] if it ends badly.
pub fn run(command: &mut Command) -> Result<String, TestingError> {
    let output = output_with_input(command, &[])?;
    succeeded(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command`, feeds it `input`, and collects what it prints, whatever its exit status.
///
/// # Errors
/// [`TestingError::Run`] if it does not start.
pub fn output_with_input(command: &mut Command, input: &[u8]) -> Result<Output, TestingError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| TestingError::Run {
        program: program.clone(),
        source,
    };
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // Fed by a thread, since a child that prints a lot before it reads all would block us both.
        scope.spawn(move || {
            // A child may end before it has read everything; its exit status tells, not this.
            let _ = stdin.map(|mut pipe| pipe.write_all(input));
        });
        child.wait_with_output()
    })
    .map_err(failed)
}

/// Turns a bad exit status into an error with what the program said.
pub(crate) fn succeeded(command: &Command, output: &Output) -> Result<(), TestingError> {
    if output.status.success() {
        return Ok(());
    }
    let said = if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    };
    Err(TestingError::Failed {
        command: line_of(command),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(said).into_owned(),
    })
}

/// The command line alone: the environment, which `Debug` would show, holds passwords.
fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line = line + " " + &argument.to_string_lossy();
    }
    line
}

/// Gives `path` and everything below it to the user of the servers; follows no links.
pub(crate) fn give_to_server_owner(path: &Path) -> Result<(), TestingError> {
    let Some(owner) = server_owner()? else {
        return Ok(());
    };
    give(path, owner)
}

fn give(path: &Path, owner: Owner) -> Result<(), TestingError> {
    lchown(path, Some(owner.uid), Some(owner.gid)).map_err(TestingError::file("chown", path))?;
    let meta = fs::symlink_metadata(path).map_err(TestingError::file("look at", path))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).map_err(TestingError::file("list", path))? {
            give(
                &entry.map_err(TestingError::file("list", path))?.path(),
                owner,
            )?;
        }
    }
    Ok(())
}

/// Makes every directory above `path` passable for the user of the servers.
///
/// Only our own directories under /tmp and /var/tmp are changed (`tempfile` makes them 0700); a
/// closed one elsewhere is an error, because it is not ours to open.
pub(crate) fn make_reachable(path: &Path) -> Result<(), TestingError> {
    for ancestor in path.ancestors().skip(1) {
        let meta = fs::metadata(ancestor).map_err(TestingError::file("look at", ancestor))?;
        if meta.mode() & 0o001 != 0 || server_owner()?.is_none() {
            continue;
        }
        let temporary = ancestor.starts_with("/tmp/") || ancestor.starts_with("/var/tmp/");
        if !(temporary && meta.uid() == rustix::process::geteuid().as_raw()) {
            return Err(TestingError::Unexpected {
                what: "the user postgres must be able to enter every directory above PGDATA",
                found: format!("{} has mode {:o}", ancestor.display(), meta.mode() & 0o7777),
            });
        }
        set_mode(ancestor, meta.mode() & 0o7777 | 0o011)?;
    }
    Ok(())
}

/// Sets the permission bits of `path`.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), TestingError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(TestingError::file("chmod", path))
}

/// The workspace's `target` directory: `$CARGO_TARGET_DIR`, else beside the workspace's crates.
pub(crate) fn workspace_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .unwrap_or_else(|| workspace_root().join("target"))
}

/// The workspace's own directory.
pub(crate) fn workspace_root() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates
        .and_then(Path::parent)
        .unwrap_or(Path::new("/var/tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_is_not_handed_out_twice() {
        let (first, second) = (free_port().unwrap(), free_port().unwrap());
        assert_ne!(first, second);
        TcpListener::bind(("127.0.0.1", first)).unwrap();
    }

    #[test]
    fn a_failing_program_is_an_error_that_repeats_what_it_said() {
        let error = run(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("no luck"), "{error}");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_failing_program_does_not_give_away_its_environment() {
        let error = run(Command::new("false").env("PGPASSWORD", "geheim")).unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }

    #[test]
    fn more_input_than_a_pipe_holds_comes_back_whole() {
        let input = vec![b'x'; 1 << 20];
        let output = output_with_input(&mut Command::new("cat"), &input).unwrap();
        assert_eq!(output.stdout.len(), input.len());
    }

    #[test]
    fn servers_do_not_run_as_root() {
        let Some(owner) = server_owner().unwrap() else {
            return;
        };
        let id = run_as_postgres("id", ["-u"]).unwrap();
        assert_eq!(id.trim(), owner.uid.to_string());
        assert_ne!(owner.uid, 0);
    }
}
