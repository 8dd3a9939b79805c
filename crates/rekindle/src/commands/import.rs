//! `rekindle import`.

mod rdb;
mod tarball;

use std::{io::Write, path::PathBuf, sync::Arc};

use clap::Args;
use rekindle_recovery::foreign::{
    ImportKind, ImportPlan, ImportRequest, PlannedImport, import, import_kind, plan_import,
    verify_checksum,
};
use rekindle_stack::Stack;
use rekindle_vault::Progress;
use serde_json::json;

use super::{dumps, guards, guards::GuardArgs, services};
use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{count, duration, write_json},
    progress::Watcher,
    signals,
};

const EXAMPLES: &str = "\
Examples:
  rekindle import shop.dump
  rekindle import old/shop.sql.gz --database shop --tag before-the-move
  rekindle import all.sql --dry-run
  rekindle import index-20260131.tar.gz --service index --tag legacy

Dumps of pg_dump and pg_dumpall, tar archives (plain, gzip, zstd) and RDB files of Redis are recognised
by their content, and read to their end before anything is stored. A FILE.sha256 beside a file must fit. An archive with
`..`, absolute names, links that lead out or devices is refused. The point is tagged `imported`, and never counts as the service's newest state.
A dump may also be restored where it lies: `rekindle restore --from FILE`.";

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// Dumps, directories of `pg_dump -Fd`, tar archives of files, or an RDB file of Redis
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The service that they are of. Default: the only one with PostgreSQL; of archives, with files; of
    /// an RDB, with Redis
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// The database's name, where a dump does not tell it
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// A word to find the point by; repeat for several
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Store what would be refused in an archive; repeat for several
    #[arg(long = "allow", value_name = "WHAT")]
    allow: Vec<tarball::Allow>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    guards: GuardArgs,
}

/// Makes a recovery point of what lies elsewhere.
///
/// # Errors
/// As the library failed; there is no new point then.
pub fn run(app: &App, args: &ImportArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    match the_kind(args)? {
        ImportKind::Tarball => tarball::run(app, args, &stack, out),
        ImportKind::Dump if args.allow.is_empty() => run_dumps(app, args, &stack, out),
        ImportKind::Dump => Err(CliError::wrong_use(
            "`--allow` is about archives of files",
            "leave it out",
        )),
        ImportKind::Rdb => rdb::run(app, args, &stack, out),
    }
}

/// What all of the files are.
fn the_kind(args: &ImportArgs) -> Result<ImportKind, CliError> {
    let mut kinds = Vec::new();
    for file in &args.files {
        kinds.push(import_kind(file)?);
    }
    let first = kinds.first().copied().unwrap_or(ImportKind::Dump);
    if kinds.iter().all(|kind| *kind == first) {
        return Ok(first);
    }
    Err(CliError::wrong_use(
        "the files are of different kinds",
        "import dumps and archives one after the other",
    ))
}

fn run_dumps(
    app: &App,
    args: &ImportArgs,
    stack: &Stack,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let progress = Arc::new(Progress::default());
    for file in &args.files {
        verify_checksum(file, &progress)?;
    }
    let request = ImportRequest {
        stack,
        service: services::the_postgres(stack, args.service.as_deref())?,
        files: args.files.clone(),
        database: args.database.clone(),
        tags: args.tags.clone(),
        guards: args.guards.options(),
        progress: Arc::clone(&progress),
    };
    if args.dry_run {
        let watcher = Watcher::start("reading", &progress, app.reporting());
        let plan = plan_import(&request);
        drop(watcher);
        write_plan(app, &plan?, out)?;
        return Ok(Exit::Done);
    }
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    signals::watch("interrupted: no recovery point was made");
    let watcher = Watcher::start("importing", &progress, app.reporting());
    let outcome = import(&vault, &request);
    drop(watcher);
    let outcome = outcome?;
    if app.is_json() {
        let value = json!({
            "point": outcome.point,
            "files": outcome.files,
            "findings": outcome.findings,
            "took_seconds": outcome.took.as_secs_f64(),
        });
        write_json(out, &value)?;
        return Ok(Exit::Done);
    }
    let short = outcome.point.id.short();
    writeln!(
        out,
        "imported as recovery point {short} in {}",
        duration(outcome.took)
    )?;
    for file in &outcome.files {
        write_file(file, out)?;
    }
    guards::tell(app, &outcome.findings);
    let database = outcome.files.iter().flat_map(|file| &file.databases).next();
    app.next(database.map(|name| {
        app.command(format_args!(
            "restore {short} --database {name} --as {name}_restored"
        ))
    }));
    Ok(Exit::Done)
}

fn write_plan(app: &App, plan: &ImportPlan, out: &mut dyn Write) -> Result<(), CliError> {
    if app.is_json() {
        return write_json(out, plan);
    }
    writeln!(
        out,
        "would import {}",
        count(plan.files.len() as u64, "dump")
    )?;
    for file in &plan.files {
        write_file(file, out)?;
    }
    guards::tell(app, &plan.findings);
    Ok(())
}

fn write_file(file: &PlannedImport, out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(out, "  from      {}", file.from.display())?;
    dumps::write_description(&file.dump, out)?;
    writeln!(out, "  stored as dump/{}", file.file)?;
    for (name, database) in file.databases.iter().zip(&file.dump.databases) {
        let rows: u64 = database.tables.iter().filter_map(|table| table.rows).sum();
        let (tables, rows) = (
            count(database.tables.len() as u64, "table"),
            count(rows, "row"),
        );
        writeln!(out, "  database  {name}: {tables} with data, {rows}")?;
    }
    Ok(())
}

/// Of a file that was read whole.
const fn checksum_words(is_verified: bool) -> &'static str {
    match is_verified {
        true => "its SHA-256 is the one beside it",
        false => "no .sha256 lies beside it",
    }
}
