//! Looks for what would make a backup or a restore fail, before it does.

mod aside;
mod clock;
mod project;
mod pushed_wal;
mod reach;
mod store;
mod streamed_wal;

use std::{path::Path, sync::Arc};

use rekindle_datasets::{Surroundings, dump_hint, postgres::PostgresCluster, with_causes};
use rekindle_postgres::{Client, Mode, ServerIdentity, dump::Tools, identity};
use rekindle_runtimes::Runtime;
use rekindle_stack::{self as stack, Stack};
use serde::Serialize;

use crate::{
    copies::{copies_status, open_copy},
    kit::{KitState, kit_state},
    object_lock, open_vault, replace,
    runtime::cluster_at,
    tripwire::{TrippedHold, tripped_holds},
    wal::utc,
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingLevel {
    /// As it should be.
    Fine,
    /// Works, and could be better.
    Advice,
    /// A backup or a restore would fail, or something is unprotected.
    Problem,
}

/// Something that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: FindingLevel,
    /// What was looked at.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// Looks at the vault and at every service. Changes nothing but a small object in each store, which shows
/// whether it can be written to. `config` is the file that says what
/// there is, for commands that name it.
pub fn doctor(stack: &Stack, config: &Path) -> Vec<Finding> {
    let mut findings = Findings::default();
    look_at_vault(stack, &mut findings);
    aside::look(replace::held(stack), &mut findings);
    let runtime = project::look(stack, &mut findings);
    for service in &stack.services {
        look_at_service(stack, service, config, runtime.as_ref(), &mut findings);
    }
    findings.0
}

#[derive(Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: FindingLevel, subject: &str, text: String, fix: Option<String>) {
        self.0.push(Finding {
            level,
            subject: subject.to_owned(),
            text,
            fix,
        });
    }

    pub(crate) fn fine(&mut self, subject: &str, text: impl Into<String>) {
        self.add(FindingLevel::Fine, subject, text.into(), None);
    }

    pub(crate) fn advice(
        &mut self,
        subject: &str,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(FindingLevel::Advice, subject, text.into(), Some(fix.into()));
    }

    pub(crate) fn problem(&mut self, subject: &str, text: impl Into<String>, fix: Option<String>) {
        self.add(FindingLevel::Problem, subject, text.into(), fix);
    }
}

fn look_at_vault(stack: &Stack, findings: &mut Findings) {
    let subject = "vault";
    let vault = match open_vault(&stack.vault) {
        Ok(vault) => vault,
        Err(error) => {
            let hint = match stack.vault.object_lock {
                Some(_) => Some(DELETED.to_owned()),
                None => error.hint(),
            };
            return findings.problem(subject, with_causes(&error), hint);
        }
    };
    match vault.readable_snapshots() {
        Ok((snapshots, failed)) => {
            let count = snapshots.len();
            findings.fine(
                subject,
                format!("opens at {}; recovery points: {count}", vault.location()),
            );
            for error in failed {
                let fix = "`rekindle vault check --read-data` tells what is hit".to_owned();
                findings.problem(subject, with_causes(&error), Some(fix));
            }
        }
        Err(error) => findings.problem(subject, with_causes(&error), None),
    }
    store::look(subject, &stack.vault, findings);
    look_at_locks(&vault, findings);
    object_lock::look_for_doctor(subject, &vault, findings);
    look_at_tripwire(&vault, findings);
    look_at_kit(stack, &vault, findings);
    look_at_free_space(stack, findings);
    if stack.vault.copies.is_empty() {
        findings.advice(
            subject,
            "there is no second copy: a fire takes both the data and the vault",
            "name another place in `vault.copies`, and every backup goes there, too",
        );
    }
    look_at_copies(stack, &vault, findings);
}

const DELETED: &str = "if somebody deleted it, `rekindle vault object-lock status` tells, and `vault object-lock \
                       undelete` brings it back";

fn look_at_tripwire(vault: &rekindle_vault::Vault, findings: &mut Findings) {
    match tripped_holds(vault, jiff::Timestamp::now()) {
        Ok((tripped, unreadable)) => {
            for text in unreadable {
                findings.problem("vault", text, None);
            }
            for TrippedHold {
                service,
                hold,
                since,
                reason,
            } in tripped
            {
                let text = format!("suspicious since {}: {reason}", utc(since));
                let fix = format!(
                    "look at its data; nothing of it is forgotten until `rekindle hold remove {hold} --yes`"
                );
                findings.problem(&service, text, Some(fix));
            }
        }
        Err(error) => findings.problem("vault", with_causes(&error), error.hint()),
    }
}

