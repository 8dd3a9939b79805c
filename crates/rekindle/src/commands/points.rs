//! `rekindle points`.

mod forget;

use std::io::Write;

use clap::{Args, Subcommand};
use rekindle_recovery::{
    PointDetail, PointList, PointSummary,
    wal::{self, Windows},
};
use rekindle_vault::{Change, Difference};
use serde_json::{Value, json};

use crate::{
    app::App,
    commands::services,
    errors::{CliError, Exit},
    output::{Table, age, bytes, duration, time, write_json, write_tree},
};

const EXAMPLES: &str = "\
Examples:
  rekindle points                        all recovery points, oldest first
  rekindle points show latest
  rekindle points diff 1f0c9a latest     what changed between two
  rekindle points --json | jq -r '.points[-1].id'

POINT is an id, the beginning of one, a tag, `@` and a time, or `latest`.";

/// Arguments of `points`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PointsArgs {
    #[command(subcommand)]
    command: Option<PointsCommand>,
}

#[derive(Debug, Subcommand)]
enum PointsCommand {
    /// List all recovery points, oldest first
    List,
    /// Show what a recovery point holds
    Show {
        /// An id, the beginning of one, a tag, `@` and a time, or `latest`
        point: String,
    },
    /// Forget single recovery points, which the retention would keep
    #[command(after_help = FORGET_HELP)]
    Forget(forget::ForgetArgs),
    /// List what differs between two recovery points
    #[command(after_help = DIFF_HELP)]
    Diff {
        /// The point to compare with
        #[arg(value_name = "OLD")]
        old: String,
        /// The point to look at
        #[arg(value_name = "NEW")]
        new: String,
    },
}

const FORGET_HELP: &str = "\
Examples:
  rekindle points forget 1f0c9a
  rekindle points forget 1f0c9a 77d102 --yes
  rekindle points forget 1f0c9a --yes --force newest

Guards: hold, open-recovery, newest, last-proven, wal-window. A point that one of them keeps is
forgotten only with its name. A prune frees the space.";

const DIFF_HELP: &str = "\
Each line begins with + (only the second has it), - (only the first has it), M (other content) or
U (same content, other owner, mode or time).";

/// Lists, shows or compares.
///
/// # Errors
/// As the vault does not open, or a point is not there.
pub fn run(app: &App, args: &PointsArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    match args.command.as_ref().unwrap_or(&PointsCommand::List) {
        PointsCommand::List => {
            let windows = services::with_archive(&stack)
                .iter()
                .map(|service| wal::windows(&vault, service))
                .collect::<Result<Vec<_>, _>>()?;
            list(app, &rekindle_recovery::points(&vault)?, &windows, out)
        }
        PointsCommand::Show { point } => {
            show(app, &rekindle_recovery::show_point(&vault, point)?, out)
        }
        PointsCommand::Forget(args) => forget::run(app, &stack, &vault, args, out),
        PointsCommand::Diff { old, new } => {
            let differences = rekindle_recovery::diff_points(&vault, old, new)?;
            diff(app, &differences, out)
        }
    }
}

