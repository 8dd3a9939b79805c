//! What is streamed, from where, to where.

use std::path::PathBuf;

use rekindle_postgres::{ConnectOptions, wal::receive::SlotName};
use rekindle_stack::{self as stack, Stack, WalMode};

use crate::{RecoveryError, runtime::cluster_at};

/// How large a spool may grow if nothing else is said.
const SPOOL_LIMIT: u64 = 4 << 30;

/// The settings of one service that streams.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// The service.
    pub service: String,
    /// How to reach its server.
    pub options: ConnectOptions,
    /// The replication slot.
    pub slot: SlotName,
    /// Where the spool is.
    pub spool: PathBuf,
    /// How many bytes the spool may hold.
    pub spool_limit: u64,
    /// Whether the server may wait for us.
    pub synchronous: bool,
    /// The main vault first, then its copies.
    pub(super) vaults: Vec<VaultSettings>,
}

/// A vault to fill.
#[derive(Clone, Debug)]
pub(super) struct VaultSettings {
    /// `vault`, or the copy's name.
    pub(super) name: String,
    pub(super) settings: stack::Vault,
}

impl StreamSettings {
    /// The settings of `service`, or of the only service with `wal: stream`.
    ///
    /// # Errors
    /// If there is no such service, or its settings cannot be used.
    pub fn of(stack: &Stack, service: Option<&str>) -> Result<Self, RecoveryError> {
        let (service, dataset) = chosen(stack, service)?;
        let failed = |source| RecoveryError::Settings {
            service: service.clone(),
            source: Box::new(source),
        };
        let cluster = cluster_at(stack, &service, dataset).map_err(failed)?;
        let default_slot = || format!("rekindle_{}_{service}", stack.name);
        let default_spool = || {
            let root = PathBuf::from("/var/lib/rekindle/wal");
            root.join(stack.name.as_str()).join(&service)
        };
        Ok(Self {
            options: cluster.options().clone(),
            slot: SlotName::sanitised(&dataset.wal_slot.clone().unwrap_or_else(default_slot)),
            spool: dataset.wal_spool.clone().unwrap_or_else(default_spool),
            spool_limit: dataset.wal_spool_limit.unwrap_or(SPOOL_LIMIT),
            synchronous: dataset.wal_synchronous,
            vaults: vaults(stack),
            service,
        })
    }
}

/// The services that archive WAL in this way, with their settings.
pub(crate) fn with_wal(stack: &Stack, mode: WalMode) -> Vec<(String, &stack::PostgresDataset)> {
    let datasets = stack.services.iter().flat_map(|service| {
        let datasets = service.datasets.iter();
        datasets.map(move |dataset| (service.name.to_string(), dataset))
    });
    let archived = datasets.filter_map(|(service, dataset)| match dataset {
        stack::Dataset::Postgres(settings) if settings.wal == mode => Some((service, settings)),
        _ => None,
    });
    archived.collect()
}

fn chosen<'a>(
    stack: &'a Stack,
    service: Option<&str>,
) -> Result<(String, &'a stack::PostgresDataset), RecoveryError> {
    let mut streaming = with_wal(stack, WalMode::Stream);
    let known = || {
        let names: Vec<_> = with_wal(stack, WalMode::Stream)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        }
    };
    let wanted = match service {
        Some(wanted) => streaming.into_iter().find(|(name, _)| name == wanted),
        None if streaming.len() == 1 => streaming.pop(),
        None => None,
    };
    wanted.ok_or_else(|| RecoveryError::NotStreaming {
        wanted: service.map(str::to_owned),
        known: known(),
    })
}

fn vaults(stack: &Stack) -> Vec<VaultSettings> {
    let main = VaultSettings {
        name: "vault".to_owned(),
        settings: stack.vault.clone(),
    };
    let copies = stack.vault.copies.iter().map(|copy| VaultSettings {
        name: copy.name.to_string(),
        settings: stack.vault.of_copy(copy),
    });
    std::iter::once(main).chain(copies).collect()
}
