//! Whether a receiver of WAL runs, or could.

use std::path::Path;

use rekindle_datasets::with_causes;
use rekindle_postgres::{
    Client, Error,
    wal::receive::{SlotState, Spool, inspect_slot},
};
use rekindle_stack::Stack;
use rustix::fs::Access;

use super::Findings;
use crate::wal::stream::{StreamSettings, receiver_problems};

/// Looks at receiver, slot and spool of a service with `wal: stream`.
pub(super) fn look(stack: &Stack, service: &str, client: &mut Client, findings: &mut Findings) {
    let settings = match StreamSettings::of(stack, Some(service)) {
        Ok(settings) => settings,
        Err(error) => return findings.problem(service, with_causes(&error), error.hint()),
    };
    look_at_receiver(&settings, findings);
    if let Err(error) = look_at_server(&settings, client, findings) {
        findings.problem(
            service,
            with_causes(&error),
            error.hint().map(str::to_owned),
        );
    }
}

fn look_at_receiver(settings: &StreamSettings, findings: &mut Findings) {
    let subject = settings.service.as_str();
    if Spool::is_in_use(&settings.spool) {
        let problems = receiver_problems(settings);
        if problems.is_empty() {
            findings.fine(subject, "the receiver of WAL runs");
        }
        for problem in problems {
            let fix = "`rekindle wal status` tells more".to_owned();
            findings.problem(subject, problem, Some(fix));
        }
        return;
    }
    let fix = format!("run `rekindle wal stream --service {subject}` as a service of this machine");
    findings.problem(
        subject,
        "no receiver of WAL runs: what is written now is not archived",
        Some(fix),
    );
    look_at_spool(settings, findings);
}

/// The spool, or the directory that it would be made in.
fn look_at_spool(settings: &StreamSettings, findings: &mut Findings) {
    let subject = settings.service.as_str();
    let spool = settings.spool.display();
    let Some(there) = settings.spool.ancestors().find(|path| path.exists()) else {
        return;
    };
    if rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let fix = format!("give this user {}, or set `wal_spool`", there.display());
        return findings.problem(
            subject,
            format!("the spool {spool} cannot be written to"),
            Some(fix),
        );
    }
    let needed = settings.spool_limit;
    match free_bytes(there) {
        Some(free) if free < needed => findings.advice(
            subject,
            format!(
                "the spool's disk has {} MiB left, and it may want {} MiB",
                free >> 20,
                needed >> 20
            ),
            "make room, or set `wal_spool` or `wal_spool_limit`",
        ),
        _ => findings.fine(subject, format!("the spool {spool} can be written to")),
    }
}

/// Free space, less what the spool leaves alone: a tenth of the disk, 1 GiB at most.
fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let all = stat.f_blocks.saturating_mul(stat.f_frsize);
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Some(free.saturating_sub((all / 10).min(1 << 30)))
}

fn look_at_server(
    settings: &StreamSettings,
    client: &mut Client,
    findings: &mut Findings,
) -> Result<(), Error> {
    let subject = settings.service.as_str();
    let name = &settings.slot;
    match inspect_slot(client, name)? {
        SlotState::Present(slot) if !slot.is_physical => {
            let fix = "set `wal_slot` to another name".to_owned();
            findings.problem(
                subject,
                format!("the slot `{name}` is for logical replication"),
                Some(fix),
            );
        }
        SlotState::Present(slot) if slot.is_lost() => {
            let fix = "the receiver makes it anew; make a base backup then".to_owned();
            findings.problem(
                subject,
                format!("the slot `{name}` has lost WAL"),
                Some(fix),
            );
        }
        SlotState::Present(_) => {
            findings.fine(subject, format!("the replication slot `{name}` is there"))
        }
        SlotState::Missing => look_for_free_ones(settings, client, findings)?,
    }
    if client.show("max_slot_wal_keep_size")? == "-1" {
        findings.advice(
            subject,
            "max_slot_wal_keep_size is not set: while no receiver runs, the server's disk can fill with WAL",
            "set it to what the disk can spare; beyond it the slot is given up, and a base backup is needed",
        );
    }
    Ok(())
}

fn look_for_free_ones(
    settings: &StreamSettings,
    client: &mut Client,
    findings: &mut Findings,
) -> Result<(), Error> {
    let subject = settings.service.as_str();
    for (setting, view, what) in [
        (
            "max_replication_slots",
            "pg_replication_slots",
            "replication slot",
        ),
        ("max_wal_senders", "pg_stat_replication", "walsender"),
    ] {
        let used: u64 = client
            .query(&format!("SELECT count(*) FROM {view}"))?
            .single()?;
        let most: u64 = client.show(setting)?.parse().unwrap_or(u64::MAX);
        if used >= most {
            let fix = format!("raise {setting}, and restart the server");
            findings.problem(subject, format!("the server has no {what} free"), Some(fix));
        }
    }
    Ok(())
}
