//! `rekindle vault prune`.

use std::{io::Write, sync::Arc, time::Duration};

use clap::Args;
use rekindle_stack::Period;
use rekindle_vault::{Grace, MaxUnused, PackStep, Progress, PruneOptions, PrunePlan, PruneReport};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Paint, Table, bytes, count, paint_stdout, time, write_json},
    progress::Watcher,
    signals,
};

/// What `--help` shows below the options.
pub const EXAMPLES: &str = "\
Examples:
  rekindle vault prune --dry-run         what would be done, and why
  rekindle vault prune                   daily: marks what nothing needs, removes what was marked a day ago
  rekindle vault prune --max-unused 0    packs anew wherever there is any waste

Recovery points are never touched: `points` and `retention` decide which there are. What none of them needs is
marked first and stays readable; a later run removes it when its grace is over, so that nothing is lost that another
program counted on meanwhile. Backups may run beside it.";

const MIB: u64 = 1 << 20;

/// Arguments of `vault prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Waste that may stay in packs that are used: `5%`, `2GiB` or `unlimited`
    #[arg(long, value_name = "SHARE|SIZE", default_value = "5%", value_parser = parse_unused)]
    max_unused: MaxUnused,
    /// How long marked packs stay before a later run removes them
    #[arg(long, value_name = "PERIOD", default_value = "24h")]
    grace: Period,
    /// Remove at once, without grace; only if every other program in the vault takes locks
    #[arg(long, conflicts_with = "grace")]
    now: bool,
    /// Pack anew at most so much in this run: `10GiB`
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_repack: Option<u64>,
    /// How long to wait for others, to be alone in the vault for the last part
    #[arg(long, value_name = "PERIOD", default_value = "10m")]
    wait: Period,
}

impl PruneArgs {
    fn options(&self, pack_bytes: Option<usize>) -> PruneOptions {
        let defaults = PruneOptions::default();
        PruneOptions {
            max_unused: self.max_unused,
            max_repack_bytes: self.max_repack,
            pack_bytes: pack_bytes.unwrap_or(defaults.pack_bytes),
            grace: if self.now {
                Grace::None
            } else {
                Grace::For(self.grace.as_duration())
            },
            wait: self.wait.as_duration(),
            ..defaults
        }
    }
}

/// Shows the plan, then does it unless that is all that was asked for.
///
/// # Errors
/// As the vault cannot be read, or something in it is missing; nothing that a point needs is removed.
pub fn run(app: &App, args: &PruneArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let pack_bytes = stack
        .vault
        .pack_size
        .and_then(|size| usize::try_from(size).ok());
    let options = args.options(pack_bytes);
    signals::watch(
        "interrupted: nothing that a recovery point needs is gone; the next prune goes on",
    );
    if args.dry_run {
        let plan = vault.plan_prune(&options)?;
        if app.is_json() {
            write_json(out, &json!({ "dry_run": true, "plan": plan }))?;
        } else {
            write_plan(app, &plan, out)?;
            app.next([app.command("vault prune")]);
        }
        return Ok(Exit::Done);
    }
    let progress = Arc::new(Progress::default());
    let watcher = Watcher::start("packing anew", &progress, app.reporting());
    let mut shown = Ok(());
    let report = vault.prune_announced(&options, &progress, &mut |plan| {
        if !app.is_json() && shown.is_ok() {
            shown = crate::progress::around_bar(|| write_plan(app, plan, out));
        }
    });
    drop(watcher);
    signals::give_way();
    shown?;
    let report = report?;
    if app.is_json() {
        write_json(out, &report)?;
    } else {
        write_report(app, &report, options.grace, out)?;
    }
    Ok(exit(&report))
}

fn exit(report: &PruneReport) -> Exit {
    if !report.damaged.is_empty() {
        Exit::NotRestorable
    } else if report.repack_stopped.is_some() {
        Exit::Partly
    } else {
        Exit::Done
    }
}

/// What is done with a pack, in a word, and to more than one of them.
const fn verb(step: PackStep) -> &'static str {
    match step {
        PackStep::Leave | PackStep::LeaveUnlisted => "mark",
        PackStep::RepackWaste | PackStep::RepackSmall => "pack anew, mark",
        PackStep::DropFromIndex => "drop from the index",
        PackStep::TakeBack => "take back",
        PackStep::Wait { .. } | PackStep::Locked { .. } => "wait",
        PackStep::WaitAnew => "wait anew",
        PackStep::Remove => "remove",
    }
}

fn write_plan(app: &App, plan: &PrunePlan, out: &mut dyn Write) -> Result<(), CliError> {
    let points = count(plan.snapshots, "recovery point");
    writeln!(
        out,
        "{points}, {}: {} used, {} unused, {} stored twice",
        count(plan.packs, "pack"),
        bytes(plan.used_bytes),
        bytes(plan.unused_bytes),
        bytes(plan.duplicate_bytes),
    )?;
    if app.global.verbose > 0 {
        for pack in &plan.steps {
            let (id, size) = (pack.pack, bytes(pack.size_bytes));
            let (verb, reason) = (verb(pack.step), pack.step.reason());
            writeln!(out, "  {verb}  {id}  {size}: {reason}")?;
        }
    } else {
        write_steps(plan, out)?;
    }
    if plan.remaining_waste_bytes > 0 {
        let waste = bytes(plan.remaining_waste_bytes);
        writeln!(out, "{waste} of waste stays in packs that are used")?;
    }
    Ok(())
}

