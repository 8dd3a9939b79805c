//! `rekindle wal push`, the `archive_command`.

use std::{io::Write, path::PathBuf};

use clap::Args;
use rekindle_recovery::wal::push::{self, PushError, PushReport, PushRequest};
use serde_json::json;

use crate::{
    app::App,
    errors::{self, CliError, Exit},
    output::{count, write_json},
};

pub const EXAMPLES: &str = "\
In postgresql.conf (the server must be restarted for archive_mode):
  archive_mode = on
  archive_command = 'rekindle --config /etc/rekindle/rekindle.yaml wal push %p'

Exit code 0 only when the file is durable in the vault. All other files that are ready are archived
with it. The same file again is success; another file of the same name is refused.";

/// Arguments of `wal push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The WAL file: what PostgreSQL puts in the place of %p
    #[arg(value_name = "%p")]
    path: PathBuf,
    /// The service whose server it is
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

/// Archives the file.
///
/// # Errors
/// As the file could not be archived; the server asks again.
pub fn run(app: &App, args: &PushArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let request = PushRequest {
        path: &args.path,
        service: args.service.as_deref(),
    };
    let mut report = PushReport::default();
    let outcome = push::push(&stack, &request, &mut report);
    tell(app, &report, outcome.is_err());
    outcome?;
    if app.is_json() {
        let value = json!({
            "file": report.file,
            "was_archived": report.was_archived,
            "others": report.others,
            "refused": refused(&report),
            "copies": report.copies.iter().map(|copy| json!({
                "copy": copy.copy,
                "missing": copy.missing,
                "error": copy.error.as_ref().map(said),
            })).collect::<Vec<_>>(),
        });
        write_json(out, &value)?;
    }
    Ok(Exit::Done)
}

/// What the server's log must show. All else is silent: it would be said for every segment.
fn tell(app: &App, report: &PushReport, has_failed: bool) {
    for (name, error) in &report.refused {
        app.warn(format_args!("{name}: {}", said(error)));
    }
    for copy in &report.copies {
        let missing = count(copy.missing as u64, "WAL file");
        let why = copy
            .error
            .as_ref()
            .map(|error| format!(": {}", said(error)));
        let why = why.unwrap_or_default();
        app.warn(format_args!("copy `{}` lacks {missing}{why}", copy.copy));
    }
    if has_failed && !report.others.is_empty() {
        let others = count(report.others.len() as u64, "other file");
        app.note(format_args!(
            "{others} that wait behind {} were archived",
            report.file
        ));
    }
}

fn refused(report: &PushReport) -> serde_json::Value {
    let one = |(name, error): &(String, PushError)| json!({ "file": name, "error": said(error) });
    report.refused.iter().map(one).collect()
}

fn said(error: &PushError) -> String {
    errors::chain(error).join(": ")
}
