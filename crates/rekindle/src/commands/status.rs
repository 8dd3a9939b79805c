//! `rekindle status`.

use std::{io::Write, time::Duration};

use jiff::Timestamp;
use rekindle_recovery::{ServiceStatus, Status, copies::CopyStatus, in_place::Stage};

use crate::{
    app::App,
    commands::copy,
    errors::{CliError, Exit},
    output::{Paint, Table, bytes, count, duration, paint_stdout, time, write_json},
};

/// Prints whether everything can be brought back, to when, and what it looks like now.
///
/// # Errors
/// As the configuration cannot be read. A vault that does not open is part of the answer.
pub fn run(app: &App, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let vault = rekindle_recovery::open_vault(&stack.vault);
    let status = rekindle_recovery::status(&stack, vault.as_ref());
    if app.is_json() {
        write_json(out, &status)?;
    } else {
        write_status(app, out, &status)?;
    }
    Ok(exit(&status))
}

/// A vault or copy that cannot be read outweighs a missed target, which outweighs the rest.
fn exit(status: &Status) -> Exit {
    let is_missed = |service: &ServiceStatus| service.rpo.is_missed;
    if status.ok {
        Exit::Done
    } else if status.problems.is_empty()
        && status.tripped.is_empty()
        && status.copies.iter().all(|copy| copy.ok)
        && status.services.iter().any(is_missed)
    {
        Exit::TargetMissed
    } else {
        Exit::Failed
    }
}

fn write_status(app: &App, out: &mut dyn Write, status: &Status) -> Result<(), CliError> {
    let paint = if status.ok { Paint::Green } else { Paint::Red };
    let sentence = paint_stdout(&app.global, paint, &sentence(status));
    writeln!(out, "{sentence}\n")?;
    for problem in &status.problems {
        writeln!(out, "problem: {problem}\n")?;
    }
    table(&status.services).write(out)?;
    for service in &status.services {
        if let Some(reason) = &service.reason {
            writeln!(out, "\n{}: {reason}", service.name)?;
        }
    }
    for service in &status.services {
        if let Some((window, (from, to))) = service
            .window
            .as_ref()
            .and_then(|window| Some((window, window.from.time.zip(window.to.time)?)))
        {
            let (from, to) = (time(from), time(to));
            let timeline = window.timeline;
            writeln!(
                out,
                "\n{}: any moment from {from} to {to} (timeline {timeline})",
                service.name
            )?;
        }
    }
    write_in_place(app, out, status)?;
    write_tripped(app, out, status)?;
    if let Some(vault) = &status.vault {
        let points = count(vault.snapshots, "recovery point");
        let (stored, location) = (bytes(vault.stored_bytes), &vault.location);
        writeln!(out, "\nvault {location}: {points}, {stored}")?;
    }
    if !status.copies.is_empty() {
        writeln!(out)?;
        copy::write_status(&status.copies, out)?;
    }
    if let (None, Some(copy)) = (&status.vault, fullest_copy(status)) {
        let name = &copy.name;
        let commands = ["points", "restore latest --to DIR --dry-run"];
        app.next(commands.map(|command| app.command(format_args!("--vault {name} {command}"))));
    }
    Ok(())
}

/// What is left when the vault is gone.
fn fullest_copy(status: &Status) -> Option<&CopyStatus> {
    let with_points = status.copies.iter().filter(|copy| copy.points > 0);
    with_points.max_by_key(|copy| copy.points)
}

/// What a restore in place left standing, and what to do about it.
fn write_in_place(app: &App, out: &mut dyn Write, status: &Status) -> Result<(), CliError> {
    for service in &status.services {
        let (name, Some(hold)) = (&service.name, &service.in_place) else {
            continue;
        };
        let (since, undo) = (
            time(hold.started),
            app.command(format_args!("restore --undo --service {name}")),
        );
        let discard = app.command(format_args!("restore --discard --service {name}"));
        let text = match (hold.is_interrupted, hold.stage) {
            (true, stage) => format!(
                "the restore in place of {since} was interrupted while {}; `{undo}` goes back, and \
                 the same restore again goes on",
                stage.doing()
            ),
            (false, Stage::Held) => format!(
                "restored in place to {} on {since}; `{undo}` goes back, `{discard}` keeps it for good",
                hold.target
            ),
            (false, _) if hold.directories.is_empty() => continue,
            (false, _) => format!(
                "the restore in place of {since} was taken back; `{discard}` removes what it left"
            ),
        };
        writeln!(out, "\n{name}: {text}")?;
    }
    Ok(())
}

