//! `rekindle restore --at`: a data directory that recovers to a moment.

use std::{io::Write, path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use rekindle_recovery::wal::{
    LossPreview, Moment, RecoveryTarget, RestoreAtOutcome, RestoreAtPlan, RestoreAtRequest,
    TargetAction, TimelineChoice, loss_preview, plan_restore_at, restore_at,
};
use rekindle_vault::Progress;
use serde_json::json;

use super::{INTERRUPTED, RestoreArgs, point_line};
use crate::{
    app::App,
    commands::services,
    errors::{CliError, Exit},
    output::{self, bytes, count, duration, time, write_json},
    progress::Watcher,
    signals,
};

/// Arguments that choose a moment.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "A moment")]
pub struct MomentArgs {
    /// Restore PostgreSQL as it was at this moment: a time (`2026-11-21 14:29:59+01`), an LSN, `xid:N`,
    /// `name:RESTORE_POINT`, `latest`, or `consistent` for the end of the base backup. Buckets that
    /// keep versions: a time
    #[arg(long, value_name = "MOMENT")]
    pub at: Option<RecoveryTarget>,
    /// Stop just before the target instead of just after it
    #[arg(long, requires = "at")]
    pub exclusive: bool,
    /// Which history to follow where timelines part: `latest`, `current` (that of the base backup)
    /// or its number
    #[arg(long, value_name = "TIMELINE", default_value = "latest")]
    pub timeline: TimelineChoice,
    /// What the server does when it is there
    #[arg(
        long,
        value_name = "ACTION",
        requires = "at",
        default_value = "promote"
    )]
    pub action: Action,
}

/// What the server does at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Accept writes, on a new timeline
    Promote,
    /// Wait, readable, until somebody says whether this is the right moment
    Pause,
    /// Stop
    Shutdown,
}

impl MomentArgs {
    /// The request that the arguments make.
    ///
    /// # Errors
    /// If it does not say which service is meant.
    pub fn request(
        &self,
        app: &App,
        args: &RestoreArgs,
        target: &RecoveryTarget,
        to: PathBuf,
    ) -> Result<RestoreAtRequest, CliError> {
        let stack = app.stack()?;
        Ok(RestoreAtRequest {
            service: services::the_postgres(&stack, args.service.as_deref())?,
            point: Some(args.point.clone()).filter(|point| point != "latest"),
            target: target.clone(),
            timeline: self.timeline,
            inclusive: !self.exclusive,
            action: match self.action {
                Action::Promote => TargetAction::Promote,
                Action::Pause => TargetAction::Pause,
                Action::Shutdown => TargetAction::Shutdown,
            },
            keeps_archiving: false,
            to,
            ownership: args.owner.as_ref().map(|owner| owner.ownership),
            progress: Arc::new(Progress::default()),
        })
    }

    /// The arguments as they are typed, for a command to run next.
    pub(super) fn typed(&self) -> String {
        let mut text = String::new();
        if self.exclusive {
            text += " --exclusive";
        }
        if self.timeline != TimelineChoice::Latest {
            text += &format!(" --timeline {}", self.timeline);
        }
        match self.action {
            Action::Promote => {}
            Action::Pause => text += " --action pause",
            Action::Shutdown => text += " --action shutdown",
        }
        text
    }
}

/// Restores to a moment, or shows what would be done.
///
/// # Errors
/// As the library failed; a moment that cannot be restored changes nothing.
pub(super) fn run(
    app: &App,
    args: &RestoreArgs,
    target: &RecoveryTarget,
    to: PathBuf,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if args.path.is_some() {
        return Err(CliError::wrong_use(
            "a part of a data directory cannot be restored to a moment",
            "`--table NAME --at MOMENT` brings back one table",
        ));
    }
    let request = args.moment.request(app, args, target, to)?;
    let vault = app.vault()?;
    if args.dry_run {
        let plan = plan_restore_at(&vault, &request)?;
        let loss = loss_preview(&vault, &app.stack()?, &request)?;
        write_plan(app, args, target, (&plan, &loss), out)?;
        return Ok(Exit::Done);
    }
    signals::watch(INTERRUPTED);
    let watcher = Watcher::start("restoring", &request.progress, app.reporting());
    let outcome = restore_at(&vault, &request);
    drop(watcher);
    write_outcome(app, &request, &outcome?, out)?;
    Ok(Exit::Done)
}