fn look_at_copies(stack: &Stack, vault: &rekindle_vault::Vault, findings: &mut Findings) {
    for copy in copies_status(Some(vault), stack) {
        let subject = format!("copy {}", copy.name);
        let run = format!("`rekindle copy run {}` brings it up to date", copy.name);
        if let Some(problem) = copy.problem {
            findings.problem(&subject, problem, copy.hint);
            continue;
        }
        let is_locking = |other: &stack::VaultCopy| other.object_lock.is_some();
        if stack.vault.copy(&copy.name).is_some_and(is_locking)
            && let Ok(opened) = open_copy(&stack.vault, &copy.name)
        {
            object_lock::look_for_doctor(&subject, &opened, findings);
        }
        let (points, missing) = (copy.points, copy.missing_points);
        let all = points + missing;
        let text = format!(
            "opens at {}; it has {points} of {all} points",
            copy.location
        );
        match copy.last_error {
            Some(error) if !copy.ok && copy.last_failure > copy.last_success => {
                findings.problem(
                    &subject,
                    format!("{text}; the last run failed: {error}"),
                    Some(run),
                );
            }
            _ if !copy.ok => findings.problem(&subject, text, Some(run)),
            _ if missing > 0 || copy.missing_wal_files.unwrap_or(0) > 0 => {
                findings.advice(&subject, text, run);
            }
            _ => findings.fine(&subject, text),
        }
        if let Some(settings) = stack.vault.copy(&copy.name) {
            store::look(&subject, &stack.vault.of_copy(settings), findings);
        }
    }
}

fn look_at_kit(stack: &Stack, vault: &rekindle_vault::Vault, findings: &mut Findings) {
    let make = "`rekindle kit` makes one; keep it away from here";
    match kit_state(stack, vault) {
        Ok(KitState::Fresh(made)) => {
            findings.fine("kit", format!("made {}, and it fits", utc(made)));
        }
        Ok(KitState::Outdated(made)) => {
            let text = format!(
                "made {}; the configuration or a password changed since",
                utc(made)
            );
            findings.advice("kit", text, make);
        }
        Ok(KitState::Missing) => {
            let text =
                "there is none: with this machine its password and its configuration are gone";
            findings.advice("kit", text, make);
        }
        Err(error) => findings.problem("kit", with_causes(&error), error.hint()),
    }
}

fn look_at_locks(vault: &rekindle_vault::Vault, findings: &mut Findings) {
    let host = rekindle_vault::Host::current();
    let now = jiff::Timestamp::now();
    match vault.locks() {
        Ok(locks) => {
            for lock in locks {
                match lock.owner {
                    rekindle_vault::LockOwner::Known(info) if info.is_stale(&host, now) => findings.advice(
                        "vault",
                        format!(
                            "a lock of process {} on {} is abandoned",
                            info.pid, info.hostname
                        ),
                        "`rekindle vault unlock` removes it",
                    ),
                    rekindle_vault::LockOwner::Known(_) => {}
                    rekindle_vault::LockOwner::Unreadable { reason } => findings.advice(
                        "vault",
                        format!("lock {} cannot be read: {reason}", lock.id.short()),
                        "nothing is pruned or forgotten beside it; once it is 30 minutes old, `rekindle vault unlock` removes it",
                    ),
                }
            }
        }
        Err(error) => findings.problem("vault", with_causes(&error), None),
    }
}

/// Less free space than this, and the next backups may fill the disk.
const LITTLE_SPACE_BYTES: u64 = 1 << 30;

