//! `rekindle vault heal`.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use clap::Args;
use rekindle_recovery::{RecoveryError, damage};
use rekindle_stack as stack;
use rekindle_vault::{ConfigRemade, HealOptions, HealReport, Id, Progress, Vault, VaultError};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Paint, count, paint_stdout, write_json},
    progress::Watcher,
    signals,
};

/// More paths than this are counted, not listed; `--json` and `-v` list all.
const PATHS_SHOWN: usize = 20;

/// Arguments of `vault heal`.
#[derive(Debug, Args)]
pub struct HealArgs {
    /// A copy to heal from, by its name in the configuration; may be repeated [default: all copies]
    #[arg(long, value_name = "COPY")]
    from: Vec<String>,
    /// Only show what is damaged, and what of it could be healed
    #[arg(long)]
    dry_run: bool,
    /// Look only for what is gone or cut, and read no data
    #[arg(long)]
    quick: bool,
}

/// Heals, and tells what is still hit.
///
/// # Errors
/// As the vault does not open, or fails; what stays damaged is no error but exit code 4.
pub fn run(app: &App, args: &HealArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let settings = app.stack()?.vault;
    let sources = damage::open_sources(&settings, &args.from)?;
    for (name, error) in &sources.failed {
        app.warn(format_args!("the copy `{name}` cannot be used: {error}"));
    }
    let (vault, remade) = open(app, &settings, &sources.vaults, args.dry_run)?;
    signals::watch("interrupted: what was stored anew stays, and the next run goes on");
    let progress = Arc::new(Progress::default());
    let options = HealOptions {
        read_data: !args.quick,
        progress: Arc::clone(&progress),
        ..HealOptions::default()
    };
    let watcher = Watcher::start("looking", &progress, app.reporting());
    let report = if args.dry_run {
        vault.plan_heal(&sources.vaults, &options)
    } else {
        vault.heal(&sources.vaults, &options)
    };
    drop(watcher);
    let report = report?;
    if app.is_json() {
        write_json(out, &json_of(&report, remade, args.dry_run))?;
    } else {
        write_report(app, &report, args.dry_run, out)?;
    }
    Ok(match (report.is_whole(), report.left.is_empty()) {
        (true, _) => Exit::Done,
        (false, _) if args.dry_run && would_be_whole(&report) => Exit::Done,
        _ => Exit::NotRestorable,
    })
}

/// Opens the vault; its configuration is made anew if that is what is lost.
fn open(
    app: &App,
    settings: &stack::Vault,
    sources: &[Vault],
    dry_run: bool,
) -> Result<(Vault, ConfigRemade), CliError> {
    use rekindle_vault::store::FileKind;
    match rekindle_recovery::open_vault(settings) {
        Err(RecoveryError::Vault(VaultError::Damaged {
            kind: FileKind::Config,
            ..
        })) if !dry_run => {}
        other => return Ok((other?, ConfigRemade::WasWhole)),
    }
    let how = damage::remake_config(settings, sources)?;
    app.warn(match how {
        ConfigRemade::WasWhole | ConfigRemade::Same => {
            "the vault's configuration was lost, and came back from a copy"
        }
        ConfigRemade::LikeCopy | ConfigRemade::New => {
            "the vault's configuration was lost, and was made anew: the vault has another id now, and whoever keeps a \
             cached WAL recipient must fetch it anew"
        }
    });
    Ok((rekindle_recovery::open_vault(settings)?, how))
}

/// In a plan, what is hit now may be what would be healed.
fn would_be_whole(report: &HealReport) -> bool {
    report.blobs_healed == report.blobs_missing
        && report.parity.beyond.is_empty()
        && report.points_lost.is_empty()
        && report.keys_lost.is_empty()
        && report.wal_lost.is_empty()
}

fn json_of(report: &HealReport, remade: ConfigRemade, dry_run: bool) -> serde_json::Value {
    let mut hits: BTreeMap<Id, Vec<String>> = BTreeMap::new();
    for hit in &report.hits {
        hits.entry(hit.snapshot)
            .or_default()
            .push(hit.path.to_string());
    }
    let hits = hits
        .iter()
        .map(|(point, paths)| json!({ "point": point, "paths": paths }));
    let names = |files: &[rekindle_vault::WalFile]| -> Vec<String> {
        files.iter().map(ToString::to_string).collect()
    };
    json!({
        "ok": report.is_whole(),
        "dry_run": dry_run,
        "config_remade": remade != ConfigRemade::WasWhole,
        "damaged_packs": report.damaged_packs,
        "packs_gone": report.packs_gone,
        "blobs_missing": report.blobs_missing,
        "blobs_healed": report.blobs_healed,
        "blobs_rescued": report.blobs_rescued,
        "points_healed": report.points_healed,
        "points_lost": report.points_lost,
        "keys_healed": report.keys_healed,
        "keys_lost": report.keys_lost,
        "wal_healed": names(&report.wal_healed),
        "wal_lost": names(&report.wal_lost),
        "index_was_wrong": report.index_was_wrong,
        "parity": {
            "rebuilt": report.parity.rebuilt,
            "beyond": report.parity.beyond,
            "damaged": report.parity.damaged,
            "made": report.parity.update,
        },
        "set_aside": report.set_aside,
        "left": report.left,
        "sources_failed": report.sources_failed,
        "points": report.snapshots,
        "whole_points": report.whole_snapshots,
        "damaged_points": hits.collect::<Vec<_>>(),
    })
}

