//! `rekindle vault rebuild-index`.

use std::{io::Write, sync::Arc};

use clap::Args;
use rekindle_vault::{Progress, ReindexPlan, ReindexReport};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{bytes, count, write_json},
    progress::Watcher,
    signals,
};

/// Arguments of `vault rebuild-index`.
#[derive(Debug, Args)]
pub struct RebuildIndexArgs {
    /// Only show what is wrong with the index
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it; without it, only show
    #[arg(long)]
    yes: bool,
}

/// Holds the index against the packs, and makes it right.
///
/// # Errors
/// As the vault does not open, or fails.
pub fn run(app: &App, args: &RebuildIndexArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let vault = app.vault()?;
    signals::watch("interrupted: nothing was removed that is not listed anew");
    let progress = Arc::new(Progress::default());
    let watcher = Watcher::start("reading headers", &progress, app.reporting());
    let report = if args.yes {
        vault.rebuild_index(&progress)
    } else {
        let plan = vault.plan_rebuild_index(&progress);
        plan.map(|plan| ReindexReport {
            plan,
            ..ReindexReport::default()
        })
    };
    drop(watcher);
    let report = report?;
    if app.is_json() {
        write_json(
            out,
            &json!({ "ok": report.plan.is_right(), "done": args.yes, "plan": report.plan,
                "written": report.written, "removed": report.removed,
                "set_aside": report.set_aside, "left": report.left }),
        )?;
    } else {
        write_plan(&report.plan, out)?;
        write_outcome(app, &report, args.yes, out)?;
    }
    let waits = !args.yes && !args.dry_run && !report.plan.is_right();
    Ok(match report.left.is_empty() {
        _ if waits => Exit::ApprovalNeeded,
        true => Exit::Done,
        false => Exit::Partly,
    })
}

fn write_plan(plan: &ReindexPlan, out: &mut dyn Write) -> Result<(), CliError> {
    let packs = |number: usize| count(number as u64, "pack");
    writeln!(
        out,
        "{}, {} in {} that can be read",
        packs(plan.packs),
        count(plan.blobs as u64, "blob"),
        count(plan.index_files as u64, "index file")
    )?;
    for damaged in &plan.damaged_index_files {
        writeln!(out, "damaged: {damaged}")?;
    }
    for (number, what) in [
        (plan.packs_unlisted.len(), "are in no index"),
        (plan.packs_listed_wrongly.len(), "are listed wrongly"),
        (plan.packs_gone.len(), "are listed and gone"),
    ] {
        if number > 0 {
            writeln!(out, "wrong: {} {what}", packs(number))?;
        }
    }
    for pack in &plan.unreadable_packs {
        let size = bytes(pack.size_bytes);
        let known = match pack.known_blobs {
            0 => "nothing can be read from it".to_owned(),
            blobs => format!("the index knows {} in it", count(blobs as u64, "blob")),
        };
        writeln!(out, "damaged: {} ({size}); {known}", pack.reason)?;
    }
    Ok(())
}

fn write_outcome(
    app: &App,
    report: &ReindexReport,
    is_done: bool,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let plan = &report.plan;
    if plan.is_right() {
        writeln!(out, "the index is right")?;
    } else if is_done {
        writeln!(
            out,
            "rebuilt: {} written, {} removed, {} set aside",
            count(report.written.len() as u64, "index file"),
            report.removed.len(),
            report.set_aside.len()
        )?;
    } else {
        writeln!(
            out,
            "would list {} anew and replace {}",
            count(plan.packs_to_list as u64, "pack"),
            count(plan.index_files_to_replace as u64, "index file")
        )?;
        app.next([app.command("vault rebuild-index --yes")]);
        return Ok(());
    }
    for aside in &report.set_aside {
        app.note(format_args!("set aside: {aside}"));
    }
    for left in &report.left {
        app.warn(format_args!(
            "could not be set aside, and is in the way of backups: {left}"
        ));
    }
    let is_damaged = !plan.unreadable_packs.is_empty() || !plan.packs_gone.is_empty();
    app.next(if is_damaged {
        vec![app.command("vault heal"), app.command("vault check")]
    } else {
        vec![app.command("vault check --read-data")]
    });
    Ok(())
}
