//! `rekindle wal find`.

use std::io::Write;

use clap::Args;
use jiff::Timestamp;
use rekindle_recovery::wal::{
    FindRequest, Found, Happening, RecoveryTarget, TableFate, TableHappening, TimelineChoice,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    commands::services,
    errors::{CliError, Exit},
    output::{count, time, write_json},
};

pub const EXAMPLES: &str = "\
Examples:
  rekindle wal find                                      what was dropped or emptied in the last day
  rekindle wal find --since '2026-11-21 09:00' --table orders
  rekindle wal find --since 14:00 --until 15:00 --all    every commit of that hour
  rekindle wal find --json | jq -r '.happenings[].just_before'

Without --all: what dropped a database or a table, truncated a table, or deleted or updated at least
--min-rows rows of one, or half of it. Times are those of the server's clock. Statements are not in
the WAL; what they did is.";

/// Arguments of `wal find`.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// Of this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// From this time on; default: the last day there is
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Only what concerns this table: `orders`, `public.orders` or `shop.public.orders`
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// How many rows of a table must have been deleted or updated to be listed
    #[arg(long, value_name = "N", default_value_t = 1000, conflicts_with = "all")]
    min_rows: u64,
    /// List every commit that changed a row
    #[arg(long)]
    all: bool,
    /// On which history: `latest`, `current` (that of the newest base backup) or its number
    #[arg(long, value_name = "TIMELINE", default_value = "latest")]
    timeline: TimelineChoice,
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    match text.parse::<RecoveryTarget>() {
        Ok(RecoveryTarget::Time(time)) => Ok(time),
        _ => Err("give a time such as `2026-11-21 14:29:59+01` or `14:30`".to_owned()),
    }
}

/// Lists what happened.
///
/// # Errors
/// As the vault or the archive cannot be read.
pub fn run(app: &App, args: &FindArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let request = FindRequest {
        service: services::the_postgres(&stack, args.service.as_deref())?,
        stack: &stack,
        since: args.since,
        until: args.until,
        after: None,
        timeline: args.timeline,
    };
    let wants = |happening: &Happening| args.wants(happening);
    let (found, happenings) = rekindle_recovery::wal::find(&vault, &request, wants)?;
    let shown = Shown {
        app,
        args,
        found: &found,
    };
    if app.is_json() {
        write_json(out, &shown.json(&happenings))?;
    } else {
        shown.write(&happenings, out)?;
    }
    Ok(match found.problems.is_empty() {
        true => Exit::Done,
        false => Exit::Partly,
    })
}

impl FindArgs {
    fn wants(&self, happening: &Happening) -> bool {
        let concerns = self
            .table
            .as_ref()
            .is_none_or(|name| happening.concerns(name));
        let stands_out = || match &self.table {
            // Of a table that was asked for, what happened to others does not count.
            Some(name) => {
                let of_it = happening
                    .tables
                    .iter()
                    .filter(|table| table.is_called(name));
                of_it
                    .into_iter()
                    .any(|table| table.stands_out(self.min_rows))
            }
            None => happening.stands_out(self.min_rows),
        };
        let has_news = !happening.tables.is_empty() || !happening.databases_dropped.is_empty();
        concerns && if self.all { has_news } else { stands_out() }
    }
}

struct Shown<'a> {
    app: &'a App,
    args: &'a FindArgs,
    found: &'a Found,
}

impl Shown<'_> {
    fn json(&self, happenings: &[Happening]) -> Value {
        let of = |happening: &Happening| {
            let mut value = json!(happening);
            value["just_before"] = json!(self.just_before(happening));
            value
        };
        json!({
            "searched": self.found,
            "happenings": happenings.iter().map(of).collect::<Vec<_>>(),
        })
    }

    /// The command that restores the last moment without it.
    fn just_before(&self, happening: &Happening) -> String {
        let Found {
            service,
            timeline,
            is_newest,
            ..
        } = self.found;
        let timeline = match is_newest {
            true => String::new(),
            false => format!(" --timeline {timeline}"),
        };
        let at = happening.before;
        self.app.command(format_args!(
            "restore --service {service} --at lsn:{at} --exclusive{timeline} --to DIR"
        ))
    }

    fn write(&self, happenings: &[Happening], out: &mut dyn Write) -> Result<(), CliError> {
        for happening in happenings {
            let Happening {
                time: at, xid, lsn, ..
            } = happening;
            writeln!(out, "{}  transaction {xid}  commit at {lsn}", time(*at))?;
            for database in &happening.databases_dropped {
                writeln!(out, "  dropped    database {database}")?;
            }
            for table in &happening.tables {
                self.write_table(table, out)?;
            }
            if happening.began_earlier {
                writeln!(out, "  and perhaps more, before the WAL that was read")?;
            }
            writeln!(out, "  just before: {}", self.just_before(happening))?;
        }
        self.write_end(happenings.len())
    }

    fn write_table(&self, table: &TableHappening, out: &mut dyn Write) -> Result<(), CliError> {
        let before = table
            .rows_before
            .map(|rows| format!(", about {} before", count(rows, "row")));
        let before = before.unwrap_or_default();
        if let Some(fate) = table.fate {
            writeln!(out, "  {:<10} {}{before}", word(fate), table.full_name())?;
        }
        let rows = [
            ("deleted", table.deleted),
            ("updated", table.updated),
            ("inserted", table.inserted),
        ];
        for (word, number) in rows.into_iter().filter(|(_, number)| *number > 0) {
            let (rows, name) = (count(number, "row"), table.full_name());
            let before = if table.fate.is_none() && word != "inserted" {
                &before
            } else {
                ""
            };
            writeln!(out, "  {word:<10} {rows} of {name}{before}")?;
        }
        Ok(())
    }

    fn write_end(&self, listed: usize) -> Result<(), CliError> {
        let Found {
            to,
            transactions,
            problems,
            ..
        } = self.found;
        let since = self
            .found
            .since
            .map_or_else(|| "the beginning".to_owned(), time);
        let until = to.time.map_or_else(|| to.lsn.to_string(), time);
        self.app.note(format_args!(
            "{listed} of {} listed, from {since} to {until}",
            count(*transactions, "transaction")
        ));
        for problem in problems {
            self.app.warn(problem);
        }
        if listed == 0 && !self.args.all {
            self.app.next([
                self.app.command("wal find --all"),
                self.app.command("wal windows"),
            ]);
        }
        Ok(())
    }
}

const fn word(fate: TableFate) -> &'static str {
    match fate {
        TableFate::Dropped => "dropped",
        TableFate::Truncated => "truncated",
        TableFate::Replaced => "replaced",
        TableFate::Rewritten => "rewritten",
    }
}
