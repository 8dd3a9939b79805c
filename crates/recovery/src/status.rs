//! How things are: which service runs, and how much would be lost now.

use std::sync::Arc;

use jiff::Timestamp;
use rekindle_datasets::with_causes;
use rekindle_postgres::{Client, Lsn, Mode};
use rekindle_runtimes::{Health, RunState, Runtime};
use rekindle_stack::{self as stack, Stack};
use rekindle_vault::Vault;
use serde::Serialize;

use crate::{
    PointSummary, RecoveryError,
    copies::{CopyStatus, copies_status},
    in_place::{Hold, hold_of_service},
    points,
    runtime::{cluster_at, runtime_of},
    tripwire::{TrippedHold, tripped_holds},
    wal::{Window, windows},
};

/// Everything at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The stack.
    pub stack: String,
    /// Its services.
    pub services: Vec<ServiceStatus>,
    /// The vault; `None` if it cannot be opened.
    pub vault: Option<VaultStatus>,
    /// The copies of the vault.
    pub copies: Vec<CopyStatus>,
    /// Why the vault cannot be opened or fully read.
    pub problems: Vec<String>,
    /// Holds of the tripwire that stand: backups of these services were suspicious.
    pub tripped: Vec<TrippedHold>,
    /// Whether the vault is readable, every dataset has a point, no target is missed, every copy is
    /// there and not late, and no tripwire is tripped.
    pub ok: bool,
}

/// A service.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// `running`, `unreachable`, or `unknown` where this version cannot ask.
    pub state: String,
    /// `healthy`, `unhealthy` or `unknown`.
    pub health: String,
    /// Why it is unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How much would be lost.
    pub rpo: RpoStatus,
    /// How long it would take.
    pub rto: RtoStatus,
    /// With a WAL archive: the newest span in which any moment can be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The newest point that has it.
    pub newest_point: Option<PointSummary>,
    /// The newest one that was proven by a restore.
    pub newest_proven_point: Option<PointSummary>,
    /// Whether it has data that a point should have.
    pub is_stateful: bool,
    /// A restore in place that is held, or that was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_place: Option<Hold>,
}

/// Loss of data, in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct RpoStatus {
    /// What is wanted.
    pub target_seconds: Option<u64>,
    /// Since the newest point, or the newest moment with a WAL archive; `None` if there is neither.
    pub current_seconds: Option<u64>,
    /// Whether the target is missed. Without a point it is.
    pub is_missed: bool,
}

/// Time to recover, in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct RtoStatus {
    /// What is wanted.
    pub target_seconds: Option<u64>,
    /// The last one measured; `None` if none was.
    pub measured_seconds: Option<u64>,
}

/// The vault.
#[derive(Clone, Debug, Serialize)]
pub struct VaultStatus {
    /// Where.
    pub location: String,
    /// Recovery points.
    pub snapshots: u64,
    /// Bytes of all files.
    pub stored_bytes: u64,
}

/// Looks at everything that can be looked at; whatever is down is told and not in the way.
pub fn status(stack: &Stack, vault: Result<&Vault, &RecoveryError>) -> Status {
    let mut problems = Vec::new();
    let points = match vault {
        Ok(vault) => readable_points(vault, &mut problems),
        Err(error) => {
            problems.push(with_causes(error));
            Vec::new()
        }
    };
    let now = Timestamp::now();
    let runtime = runtime_of(stack);
    let services: Vec<_> = stack
        .services
        .iter()
        .map(|service| {
            let window = vault
                .ok()
                .and_then(|vault| newest_window(vault, service, &mut problems));
            let mut status =
                service_status((stack, runtime.as_ref()), service, &points, window, now);
            status.in_place = hold_of_service(stack, &status.name, vault.ok());
            status
        })
        .collect();
    let copies = copies_status(vault.ok(), stack);
    let tripped = vault
        .ok()
        .map_or_else(Vec::new, |vault| tripped(vault, &mut problems));
    let vault = vault.ok().and_then(|vault| match vault.stored_bytes() {
        Ok(stored_bytes) => Some(VaultStatus {
            location: vault.location(),
            snapshots: points.len() as u64,
            stored_bytes,
        }),
        Err(error) => {
            problems.push(with_causes(&error));
            None
        }
    });
    let protected = |service: &ServiceStatus| {
        let is_whole = !service
            .in_place
            .as_ref()
            .is_some_and(|hold| hold.is_interrupted);
        is_whole
            && (!service.is_stateful || (service.newest_point.is_some() && !service.rpo.is_missed))
    };
    let copies_are_well = copies.iter().all(|copy| copy.ok);
    let services_are_well = services.iter().all(protected);
    let is_calm = problems.is_empty() && tripped.is_empty();
    let ok = vault.is_some() && is_calm && services_are_well && copies_are_well;
    Status {
        stack: stack.name.to_string(),
        services,
        vault,
        copies,
        problems,
        tripped,
        ok,
    }
}

