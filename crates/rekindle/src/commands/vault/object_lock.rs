//! `rekindle vault object-lock`.

use std::io::Write;

use clap::{Args, Subcommand};
use jiff::{Timestamp, Zoned, civil};
use rekindle_recovery::object_lock;
use rekindle_vault::{
    ExtendReport, HiddenKind, HiddenObjects, LockStatus, ObjectLockStatus, UndeletePlan,
    UndeleteReport, WhenToExtend,
};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit, chain},
    output::{count, time, write_json},
};

const STATUS_EXAMPLES: &str = "\
Examples:
  rekindle vault object-lock status            what is locked, and what somebody deleted
  rekindle vault object-lock status --sample   asks a hundred objects for their locks, not each
  rekindle --vault offsite vault object-lock status

Exit code 1 if something needed is not locked, or something was deleted or overwritten that must not be.";

const EXTEND_EXAMPLES: &str = "\
Examples:
  rekindle vault object-lock extend            locks what is needed and not locked for long enough
  rekindle vault object-lock extend --ask-all  asks the store, whatever this machine remembers

Every backup and copy run does this by itself, once a day. Exit code 5 if something could not be locked.";

const UNDELETE_EXAMPLES: &str = "\
Examples:
  rekindle vault object-lock undelete --at 2026-11-20T03:00:00Z         what is not as it was then
  rekindle vault object-lock undelete --at 2026-11-20T03:00:00Z --yes   brings it back

Needs no password. Whatever came later stays, and nothing but delete markers is removed. Exit code 7 if there is
something to do and --yes was not given.";

/// Names that are shown of a plan; `--json` has all.
const SHOWN: usize = 10;
const SAMPLE: usize = 100;

/// Commands of `vault object-lock`.
#[derive(Debug, Subcommand)]
pub enum ObjectLockCommand {
    /// Say what is locked, and what was deleted or overwritten although it was
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Extend the locks of all that recovery points need
    #[command(after_help = EXTEND_EXAMPLES)]
    Extend(ExtendArgs),
    /// Bring back what was deleted or overwritten: the vault's files as they were at a time
    #[command(after_help = UNDELETE_EXAMPLES)]
    Undelete(UndeleteArgs),
}

/// Arguments of `vault object-lock status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Ask some objects for their locks, not each
    #[arg(long)]
    sample: bool,
}

/// Arguments of `vault object-lock extend`.
#[derive(Debug, Args)]
pub struct ExtendArgs {
    /// Ask the store for every lock
    #[arg(long)]
    ask_all: bool,
}

/// Arguments of `vault object-lock undelete`.
#[derive(Debug, Args)]
pub struct UndeleteArgs {
    /// The time that the vault is to be as at, by the clock of the store
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Timestamp,
    /// Only show what would be done
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it; without it, only show
    #[arg(long)]
    yes: bool,
}

/// A time without a zone is one of this machine's.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    let local = || {
        let time = text.parse::<civil::DateTime>().ok()?;
        let zoned: Option<Zoned> = time.to_zoned(jiff::tz::TimeZone::system()).ok();
        zoned.map(|zoned| zoned.timestamp())
    };
    let parsed = text.parse::<Timestamp>().ok().or_else(local);
    parsed.ok_or_else(|| "a time as in 2026-11-20T03:00:00Z".to_owned())
}

/// Runs the command.
///
/// # Errors
/// If no Object Lock is configured, or the store fails.
pub fn run(app: &App, command: &ObjectLockCommand, out: &mut dyn Write) -> Result<Exit, CliError> {
    match command {
        ObjectLockCommand::Status(args) => status(app, args, out),
        ObjectLockCommand::Extend(args) => extend(app, args, out),
        ObjectLockCommand::Undelete(args) => undelete(app, args, out),
    }
}

