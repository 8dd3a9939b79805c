//! The boot guardian that stays: brings the stack up, and starts again what failed.

use std::{io::Write, thread, time::Duration};

use rekindle_runtimes::{
    RunState,
    order::{Event, Limits, Outcome, Report, bring_up},
};

use super::{
    StartArgs, as_duration,
    order::{World, pay_debts, tell, write_service},
};
use crate::{
    app::App,
    errors::{CliError, Exit},
    output::write_json,
};

/// How often it is looked, while all is well.
const LOOK: Duration = Duration::from_secs(5);

/// And at most, while something keeps failing.
const LONGEST: Duration = Duration::from_secs(60);

/// Ends by a signal only: what it started goes on.
pub(super) fn run(app: &App, args: &StartArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let world = open(app, args)?;
    pay_debts(app, &world);
    let limits = Limits {
        start: as_duration(args.limit),
    };
    let names = world.plan.steps().map(|step| step.service.clone());
    let mut wanted: Vec<String> = names.collect();
    let mut pause = LOOK;
    loop {
        // Anew each time: what there is may have changed.
        if let Err(error) = turn(app, args, &limits, &mut wanted, out) {
            app.warn(crate::errors::chain(&error).join(": "));
            pause = (pause * 2).min(LONGEST);
        } else if wanted.is_empty() {
            pause = LOOK;
        } else {
            pause = (pause * 2).min(LONGEST);
        }
        thread::sleep(pause);
    }
}

fn open(app: &App, args: &StartArgs) -> Result<World, CliError> {
    let mut world = World::open(app)?;
    world.narrow(&args.services, true)?;
    Ok(world)
}

/// Starts what is wanted and not up yet, and what failed since; what is not up after that is
/// wanted still. What somebody stopped is neither.
fn turn(
    app: &App,
    args: &StartArgs,
    limits: &Limits,
    wanted: &mut Vec<String>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let mut world = open(app, args)?;
    let states = world.runtime.list()?;
    let failed = states.iter().filter(|state| state.run == RunState::Failed);
    wanted.extend(failed.map(|state| state.name.clone()));
    wanted.retain(|name| world.plan.steps().any(|step| step.service == *name));
    if wanted.is_empty() {
        return Ok(());
    }
    world.plan = world.plan.only(wanted)?;
    let report = bring_up(
        world.runtime.as_ref(),
        &world.plan,
        limits,
        &|event: Event<'_>| tell(app, event),
    );
    write_news(app, &report, out)?;
    let not_up = report
        .services
        .iter()
        .filter(|service| !service.outcome.is_fine());
    *wanted = not_up.map(|service| service.service.clone()).collect();
    Ok(())
}

fn write_news(app: &App, report: &Report, out: &mut dyn Write) -> Result<(), CliError> {
    let is_news = |outcome: &Outcome| !matches!(outcome, Outcome::AlreadyUp | Outcome::Unknown);
    for service in report
        .services
        .iter()
        .filter(|service| is_news(&service.outcome))
    {
        if app.is_json() {
            write_json(out, service)?;
        } else {
            write_service(service, out)?;
        }
    }
    out.flush()?;
    Ok(())
}