fn look_at_free_space(stack: &Stack, findings: &mut Findings) {
    let stack::VaultLocation::Local(path) = &stack.vault.at else {
        return;
    };
    let Ok(stat) = rustix::fs::statvfs(path) else {
        return;
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < LITTLE_SPACE_BYTES {
        let mib = free >> 20;
        findings.advice("vault", format!("its disk has {mib} MiB left"), "make room");
    }
}

fn look_at_service(
    stack: &Stack,
    service: &stack::Service,
    config: &Path,
    runtime: Option<&Arc<dyn Runtime>>,
    findings: &mut Findings,
) {
    let subject = service.name.as_str();
    let surroundings = Surroundings {
        service: service.name.to_string(),
        directory: stack.directory.clone(),
        runtime: runtime.cloned(),
    };
    for dataset in &service.datasets {
        reach::look(subject, dataset, &surroundings, findings);
        if let stack::Dataset::Postgres(settings) = dataset {
            match cluster_at(stack, subject, settings) {
                Ok(cluster) => {
                    look_at_postgres(subject, &cluster, findings);
                    if settings.wal == stack::WalMode::Push {
                        look_at_pushed_wal(service, config, &cluster, findings);
                    }
                    // That the server does not answer has been told.
                    if settings.wal == stack::WalMode::Stream
                        && let Ok(mut client) = Client::connect(cluster.options(), Mode::Sql)
                    {
                        streamed_wal::look(stack, subject, &mut client, findings);
                    }
                }
                Err(error) => findings.problem(subject, with_causes(&error), error.hint()),
            }
        } else if matches!(
            crate::backup::dataset(stack, service, dataset, runtime),
            Ok(None)
        ) {
            findings.problem(
                subject,
                format!(
                    "its {} dataset is not protected: this version cannot back it up",
                    dataset.kind()
                ),
                Some("protect it by other means for now".to_owned()),
            );
        }
    }
}

fn look_at_postgres(subject: &str, cluster: &PostgresCluster, findings: &mut Findings) {
    let mut client = match Client::connect(cluster.options(), Mode::Sql) {
        Ok(client) => client,
        Err(error) => {
            let hint = error.hint().map(str::to_owned);
            return findings.problem(subject, with_causes(&error), hint);
        }
    };
    match identity(&mut client) {
        Ok(identity) => {
            findings.fine(subject, format!("PostgreSQL {} answers", identity.version));
            clock::look_at_postgres(subject, &mut client, findings);
            look_at_settings(subject, &identity, findings);
        }
        Err(error) => findings.problem(
            subject,
            with_causes(&error),
            error.hint().map(str::to_owned),
        ),
    }
    if cluster.physical().is_some() {
        look_at_physical(subject, cluster, &mut client, findings);
    }
    if cluster.logical().is_some() {
        match Tools::find(cluster.bin_dir(), client.major()) {
            Ok(tools) => findings.fine(
                subject,
                format!(
                    "dumps by pg_dump {} in {}",
                    tools.major(),
                    tools.bin_dir().display()
                ),
            ),
            Err(error) => findings.problem(subject, with_causes(&error), dump_hint(&error)),
        }
    }
}

fn look_at_pushed_wal(
    service: &stack::Service,
    config: &Path,
    cluster: &PostgresCluster,
    findings: &mut Findings,
) {
    // That it does not answer has been told.
    let Ok(mut client) = Client::connect(cluster.options(), Mode::Sql) else {
        return;
    };
    let named = cluster.data_directory().map(ToOwned::to_owned);
    let directory = named.or_else(|| client.show("data_directory").ok().map(Into::into));
    pushed_wal::look(service, config, directory.as_deref(), &mut client, findings);
}

fn look_at_settings(subject: &str, identity: &ServerIdentity, findings: &mut Findings) {
    if !identity.data_checksums {
        findings.advice(
            subject,
            "the cluster has no page checksums: a failing disk is not noticed",
            "`pg_checksums --enable` turns them on while the server is stopped",
        );
    }
}

/// Tries what a base backup needs, up to the point where it would begin.
fn look_at_physical(
    subject: &str,
    cluster: &PostgresCluster,
    client: &mut Client,
    findings: &mut Findings,
) {
    let wal_level = client.show("wal_level").unwrap_or_default();
    if wal_level == "minimal" {
        return findings.problem(
            subject,
            "wal_level is minimal: no base backup can be made",
            Some("set wal_level = replica and restart the server".to_owned()),
        );
    }
    match Client::connect(cluster.options(), Mode::Replication) {
        Ok(_) => findings.fine(subject, "a replication connection is accepted"),
        Err(error) if can_read_in_place(cluster, client) => findings.advice(
            subject,
            format!(
                "in place works; over the wire would not: {}",
                with_causes(&error)
            ),
            error
                .hint()
                .unwrap_or("give the role REPLICATION")
                .to_owned(),
        ),
        Err(error) => findings.problem(
            subject,
            with_causes(&error),
            error.hint().map(str::to_owned),
        ),
    }
    if can_read_in_place(cluster, client) {
        findings.fine(
            subject,
            "the data directory can be read: backups are taken in place",
        );
    }
}

fn can_read_in_place(cluster: &PostgresCluster, client: &mut Client) -> bool {
    if cluster.physical() == Some(stack::CaptureMethod::Wire) || !may_begin_backups(client) {
        return false;
    }
    let directory = cluster
        .data_directory()
        .map(ToOwned::to_owned)
        .or_else(|| client.show("data_directory").ok().map(Into::into));
    directory.is_some_and(|directory| std::fs::File::open(directory.join("PG_VERSION")).is_ok())
}

/// Whether the role may call the functions that begin and end a backup.
fn may_begin_backups(client: &mut Client) -> bool {
    let functions = if client.major() >= 15 {
        ["pg_backup_start(text, bool)", "pg_backup_stop(bool)"]
    } else {
        [
            "pg_start_backup(text, bool, bool)",
            "pg_stop_backup(bool, bool)",
        ]
    };
    functions.iter().all(|function| {
        let sql = format!("SELECT has_function_privilege('{function}', 'EXECUTE')::int");
        client
            .query(&sql)
            .and_then(|rows| rows.single::<i32>())
            .is_ok_and(|may| may == 1)
    })
}

/// For the summary line: the worst of all findings.
impl Finding {
    /// Whether something would fail.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        self.level == FindingLevel::Problem
    }
}