fn list(
    app: &App,
    list: &PointList,
    windows: &[Windows],
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if app.is_json() {
        let mut value = serde_json::to_value(list)?;
        value["windows"] = serde_json::to_value(windows)?;
        write_json(out, &value)?;
    } else if list.points.is_empty() {
        app.note("there is no recovery point yet");
        app.next([app.command("backup")]);
    } else {
        table(&list.points).write(out)?;
        write_windows(windows, out)?;
    }
    for unreadable in &list.unreadable {
        app.warn(unreadable);
    }
    // A list with holes is not the whole answer.
    Ok(if list.unreadable.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

/// Between the points lie all the moments that the WAL archive can bring back.
fn write_windows(found: &[Windows], out: &mut dyn Write) -> Result<(), CliError> {
    for windows in found {
        for window in &windows.windows {
            if let Some((from, to)) = window.from.time.zip(window.to.time) {
                let (service, from, to) = (&windows.service, time(from), time(to));
                let timeline = window.timeline;
                writeln!(
                    out,
                    "\n{service}: any moment from {from} to {to} (timeline {timeline}): restore --at"
                )?;
            }
        }
    }
    Ok(())
}

fn table(points: &[PointSummary]) -> Table {
    let mut table = Table::new(["ID", "TIME", "LEVEL", ">SIZE", ">ADDED", "DATASETS", "TAGS"]);
    for point in points {
        table.row([
            point.id.short(),
            time(point.time),
            point.level.name().to_owned(),
            bytes(point.size_bytes),
            bytes(point.added_bytes),
            point.datasets.join(", "),
            point.tags.join(", "),
        ]);
    }
    table
}

fn show(app: &App, detail: &PointDetail, out: &mut dyn Write) -> Result<Exit, CliError> {
    let PointDetail { summary, manifest } = detail;
    if app.is_json() {
        write_json(out, detail)?;
        return Ok(Exit::Done);
    }
    let ago = duration(age(summary.time));
    writeln!(out, "recovery point {}", summary.id)?;
    writeln!(out, "  time      {} ({ago} ago)", time(summary.time))?;
    writeln!(out, "  level     {}", summary.level.name())?;
    writeln!(out, "  size      {}", bytes(summary.size_bytes))?;
    writeln!(out, "  added     {}", bytes(summary.added_bytes))?;
    writeln!(out, "  datasets  {}", summary.datasets.join(", "))?;
    writeln!(out, "  made on   {}", summary.host)?;
    if !summary.tags.is_empty() {
        writeln!(out, "  tags      {}", summary.tags.join(", "))?;
    }
    match manifest {
        Some(manifest) => {
            writeln!(out, "manifest")?;
            write_tree(out, &serde_json::to_value(manifest)?, 2)?;
        }
        None => app.note("it has no manifest: another program made it"),
    }
    let short = summary.id.short();
    app.next([app.command(format_args!("restore {short} --to DIR --dry-run"))]);
    Ok(Exit::Done)
}

fn diff(app: &App, differences: &[Difference], out: &mut dyn Write) -> Result<Exit, CliError> {
    let number = |change| differences.iter().filter(|d| d.change == change).count() as u64;
    let bytes_of = |change, size: fn(&Difference) -> u64| {
        let found = differences.iter().filter(|d| d.change == change);
        found.map(size).sum::<u64>()
    };
    let added = (
        number(Change::Added),
        bytes_of(Change::Added, |d| d.new_bytes),
    );
    let removed = (
        number(Change::Removed),
        bytes_of(Change::Removed, |d| d.old_bytes),
    );
    let (changed, metadata) = (number(Change::Content), number(Change::Metadata));
    if app.is_json() {
        let value = json!({
            "differences": differences.iter().map(difference_json).collect::<Vec<_>>(),
            "totals": {
                "added": added.0, "added_bytes": added.1,
                "removed": removed.0, "removed_bytes": removed.1,
                "changed": changed, "metadata": metadata,
            },
        });
        write_json(out, &value)?;
        return Ok(Exit::Done);
    }
    for difference in differences {
        write_difference(difference, out)?;
    }
    writeln!(
        out,
        "{} added ({}), {} removed ({}), {changed} changed, {metadata} with other metadata only",
        added.0,
        bytes(added.1),
        removed.0,
        bytes(removed.1),
    )?;
    Ok(Exit::Done)
}

fn write_difference(difference: &Difference, out: &mut dyn Write) -> Result<(), CliError> {
    let Difference {
        path,
        old_bytes,
        new_bytes,
        ..
    } = difference;
    let (old, new) = (bytes(*old_bytes), bytes(*new_bytes));
    match difference.change {
        Change::Added => writeln!(out, "+  {path}  ({new})"),
        Change::Removed => writeln!(out, "-  {path}  ({old})"),
        Change::Content if old == new => writeln!(out, "M  {path}  ({new})"),
        Change::Content => writeln!(out, "M  {path}  ({old} → {new})"),
        Change::Metadata => writeln!(out, "U  {path}"),
    }?;
    Ok(())
}

fn difference_json(difference: &Difference) -> Value {
    let change = match difference.change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Content => "changed",
        Change::Metadata => "metadata",
    };
    json!({
        "path": difference.path.to_string(),
        "change": change,
        "old_bytes": difference.old_bytes,
        "new_bytes": difference.new_bytes,
    })
}
