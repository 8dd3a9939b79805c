//! Why a dataset was not captured or not brought back.

use rekindle_postgres as pg;
use rekindle_stack::{S3CredentialsError, SecretError};
use rekindle_stores::{OpenStoreError, s3::S3Error};
use rekindle_vault::{BackupError, VaultError, store::FileKind};

use crate::meilisearch::MeilisearchError;

/// Why a dataset was not captured. Nothing of it is in any recovery point then.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The vault did not take it, or a file could not be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The server refused or went away.
    #[error("PostgreSQL at {address}")]
    Postgres {
        /// Where, without secrets.
        address: String,
        /// Why.
        source: pg::Error,
    },
    /// The data directory cannot be read in place, and the configuration demands it.
    #[error("back up in place, as `method: in_place` demands")]
    NotInPlace(#[source] pg::in_place::NotInPlace),
    /// A dump failed or is not whole.
    #[error("dump PostgreSQL at {address}")]
    Dump {
        /// Where, without secrets.
        address: String,
        /// Why.
        source: pg::dump::DumpError,
    },
    /// A dump's output could not be read.
    #[error("read the dump of database `{database}`")]
    ReadDump {
        /// Which.
        database: String,
        /// Why.
        source: std::io::Error,
    },
    /// A dump from elsewhere was not taken.
    #[error("import {}", from.display())]
    Import {
        /// Where it lies.
        from: std::path::PathBuf,
        /// Why not.
        source: pg::dump::foreign::ForeignError,
    },
    /// A file that no WAL brings back vanished while it was being backed up.
    #[error("`{path}` vanished from the data directory, and nothing brings it back")]
    Vanished {
        /// Its place in the recovery point.
        path: String,
    },
    /// A MeiliSearch server refused or went away, or its dump is none.
    #[error("MeiliSearch at {address}")]
    Meilisearch {
        /// Where, without secrets.
        address: String,
        /// Why.
        source: Box<MeilisearchError>,
    },
    /// A Redis server refused or went away, or what it gave is not whole.
    #[error("Redis at {address}")]
    Redis {
        /// Where, without secrets.
        address: String,
        /// Why.
        source: crate::redis::RedisError,
    },
    /// Files and directories.
    #[error(transparent)]
    Files(#[from] crate::files::FilesError),
    /// An S3 server refused or went away.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// An S3 server's settings cannot be used.
    #[error(transparent)]
    S3Settings(#[from] OpenStoreError),
    /// The access keys of an S3 server are in no format that we know.
    #[error("the access keys of {endpoint}")]
    S3Keys {
        /// The server.
        endpoint: String,
        /// What is missing.
        source: S3CredentialsError,
    },
    /// Not one object of a bucket may be read.
    #[error("the access keys may list bucket `{bucket}`, but read none of its {objects} objects")]
    S3NothingReadable {
        /// Which.
        bucket: String,
        /// How many there are.
        objects: u64,
    },
    /// A secret cannot be read.
    #[error("read the password")]
    Secret(#[from] SecretError),
}

impl CaptureError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Postgres { source, .. } => source.hint().map(str::to_owned),
            Self::Dump { source, .. } => dump_hint(source),
            Self::Redis { source, .. } => source.hint(),
            Self::Import { source, .. } => source.hint(),
            Self::Meilisearch { source, .. } => source.hint(),
            Self::Files(error) => error.hint(),
            Self::NotInPlace(_) => Some(
                "run as a user who can read the data directory, on the server's own machine; or \
                 set `method: wire`"
                    .to_owned(),
            ),
            Self::Backup(BackupError::Vault(error)) => vault_hint(error),
            Self::S3(error) => error.hint().map(str::to_owned),
            Self::S3Settings(error) => error.hint().map(str::to_owned),
            Self::S3Keys { .. } => Some(
                "`credentials_file` names a file with lines AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…, or \
                 ACCESS:SECRET"
                    .to_owned(),
            ),
            Self::S3NothingReadable { .. } => {
                Some("give them the rights s3:GetObject and s3:GetObjectVersion".to_owned())
            }
            _ => None,
        }
    }
}

/// What to do when a dump or its restore failed.
#[must_use]
pub fn dump_hint(error: &pg::dump::DumpError) -> Option<String> {
    match error {
        pg::dump::DumpError::Postgres(error) => error.hint().map(str::to_owned),
        pg::dump::DumpError::NoTools { wanted, .. } => Some(format!(
            "install the client tools of PostgreSQL {wanted} or later (Debian: \
             postgresql-client-{wanted}), or set `bin_dir`"
        )),
        pg::dump::DumpError::DatabaseExists { .. } => Some("choose another name".to_owned()),
        _ => None,
    }
}

/// What to do when a vault did not do as asked.
#[must_use]
pub fn vault_hint(error: &VaultError) -> Option<String> {
    let hint = match error {
        VaultError::NoVault { .. } => {
            "`rekindle vault init` makes one; or is its disk not mounted?"
        }
        VaultError::WrongPassword { .. } => {
            "is `password_file` the one that the vault was made with? The vault is well"
        }
        VaultError::UnknownVersion { version: 1, .. } => {
            "`restic migrate upgrade_repo_v2` brings it to version 2"
        }
        VaultError::UnknownVersion { .. } => "a newer version of this program is needed",
        VaultError::Locked(conflict) => conflict
            .unlock_hint()
            .unwrap_or("wait until it is done; `rekindle vault unlock` shows all locks"),
        VaultError::LockLost { .. } => "run it again; what was stored already is found again",
        VaultError::Damaged {
            kind: FileKind::Config,
            ..
        } => {
            "is all of the vault mounted? If the configuration is lost, `rekindle vault heal` makes it anew: nothing that is \
             stored depends on it"
        }
        VaultError::Damaged {
            kind: FileKind::Key,
            ..
        } => {
            "put the key file back from a copy of the vault's files, or open the vault by another password; the \
             break-glass kit tells where they are. Without a key file nobody can read the vault"
        }
        VaultError::Damaged {
            kind: FileKind::Index,
            ..
        } => "`rekindle vault rebuild-index` makes it anew from the packs; nothing is lost by it",
        VaultError::Damaged { .. } | VaultError::MissingBlob { .. } => {
            "`rekindle vault check --read-data` tells which recovery points are hit, and `rekindle vault heal` brings back \
             what parity or a copy has"
        }
        VaultError::NoObjectLocks { .. } => {
            "`object_lock: { days: 30 }` beside the vault's place in rekindle.yaml asks for it"
        }
        VaultError::WalArchive(error) => return error.hint().map(str::to_owned),
        VaultError::Store(error) if rekindle_stores::hint_of(error).is_some() => {
            rekindle_stores::hint_of(error).unwrap_or_default()
        }
        error if error.is_no_space() => {
            "the vault's disk is full: make room and run it again; nothing that was stored is lost"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// An error with all its causes, on one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
