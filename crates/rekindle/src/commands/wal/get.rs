//! `rekindle wal get`, the `restore_command`.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;
use rekindle_recovery::wal::get::{self, GetRequest, Got};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::write_json,
};

pub const EXAMPLES: &str = "\
In postgresql.conf:
  restore_command = 'rekindle --config /etc/rekindle/rekindle.yaml wal get %f \"%p\"'

Exit codes:
  0    the file is there
  1    the archive does not have it: for PostgreSQL the archive ends here
  126  it could not be told, or not be brought: recovery stops rather than end too early

The segments that come next are fetched in the background, into pg_wal/rekindle.";

/// Arguments of `wal get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The file's name: what PostgreSQL puts in the place of %f
    #[arg(value_name = "%f")]
    file: String,
    /// Where to put it: what PostgreSQL puts in the place of %p
    #[arg(value_name = "%p")]
    to: PathBuf,
    /// The cluster's system identifier, outside of a data directory
    #[arg(long, value_name = "NUMBER")]
    system: Option<u64>,
    /// Take an unfinished segment where there is no finished one
    #[arg(long)]
    partial: bool,
    /// Fetch nothing ahead
    #[arg(long)]
    no_prefetch: bool,
}

/// Brings the file.
///
/// # Errors
/// As it could not be told whether the archive has the file, or it could not be brought.
pub fn run(app: &App, args: &GetArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let config = app.config_path()?;
    let start = || start_fetcher(&config, &args.to);
    let request = GetRequest {
        file: &args.file,
        to: &args.to,
        system: args.system,
        partial: args.partial,
        fetcher: (!args.no_prefetch).then_some(&start),
    };
    let got = get::get(&stack, &request)?;
    if app.is_json() {
        let found = got == Got::Found;
        write_json(out, &json!({ "file": args.file, "found": found }))?;
    }
    Ok(match got {
        Got::Found => Exit::Done,
        Got::NotFound => Exit::NotInArchive,
    })
}

/// Starts this program once more, to live on after us.
fn start_fetcher(config: &Path, to: &Path) -> io::Result<()> {
    let config = std::path::absolute(config)?;
    let to = std::path::absolute(to)?;
    let pg_wal = to.parent().unwrap_or(Path::new("/"));
    Command::new(env::current_exe()?)
        .arg("--config")
        .arg(config)
        .args(["wal", "fetch"])
        .arg(pg_wal)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}
