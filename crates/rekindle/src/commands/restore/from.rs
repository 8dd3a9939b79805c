//! `rekindle restore --from FILE`, and the way back from a swap.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use rekindle_recovery::foreign::{
    ForeignRestoreOutcome, ForeignRestorePlan, ForeignRestoreRequest, SwapBack,
    plan_foreign_restore, restore_foreign, undo_swap,
};
use rekindle_vault::Progress;
use serde_json::json;

use super::RestoreArgs;
use crate::{
    app::App,
    commands::{dumps, guards, services},
    errors::{CliError, Exit},
    output::{count, duration, quoted, write_json},
    progress::Watcher,
};

/// Arguments about dumps that lie anywhere.
#[derive(Debug, Args)]
#[command(next_help_heading = "Dumps from elsewhere")]
pub struct FromArgs {
    /// Restore this dump into the running server: SQL text, or an archive of pg_dump
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "path", "owner", "at", "in_place", "discard"])]
    pub(super) from: Option<PathBuf>,
    /// Let the restored database take the live one's place, which is set aside
    #[arg(long, requires = "from")]
    swap: bool,
}

/// Restores a dump, or shows what that would do.
///
/// # Errors
/// As the library failed; the live databases are as they were then.
pub(super) fn run(
    app: &App,
    args: &RestoreArgs,
    from: &Path,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let progress = Arc::new(Progress::default());
    let request = ForeignRestoreRequest {
        stack: &stack,
        service: services::the_postgres(&stack, args.service.as_deref())?,
        from: from.to_owned(),
        database: args.beside.database.clone(),
        new_name: args.beside.new_name.clone(),
        swap: args.from.swap,
        guards: args.guards.options(),
        progress: Arc::clone(&progress),
    };
    if args.dry_run {
        let watcher = Watcher::start("reading", &progress, app.reporting());
        let plan = plan_foreign_restore(&request);
        drop(watcher);
        write_plan(app, args, &plan?, out)?;
        return Ok(Exit::Done);
    }
    let watcher = Watcher::start("restoring", &progress, app.reporting());
    let outcome = restore_foreign(&request);
    drop(watcher);
    write_outcome(app, &request.service, &outcome?, out)?;
    Ok(Exit::Done)
}

fn write_plan(
    app: &App,
    args: &RestoreArgs,
    plan: &ForeignRestorePlan,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if app.is_json() {
        return write_json(out, plan);
    }
    writeln!(out, "would restore {}", plan.from.display())?;
    dumps::write_description(&plan.dump, out)?;
    for database in &plan.databases {
        let what = database.in_dump.as_deref().unwrap_or("the database");
        let (tables, rows) = (
            count(database.tables as u64, "table"),
            count(database.rows, "row"),
        );
        writeln!(
            out,
            "  database  {what} as {}: {tables} with data, {rows}",
            database.new_name
        )?;
    }
    for (number, step) in plan.steps.iter().enumerate() {
        writeln!(out, "  {}. {step}", number + 1)?;
    }
    guards::tell(app, &plan.findings);
    tell_leftovers(app, plan);
    if plan.is_permitted {
        let mut again = format!("restore --from {}", quoted(&plan.from));
        if let Some(database) = &args.beside.database {
            again += &format!(" --database {}", quoted(database.as_ref()));
        }
        if args.from.swap {
            again += " --swap";
        }
        app.next([app.command(again)]);
    }
    Ok(())
}

/// What earlier runs left behind is for a person to remove.
fn tell_leftovers(app: &App, plan: &ForeignRestorePlan) {
    for left in &plan.unfinished {
        let name = left.name.replace('"', "\"\"");
        if left.is_in_use {
            app.warn(format_args!(
                "database `{}` is being filled by a restore now",
                left.name
            ));
        } else {
            app.warn(format_args!(
                "database `{}` was left half filled by a restore that was interrupted: DROP \
                 DATABASE \"{name}\";",
                left.name
            ));
        }
    }
    for name in &plan.set_aside {
        app.note(format_args!(
            "database `{name}` was set aside by a swap; drop it when it is not needed"
        ));
    }
}

fn write_outcome(
    app: &App,
    service: &str,
    outcome: &ForeignRestoreOutcome,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if app.is_json() {
        let mut value = serde_json::to_value(outcome)?;
        value["service"] = json!(service);
        value["took_seconds"] = json!(outcome.took.as_secs_f64());
        return write_json(out, &value);
    }
    let took = duration(outcome.took);
    writeln!(out, "restored {} in {took}", outcome.from.display())?;
    for role in &outcome.created_roles {
        writeln!(
            out,
            "  role      {role}, without password and without LOGIN"
        )?;
    }
    let mut next = Vec::new();
    for database in &outcome.databases {
        let (tables, rows) = (
            count(database.tables as u64, "table"),
            count(database.rows, "row"),
        );
        writeln!(out, "  database  {}: {tables}, {rows}", database.name)?;
        if database.tables_not_compared > 0 {
            let tables = count(database.tables_not_compared as u64, "table");
            app.warn(format_args!(
                "{tables} of the dump hold INSERTs, so their rows were not compared with it"
            ));
        }
        let name = quoted(database.name.as_ref());
        match &database.swapped {
            Some(swapped) => {
                let sessions = count(swapped.ended_sessions, "session");
                writeln!(out, "  set aside {}; {sessions} ended", swapped.set_aside)?;
                next.push(app.command(format_args!(
                    "restore --undo --service {service} --database {name}"
                )));
            }
            None => next.push(format!("psql -d {name}")),
        }
    }
    guards::tell(app, &outcome.findings);
    app.next(next);
    Ok(())
}

/// Undoes the last swap of a database.
///
/// # Errors
/// As the library failed; the databases are as they were then.
pub(super) fn undo(
    app: &App,
    args: &RestoreArgs,
    database: &str,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let request = SwapBack {
        stack: &stack,
        service: services::the_postgres(&stack, args.service.as_deref())?,
        database: database.to_owned(),
        guards: args.guards.options(),
    };
    let swapped = undo_swap(&request)?;
    if app.is_json() {
        write_json(out, &swapped)?;
    } else {
        writeln!(
            out,
            "database {database} is the one again that was set aside last"
        )?;
        writeln!(
            out,
            "  set aside {}: what was live until now",
            swapped.set_aside
        )?;
    }
    Ok(Exit::Done)
}
