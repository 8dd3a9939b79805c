//! `rekindle vault salvage`.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use rekindle_recovery::{RecoveryError, damage};
use rekindle_vault::{
    Ownership, Progress, RestoreOptions, Salvage, SalvagePoint, SalvagedPoint, durable,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{bytes, count, time, write_json},
    progress::Watcher,
};

const REPORT: &str = "REKINDLE-SALVAGE.json";

/// Arguments of `vault salvage`.
#[derive(Debug, Args)]
pub struct SalvageArgs {
    /// A directory; each point comes into one of its own in it
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    to: Option<PathBuf>,
    /// A point as the list names it; may be repeated [default: all of them]
    #[arg(long, value_name = "ID")]
    point: Vec<String>,
    /// Only list what there is
    #[arg(long)]
    list: bool,
}

/// Brings out what is left.
///
/// # Errors
/// As nothing of the vault can be read, or the directory cannot be written.
pub fn run(app: &App, args: &SalvageArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let settings = app.stack()?.vault;
    let progress = Arc::new(Progress::default());
    let watcher = Watcher::start("reading headers", &progress, app.reporting());
    let opened = damage::open_salvage(&settings, &progress);
    let found = opened.and_then(|mut salvage| {
        let points = salvage.points(damage::point_marker())?;
        Ok((salvage, points))
    });
    drop(watcher);
    let (salvage, points) = found?;
    for problem in salvage.problems() {
        app.warn(problem);
    }
    let chosen = choose(&points, &args.point)?;
    let Some(to) = args.to.as_deref().filter(|_| !args.list) else {
        return list(app, &salvage, &chosen, out);
    };
    let mut brought = Vec::new();
    for point in chosen {
        let directory = to.join(&point.name);
        let outcome = bring(app, &salvage, point, &directory)?;
        if !app.is_json() {
            write_point(app, point, &outcome, &directory, out)?;
        }
        brought.push(json_of(point, &outcome, &directory));
    }
    let is_whole = brought.iter().all(|point| point["whole"] == true);
    let report = json!({
        "ok": is_whole && salvage.problems().is_empty(),
        "vault": salvage.location(),
        "problems": salvage.problems(),
        "points": brought,
    });
    write_report(to, &report)?;
    if app.is_json() {
        write_json(out, &report)?;
    } else {
        writeln!(out, "report: {}", to.join(REPORT).display())?;
    }
    Ok(if is_whole { Exit::Done } else { Exit::Partly })
}

/// The points meant; all that are not just parts of others if none is named.
fn choose<'a>(
    points: &'a [SalvagePoint],
    names: &[String],
) -> Result<Vec<&'a SalvagePoint>, CliError> {
    if names.is_empty() {
        return Ok(points.iter().collect());
    }
    let find = |name: &String| {
        let fits = |point: &&SalvagePoint| {
            let id = point.snapshot.id.to_string();
            point.name == *name || (!point.is_found && id.starts_with(name.as_str()))
        };
        points.iter().find(fits).ok_or_else(|| {
            CliError::wrong_use(
                format!("there is nothing of a point `{name}` in the vault"),
                "`rekindle vault salvage --list` lists what there is",
            )
        })
    };
    names.iter().map(find).collect()
}

fn list(
    app: &App,
    salvage: &Salvage,
    points: &[&SalvagePoint],
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if app.is_json() {
        let points = points.iter().map(|point| {
            json!({ "name": point.name, "time": point.snapshot.stored.time, "found": point.is_found,
                "complete_root": point.has_marker, "entries": point.names })
        });
        let value = json!({ "points": points.collect::<Vec<_>>(), "problems": salvage.problems() });
        write_json(out, &value)?;
        return Ok(Exit::Done);
    }
    for point in points {
        let what = match (point.is_found, point.has_marker) {
            (false, _) => "recovery point",
            (true, true) => "found without its snapshot file",
            (true, false) => "found; perhaps a part of a point",
        };
        let (name, names) = (&point.name, point.names.join(" "));
        let made = time(point.snapshot.stored.time);
        writeln!(out, "{name:<14}  {made}  {what}: {names}")?;
    }
    app.next([app.command("vault salvage --to DIR")]);
    Ok(Exit::Done)
}

fn bring(
    app: &App,
    salvage: &Salvage,
    point: &SalvagePoint,
    directory: &Path,
) -> Result<SalvagedPoint, CliError> {
    let progress = Arc::new(Progress::default());
    let _watcher = Watcher::start("bringing out", &progress, app.reporting());
    let options = RestoreOptions {
        ownership: Ownership::of_this_process(),
        progress,
        ..RestoreOptions::default()
    };
    let brought = salvage.bring(point, directory, options);
    Ok(brought.map_err(|source| RecoveryError::Restore {
        point: point.snapshot.id,
        to: directory.display().to_string(),
        source: Box::new(source),
    })?)
}

fn json_of(point: &SalvagePoint, outcome: &SalvagedPoint, directory: &Path) -> Value {
    let damages = outcome.damages.iter().map(|damage| {
        let holes: Vec<_> = damage.holes.iter().map(|hole| [hole.start, hole.end]).collect();
        json!({ "path": damage.path.display().to_string(), "reason": damage.reason, "holes": holes })
    });
    json!({
        "name": point.name,
        "found": point.is_found,
        "directory": directory.display().to_string(),
        "whole": outcome.whole.is_some(),
        "damaged": damages.collect::<Vec<_>>(),
    })
}

fn write_point(
    app: &App,
    point: &SalvagePoint,
    outcome: &SalvagedPoint,
    directory: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let (name, to) = (&point.name, directory.display());
    if let Some(whole) = &outcome.whole {
        let size = bytes(whole.bytes);
        writeln!(
            out,
            "whole: {name}, {} ({size}) in {to}",
            count(whole.files, "file")
        )?;
        return Ok(());
    }
    let damaged = count(outcome.damages.len() as u64, "path");
    writeln!(out, "damaged: {name}, all but {damaged} in {to}")?;
    for damage in &outcome.damages {
        let path = damage.path.display();
        if damage.holes.is_empty() {
            writeln!(out, "  lost: {path}")?;
        } else {
            let lost: u64 = damage.holes.iter().map(|hole| hole.end - hole.start).sum();
            let holes: Vec<String> = damage
                .holes
                .iter()
                .map(|hole| format!("{} to {}", hole.start, hole.end))
                .collect();
            writeln!(
                out,
                "  holes: {path}, {}: bytes {}",
                bytes(lost),
                holes.join(", ")
            )?;
        }
        if app.global.verbose > 0 {
            writeln!(out, "    {}", damage.reason)?;
        }
    }
    Ok(())
}

fn write_report(to: &Path, report: &Value) -> Result<(), CliError> {
    std::fs::create_dir_all(to).map_err(CliError::io("make", to.display()))?;
    let path = to.join(REPORT);
    let text = serde_json::to_vec_pretty(report)?;
    durable::replace(&path, &text, 0o600).map_err(CliError::io("write", path.display()))
}
