//! `rekindle restore --in-place`, and the way back.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use rekindle_recovery::in_place::{
    DiscardPlan, Event, InPlaceOutcome, InPlacePlan, InPlaceRequest, OnStep, Stage, UndoOutcome,
    discard_in_place, plan_discard, plan_in_place, restore_in_place, undo_in_place,
};
use rekindle_recovery::wal::{LossPreview, RecoveryTarget, loss_preview};
use rekindle_stack::Stack;
use rekindle_vault::{Progress, Vault};
use serde_json::json;

use super::{
    RestoreArgs,
    at::{Action, typed},
    point_line, replace,
};
use crate::{
    app::App,
    commands::services,
    errors::{CliError, Exit},
    output::{bytes, count, duration, write_json},
    progress::Watcher,
    signals,
};

/// Arguments of a restore in the place of the live data directory.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "In place of what is live")]
pub struct InPlaceArgs {
    /// Put what is restored in the place of what is there, which is set aside
    #[arg(long, conflicts_with_all = ["to", "owner", "database"])]
    in_place: bool,
    /// Which dataset of the service, if it has several
    #[arg(long, value_name = "KIND", value_parser = ["postgres", "redis", "s3", "meilisearch", "files"])]
    pub(super) kind: Option<String>,
    /// Take a restore in place back: the old directory returns, the restored one is set aside. With
    /// `--database`, take back the last `--swap` of that database
    #[arg(long, conflicts_with_all = ["in_place", "to", "path", "owner", "from", "new_name", "dry_run"])]
    undo: bool,
    /// Remove what restores in place have set aside, for good
    #[arg(long, conflicts_with_all = ["in_place", "undo", "to", "path", "owner", "database"])]
    discard: bool,
    /// Do it: with `--in-place` and `--discard`, without which the plan is only shown
    #[arg(long)]
    pub(super) yes: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Restore,
    Undo,
    Discard,
}

impl InPlaceArgs {
    /// Whether something is to be taken back.
    pub(super) fn is_undo(&self) -> bool {
        self.undo
    }

    /// What is asked for, if it is any of these.
    pub(super) fn asked(&self) -> Option<Asked> {
        match (self.in_place, self.undo, self.discard) {
            (true, ..) => Some(Asked::Restore),
            (_, true, _) => Some(Asked::Undo),
            (.., true) => Some(Asked::Discard),
            _ => None,
        }
    }
}

/// Restores in place, goes back, or ends the hold.
///
/// # Errors
/// As the library failed; the message says how things stand.
pub(super) fn run(
    app: &App,
    args: &RestoreArgs,
    asked: Asked,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    if let Some(service) = replace::meant(&stack, args) {
        return replace::run(app, args, asked, &stack, service, out);
    }
    if args.path.is_some() {
        return Err(CliError::wrong_use(
            "a part of a data directory cannot be restored in place",
            "`--database` and `--table` bring back parts of a database",
        ));
    }
    let service = services::the_postgres(&stack, args.service.as_deref())?;
    match asked {
        Asked::Restore => restore(app, args, &stack, &service, out),
        Asked::Undo => undo(app, &stack, &service, out),
        Asked::Discard => discard(app, args, &stack, &service, out),
    }
}

fn restore(
    app: &App,
    args: &RestoreArgs,
    stack: &Stack,
    service: &str,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let progress = Arc::new(Progress::default());
    let watcher = Arc::new(Mutex::new(None));
    if args.moment.action != Action::Promote {
        return Err(CliError::wrong_use(
            "a server that is put in the place of the live one has to be promoted",
            "look at the moment first with `--to DIR --action pause`, then restore it in place",
        ));
    }
    let target = args.moment.at.clone();
    let mut request = InPlaceRequest {
        stack,
        service: service.to_owned(),
        point: Some(args.point.clone()).filter(|point| point != "latest"),
        target: target.unwrap_or(RecoveryTarget::Consistent),
        timeline: args.moment.timeline,
        inclusive: !args.moment.exclusive,
        progress: Arc::clone(&progress),
        on_step: None,
    };
    if args.dry_run || !args.swap.yes {
        let plan = plan_in_place(&vault, &request)?;
        let to = plan.data_directory.clone();
        let moment = args.moment.request(app, args, &request.target, to)?;
        let loss = loss_preview(&vault, stack, &moment)?;
        write_plan(app, args, (&plan, &loss), out)?;
        return Ok(match args.dry_run {
            true => Exit::Done,
            false => Exit::ApprovalNeeded,
        });
    }
    let undo = app.command(format_args!("restore --undo --service {service}"));
    signals::watch(format!(
        "interrupted: the same command goes on from here; `{undo}` goes back"
    ));
    request.on_step = Some(reporter(app, &progress, &watcher));
    let outcome = restore_in_place(&vault, &request);
    drop(
        watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(),
    );
    write_outcome(app, service, &outcome?, out)
}