fn write_report(
    app: &App,
    report: &HealReport,
    dry_run: bool,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    for failed in &report.sources_failed {
        app.warn(format_args!("a copy is damaged or away: {failed}"));
    }
    if report.found_nothing() {
        writeln!(
            out,
            "nothing to heal: {}",
            count(report.snapshots as u64, "recovery point")
        )?;
        return Ok(());
    }
    let verb = if dry_run { "could be healed" } else { "healed" };
    write_found(report, verb, out)?;
    for (was, is) in &report.points_healed {
        writeln!(
            out,
            "{verb}: recovery point {}, as {}",
            was.short(),
            is.short()
        )?;
    }
    write_parity(report, verb, out)?;
    for file in &report.wal_healed {
        writeln!(out, "{verb}: WAL file {file}")?;
    }
    for key in &report.keys_healed {
        writeln!(out, "{verb}: key {}", key.short())?;
    }
    write_lost(app, report, out)?;
    for aside in &report.set_aside {
        app.note(format_args!("set aside: {aside}"));
    }
    for left in &report.left {
        app.warn(format_args!("damaged, and could not be moved: {left}"));
    }
    write_hits(app, report, out)?;
    if dry_run {
        app.next([app.command("vault heal")]);
    } else if report.is_whole() {
        app.next([app.command("vault check --read-data")]);
    } else {
        app.next([app.command("backup"), app.command("vault salvage --to DIR")]);
    }
    Ok(())
}

fn write_parity(report: &HealReport, verb: &str, out: &mut dyn Write) -> Result<(), CliError> {
    let parity = &report.parity;
    if !parity.rebuilt.is_empty() {
        let files = count(parity.rebuilt.len() as u64, "file");
        writeln!(out, "{verb}: {files} from parity, byte for byte")?;
    }
    for beyond in &parity.beyond {
        writeln!(out, "beyond parity: {beyond}")?;
    }
    for damaged in &parity.damaged {
        writeln!(out, "found: {damaged}")?;
    }
    if parity.update.groups_made > 0 {
        let groups = count(parity.update.groups_made, "parity group");
        writeln!(out, "made anew: {groups}")?;
    }
    Ok(())
}

fn write_found(report: &HealReport, verb: &str, out: &mut dyn Write) -> Result<(), CliError> {
    for (number, what) in [
        (report.damaged_packs.len(), "damaged"),
        (report.packs_gone.len(), "gone"),
    ] {
        if number > 0 {
            writeln!(out, "found: {} {what}", count(number as u64, "pack"))?;
        }
    }
    if report.index_was_wrong {
        writeln!(out, "{verb}: the index")?;
    }
    if report.blobs_missing > 0 {
        writeln!(
            out,
            "{verb}: {} of {} that recovery points miss",
            report.blobs_healed,
            count(report.blobs_missing, "piece")
        )?;
    }
    if report.blobs_rescued > 0 {
        let pieces = count(report.blobs_rescued, "whole piece");
        writeln!(out, "kept: {pieces} of damaged packs")?;
    }
    Ok(())
}

fn write_lost(app: &App, report: &HealReport, out: &mut dyn Write) -> Result<(), CliError> {
    let label = paint_stdout(&app.global, Paint::Red, "lost:");
    for point in &report.points_lost {
        let short = point.short();
        writeln!(
            out,
            "{label} recovery point {short} is damaged, and no copy has it; `vault salvage` looks for its files"
        )?;
    }
    for file in &report.wal_lost {
        writeln!(
            out,
            "{label} WAL file {file} is damaged, and no copy has it"
        )?;
    }
    for key in &report.keys_lost {
        let short = key.short();
        writeln!(
            out,
            "{label} key {short} is damaged; remove it and add its password anew"
        )?;
    }
    Ok(())
}

fn write_hits(app: &App, report: &HealReport, out: &mut dyn Write) -> Result<(), CliError> {
    let shown = if app.global.verbose > 0 {
        report.hits.len()
    } else {
        PATHS_SHOWN
    };
    for hit in report.hits.iter().take(shown) {
        writeln!(
            out,
            "hit: {} of recovery point {}",
            hit.path,
            hit.snapshot.short()
        )?;
    }
    if report.hits.len() > shown {
        writeln!(
            out,
            "  and {} more (-v lists all)",
            report.hits.len() - shown
        )?;
    }
    let whole = report.whole_snapshots.len();
    let points = count(report.snapshots as u64, "recovery point");
    writeln!(out, "whole: {whole} of {points}")?;
    Ok(())
}
