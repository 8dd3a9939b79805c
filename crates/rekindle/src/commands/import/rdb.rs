//! `rekindle import` of a snapshot of Redis.

use std::{io::Write, sync::Arc};

use rekindle_recovery::foreign::{RdbPlan, RdbRequest, import_rdb, plan_rdb};
use rekindle_stack::Stack;
use rekindle_vault::Progress;
use serde_json::json;

use super::{ImportArgs, checksum_words};
use crate::{
    app::App,
    commands::services,
    errors::{CliError, Exit},
    output::{bytes, count, duration, write_json},
    progress::Watcher,
    signals,
};

pub(super) fn run(
    app: &App,
    args: &ImportArgs,
    stack: &Stack,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let [file] = args.files.as_slice() else {
        return Err(CliError::wrong_use(
            "a recovery point holds one snapshot of a Redis server",
            "import them one after the other",
        ));
    };
    if args.database.is_some() || !args.allow.is_empty() {
        return Err(CliError::wrong_use(
            "`--database` is about dumps and `--allow` about archives, and this is a snapshot of Redis",
            "leave them out",
        ));
    }
    let progress = Arc::new(Progress::default());
    let request = RdbRequest {
        stack,
        service: services::the_one_of(stack, "redis", args.service.as_deref())?,
        file: file.clone(),
        tags: args.tags.clone(),
        progress: Arc::clone(&progress),
    };
    if args.dry_run {
        let watcher = Watcher::start("reading", &progress, app.reporting());
        let plan = plan_rdb(&request);
        drop(watcher);
        let plan = plan?;
        if app.is_json() {
            write_json(out, &plan)?;
            return Ok(Exit::Done);
        }
        writeln!(out, "would import 1 snapshot of Redis")?;
        write_plan(&plan, out)?;
        return Ok(Exit::Done);
    }
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    signals::watch("interrupted: no recovery point was made");
    let watcher = Watcher::start("importing", &progress, app.reporting());
    let outcome = import_rdb(&vault, &request);
    drop(watcher);
    let outcome = outcome?;
    if app.is_json() {
        let value = json!({
            "point": outcome.point,
            "snapshot": outcome.plan,
            "took_seconds": outcome.took.as_secs_f64(),
        });
        write_json(out, &value)?;
        return Ok(Exit::Done);
    }
    let (short, took) = (outcome.point.id.short(), duration(outcome.took));
    writeln!(out, "imported as recovery point {short} in {took}")?;
    write_plan(&outcome.plan, out)?;
    let service = &request.service;
    app.next([app.command(format_args!("restore {short} --service {service} --to DIR"))]);
    Ok(Exit::Done)
}

fn write_plan(plan: &RdbPlan, out: &mut dyn Write) -> Result<(), CliError> {
    let checksum = checksum_words(plan.is_verified);
    let summary = &plan.summary;
    let keys = summary.databases.iter().map(|database| database.keys).sum();
    let (keys, size) = (count(keys, "key"), bytes(summary.bytes));
    writeln!(out, "  from      {}", plan.from.display())?;
    writeln!(out, "  what      {keys} in {size}; whole; {checksum}")?;
    Ok(())
}
