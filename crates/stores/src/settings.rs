//! What it takes to reach one store.

use std::{path::PathBuf, time::Duration};

use rekindle_stack::{Secret, VaultLocation};

use crate::ObjectLock;

/// Where a store is, and how it is spoken to. Read from the configuration once, by the caller.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The place.
    pub location: VaultLocation,
    /// Access keys, in the formats of [`rekindle_stack::S3Credentials`] for S3; the JSON of a
    /// service account for GCS; `ACCOUNT:KEY` for Azure. `None`: what the environment or the
    /// machine's role gives. SFTP uses the keys of the SSH client instead.
    pub credentials: Option<Secret>,
    /// Storage class of packs, as the store names it. Everything else is in the bucket's own class: a
    /// lock or an index that has to be thawed first would be of no use.
    pub storage_class: Option<String>,
    /// Whether the bucket's name stands in the path of the URL, not in its host. Default: yes if the
    /// location has an endpoint.
    pub path_style: Option<bool>,
    /// PEM file of the authority that signed the store's certificate, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Configuration of the SSH client, in place of the user's own.
    pub ssh_config: Option<PathBuf>,
    /// Encryption by the store itself, on top of the vault's own.
    pub encryption: Option<Encryption>,
    /// S3: locks what is written against deletion. The bucket must have been made with Object Lock.
    pub object_lock: Option<ObjectLock>,
    /// Most bytes per second to the store.
    pub upload_limit: Option<u64>,
    /// Most bytes per second from the store.
    pub download_limit: Option<u64>,
    /// How long one operation is tried again before its failure is told.
    pub retry_for: Duration,
    /// How long a transfer may stand still, in both directions, before it counts as broken.
    pub stall: Duration,
}

/// Encryption by the store. Source: AWS, "Protecting data with server-side encryption".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With the store's own key (SSE-S3, `AES256`).
    Store,
    /// With a key of its key management (SSE-KMS); `None` is the bucket's default key.
    Kms(Option<String>),
}

impl StoreSettings {
    /// Long enough for a server to be restarted.
    pub const DEFAULT_RETRY_FOR: Duration = Duration::from_secs(5 * 60);
    /// Longer than any honest pause.
    pub const DEFAULT_STALL: Duration = Duration::from_secs(60);

    /// The store at `location`, with nothing set.
    #[must_use]
    pub fn new(location: VaultLocation) -> Self {
        Self {
            location,
            credentials: None,
            storage_class: None,
            path_style: None,
            ca_file: None,
            ssh_config: None,
            encryption: None,
            object_lock: None,
            upload_limit: None,
            download_limit: None,
            retry_for: Self::DEFAULT_RETRY_FOR,
            stall: Self::DEFAULT_STALL,
        }
    }
}