/// Says each step, and shows progress while the candidate is built.
fn reporter(app: &App, progress: &Arc<Progress>, watcher: &Arc<Mutex<Option<Watcher>>>) -> OnStep {
    let (progress, watcher) = (Arc::clone(progress), Arc::clone(watcher));
    let (reporting, is_quiet) = (app.reporting(), app.global.quiet);
    Arc::new(move |event| {
        let mut shown = watcher.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begins(stage) => {
                if !is_quiet {
                    crate::output::to_stderr(stage.doing());
                }
                if stage == Stage::Building {
                    *shown = Some(Watcher::start("restoring", &progress, reporting));
                }
            }
            Event::Ended(Stage::Building) => drop(shown.take()),
            Event::Recovers(doing) if !is_quiet => crate::output::to_stderr(doing),
            Event::Ended(_) | Event::Recovers(_) => {}
        }
    })
}

fn write_plan(
    app: &App,
    args: &RestoreArgs,
    (plan, loss): (&InPlacePlan, &LossPreview),
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if app.is_json() {
        let mut value = serde_json::to_value(plan)?;
        value["loss"] = serde_json::to_value(loss)?;
        return write_json(out, &value);
    }
    let free = plan
        .free_bytes
        .map_or_else(String::new, |free| format!("; {} free", bytes(free)));
    writeln!(
        out,
        "would restore {} in place, to {}",
        plan.service, plan.target
    )?;
    writeln!(out, "  from      {}", point_line(&plan.point))?;
    writeln!(out, "  in place  of {}", plan.data_directory.display())?;
    writeln!(out, "  size      {}{free}", bytes(plan.bytes))?;
    writeln!(out, "  server    {}", server_line(plan))?;
    for (number, step) in plan.steps.iter().enumerate() {
        writeln!(out, "  {}. {step}", number + 1)?;
    }
    super::loss::write(app, loss, out)?;
    for note in &plan.notes {
        app.warn(note);
    }
    for refusal in &plan.refusals {
        app.warn(format_args!(
            "cannot be done: {}; {}",
            refusal.reason, refusal.hint
        ));
    }
    if plan.refusals.is_empty() {
        let (point, service) = (plan.point.id.short(), &plan.service);
        let point = match args.point.as_str() {
            "latest" => String::new(),
            _ => format!("{point} "),
        };
        let at = args.moment.at.as_ref().map_or_else(String::new, |target| {
            format!(" --at '{}'{}", typed(target), args.moment.typed())
        });
        app.next([app.command(format_args!(
            "restore {point}--service {service}{at} --in-place --yes"
        ))]);
    }
    Ok(())
}

fn server_line(plan: &InPlacePlan) -> String {
    let live = &plan.live;
    if !live.is_running {
        return "stopped".to_owned();
    }
    let connections = live.connections.map_or_else(
        || "could not be asked".to_owned(),
        |connections| count(connections, "connection"),
    );
    let standbys = count(live.standbys.len() as u64, "standby");
    let slots = count(live.slots.len() as u64, "slot");
    format!("running, {connections}, {standbys}, {slots}")
}