fn status(app: &App, args: &StatusArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let place = object_lock::look(&stack.vault)?;
    let most = args.sample.then_some(SAMPLE);
    // What was deleted is told, above all if the vault does not open any more.
    let (needed, problem) = match app
        .vault()
        .map(|vault| vault.object_lock_status(most, Timestamp::now()))
    {
        Ok(Ok(status)) => (Some(status), None),
        Ok(Err(error)) => (None, Some(chain(&error).join(": "))),
        Err(error) => (None, Some(chain(&error).join(": "))),
    };
    let is_locked = |status: &LockStatus| status.unlocked + status.short + status.missing == 0;
    let ok = place.is_kept && !place.is_tampered() && needed.as_ref().is_some_and(is_locked);
    if app.is_json() {
        write_json(
            out,
            &json!({ "ok": ok, "place": place, "needed": needed, "problem": problem }),
        )?;
    } else {
        write_status(app, &place, needed.as_ref(), out)?;
        if let Some(problem) = &problem {
            app.warn(problem);
        }
        write_next(app, &place, needed.as_ref(), ok);
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

fn write_status(
    app: &App,
    place: &ObjectLockStatus,
    needed: Option<&LockStatus>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    writeln!(out, "vault        {}", place.location)?;
    if !place.is_kept {
        writeln!(
            out,
            "object lock  the bucket has none: nothing is protected"
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "object lock  kept by the bucket, {} days asked for",
        place.days
    )?;
    if let Some(status) = needed {
        writeln!(out, "needed       {}", locked_words(status))?;
    }
    for hidden in &place.hidden {
        let text = hidden_words(hidden);
        match hidden.kind {
            HiddenKind::Removed => app.note(format_args!("older version: {text}")),
            _ => writeln!(out, "tampered     {text}")?,
        }
    }
    Ok(())
}

fn locked_words(status: &LockStatus) -> String {
    let LockStatus {
        needed,
        asked,
        unlocked,
        short,
        missing,
        earliest,
    } = status;
    let bad = [
        (*unlocked, "without a lock"),
        (*short, "locked for a shorter time"),
        (*missing, "gone"),
    ];
    let bad: Vec<String> = bad
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    let of = format!("{}, {asked} asked", count(*needed, "object"));
    match (bad.is_empty(), earliest) {
        (true, Some(earliest)) => format!("{of}: all locked, the first until {}", time(*earliest)),
        (true, None) => of,
        (false, _) => format!("{of}: {}", bad.join(", ")),
    }
}

fn hidden_words(hidden: &HiddenObjects) -> String {
    let what = match hidden.kind {
        HiddenKind::Removed => "removed",
        HiddenKind::Deleted => "deleted while it must not be",
        HiddenKind::Rewritten => "overwritten",
    };
    let objects = count(hidden.count, "object");
    let (folder, first, last) = (&hidden.folder, time(hidden.first), time(hidden.last));
    format!("{folder}: {objects} {what}, from {first} to {last}")
}

fn write_next(app: &App, place: &ObjectLockStatus, needed: Option<&LockStatus>, ok: bool) {
    if let Some(first) = place.tampering().map(|hidden| hidden.first).min() {
        app.note("hint: change the store's access keys before anything else; until the locks end nothing is lost");
        let before = Timestamp::from_second(first.as_second() - 1).unwrap_or(first);
        app.next([app.command(format_args!("vault object-lock undelete --at {before}"))]);
    } else if !ok && place.is_kept && needed.is_some() {
        app.next([app.command("vault object-lock extend")]);
    }
}

fn extend(app: &App, args: &ExtendArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let vault = app.vault()?;
    let when = match args.ask_all {
        true => WhenToExtend::NowAskingAll,
        false => WhenToExtend::Now,
    };
    let report = object_lock::extend(&vault, when)?;
    if app.is_json() {
        write_json(out, &report)?;
    } else {
        let ExtendReport {
            needed, extended, ..
        } = report;
        let objects = count(needed, "object");
        let until = report.earliest.map_or_else(String::new, |end| {
            format!("; the first lock ends {}", time(end))
        });
        writeln!(out, "{objects} needed, {extended} locked anew{until}")?;
        if report.missing > 0 {
            app.warn(format_args!(
                "{} are gone",
                count(report.missing, "needed object")
            ));
            app.next([
                app.command("vault object-lock status"),
                app.command("vault check"),
            ]);
        }
        for reason in &report.reasons {
            app.warn(reason);
        }
    }
    Ok(if report.is_whole() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

fn undelete(app: &App, args: &UndeleteArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let settings = app.stack()?.vault;
    let plan = object_lock::plan_undelete(&settings, args.at)?;
    let report = match args.yes {
        true => Some(object_lock::undelete(&settings, &plan)?),
        false => None,
    };
    if app.is_json() {
        write_json(
            out,
            &json!({ "done": args.yes, "plan": plan, "report": report }),
        )?;
    } else {
        write_plan(&plan, out)?;
        match &report {
            Some(report) => write_report(app, report, out)?,
            None if plan.hidden.is_empty() => {}
            None => {
                let at = args.at;
                let command = format!("vault object-lock undelete --at {at} --yes");
                app.next([app.command(command)]);
            }
        }
    }
    Ok(match report {
        Some(report) if report.failed.is_empty() => Exit::Done,
        Some(_) => Exit::Partly,
        None if plan.hidden.is_empty() || args.dry_run => Exit::Done,
        None => Exit::ApprovalNeeded,
    })
}

fn write_plan(plan: &UndeletePlan, out: &mut dyn Write) -> Result<(), CliError> {
    if plan.hidden.is_empty() {
        writeln!(
            out,
            "everything that was there at {} is there",
            time(plan.at)
        )?;
        return Ok(());
    }
    for hidden in plan.hidden.iter().take(SHOWN) {
        writeln!(out, "  {}  hidden since {}", hidden.key, time(hidden.since))?;
    }
    let more = plan.hidden.len().saturating_sub(SHOWN);
    if more > 0 {
        writeln!(out, "  and {more} more")?;
    }
    let objects = count(plan.hidden.len() as u64, "object");
    writeln!(out, "{objects} not as at {}", time(plan.at))?;
    Ok(())
}

fn write_report(app: &App, report: &UndeleteReport, out: &mut dyn Write) -> Result<(), CliError> {
    let (unmarked, again) = (report.unmarked, report.written_again);
    writeln!(out, "{unmarked} undeleted, {again} written once more")?;
    for (key, reason) in report.failed.iter().take(SHOWN) {
        app.warn(format_args!("{key}: {reason}"));
    }
    if report.failed.len() > SHOWN {
        let more = report.failed.len() - SHOWN;
        app.warn(format_args!("and {more} more could not be brought back"));
    }
    app.next([
        app.command("vault check --read-data"),
        app.command("vault object-lock extend"),
    ]);
    Ok(())
}
