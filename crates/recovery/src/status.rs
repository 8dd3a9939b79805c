//! How things are: which service runs, and how much would be lost now.

use jiff::Timestamp;
use rekindle_datasets::{postgres::PostgresCluster, with_causes};
use rekindle_postgres::{Client, Mode};
use rekindle_stack::{self as stack, Stack};
use rekindle_vault::Vault;
use serde::Serialize;

use crate::{PointSummary, RecoveryError, points};

/// Everything at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The stack.
    pub stack: String,
    /// Its services.
    pub services: Vec<ServiceStatus>,
    /// The vault; `None` if it cannot be opened.
    pub vault: Option<VaultStatus>,
    /// Why the vault cannot be opened or fully read.
    pub problems: Vec<String>,
    /// Whether the vault is readable, every dataset has a point, and no target is missed.
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
    /// The newest point that has it.
    pub newest_point: Option<PointSummary>,
    /// The newest one that was proven by a restore.
    pub newest_proven_point: Option<PointSummary>,
    /// Whether it has data that a point should have.
    pub is_stateful: bool,
}

/// Loss of data, in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct RpoStatus {
    /// What is wanted.
    pub target_seconds: Option<u64>,
    /// Since the newest point; `None` if there is none.
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
    let now = Timestamp::now();
    let services: Vec<_> = stack
        .services
        .iter()
        .map(|service| service_status(service, &points, now))
        .collect();
    let protected = |service: &ServiceStatus| {
        !service.is_stateful || (service.newest_point.is_some() && !service.rpo.is_missed)
    };
    let ok = vault.is_some() && problems.is_empty() && services.iter().all(protected);
    Status {
        stack: stack.name.to_string(),
        services,
        vault,
        problems,
        ok,
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

fn service_status(
    service: &stack::Service,
    points: &[PointSummary],
    now: Timestamp,
) -> ServiceStatus {
    let kinds: Vec<_> = service
        .datasets
        .iter()
        .map(|d| format!("{}/{}", service.name, d.kind()))
        .collect();
    let has_all = |point: &&PointSummary| kinds.iter().all(|kind| point.datasets.contains(kind));
    let newest_point = if kinds.is_empty() {
        None
    } else {
        points.iter().rev().find(has_all).cloned()
    };
    let current_seconds = newest_point
        .as_ref()
        .map(|point| u64::try_from(now.duration_since(point.time).as_secs()).unwrap_or(0));
    let target_seconds = service.rpo.map(|period| period.as_secs());
    let is_missed = !kinds.is_empty()
        && target_seconds.is_some_and(|target| current_seconds.is_none_or(|now| now > target));
    let (state, health, reason) = ask(service);
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
        newest_point,
        newest_proven_point: None,
        is_stateful: !kinds.is_empty(),
    }
}

/// Whether the service answers: state, health, and why not.
fn ask(service: &stack::Service) -> (String, String, Option<String>) {
    let unknown = || ("unknown".to_owned(), "unknown".to_owned(), None);
    let Some(settings) = service.datasets.iter().find_map(|dataset| match dataset {
        stack::Dataset::Postgres(settings) => Some(settings),
        _ => None,
    }) else {
        return unknown();
    };
    let asked = PostgresCluster::from_settings(settings)
        .map_err(|error| with_causes(&error))
        .and_then(|cluster| {
            Client::connect(cluster.options(), Mode::Sql)
                .and_then(|mut client| client.query("SELECT 1").map(drop))
                .map_err(|error| with_causes(&error))
        });
    match asked {
        Ok(()) => ("running".to_owned(), "healthy".to_owned(), None),
        Err(reason) => (
            "unreachable".to_owned(),
            "unhealthy".to_owned(),
            Some(reason),
        ),
    }
}
