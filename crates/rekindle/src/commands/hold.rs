//! `rekindle hold`: what must not be forgotten, whatever the retention says.

use std::io::Write;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp, Zoned, civil};
use rekindle_recovery::retention::{self, HoldList, HoldOutcome};
use rekindle_stack::Period;
use rekindle_vault::{Hold, HoldScope, Host};

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Table, count, time, write_json},
    signals,
};

const EXAMPLES: &str = "\
Examples:
  rekindle hold add incident-7 --all --reason 'who deleted the orders?'
  rekindle hold add audit-2026 --point 1f0c9a --until 2027-03-31
  rekindle hold add migration --service db --until 14d
  rekindle hold list
  rekindle hold remove incident-7 --yes

A hold stands at once, also while a backup runs. Points under it get the tag hold:NAME, which stock
restic honours by `restic forget --keep-tag hold:NAME`.";

/// Commands of `hold`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum HoldCommand {
    /// Keep a point, a service's points and WAL, or the whole vault, from being forgotten
    Add(AddArgs),
    /// List the holds
    List,
    /// End a hold
    Remove {
        /// The hold
        name: String,
        /// End it; without it, only say what it keeps
        #[arg(long)]
        yes: bool,
    },
}

/// Arguments of `hold add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What to call it: letters, digits, `-`, `_`, `.`
    name: String,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why, for whoever finds it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// When it is over: a date, a time (RFC 3339), or a length of time from now, as in `14d`
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<Timestamp>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ScopeArgs {
    /// One recovery point: an id, the beginning of one, or `latest`
    #[arg(long, value_name = "ID")]
    point: Option<String>,
    /// All points and the WAL of a service, also those that are made later
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// The whole vault
    #[arg(long)]
    all: bool,
}

/// Dates are those of this machine's time zone; a hold lasts to the end of its day.
fn until(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let end = if let Ok(period) = text.parse::<Period>() {
        let seconds = i64::try_from(period.as_secs()).unwrap_or(i64::MAX);
        now.checked_add(SignedDuration::from_secs(seconds)).ok()
    } else if let Ok(date) = text.parse::<civil::Date>() {
        let next = date.tomorrow().ok();
        let start = next.and_then(|day| day.to_zoned(jiff::tz::TimeZone::system()).ok());
        start.map(|start: Zoned| start.timestamp())
    } else {
        text.parse::<Timestamp>().ok()
    };
    match end {
        Some(end) if end > now => Ok(end),
        Some(_) => Err("it is over already".to_owned()),
        None => {
            Err("a date as in 2026-12-31, a time as in 2026-12-31T18:00:00Z, or 14d".to_owned())
        }
    }
}

/// Makes, lists or ends holds.
///
/// # Errors
/// As the vault does not open, or fails.
pub fn run(app: &App, command: &HoldCommand, out: &mut dyn Write) -> Result<Exit, CliError> {
    match command {
        HoldCommand::Add(args) => add(app, args, out),
        HoldCommand::List => list(app, out),
        HoldCommand::Remove { name, yes } => remove(app, name, *yes, out),
    }
}

fn add(app: &App, args: &AddArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let scope = &args.scope;
    if let Some(service) = &scope.service
        && stack.service(service).is_none()
    {
        let hint = "`rekindle config show` prints the services";
        return Err(CliError::wrong_use(
            format!("there is no service `{service}`"),
            hint,
        ));
    }
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let scope = match (&scope.point, &scope.service) {
        (Some(point), _) => HoldScope::Point(vault.find_snapshot(point)?.lasting_id()),
        (None, Some(service)) => HoldScope::Below(format!("/{service}")),
        (None, None) => HoldScope::All,
    };
    let host = Host::current();
    let hold = Hold {
        name: args.name.clone(),
        scope,
        reason: args.reason.clone(),
        since: Timestamp::now(),
        until: args.until,
        by: format!("{}@{}", host.username, host.name),
    };
    signals::watch("interrupted: the hold stands if it is listed");
    let outcome = retention::add_hold(&vault, &hold)?;
    tell(app, &outcome, "stands", out)
}

fn tell(
    app: &App,
    outcome: &HoldOutcome,
    what: &str,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if app.is_json() {
        write_json(out, outcome)?;
        return Ok(Exit::Done);
    }
    writeln!(out, "hold {} {what}", outcome.name)?;
    if !outcome.points.is_empty() {
        let points = count(outcome.points.len() as u64, "recovery point");
        app.note(format_args!(
            "{points} written anew with other tags, under other ids"
        ));
    }
    if let Some(reason) = &outcome.not_tagged {
        app.note(format_args!(
            "stock restic does not see it yet: {reason}; the same command again tags the points"
        ));
    }
    Ok(Exit::Done)
}

fn list(app: &App, out: &mut dyn Write) -> Result<Exit, CliError> {
    let list = retention::holds(&app.vault()?, Timestamp::now())?;
    if app.is_json() {
        write_json(out, &list)?;
    } else if list.holds.is_empty() && list.unreadable.is_empty() {
        app.note("there is no hold");
    } else {
        table(&list).write(out)?;
    }
    for unreadable in &list.unreadable {
        app.warn(format_args!("{unreadable}: it keeps everything"));
    }
    Ok(match list.unreadable.is_empty() {
        true => Exit::Done,
        false => Exit::Partly,
    })
}

fn table(list: &HoldList) -> Table {
    let mut table = Table::new(["NAME", "ON", ">POINTS", "SINCE", "UNTIL", "REASON"]);
    for listed in &list.holds {
        let hold = listed.hold.as_ref();
        let on = match hold.map(|hold| &hold.scope) {
            None => "points with its tag".to_owned(),
            Some(HoldScope::All) => "the vault".to_owned(),
            Some(HoldScope::Point(id)) => format!("point {}", id.short()),
            Some(HoldScope::Below(path)) => format!("service {}", path.trim_matches('/')),
        };
        let until = match hold.and_then(|hold| hold.until) {
            Some(until) if listed.is_over => format!("{}, over", time(until)),
            Some(until) => time(until),
            None => "removed".to_owned(),
        };
        table.row([
            listed.name.clone(),
            on,
            listed.points.to_string(),
            hold.map_or_else(|| "?".to_owned(), |hold| time(hold.since)),
            until,
            hold.and_then(|hold| hold.reason.clone())
                .unwrap_or_default(),
        ]);
    }
    table
}

fn remove(app: &App, name: &str, yes: bool, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    if yes {
        signals::watch("interrupted: the hold stands if it is listed");
        let outcome = retention::remove_hold(&vault, name)?;
        let exit = tell(app, &outcome, "is removed", out)?;
        // Who can change the vault must not be able to end what its copies keep.
        let copies = stack.vault.copies.iter().map(|copy| &copy.name);
        app.next(copies.map(|copy| {
            app.command(format_args!(
                "--vault {copy} hold remove {name} --yes   if the copy has it"
            ))
        }));
        return Ok(exit);
    }
    let list = retention::holds(&vault, Timestamp::now())?;
    let Some(listed) = list.holds.iter().find(|listed| listed.name == name) else {
        let name = name.to_owned();
        return Err(rekindle_vault::VaultError::NoHold { name }.into());
    };
    if app.is_json() {
        write_json(out, listed)?;
    } else {
        let points = count(listed.points as u64, "recovery point");
        writeln!(out, "hold {name} keeps {points}")?;
    }
    app.next([app.command(format_args!("hold remove {name} --yes"))]);
    Ok(Exit::ApprovalNeeded)
}
