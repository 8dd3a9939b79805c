//! `rekindle restore --table` and `--database`: beside what the live server has, under another name.

use std::{
    io::Write,
    path::{PathBuf, absolute},
    sync::{Arc, Mutex, PoisonError},
};

use clap::{ArgGroup, Args, builder::NonEmptyStringValueParser};
use rekindle_recovery::{
    DatabaseSource, database_source,
    extract::{
        ExtractOutcome, ExtractPlan, ExtractRequest, OnPhase, TableName, Wanted, extract,
        plan_extract,
    },
    wal::RecoveryTarget,
};
use rekindle_vault::Progress;
use serde_json::json;

use super::{
    RestoreArgs,
    at::{Action, typed},
    database, point_line,
};
use crate::{
    app::App,
    commands::services,
    errors::{CliError, Exit},
    output::{self, bytes, count, duration, write_json},
    progress::Watcher,
    signals,
};

const INTERRUPTED: &str = "\
interrupted: what is temporary is being removed; a schema `rekindle_…` that is left in the database \
holds a half-restored table, and may be dropped";

/// Arguments of what is brought back beside what there is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Beside what the live server has")]
#[command(group = ArgGroup::new("beside").args(["table", "database"]).multiple(true))]
pub struct BesideArgs {
    /// Bring this table back into the running server, out of a physical backup
    #[arg(long, value_name = "[[DATABASE.]SCHEMA.]TABLE", requires = "new_name")]
    table: Option<TableName>,
    /// Bring this database back, out of its dump if the point has one; with --table: the table's
    /// database, else that of the service's URL
    #[arg(long, value_name = "NAME")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) database: Option<String>,
    /// The name that it gets, which must be free: [SCHEMA.]TABLE, or a database's
    #[arg(long = "as", value_name = "NEW")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) new_name: Option<String>,
    /// Where the cluster is restored to for the while, with room for all of it. Default: beside the
    /// vault, $TMPDIR or /var/tmp
    #[arg(long, value_name = "DIR", requires = "beside")]
    work_dir: Option<PathBuf>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Table(TableName, String),
    Database(String, String),
}

impl BesideArgs {
    /// What is asked for, if it is any of these.
    pub(super) fn wanted(&self) -> Option<Asked> {
        let new_name = self.new_name.clone()?;
        match (&self.table, &self.database) {
            (Some(table), _) => Some(Asked::Table(table.clone(), new_name)),
            (None, Some(database)) => Some(Asked::Database(database.clone(), new_name)),
            (None, None) => None,
        }
    }
}

/// Brings it back, or shows what would be done.
///
/// # Errors
/// As the library failed; nothing that exists was touched.
pub(super) fn run(
    app: &App,
    args: &RestoreArgs,
    asked: &Asked,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if args.moment.action != Action::Promote {
        return Err(CliError::wrong_use(
            "`--action` has no meaning here: the scratch server is removed again",
            "leave it out",
        ));
    }
    let stack = app.stack()?;
    let service = services::the_postgres(&stack, args.service.as_deref())?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let wanted = match asked {
        Asked::Table(table, new_name) => Wanted::Table {
            database: table_database(args, table)?,
            table: table.clone(),
            new_name: new_table_name(new_name)?,
        },
        Asked::Database(name, new_name) => {
            if args.moment.at.is_none()
                && database_source(&vault, &args.point, &service, name)?
                    != DatabaseSource::BaseBackup
            {
                return database::run(app, args, name, new_name, out);
            }
            Wanted::Database {
                database: name.clone(),
                new_name: new_name.clone(),
            }
        }
    };
    let work_dir = args.beside.work_dir.as_ref().map(absolute).transpose();
    let mut request = ExtractRequest {
        stack: &stack,
        service,
        point: Some(args.point.clone()).filter(|point| point != "latest"),
        target: args.moment.at.clone().unwrap_or(RecoveryTarget::Consistent),
        timeline: args.moment.timeline,
        inclusive: !args.moment.exclusive,
        wanted,
        work_dir: work_dir.map_err(CliError::io("find", "the directory to work in"))?,
        progress: Arc::new(Progress::default()),
        on_phase: None,
    };
    if args.dry_run {
        let plan = plan_extract(&vault, &request)?;
        write_plan(app, args, &request, &plan, out)?;
        return Ok(Exit::Done);
    }
    signals::watch(INTERRUPTED);
    let watcher = Arc::new(Mutex::new(None));
    request.on_phase = Some(reporter(app, &request.progress, &watcher));
    let outcome = extract(&vault, &request);
    drop(
        watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(),
    );
    write_outcome(app, &request, &outcome?, out)?;
    Ok(Exit::Done)
}

