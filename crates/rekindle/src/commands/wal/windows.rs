//! `rekindle wal windows`.

use std::io::Write;

use clap::Args;
use rekindle_recovery::wal::{Moment, Window, Windows};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Table, time, write_json},
};

pub const EXAMPLES: &str = "\
Examples:
  rekindle wal windows
  rekindle wal windows --service postgres --json

Any moment of a window can be restored with `rekindle restore --at`. Exit code 1 if WAL is missing
between windows, or a timeline cannot be followed.";

/// Arguments of `wal windows`.
#[derive(Debug, Args)]
pub struct WindowsArgs {
    /// This service only
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
}

/// Lists the windows.
///
/// # Errors
/// As the vault cannot be read.
pub fn run(app: &App, args: &WindowsArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let services = match &args.service {
        Some(service) => vec![service.clone()],
        None => rekindle_recovery::services_with_postgres(&stack),
    };
    let found = services
        .iter()
        .map(|service| rekindle_recovery::wal::windows(&vault, service))
        .collect::<Result<Vec<_>, _>>()?;
    if app.is_json() {
        write_json(out, &json!({ "services": found }))?;
    } else {
        write_table(app, &found, out)?;
    }
    let is_whole = |windows: &Windows| {
        windows.problems.is_empty() && windows.windows.iter().all(|window| window.hole.is_none())
    };
    Ok(if found.iter().all(is_whole) {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn write_table(app: &App, found: &[Windows], out: &mut dyn Write) -> Result<(), CliError> {
    let mut table = Table::new(["SERVICE", ">TIMELINE", "FROM", "TO", ">POINTS", "TO LSN"]);
    for windows in found {
        for window in &windows.windows {
            table.row(row(&windows.service, window));
        }
    }
    if found.iter().all(|windows| windows.windows.is_empty()) {
        app.note("there is no base backup, so no moment can be restored yet");
        app.next([app.command("backup")]);
    } else {
        table.write(out)?;
    }
    for windows in found {
        for window in &windows.windows {
            if let Some(hole) = &window.hole {
                app.warn(format_args!(
                    "{}: WAL is missing from {} to {}; what was committed then is in no window",
                    windows.service, hole.first_missing, hole.last_missing
                ));
            }
        }
        for problem in &windows.problems {
            app.warn(format_args!("{}: {problem}", windows.service));
        }
    }
    Ok(())
}

fn row(service: &str, window: &Window) -> Vec<String> {
    vec![
        service.to_owned(),
        window.timeline.to_string(),
        moment(&window.from),
        moment(&window.to),
        window.points.len().to_string(),
        window.to.lsn.to_string(),
    ]
}

fn moment(moment: &Moment) -> String {
    moment.time.map_or_else(|| moment.lsn.to_string(), time)
}
