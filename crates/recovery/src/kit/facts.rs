//! What the commands of a kit are filled in with. No secrets.

use rekindle_stack::{Contact, Dataset, Stack, VaultLocation, WalMode};
use rekindle_vault::Vault;

use crate::{find_point::find_point, manifest::Manifest};

/// Everything that the page and the text say.
#[derive(Clone, Debug)]
pub struct KitFacts {
    /// The stack.
    pub stack: String,
    /// When the kit was made, for people.
    pub made: String,
    /// The machine that made it.
    pub host: String,
    /// The vault first, then its copies.
    pub places: Vec<KitPlace>,
    /// The services with PostgreSQL.
    pub services: Vec<KitService>,
    /// Whether a passphrase opens the file; else one of `escrow` does.
    pub by_passphrase: bool,
    /// The recipients of age that may open the file.
    pub escrow: Vec<String>,
    /// Who is to be called.
    pub contacts: Vec<Contact>,
}

/// A vault or copy.
#[derive(Clone, Debug)]
pub struct KitPlace {
    /// `vault`, or the copy's name.
    pub name: String,
    /// Where it lies.
    pub location: VaultLocation,
    /// Whether its store has access keys in the kit.
    pub has_credentials: bool,
}

/// A service with a PostgreSQL dataset, as its newest point tells.
#[derive(Clone, Debug)]
pub struct KitService {
    /// Its name.
    pub name: String,
    /// The server's major version; `None` if there is no point yet.
    pub major: Option<u32>,
    /// Whether points hold a base backup.
    pub is_physical: bool,
    /// The dumps, by database and file.
    pub dumps: Vec<(String, String)>,
    /// The cluster, if its WAL is archived.
    pub archived: Option<u64>,
    /// Bytes of a WAL segment.
    pub segment_bytes: u64,
}

pub(super) fn services(stack: &Stack, vault: &Vault) -> Vec<KitService> {
    let mut found = Vec::new();
    for service in &stack.services {
        for dataset in &service.datasets {
            if let Dataset::Postgres(settings) = dataset {
                let archives = settings.wal != WalMode::Off;
                found.push(of_newest_point(vault, service.name.as_str(), archives));
            }
        }
    }
    found
}

fn of_newest_point(vault: &Vault, name: &str, archives: bool) -> KitService {
    let mut service = KitService {
        name: name.to_owned(),
        major: None,
        is_physical: true,
        dumps: Vec::new(),
        archived: None,
        segment_bytes: 16 << 20,
    };
    let read = || {
        let snapshot = find_point(vault, "latest", Some(name)).ok()?;
        let (index, _) = vault.load_readable_index().ok()?;
        Manifest::read(vault, &index, &snapshot).ok()
    };
    let Some(manifest) = read() else {
        return service;
    };
    if let Some((_, record)) = manifest.postgres(name) {
        service.major = Some(record.identity.major);
        service.is_physical = record.physical.is_some();
        service.segment_bytes = record.identity.wal_segment_size.bytes();
        service.archived = archives.then_some(record.identity.system_identifier);
        let dumps = record.logical.iter().flat_map(|logical| &logical.databases);
        service.dumps = dumps
            .map(|dump| (dump.database.name.clone(), dump.file.clone()))
            .collect();
    }
    service
}