/// The database is said by an option, or by a name of three parts as `wal find` prints it.
fn table_database(args: &RestoreArgs, table: &TableName) -> Result<Option<String>, CliError> {
    match (&args.beside.database, &table.database) {
        (Some(said), Some(named)) if said != named => Err(CliError::wrong_use(
            format!("`--table {table}` is in another database than `--database {said}`"),
            "say the database once",
        )),
        (said, named) => Ok(said.clone().or_else(|| named.clone())),
    }
}

fn new_table_name(text: &str) -> Result<TableName, CliError> {
    let hint = "as in `--as orders_before` or `--as archive.orders`";
    match text.parse::<TableName>() {
        Ok(name) if name.database.is_none() => Ok(name),
        Ok(_) => Err(CliError::wrong_use(
            "a table comes back into the database that it was in",
            hint,
        )),
        Err(error) => Err(CliError::wrong_use(error.to_string(), hint)),
    }
}

/// Says each phase; the first one is the restore, whose progress is shown.
fn reporter(app: &App, progress: &Arc<Progress>, watcher: &Arc<Mutex<Option<Watcher>>>) -> OnPhase {
    let (progress, watcher) = (Arc::clone(progress), Arc::clone(watcher));
    let (reporting, is_quiet) = (app.reporting(), app.global.quiet);
    let is_first = Mutex::new(true);
    Arc::new(move |phase| {
        let mut shown = watcher.lock().unwrap_or_else(PoisonError::into_inner);
        drop(shown.take());
        if !is_quiet {
            output::to_stderr(phase);
        }
        let mut is_first = is_first.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *is_first) {
            *shown = Some(Watcher::start("restoring", &progress, reporting));
        }
    })
}

fn write_plan(
    app: &App,
    args: &RestoreArgs,
    request: &ExtractRequest<'_>,
    plan: &ExtractPlan,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if app.is_json() {
        return write_json(out, plan);
    }
    writeln!(out, "would bring back {} as of {}", plan.what, plan.target)?;
    writeln!(out, "  from      {}", point_line(&plan.point))?;
    writeln!(
        out,
        "  work in   {}, {}",
        plan.work_dir.display(),
        bytes(plan.bytes)
    )?;
    for (number, step) in plan.steps.iter().enumerate() {
        writeln!(out, "  {}. {step}", number + 1)?;
    }
    for note in &plan.notes {
        app.warn(note);
    }
    app.next([app.command(again(args, request))]);
    Ok(())
}

/// The same without `--dry-run`.
fn again(args: &RestoreArgs, request: &ExtractRequest<'_>) -> String {
    let quoted = |text: &str| output::quoted(text.as_ref());
    let mut text = format!("restore {}--service {}", point(args), request.service);
    if let Some(target) = &args.moment.at {
        text += &format!(" --at '{}'{}", typed(target), args.moment.typed());
    }
    if let Some(table) = &args.beside.table {
        text += &format!(" --table {}", quoted(&table.to_string()));
    }
    if let Some(database) = &args.beside.database {
        text += &format!(" --database {}", quoted(database));
    }
    if let Some(new_name) = &args.beside.new_name {
        text += &format!(" --as {}", quoted(new_name));
    }
    if let Some(work_dir) = &args.beside.work_dir {
        text += &format!(" --work-dir {}", output::quoted(work_dir));
    }
    text
}

fn point(args: &RestoreArgs) -> String {
    match args.point.as_str() {
        "latest" => String::new(),
        point => format!("{point} "),
    }
}

fn write_outcome(
    app: &App,
    request: &ExtractRequest<'_>,
    outcome: &ExtractOutcome,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let extracted = &outcome.extracted;
    if app.is_json() {
        return write_json(
            out,
            &json!({
                "service": request.service,
                "point": outcome.point,
                "target": outcome.target,
                "as": extracted.name,
                "tables": extracted.tables,
                "rows": extracted.rows,
                "left_out": extracted.left_out,
                "notes": extracted.notes,
                "took_seconds": outcome.took.as_secs_f64(),
            }),
        );
    }
    let (tables, rows) = (
        count(extracted.tables, "table"),
        count(extracted.rows, "row"),
    );
    writeln!(
        out,
        "brought back {} as of {}",
        extracted.name, outcome.target
    )?;
    writeln!(out, "  from      {}", point_line(&outcome.point))?;
    writeln!(out, "  counted   {tables}, {rows}, as many as there were")?;
    writeln!(out, "  took      {}", duration(outcome.took))?;
    for left_out in &extracted.left_out {
        writeln!(out, "  left out  {left_out}")?;
    }
    for note in &extracted.notes {
        app.note(note);
    }
    app.next(["nothing that existed was touched; compare, and copy back what is missing"]);
    Ok(())
}
