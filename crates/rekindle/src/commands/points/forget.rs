//! `rekindle points forget`: single points, by hand.

use std::io::Write;

use clap::Args;
use jiff::Timestamp;
use rekindle_recovery::retention::{
    ForgetGuard, ForgetOutcome, ForgetRequest, RetentionPolicy, forget_points,
};
use rekindle_stack::Stack;
use rekindle_vault::Vault;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::write_json,
    signals,
};

/// Arguments of `points forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Ids, or beginnings of ids
    #[arg(required = true, value_name = "POINT")]
    points: Vec<String>,
    /// Forget; without it, only say what would be done
    #[arg(long)]
    yes: bool,
    /// Override a guard; can be given several times
    #[arg(long, value_name = "GUARD")]
    force: Vec<ForgetGuard>,
}

/// Forgets points.
///
/// # Errors
/// As a guard keeps one of them, or the vault fails.
pub fn run(
    app: &App,
    stack: &Stack,
    vault: &Vault,
    args: &ForgetArgs,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    signals::watch("interrupted: `rekindle points` tells what is there");
    let request = ForgetRequest {
        points: args.points.clone(),
        force: args.force.iter().copied().collect(),
        is_dry_run: !args.yes,
    };
    let policy = RetentionPolicy::of(stack);
    let outcome = forget_points(vault, stack, &policy, &request, Timestamp::now())?;
    for held in &outcome.overridden {
        app.warn(format_args!("overridden: {held}"));
    }
    if app.is_json() {
        write_json(out, &outcome)?;
    } else {
        write_outcome(&outcome, out)?;
    }
    if outcome.forgotten.is_some() {
        app.note("`rekindle vault prune` frees the space that only they used");
        return Ok(Exit::Done);
    }
    let mut again = format!("points forget {} --yes", args.points.join(" "));
    for guard in &args.force {
        again = format!("{again} --force {guard}");
    }
    app.next([app.command(again)]);
    Ok(Exit::ApprovalNeeded)
}

fn write_outcome(outcome: &ForgetOutcome, out: &mut dyn Write) -> Result<(), CliError> {
    let verb = match outcome.forgotten {
        Some(_) => "forgotten",
        None => "would be forgotten:",
    };
    for point in &outcome.points {
        writeln!(out, "{verb} {}", point.short())?;
    }
    Ok(())
}