fn tripped(vault: &Vault, problems: &mut Vec<String>) -> Vec<TrippedHold> {
    match tripped_holds(vault, Timestamp::now()) {
        Ok((tripped, unreadable)) => {
            problems.extend(unreadable);
            tripped
        }
        Err(error) => {
            problems.push(with_causes(&error));
            Vec::new()
        }
    }
}

fn readable_points(vault: &Vault, problems: &mut Vec<String>) -> Vec<PointSummary> {
    match points(vault) {
        Ok(list) => {
            problems.extend(list.unreadable);
            list.points
        }
        Err(error) => {
            problems.push(with_causes(&error));
            Vec::new()
        }
    }
}

/// The window that the newest moment lies in, of a service that archives WAL.
fn newest_window(
    vault: &Vault,
    service: &stack::Service,
    problems: &mut Vec<String>,
) -> Option<Window> {
    let archives = |dataset: &stack::Dataset| match dataset {
        stack::Dataset::Postgres(settings) => settings.wal != stack::WalMode::Off,
        _ => false,
    };
    if !service.datasets.iter().any(archives) {
        return None;
    }
    let name = &service.name;
    match windows(vault, name.as_str()) {
        Ok(found) => {
            let told = found.problems.iter();
            problems.extend(told.map(|problem| format!("{name}: {problem}")));
            found.windows.into_iter().next()
        }
        Err(error) => {
            problems.push(format!("{name}: {}", with_causes(&error)));
            None
        }
    }
}

/// What a server says about its own WAL.
#[derive(Clone, Copy, Debug, Default)]
struct WalOfServer {
    /// Where it ends.
    flushed: Option<Lsn>,
    /// When its archiver last stored a segment, if that is one of our archive's.
    archived: Option<Timestamp>,
}

/// Seconds of work that would be lost now. Nothing, if the server has written no WAL that the
/// archive has not; else at most what happened since the last commit, or the last segment, that is
/// in the archive.
fn exposure(
    newest_point: Option<&PointSummary>,
    window: Option<&Window>,
    wal: WalOfServer,
    now: Timestamp,
) -> Option<u64> {
    let end = window.map(|window| window.to);
    if let (Some(end), Some(flushed)) = (end, wal.flushed)
        && end.lsn >= flushed
    {
        return Some(0);
    }
    let archived = wal.archived.filter(|_| end.is_some());
    let newest = [
        newest_point.map(|point| point.time),
        end.and_then(|end| end.time),
        archived,
    ];
    let newest = newest.into_iter().flatten().max()?;
    Some(u64::try_from(now.duration_since(newest).as_secs()).unwrap_or(0))
}

fn service_status(
    (stack, runtime): (&Stack, Option<&Arc<dyn Runtime>>),
    service: &stack::Service,
    points: &[PointSummary],
    window: Option<Window>,
    now: Timestamp,
) -> ServiceStatus {
    let kinds: Vec<_> = service
        .datasets
        .iter()
        .map(|d| format!("{}/{}", service.name, d.kind()))
        .collect();
    let has_all = |point: &&PointSummary| {
        !point.is_imported() && kinds.iter().all(|kind| point.datasets.contains(kind))
    };
    let newest_point = if kinds.is_empty() {
        None
    } else {
        points.iter().rev().find(has_all).cloned()
    };
    let (state, health, reason, wal) = ask(stack, runtime, service, window.as_ref());
    let current_seconds = exposure(newest_point.as_ref(), window.as_ref(), wal, now);
    let target_seconds = service.rpo.map(|period| period.as_secs());
    let is_missed = !kinds.is_empty()
        && target_seconds.is_some_and(|target| current_seconds.is_none_or(|now| now > target));
    ServiceStatus {
        name: service.name.to_string(),
        state,
        health,
        reason,
        rpo: RpoStatus {
            target_seconds,
            current_seconds,
            is_missed,
        },
        rto: RtoStatus {
            target_seconds: service.rto.map(|period| period.as_secs()),
            measured_seconds: None,
        },
        window,
        newest_point,
        newest_proven_point: None,
        is_stateful: !kinds.is_empty(),
        in_place: None,
    }
}

