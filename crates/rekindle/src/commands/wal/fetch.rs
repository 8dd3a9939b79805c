//! `rekindle wal fetch`, which `wal get` starts in the background.

use std::{
    fs, io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    path::PathBuf,
};

use clap::Args;
use rekindle_recovery::wal::get;

use crate::{
    app::App,
    errors::{CliError, Exit},
};

/// Arguments of `wal fetch`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The server's pg_wal
    pg_wal: PathBuf,
}

/// Fetches until nobody asks any more.
///
/// # Errors
/// As it could not begin; `wal get` sees that it is gone, and does without.
pub fn run(app: &App, args: &FetchArgs) -> Result<Exit, CliError> {
    close_inherited().map_err(CliError::io("close", "inherited files"))?;
    // A session of our own: what the server's end does to its children must not reach us, and our
    // end must not look like one of its children's.
    let session = rustix::process::setsid();
    session.map_err(|error| CliError::io("begin", "a session")(error.into()))?;
    get::fetch_ahead(&app.stack()?, &args.pg_wal)?;
    Ok(Exit::Done)
}

/// Closes what the server had open when it called: before version 16 its data files are passed on
/// to its children, and what it deletes would stay on the disk as long as we live.
fn close_inherited() -> io::Result<()> {
    let mut inherited: Vec<RawFd> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // The listing itself is there too, and closed when it ends.
        let is_listing = fs::read_link(entry.path()).is_ok_and(|to| to.starts_with("/proc"));
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<RawFd>().ok());
        inherited.extend(number.filter(|number| *number > 2 && !is_listing));
    }
    for number in inherited {
        // SAFETY: nothing of ours but the three standard streams is open yet: this is the first
        // thing that the command does, on the only thread.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
    Ok(())
}