fn moment(moment: &Moment) -> String {
    match moment.time {
        Some(at) => format!("{} (LSN {})", time(at), moment.lsn),
        None => format!("LSN {}", moment.lsn),
    }
}

/// A target in this machine's time zone, which is named.
fn target_words(target: &RecoveryTarget) -> String {
    match target {
        RecoveryTarget::Time(at) => time(*at),
        other => other.to_string(),
    }
}

fn write_plan(
    app: &App,
    args: &RestoreArgs,
    target: &RecoveryTarget,
    (plan, loss): (&RestoreAtPlan, &LossPreview),
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if app.is_json() {
        let mut value = serde_json::to_value(plan)?;
        value["loss"] = serde_json::to_value(loss)?;
        return write_json(out, &value);
    }
    let before = if plan.inclusive { "" } else { "just before " };
    writeln!(
        out,
        "would restore {} to {before}{}",
        plan.service,
        target_words(target)
    )?;
    writeln!(out, "  from      {}", point_line(&plan.point))?;
    writeln!(out, "  its end   {}", moment(&plan.base))?;
    let timelines: Vec<_> = plan.timelines.iter().map(ToString::to_string).collect();
    writeln!(out, "  timeline  {}", timelines.join(" → "))?;
    writeln!(
        out,
        "  WAL       {}, {}",
        count(plan.wal_segments, "file"),
        bytes(plan.wal_bytes)
    )?;
    writeln!(out, "  to        {}", plan.to.display())?;
    let needed = plan.base_bytes.saturating_add(plan.wal_bytes);
    let free = plan
        .free_bytes
        .map_or_else(String::new, |free| format!("; {} free", bytes(free)));
    writeln!(out, "  size      {}{free}", bytes(needed))?;
    for (number, step) in plan.steps.iter().enumerate() {
        writeln!(out, "  {}. {step}", number + 1)?;
    }
    super::loss::write(app, loss, out)?;
    for note in &plan.notes {
        app.warn(note);
    }
    if plan.free_bytes.is_some_and(|free| free < needed) {
        app.warn("there is not enough room");
    }
    let at = typed(target);
    let (typed, to) = (args.moment.typed(), output::quoted(&plan.to));
    let service = &plan.service;
    app.next([app.command(format_args!(
        "restore --service {service} --at '{at}'{typed} --to {to}"
    ))]);
    Ok(())
}

/// The target as the command line takes it.
pub(super) fn typed(target: &RecoveryTarget) -> String {
    match target {
        RecoveryTarget::Latest => "latest".to_owned(),
        RecoveryTarget::Consistent => "consistent".to_owned(),
        RecoveryTarget::Time(time) => time.to_string(),
        RecoveryTarget::Lsn(lsn) => lsn.to_string(),
        RecoveryTarget::Transaction(xid) => format!("xid:{xid}"),
        RecoveryTarget::RestorePoint(name) => format!("name:{name}"),
    }
}

fn write_outcome(
    app: &App,
    request: &RestoreAtRequest,
    outcome: &RestoreAtOutcome,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if app.is_json() {
        let value = json!({
            "service": request.service,
            "point": outcome.point,
            "target": outcome.target,
            "inclusive": request.inclusive,
            "end": outcome.end,
            "to": request.to,
            "result": { "kind": "postgres_directory", "major": outcome.major, "recovers": true },
            "files": outcome.files,
            "bytes": outcome.bytes,
            "wal_segments": outcome.wal_segments,
            "took_seconds": outcome.took.as_secs_f64(),
            "left_out": outcome.left_out,
            "notes": outcome.notes,
            "next": outcome.next,
        });
        return write_json(out, &value);
    }
    let (service, to) = (&request.service, request.to.display());
    writeln!(
        out,
        "restored {service}; its server recovers to {}",
        target_words(&request.target)
    )?;
    writeln!(out, "  from      {}", point_line(&outcome.point))?;
    writeln!(
        out,
        "  to        {to}: a PostgreSQL {} data directory",
        outcome.major
    )?;
    let files = count(outcome.files, "file");
    let wal = count(outcome.wal_segments, "WAL file");
    writeln!(out, "  size      {files}, {}; {wal}", bytes(outcome.bytes))?;
    writeln!(out, "  took      {}", duration(outcome.took))?;
    for left_out in &outcome.left_out {
        app.warn(format_args!("left out: {left_out}"));
    }
    for note in &outcome.notes {
        app.warn(note);
    }
    app.next(&outcome.next);
    Ok(())
}
