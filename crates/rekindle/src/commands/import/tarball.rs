//! `rekindle import` of archives of files.

use std::{io::Write, sync::Arc};

use clap::ValueEnum;
use rekindle_recovery::foreign::{
    Allowed, PlannedTarball, TarballRequest, import_tarballs, plan_tarballs,
};
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

/// What an archive may hold only if somebody says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Allow {
    /// Symbolic links that lead out of the archive
    OutsideLinks,
    /// Devices and named pipes
    Devices,
}

pub(super) fn run(
    app: &App,
    args: &ImportArgs,
    stack: &Stack,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if args.database.is_some() {
        return Err(CliError::wrong_use(
            "`--database` is about dumps, and these are archives of files",
            "leave it out",
        ));
    }
    let progress = Arc::new(Progress::default());
    let request = TarballRequest {
        stack,
        service: services::the_one_of(stack, "files", args.service.as_deref())?,
        files: args.files.clone(),
        allowed: Allowed {
            outside_links: args.allow.contains(&Allow::OutsideLinks),
            devices: args.allow.contains(&Allow::Devices),
        },
        tags: args.tags.clone(),
        progress: Arc::clone(&progress),
    };
    if args.dry_run {
        let watcher = Watcher::start("reading", &progress, app.reporting());
        let plan = plan_tarballs(&request);
        drop(watcher);
        let plan = plan?;
        if app.is_json() {
            write_json(out, &plan)?;
            return Ok(Exit::Done);
        }
        writeln!(
            out,
            "would import {}",
            count(plan.files.len() as u64, "archive")
        )?;
        plan.files
            .iter()
            .try_for_each(|file| write_file(file, out))?;
        return Ok(Exit::Done);
    }
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    signals::watch("interrupted: no recovery point was made");
    let watcher = Watcher::start("importing", &progress, app.reporting());
    let outcome = import_tarballs(&vault, &request);
    drop(watcher);
    let outcome = outcome?;
    if app.is_json() {
        let value = json!({
            "point": outcome.point,
            "files": outcome.files,
            "took_seconds": outcome.took.as_secs_f64(),
        });
        write_json(out, &value)?;
        return Ok(Exit::Done);
    }
    let (short, took) = (outcome.point.id.short(), duration(outcome.took));
    writeln!(out, "imported as recovery point {short} in {took}")?;
    outcome
        .files
        .iter()
        .try_for_each(|file| write_file(file, out))?;
    let service = &request.service;
    app.next([app.command(format_args!("restore {short} --service {service} --to DIR"))]);
    Ok(Exit::Done)
}

fn write_file(file: &PlannedTarball, out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(out, "  from      {}", file.from.display())?;
    let checksum = checksum_words(file.is_verified);
    let (files, size) = (count(file.files, "file"), bytes(file.bytes));
    writeln!(out, "  what      {files} of {size}; whole; {checksum}")?;
    Ok(())
}