/// What the tripwire found, and what to do about it.
fn write_tripped(app: &App, out: &mut dyn Write, status: &Status) -> Result<(), CliError> {
    for tripped in &status.tripped {
        let (service, reason, since) = (&tripped.service, &tripped.reason, time(tripped.since));
        let end = app.command(format_args!("hold remove {} --yes", tripped.hold));
        writeln!(
            out,
            "\n{service}: suspicious since {since}: {reason}\n  nothing of it is forgotten until \
             somebody has looked and says that it is fine: `{end}`"
        )?;
    }
    Ok(())
}

/// Can everything be brought back, and to when? The oldest of the newest points decides.
fn sentence(status: &Status) -> String {
    let stateful = || status.services.iter().filter(|service| service.is_stateful);
    let total = stateful().count();
    if total == 0 {
        return "No service of this stack has data to bring back.".to_owned();
    }
    if status.vault.is_none() {
        return fullest_copy(status).map_or_else(
            || "Nothing can be brought back: the vault cannot be read.".to_owned(),
            |copy| {
                let points = count(copy.points, "recovery point");
                format!(
                    "The vault cannot be read; the copy {} has {points}.",
                    copy.name
                )
            },
        );
    }
    let lost: Vec<&str> = stateful()
        .filter(|service| service.newest_point.is_none())
        .map(|service| service.name.as_str())
        .collect();
    let newest = stateful().filter_map(newest_moment);
    let Some(oldest) = newest.min() else {
        return "Nothing can be brought back: no recovery point holds any service.".to_owned();
    };
    let to = time(oldest);
    if lost.is_empty() {
        let late = stateful().filter(|service| service.rpo.is_missed).count();
        let but = match late {
            0 => String::new(),
            _ => format!(
                ", which is later than wanted for {}",
                count(late as u64, "service")
            ),
        };
        let proof = proof(status);
        format!("Everything can be brought back as it was on {to}{but}; {proof}.")
    } else {
        let kept = total - lost.len();
        let lost = lost.join(", ");
        format!(
            "{kept} of {total} services can be brought back as of {to}; nothing is stored of {lost}."
        )
    }
}

/// The newest moment that a service can be brought back to.
fn newest_moment(service: &ServiceStatus) -> Option<Timestamp> {
    let point = service.newest_point.as_ref()?.time;
    let window = service.window.as_ref().and_then(|window| window.to.time);
    Some(window.map_or(point, |end| end.max(point)))
}

/// What is only stored may still fail to start, so a proof is told apart.
fn proof(status: &Status) -> String {
    let stateful = status.services.iter().filter(|service| service.is_stateful);
    let proven: Option<Vec<_>> = stateful
        .map(|service| service.newest_proven_point.as_ref())
        .collect();
    let oldest = proven.and_then(|points| points.iter().map(|point| point.time).min());
    oldest.map_or_else(
        || "no restore has proven it yet".to_owned(),
        |proven| format!("a restore has proven it for {}", time(proven)),
    )
}

fn table(services: &[ServiceStatus]) -> Table {
    let mut table = Table::new([
        "SERVICE",
        "STATE",
        "HEALTH",
        "NEWEST POINT",
        "LOSS NOW",
        "RPO",
        "RTO",
    ]);
    for service in services {
        let newest = match &service.newest_point {
            Some(point) => format!("{} {}", point.id.short(), time(point.time)),
            None if service.is_stateful => "none".to_owned(),
            None => "stateless".to_owned(),
        };
        let missed = if service.rpo.is_missed { " missed" } else { "" };
        table.row([
            service.name.clone(),
            service.state.clone(),
            service.health.clone(),
            newest,
            seconds(service.rpo.current_seconds),
            seconds(service.rpo.target_seconds) + missed,
            seconds(service.rto.target_seconds),
        ]);
    }
    table
}

fn seconds(seconds: Option<u64>) -> String {
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| duration(Duration::from_secs(seconds)),
    )
}