/// One line for all packs of one reason.
fn write_steps(plan: &PrunePlan, out: &mut dyn Write) -> Result<(), CliError> {
    let mut groups: Vec<(&str, &str, u64, u64)> = Vec::new();
    for pack in &plan.steps {
        let (verb, reason) = (verb(pack.step), pack.step.reason());
        match groups
            .iter_mut()
            .find(|group| (group.0, group.1) == (verb, reason))
        {
            Some(group) => {
                group.2 += 1;
                group.3 += pack.size_bytes;
            }
            None => groups.push((verb, reason, 1, pack.size_bytes)),
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["WHAT", "PACKS", "SIZE", "WHY"]);
    for (verb, reason, packs, size) in groups {
        table.row([
            verb.to_owned(),
            packs.to_string(),
            bytes(size),
            reason.to_owned(),
        ]);
    }
    Ok(table.write(out)?)
}

fn write_report(
    app: &App,
    report: &PruneReport,
    grace: Grace,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    for damage in &report.damaged {
        let label = paint_stdout(&app.global, Paint::Red, "damage:");
        writeln!(out, "{label} {damage}")?;
    }
    let mut done = Vec::new();
    if report.repacked_bytes > 0 {
        done.push(format!("packed {} anew", bytes(report.repacked_bytes)));
    }
    let mut add = |verb: &str, packs: u64, size: Option<u64>| {
        if packs > 0 {
            let size = size.map_or_else(String::new, |size| format!(" of {}", bytes(size)));
            done.push(format!("{verb} {}{size}", count(packs, "pack")));
        }
    };
    add("marked", report.marked_packs, Some(report.marked_bytes));
    add("took back", report.taken_back_packs, None);
    add("removed", report.removed_packs, Some(report.removed_bytes));
    if done.is_empty() {
        writeln!(out, "there was nothing to do")?;
    } else {
        writeln!(out, "{}", done.join(", "))?;
    }
    if let Some(until) = report.locked_until {
        let packs = count(report.locked_packs, "pack");
        let until = time(until);
        app.note(format_args!(
            "{packs} stay marked until their object locks are over, the last at {until}"
        ));
    }
    if report.stayed_packs > 0 {
        let packs = count(report.stayed_packs, "pack");
        app.note(format_args!(
            "{packs} stayed: something in them is needed after all"
        ));
    }
    if report.held_for_parity > 0 {
        let packs = count(report.held_for_parity, "pack");
        app.note(format_args!(
            "{packs} stayed for now: parity needs them to bring back others; `vault heal` mends that"
        ));
    }
    if let Some(reason) = &report.repack_stopped {
        app.warn(format_args!(
            "packing anew ended early, for want of room: {reason}"
        ));
    }
    if !report.damaged.is_empty() {
        app.next([app.command("vault check --read-data")]);
    } else if let (Some(due), Grace::For(grace)) = (report.due, grace) {
        write_due(app, report, due, grace);
    }
    Ok(())
}

fn write_due(app: &App, report: &PruneReport, due: jiff::Timestamp, grace: Duration) {
    let size = bytes(report.marked_bytes + report.waiting_bytes);
    let due = time(due);
    app.note(format_args!(
        "{size} are marked and still readable; a prune after {due} removes them"
    ));
    let default = Duration::from_secs(24 * 60 * 60);
    let command = if grace == default {
        "vault prune".to_owned()
    } else {
        format!("vault prune --grace {}", Period::from(grace))
    };
    app.next([app.command(command)]);
}

fn parse_unused(text: &str) -> Result<MaxUnused, String> {
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    let Some(percent) = text.strip_suffix('%') else {
        return parse_size(text).map(MaxUnused::Bytes);
    };
    match percent.parse() {
        Ok(percent @ 0..=100) => Ok(MaxUnused::Percent(percent)),
        _ => Err("a share is 0% to 100%, in whole numbers".to_owned()),
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => MIB,
        "GiB" => MIB << 10,
        "TiB" => MIB << 20,
        _ => return Err("a size is a number with KiB, MiB, GiB or TiB, like `10GiB`".to_owned()),
    };
    let number: Option<u64> = number.parse().ok();
    let size = number.and_then(|number| number.checked_mul(unit));
    size.ok_or_else(|| "a size is a whole number with KiB, MiB, GiB or TiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waste_is_a_share_or_a_size() {
        assert_eq!(parse_unused("5%"), Ok(MaxUnused::Percent(5)));
        assert_eq!(parse_unused("0"), Ok(MaxUnused::Bytes(0)));
        assert_eq!(parse_unused("2GiB"), Ok(MaxUnused::Bytes(2 << 30)));
        assert_eq!(parse_unused("unlimited"), Ok(MaxUnused::Unlimited));
        for wrong in ["101%", "-1%", "5 %%", "GiB", "5G", "99999999999TiB", "%"] {
            assert!(parse_unused(wrong).is_err(), "{wrong}");
        }
    }
}