/// Whether the service answers: state, health, why not, and what it says about its WAL.
fn ask(
    stack: &Stack,
    runtime: Option<&Arc<dyn Runtime>>,
    service: &stack::Service,
    window: Option<&Window>,
) -> (String, String, Option<String>, WalOfServer) {
    let word = |word: &str| word.to_owned();
    let Some(settings) = service.datasets.iter().find_map(|dataset| match dataset {
        stack::Dataset::Postgres(settings) => Some(settings),
        _ => None,
    }) else {
        let (state, health, reason) = runtime.map_or_else(
            || (word("unknown"), word("unknown"), None),
            |runtime| of_runtime(&**runtime, service),
        );
        return (state, health, reason, WalOfServer::default());
    };
    let asked = cluster_at(stack, service.name.as_str(), settings)
        .map_err(|error| with_causes(&error))
        .and_then(|cluster| {
            Client::connect(cluster.options(), Mode::Sql)
                .and_then(|mut client| {
                    client.query("SELECT 1")?;
                    Ok(wal_of(&mut client, window))
                })
                .map_err(|error| with_causes(&error))
        });
    match asked {
        Ok(wal) => (word("running"), word("healthy"), None, wal),
        Err(reason) => (
            word("unreachable"),
            word("unhealthy"),
            Some(reason),
            WalOfServer::default(),
        ),
    }
}

/// What the runtime says of a service that is asked nothing else.
fn of_runtime(runtime: &dyn Runtime, service: &stack::Service) -> (String, String, Option<String>) {
    let word = |word: &str| word.to_owned();
    let state = match runtime.state(service.name.as_str()) {
        Ok(state) => state,
        Err(error) => return (word("unknown"), word("unknown"), Some(with_causes(&error))),
    };
    let run = match state.run {
        RunState::Absent => "absent",
        RunState::Created => "created",
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Restarting => "restarting",
        RunState::Stopped => "stopped",
        RunState::Failed => "failed",
        RunState::Unknown => "unknown",
    };
    let (health, why) = match (state.health, state.run) {
        (Health::Healthy, _) => ("healthy", None),
        (Health::Starting, _) => ("starting", None),
        (Health::Unhealthy { why }, _) => ("unhealthy", Some(why)),
        (Health::Unchecked, RunState::Failed | RunState::Restarting) => ("unhealthy", None),
        (Health::Unchecked, _) => ("unknown", None),
    };
    (word(run), word(health), state.why.or(why))
}

/// A standby, or a role that may not ask, says nothing; that only makes the answer more careful.
fn wal_of(client: &mut Client, window: Option<&Window>) -> WalOfServer {
    let ask = |client: &mut Client, sql: &str| -> Option<String> {
        client.query(sql).and_then(|rows| rows.single()).ok()
    };
    WalOfServer {
        flushed: ask(client, "SELECT pg_current_wal_flush_lsn()").and_then(|lsn| lsn.parse().ok()),
        archived: window
            .and_then(|window| ask(client, &archived_into(window)))
            .and_then(|seconds| Timestamp::from_second(seconds.parse().ok()?).ok()),
    }
}

/// Asks for the time of the newest archived segment, if that lies within the window: a server may
/// archive to elsewhere.
fn archived_into(window: &Window) -> String {
    let end = Lsn::new(window.to.lsn.offset().saturating_sub(1));
    format!(
        "SELECT extract(epoch FROM last_archived_time)::bigint FROM pg_stat_archiver \
         WHERE last_archived_wal <= pg_walfile_name('{end}')"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::Moment;

    #[test]
    fn nothing_is_lost_of_a_server_that_wrote_nothing_more() {
        let at = |seconds| Timestamp::from_second(seconds).ok();
        let moment = |offset, seconds| Moment {
            lsn: Lsn::new(offset),
            time: at(seconds),
        };
        let window = Window {
            timeline: rekindle_postgres::Timeline::FIRST,
            from: moment(10, 100),
            to: moment(500, 1000),
            points: Vec::new(),
            hole: None,
        };
        let wal = |flushed, archived: Option<i64>| WalOfServer {
            flushed: Some(Lsn::new(flushed)),
            archived: archived.and_then(at),
        };
        let now = Timestamp::from_second(5000).unwrap();
        let exposed = |wal| exposure(None, Some(&window), wal, now);
        assert_eq!(exposed(wal(500, None)), Some(0));
        assert_eq!(exposed(wal(501, None)), Some(4000), "since the last commit");
        assert_eq!(
            exposed(wal(501, Some(4990))),
            Some(10),
            "since the last segment"
        );
        assert_eq!(
            exposure(None, None, wal(501, Some(4990)), now),
            None,
            "an archive of others"
        );
    }
}
