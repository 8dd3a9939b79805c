//! `rekindle wal fetch`, which `wal get` starts in the background.

use std::path::PathBuf;

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
    // A session of our own: what the server's end does to its children must not reach us, and our
    // end must not look like one of its children's.
    let session = rustix::process::setsid();
    session.map_err(|error| CliError::io("begin", "a session")(error.into()))?;
    get::fetch_ahead(&app.stack()?, &args.pg_wal)?;
    Ok(Exit::Done)
}
