//! `rekindle vault check`.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use clap::Args;
use jiff::Timestamp;
use rekindle_vault::{CheckReport, Id, Progress, Thoroughness, TreePath, Vault};
use serde_json::{Value, json};

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Paint, bytes, count, paint_stdout, time, write_json},
    progress::Watcher,
    signals,
};

/// More paths of a point than this are counted, not listed; `--json` and `-v` list all.
const PATHS_SHOWN: usize = 20;

/// Arguments of `vault check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Read and verify every stored byte, too
    #[arg(long)]
    read_data: bool,
}

/// The paths hit, by recovery point.
type Hits<'a> = BTreeMap<Id, Vec<&'a TreePath>>;

/// Checks, and tells damage by what it hits.
///
/// # Errors
/// As the check could not be done; damage is no error but exit code 4.
pub fn run(app: &App, args: &CheckArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let vault = app.vault()?;
    signals::watch(
        &vault,
        "interrupted: the check changed nothing, and is not finished",
    );
    let thoroughness = if args.read_data {
        Thoroughness::AllData
    } else {
        Thoroughness::Structure
    };
    let progress = Arc::new(Progress::default());
    let watcher = Watcher::start("checking", &progress, app.reporting());
    let report = vault.check(thoroughness, &progress);
    drop(watcher);
    let report = report?;
    let mut hits = Hits::new();
    for hit in &report.hits {
        hits.entry(hit.snapshot).or_default().push(&hit.path);
    }
    if app.is_json() {
        write_json(out, &json(&report, &hits, thoroughness))?;
    } else {
        write_report(app, &vault, &report, &hits, out)?;
    }
    Ok(if report.is_whole() {
        Exit::Done
    } else {
        Exit::NotRestorable
    })
}

fn json(report: &CheckReport, hits: &Hits<'_>, thoroughness: Thoroughness) -> Value {
    let hits = hits.iter().map(|(point, paths)| {
        let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
        json!({ "point": point, "paths": paths })
    });
    let problems = report
        .problems
        .iter()
        .map(|problem| json!({ "text": problem.text, "is_loss": problem.is_loss }));
    json!({
        "ok": report.is_whole(),
        "read_data": thoroughness == Thoroughness::AllData,
        "points": report.snapshots,
        "whole_points": report.whole_snapshots,
        "damaged_points": hits.collect::<Vec<_>>(),
        "problems": problems.collect::<Vec<_>>(),
        "packs": report.packs,
        "blobs": report.blobs,
        "wal_files": report.wal_files,
        "verified_bytes": report.verified_bytes,
    })
}

fn write_report(
    app: &App,
    vault: &Vault,
    report: &CheckReport,
    hits: &Hits<'_>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let losses = report.problems.iter().filter(|problem| problem.is_loss);
    for problem in losses {
        let label = paint_stdout(&app.global, Paint::Red, "damage:");
        writeln!(out, "{label} {}", problem.text)?;
    }
    for problem in report.problems.iter().filter(|problem| !problem.is_loss) {
        app.note(format_args!("note: {}", problem.text));
    }
    let times = if hits.is_empty() {
        BTreeMap::new()
    } else {
        times(vault)?
    };
    for (point, paths) in hits {
        write_hit(app, point, times.get(point), paths, out)?;
    }
    writeln!(out, "{}", verdict(report, hits.len()))?;
    Ok(())
}

fn times(vault: &Vault) -> Result<BTreeMap<Id, Timestamp>, CliError> {
    let (snapshots, _) = vault.readable_snapshots()?;
    Ok(snapshots.iter().map(|s| (s.id, s.stored.time)).collect())
}

fn write_hit(
    app: &App,
    point: &Id,
    made: Option<&Timestamp>,
    paths: &[&TreePath],
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let label = paint_stdout(&app.global, Paint::Red, "lost:");
    let of = made.map_or_else(String::new, |made| format!(" of {}", time(*made)));
    let number = count(paths.len() as u64, "path");
    let short = point.short();
    writeln!(
        out,
        "{label} {number} of recovery point {short}{of} cannot be restored"
    )?;
    let shown = if app.global.verbose > 0 {
        paths.len()
    } else {
        PATHS_SHOWN
    };
    for path in paths.iter().take(shown) {
        writeln!(out, "  {path}")?;
    }
    if paths.len() > shown {
        writeln!(out, "  and {} more (-v lists all)", paths.len() - shown)?;
    }
    Ok(())
}

fn verdict(report: &CheckReport, damaged: usize) -> String {
    let points = count(report.snapshots as u64, "recovery point");
    let packs = match report.wal_files {
        0 => count(report.packs as u64, "pack"),
        files => {
            let packs = count(report.packs as u64, "pack");
            format!("{packs}, {} of WAL", count(files as u64, "file"))
        }
    };
    let read = match report.verified_bytes {
        0 => String::new(),
        verified => format!(", {} read and verified", bytes(verified)),
    };
    if report.is_whole() {
        format!("whole: {points}, {packs}{read}")
    } else if damaged == 0 {
        format!("damaged, but the {points} that can be read lost nothing; {packs}{read}")
    } else {
        let whole = report.whole_snapshots.len();
        format!("damaged: {damaged} of {points} hit, {whole} whole; {packs}{read}")
    }
}