fn write_outcome(
    app: &App,
    service: &str,
    outcome: &InPlaceOutcome,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let check = &outcome.check;
    if app.is_json() {
        let value = json!({
            "service": service,
            "target": outcome.target,
            "data_directory": outcome.data_directory,
            "set_aside": outcome.set_aside,
            "check": check,
            "downtime_seconds": outcome.downtime.as_secs_f64(),
            "took_seconds": outcome.took.as_secs_f64(),
            "was_resumed": outcome.was_resumed,
        });
        write_json(out, &value)?;
        return Ok(Exit::Done);
    }
    let how = match outcome.was_resumed {
        true => "finished the interrupted restore in place of",
        false => "restored in place:",
    };
    writeln!(out, "{how} {service}, to {}", outcome.target)?;
    writeln!(out, "  serves    {}", outcome.data_directory.display())?;
    writeln!(out, "  held      {}", outcome.set_aside.display())?;
    let databases = count(check.databases, "database");
    let timeline = check
        .timeline
        .map_or("?".to_owned(), |timeline| timeline.to_string());
    writeln!(out, "  checked   {databases}, timeline {timeline}")?;
    if let Some(last) = &check.last_commit {
        writeln!(out, "  newest    commit of {last}")?;
    }
    let (took, down) = (duration(outcome.took), duration(outcome.downtime));
    writeln!(out, "  took      {took}, {down} of it without a server")?;
    for warning in &check.warnings {
        app.warn(warning);
    }
    app.next([
        app.command(format_args!(
            "restore --undo --service {service}      go back to the old directory"
        )),
        app.command(format_args!(
            "restore --discard --service {service}   keep this one for good"
        )),
    ]);
    Ok(Exit::Done)
}

/// The vault is only a help here: going back must work without it.
fn vault_if_any(stack: &Stack) -> Option<Vault> {
    rekindle_recovery::open_vault(&stack.vault).ok()
}

fn undo(app: &App, stack: &Stack, service: &str, out: &mut dyn Write) -> Result<Exit, CliError> {
    let vault = vault_if_any(stack);
    let progress = Arc::new(Progress::default());
    let on_step = reporter(app, &progress, &Arc::default());
    let undone = undo_in_place(stack, service, vault.as_ref(), Some(&on_step))?;
    let UndoOutcome {
        data_directory,
        restored_aside,
        is_started,
        took,
    } = &undone;
    if app.is_json() {
        let value = json!({
            "service": service,
            "data_directory": data_directory,
            "set_aside": restored_aside,
            "is_started": is_started,
            "took_seconds": took.as_secs_f64(),
        });
        write_json(out, &value)?;
        return Ok(Exit::Done);
    }
    let serves = match is_started {
        true => "its server runs",
        false => "its server is stopped, as it was found",
    };
    writeln!(
        out,
        "{service} is back on {}; {serves}",
        data_directory.display()
    )?;
    if let Some(aside) = restored_aside {
        writeln!(
            out,
            "  set aside {}, with all that was written to it",
            aside.display()
        )?;
        app.next([app.command(format_args!(
            "restore --discard --service {service}   removes it"
        ))]);
    }
    Ok(Exit::Done)
}

fn discard(
    app: &App,
    args: &RestoreArgs,
    stack: &Stack,
    service: &str,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let vault = vault_if_any(stack);
    let does = args.swap.yes && !args.dry_run;
    let plan = match does {
        true => discard_in_place(stack, service, vault.as_ref())?,
        false => plan_discard(stack, service, vault.as_ref())?,
    };
    if app.is_json() {
        write_json(out, &json!({ "plan": plan, "is_done": does }))?;
    } else {
        write_discard(app, service, &plan, does, out)?;
    }
    Ok(match does || args.dry_run {
        true => Exit::Done,
        false => Exit::ApprovalNeeded,
    })
}

fn write_discard(
    app: &App,
    service: &str,
    plan: &DiscardPlan,
    does: bool,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let verb = if does { "removed" } else { "would remove" };
    writeln!(out, "{verb} {}:", bytes(plan.bytes))?;
    for directory in &plan.directories {
        writeln!(out, "  {}", directory.display())?;
    }
    if !does {
        if plan.ends_undo {
            app.warn("the old directory is among them: after that nothing can be undone");
        }
        app.next([app.command(format_args!("restore --discard --service {service} --yes"))]);
    }
    Ok(())
}
