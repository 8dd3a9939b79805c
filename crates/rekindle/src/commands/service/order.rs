//! Starting and stopping in order.

use std::{io::Write, sync::Arc};

use rekindle_recovery::damage::state_directory;
use rekindle_runtimes::{
    Runtime,
    order::{Event, Goal, Limits, Outcome, Plan, Report, ServiceReport, Step, bring_up, take_down},
    owed::Owed,
};
use rekindle_stack::Stack;
use serde_json::json;

use super::{RestartArgs, StartArgs, StopArgs, as_duration};
use crate::{
    app::App,
    errors::{CliError, Exit, chain},
    output::{duration, write_json},
};

/// The stack, what runs it, and the order.
pub(super) struct World {
    pub stack: Stack,
    pub runtime: Arc<dyn Runtime>,
    pub plan: Plan,
}

impl World {
    pub fn open(app: &App) -> Result<Self, CliError> {
        let stack = app.stack()?;
        let runtime = rekindle_runtimes::open(&stack)?;
        let plan = Plan::of(&stack, &runtime.list()?)?;
        Ok(Self {
            stack,
            runtime,
            plan,
        })
    }

    /// The part of the plan that is about these services.
    pub fn narrow(&mut self, services: &[String], with_needs: bool) -> Result<(), CliError> {
        if services.is_empty() {
            return Ok(());
        }
        self.plan = match with_needs {
            true => self.plan.with_needs(services)?,
            false => self.plan.only(services)?,
        };
        Ok(())
    }
}

pub(super) fn start(
    app: &App,
    args: &StartArgs,
    with_needs: bool,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let mut world = World::open(app)?;
    world.narrow(&args.services, with_needs)?;
    if args.dry_run {
        return show(app, world.plan.levels().iter(), out);
    }
    pay_debts(app, &world);
    let limits = Limits {
        start: as_duration(args.limit),
    };
    let report = bring_up(world.runtime.as_ref(), &world.plan, &limits, &|event| {
        tell(app, event)
    });
    finish(app, &report, out)
}

pub(super) fn stop(app: &App, args: &StopArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let mut world = World::open(app)?;
    world.narrow(&args.services, false)?;
    if args.dry_run {
        return show(app, world.plan.levels().iter().rev(), out);
    }
    let limit = args.limit.as_duration();
    let report = take_down(world.runtime.as_ref(), &world.plan, limit, &|event| {
        tell(app, event)
    });
    finish(app, &report, out)
}

pub(super) fn restart(
    app: &App,
    args: &RestartArgs,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let mut world = World::open(app)?;
    world.narrow(&args.services, false)?;
    if args.dry_run {
        return show(app, world.plan.levels().iter(), out);
    }
    let (runtime, limit) = (world.runtime.as_ref(), args.stop_limit.as_duration());
    let stopped = take_down(runtime, &world.plan, limit, &|event| tell(app, event));
    if !stopped.is_fine() {
        app.warn("not all of it stopped; what did is started again");
    }
    let limits = Limits {
        start: as_duration(args.limit),
    };
    let report = bring_up(runtime, &world.plan, &limits, &|event| tell(app, event));
    finish(app, &report, out)
}

/// Starts first what an interrupted run had laid to rest. That the notes cannot be read keeps
/// nothing from being started.
pub(super) fn pay_debts(app: &App, world: &World) {
    let owed = Owed::open(&state_directory(), world.stack.name.as_str());
    let debts = match owed.and_then(|owed| owed.settle(world.runtime.as_ref())) {
        Ok(debts) => debts,
        Err(error) => return app.warn(chain(&error).join(": ")),
    };
    for debt in debts {
        match (debt.failed, debt.was_needed) {
            (Some(why), _) => app.warn(format_args!(
                "{}: still at rest after an interrupted run: {why}",
                debt.service
            )),
            (None, true) => app.note(format_args!(
                "{}: started again, after an interrupted run",
                debt.service
            )),
            (None, false) => {}
        }
    }
}

fn show<'p>(
    app: &App,
    levels: impl Iterator<Item = &'p Vec<Step>>,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let names = |level: &Vec<Step>| level.iter().map(|step| step.service.clone()).collect();
    let levels: Vec<(Vec<String>, &Vec<Step>)> =
        levels.map(|level| (names(level), level)).collect();
    if app.is_json() {
        let levels: Vec<&Vec<String>> = levels.iter().map(|(names, _)| names).collect();
        write_json(out, &json!({ "levels": levels }))?;
        return Ok(Exit::Done);
    }
    for (number, (_, steps)) in levels.iter().enumerate() {
        let words: Vec<String> = steps.iter().map(described).collect();
        writeln!(out, "{}. {}", number + 1, words.join(", "))?;
    }
    Ok(Exit::Done)
}

fn described(step: &Step) -> String {
    let optional = if step.optional { " (optional)" } else { "" };
    let ends = if step.goal == Goal::Completed {
        " (to its end)"
    } else {
        ""
    };
    format!("{}{optional}{ends}", step.service)
}

/// Tells what happens; on stderr, for the result is what stdout is for.
pub(super) fn tell(app: &App, event: Event<'_>) {
    match event {
        Event::Starting(service) => app.note(format_args!("{service}: starting")),
        Event::Resuming(service) => app.note(format_args!("{service}: goes on after a pause")),
        Event::Stopping(service) => app.note(format_args!("{service}: stopping")),
        Event::Waiting(_) | Event::Done(_) => {}
    }
}

fn finish(app: &App, report: &Report, out: &mut dyn Write) -> Result<Exit, CliError> {
    if app.is_json() {
        write_json(out, report)?;
    } else {
        for service in &report.services {
            write_service(service, out)?;
        }
    }
    Ok(exit_of(report))
}

pub(super) fn write_service(service: &ServiceReport, out: &mut dyn Write) -> Result<(), CliError> {
    let took = duration(service.took);
    let words = match &service.outcome {
        Outcome::Up => format!("up after {took}"),
        Outcome::AlreadyUp => "was up".to_owned(),
        Outcome::Completed => "done".to_owned(),
        Outcome::Down => format!("stopped after {took}"),
        Outcome::AlreadyDown => "did not run".to_owned(),
        Outcome::Unknown => "something else runs it, and nothing says how it is".to_owned(),
        Outcome::Absent => "there is nothing of that name".to_owned(),
        Outcome::Failed { why, .. } => format!("failed: {why}"),
        Outcome::Blocked { by } => format!("left as it was, because of {by}"),
    };
    let optional = if service.optional && !service.outcome.is_fine() {
        " (optional)"
    } else {
        ""
    };
    writeln!(out, "{}: {words}{optional}", service.service)?;
    if let Outcome::Failed { log, .. } = &service.outcome {
        for line in log {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

fn exit_of(report: &Report) -> Exit {
    let some = report
        .services
        .iter()
        .any(|service| service.outcome.is_fine());
    match (report.is_fine(), some) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Partly,
        (false, false) => Exit::Failed,
    }
}
