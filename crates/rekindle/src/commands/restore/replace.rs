//! `rekindle restore --in-place` of everything but PostgreSQL, and the way back.

use std::{io::Write, sync::Arc};

use rekindle_recovery::replace::{
    ReplaceOutcome, ReplacePlan, ReplaceRequest, discard_replaced, plan_discard_replaced,
    plan_replace, replace, undo_replace,
};
use rekindle_stack::{Service, Stack};
use rekindle_vault::Progress;
use serde_json::json;

use super::{RestoreArgs, bucket, in_place::Asked, point_line};
use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{self, bytes, count, duration, time, write_json},
    progress::Watcher,
    signals,
};

/// The service, if what is asked for is not about PostgreSQL.
pub(super) fn meant<'a>(stack: &'a Stack, args: &RestoreArgs) -> Option<&'a Service> {
    let service = stack.service(args.service.as_deref()?)?;
    let is_postgres = match &args.swap.kind {
        Some(kind) => kind == "postgres",
        None => service
            .datasets
            .iter()
            .any(|dataset| dataset.kind() == "postgres"),
    };
    (!is_postgres).then_some(service)
}

pub(super) fn run(
    app: &App,
    args: &RestoreArgs,
    asked: Asked,
    stack: &Stack,
    service: &Service,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    match asked {
        Asked::Restore => restore(app, args, stack, service, out),
        Asked::Undo => undo(app, args, stack, service, out),
        Asked::Discard => discard(app, args, stack, service, out),
    }
}

fn restore(
    app: &App,
    args: &RestoreArgs,
    stack: &Stack,
    service: &Service,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let moment = bucket::moment(args)?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let progress = Arc::new(Progress::default());
    let request = ReplaceRequest {
        stack,
        service: service.name.to_string(),
        kind: args.swap.kind.clone(),
        point: args.point.clone(),
        moment,
        part: args.path.clone(),
        progress: Arc::clone(&progress),
    };
    if args.dry_run || !args.swap.yes {
        write_plan(app, args, &plan_replace(&vault, &request)?, out)?;
        return Ok(match args.dry_run {
            true => Exit::Done,
            false => Exit::ApprovalNeeded,
        });
    }
    let undo = app.command(undo_command(args, service));
    signals::watch(format!("interrupted: `{undo}` brings back what was there"));
    let watcher = Watcher::start("restoring", &progress, app.reporting());
    let outcome = replace(&vault, &request);
    drop(watcher);
    write_outcome(app, args, service, &outcome?, out)
}

fn undo_command(args: &RestoreArgs, service: &Service) -> String {
    format!("restore --undo --service {}{}", service.name, of_kind(args))
}

fn of_kind(args: &RestoreArgs) -> String {
    let kind = args.swap.kind.as_ref();
    kind.map_or_else(String::new, |kind| format!(" --kind {kind}"))
}

fn write_plan(
    app: &App,
    args: &RestoreArgs,
    plan: &ReplacePlan,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if app.is_json() {
        return write_json(out, plan);
    }
    let steps = &plan.steps;
    writeln!(
        out,
        "would restore {} of {} in place",
        plan.kind, plan.service
    )?;
    writeln!(out, "  from      {}", point_line(&plan.point))?;
    let (entries, size) = (count(steps.entries, "entry"), bytes(steps.bytes));
    writeln!(out, "  size      {entries}, {size}")?;
    for aside in &steps.set_aside {
        writeln!(out, "  set aside {aside}")?;
    }
    for (number, step) in steps.steps.iter().enumerate() {
        writeln!(out, "  {}. {step}", number + 1)?;
    }
    steps.warnings.iter().for_each(|warning| app.warn(warning));
    let point = match args.point.as_str() {
        "latest" => String::new(),
        _ => format!("{} ", plan.point.id.short()),
    };
    let path = args.path.as_ref().map_or_else(String::new, |path| {
        format!(" --path {}", output::quoted(path.as_ref()))
    });
    let at = bucket::typed_moment(args);
    app.next([app.command(format_args!(
        "restore {point}--service {}{}{path}{at} --in-place --yes",
        plan.service,
        of_kind(args)
    ))]);
    Ok(())
}

fn write_outcome(
    app: &App,
    args: &RestoreArgs,
    service: &Service,
    outcome: &ReplaceOutcome,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if app.is_json() {
        let mut value = serde_json::to_value(outcome)?;
        value["took_seconds"] = outcome.took.as_secs_f64().into();
        let outage = outcome.outage.map(|outage| outage.as_secs_f64());
        value["outage_seconds"] = outage.into();
        write_json(out, &value)?;
        return Ok(Exit::Done);
    }
    let restored = &outcome.restored;
    writeln!(
        out,
        "restored in place: {} of {}",
        outcome.kind, outcome.service
    )?;
    writeln!(out, "  from      {}", point_line(&outcome.point))?;
    let (entries, size) = (count(restored.entries, "entry"), bytes(restored.bytes));
    writeln!(out, "  size      {entries}, {size}")?;
    for aside in &restored.set_aside {
        writeln!(out, "  held      {aside}")?;
    }
    let stopped = outcome.outage.map_or_else(String::new, |outage| {
        format!(", {} of it with the service stopped", duration(outage))
    });
    writeln!(out, "  took      {}{stopped}", duration(outcome.took))?;
    restored
        .warnings
        .iter()
        .for_each(|warning| app.warn(warning));
    let (name, kind) = (&service.name, of_kind(args));
    app.next([
        app.command(format_args!(
            "restore --undo --service {name}{kind}      go back to what was there"
        )),
        app.command(format_args!(
            "restore --discard --service {name}{kind}   keep this for good"
        )),
    ]);
    Ok(Exit::Done)
}

fn undo(
    app: &App,
    args: &RestoreArgs,
    stack: &Stack,
    service: &Service,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let undone = undo_replace(stack, service.name.as_str(), args.swap.kind.as_deref())?;
    if app.is_json() {
        write_json(out, &undone)?;
        return Ok(Exit::Done);
    }
    writeln!(
        out,
        "{} of {} is back as it was",
        undone.kind, undone.service
    )?;
    for step in &undone.steps {
        writeln!(out, "  {step}")?;
    }
    if undone.still_aside > 0 {
        let earlier = count(undone.still_aside as u64, "earlier state");
        writeln!(out, "  {earlier} still aside")?;
    }
    Ok(Exit::Done)
}

fn discard(
    app: &App,
    args: &RestoreArgs,
    stack: &Stack,
    service: &Service,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let (name, kind) = (service.name.as_str(), args.swap.kind.as_deref());
    let does = args.swap.yes && !args.dry_run;
    let discarded = match does {
        true => discard_replaced(stack, name, kind)?,
        false => plan_discard_replaced(stack, name, kind)?,
    };
    if app.is_json() {
        write_json(out, &json!({ "discarded": discarded, "is_done": does }))?;
    } else {
        let verb = if does { "removed" } else { "would remove" };
        writeln!(
            out,
            "{verb} what stood aside of {} of {name}:",
            discarded.kind
        )?;
        for since in &discarded.since {
            writeln!(out, "  since {}", time(*since))?;
        }
        for step in &discarded.steps {
            writeln!(out, "  {step}")?;
        }
        if !does {
            app.warn("after that nothing can be undone");
            app.next([app.command(format_args!(
                "restore --discard --service {name}{} --yes",
                of_kind(args)
            ))]);
        }
    }
    Ok(match does || args.dry_run {
        true => Exit::Done,
        false => Exit::ApprovalNeeded,
    })
}
