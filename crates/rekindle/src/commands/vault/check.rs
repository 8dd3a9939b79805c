//! `rekindle vault check`.

use std::{collections::BTreeMap, io::Write, path::PathBuf, sync::Arc};

use clap::Args;
use jiff::Timestamp;
use rekindle_recovery::damage;
use rekindle_vault::{
    CheckReport, Coverage, Id, Progress, Thoroughness, TreePath, Vault, VerifiedRecord,
    VerifiedRecordError,
};
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
    /// Read and verify so much, what was verified longest ago first; as 500MiB or 10GiB
    #[arg(long, value_name = "SIZE", conflicts_with = "read_data", value_parser = size)]
    budget: Option<u64>,
    /// Where this machine remembers what was verified [default: its state directory]
    #[arg(long, value_name = "DIR", requires = "budget")]
    state: Option<PathBuf>,
}

/// A size as rekindle.yaml writes them.
fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let factor: Option<u64> = match unit {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    };
    let size = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    size.ok_or_else(|| "a size is a number with KiB, MiB, GiB or TiB, as in 10GiB".to_owned())
}

/// The paths hit, by recovery point.
type Hits<'a> = BTreeMap<Id, Vec<&'a TreePath>>;

/// Checks, and tells damage by what it hits.
///
/// # Errors
/// As the check could not be done; damage is no error but exit code 4.
pub fn run(app: &App, args: &CheckArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let vault = app.vault()?;
    signals::watch("interrupted: the check changed nothing, and is not finished");
    let thoroughness = if args.read_data {
        Thoroughness::AllData
    } else {
        Thoroughness::Structure
    };
    let progress = Arc::new(Progress::default());
    let watcher = Watcher::start("checking", &progress, app.reporting());
    let checked = match args.budget {
        Some(budget) => check_within(&vault, budget, args, &progress),
        None => {
            let report = vault.check(thoroughness, &progress);
            report.map(|report| (report, None)).map_err(Into::into)
        }
    };
    drop(watcher);
    let (report, coverage) = checked?;
    let mut hits = Hits::new();
    for hit in &report.hits {
        hits.entry(hit.snapshot).or_default().push(&hit.path);
    }
    if app.is_json() {
        write_json(out, &json(&report, &hits, thoroughness, coverage))?;
    } else {
        write_report(app, &vault, &report, &hits, out)?;
        if let Some(coverage) = coverage {
            writeln!(out, "{}", covered(&coverage))?;
        }
        if !report.is_whole() {
            app.next([app.command("vault heal --dry-run")]);
        }
    }
    Ok(if report.is_whole() {
        Exit::Done
    } else {
        Exit::NotRestorable
    })
}

/// A check of one day; the record of what is verified is kept whatever was found.
fn check_within(
    vault: &Vault,
    budget_bytes: u64,
    args: &CheckArgs,
    progress: &Arc<Progress>,
) -> Result<(CheckReport, Option<Coverage>), CliError> {
    let folder = match &args.state {
        Some(folder) => folder.clone(),
        None => damage::state_directory(),
    };
    let failed = |error: VerifiedRecordError| {
        let path = error.path.display().to_string();
        CliError::io("keep the record of verified packs in", path)(error.source)
    };
    let mut record = VerifiedRecord::open(&folder, &vault.config().id).map_err(failed)?;
    let done = vault.check_within(budget_bytes, &mut record, progress)?;
    record.save().map_err(failed)?;
    Ok((done.report, Some(done.coverage)))
}

fn covered(coverage: &Coverage) -> String {
    match (coverage.all_since(), coverage.oldest) {
        (Some(since), _) => format!("all data verified since {}", time(since)),
        (None, _) if coverage.files == 0 => "nothing is stored yet".to_owned(),
        (None, since) => {
            let verified = bytes(coverage.verified_bytes);
            let stored = bytes(coverage.stored_bytes);
            let since = since.map_or_else(String::new, |since| format!(" since {}", time(since)));
            format!("{verified} of {stored} verified{since}; the rest is due next")
        }
    }
}

fn json(
    report: &CheckReport,
    hits: &Hits<'_>,
    thoroughness: Thoroughness,
    coverage: Option<Coverage>,
) -> Value {
    let coverage = coverage.map(|coverage| {
        json!({
            "stored_bytes": coverage.stored_bytes,
            "verified_bytes": coverage.verified_bytes,
            "files": coverage.files,
            "verified_files": coverage.verified_files,
            "oldest": coverage.oldest,
            "all_since": coverage.all_since(),
        })
    });
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
        "coverage": coverage,
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
