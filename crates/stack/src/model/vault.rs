use std::path::PathBuf;

use schemars::JsonSchema;

use super::Retention;
use crate::choice::choice;
use crate::location::VaultLocation;
use crate::name::Name;
use crate::period::Period;
use crate::secret::SecretSource;

/// Where recovery points are kept: a restic repository and the WAL archive beside it.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct Vault {
    /// A directory, `s3://bucket/prefix?endpoint=…&region=…`, `gs://bucket/prefix`,
    /// `az://container/prefix` or `sftp://user@host/path`.
    pub at: VaultLocation,
    /// The password that opens the vault. Without it nothing can be restored: keep it elsewhere too.
    pub password: SecretSource,
    /// Access keys of the store: lines `AWS_ACCESS_KEY_ID=…` and `AWS_SECRET_ACCESS_KEY=…`, an AWS
    /// credentials file, or `ACCESS:SECRET`.
    pub credentials: Option<SecretSource>,
    /// Storage class of its packs, as the store names it. Default: the bucket's.
    pub storage_class: Option<String>,
    /// S3 only: objects are locked against deletion, so that a thief with this machine's access keys cannot
    /// destroy them. The bucket must have been made with Object Lock. Default: not locked.
    pub object_lock: Option<ObjectLock>,
    /// How its store is spoken to, where the place alone does not say it.
    #[schemars(extend("default" = {}))]
    pub store: StoreOptions,
    /// How hard to compress.
    #[schemars(extend("default" = "default"))]
    pub compression: Compression,
    /// Size at which a pack file is finished, as in `16MiB`; 4 MiB to 128 MiB. Default: chosen by
    /// the engine.
    #[schemars(with = "Option<crate::schema::Size>")]
    pub pack_size: Option<u64>,
    /// Parity beside its files, as a share of their size, as in `10%`; 5% to 50%. Brings back what one bad disk
    /// damages. Default: none.
    #[schemars(with = "Option<crate::schema::Percent>")]
    pub parity: Option<u8>,
    /// Other vaults that hold the same.
    #[schemars(extend("default" = []))]
    pub copies: Vec<VaultCopy>,
    /// Who may open the kit that `rekindle kit` writes: recipients of age, `age1…`. Without any, the
    /// kit asks for a passphrase.
    #[schemars(extend("default" = []))]
    pub escrow: Vec<String>,
}

/// Another vault that mirrors the first elsewhere.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct VaultCopy {
    /// Name of the copy, unique in the stack.
    pub name: Name,
    /// Where it lies; as `vault.at`.
    pub at: VaultLocation,
    /// Storage class of its packs, as the store names it. Default: the bucket's.
    pub storage_class: Option<String>,
    /// Access keys of its store; as `vault.credentials`. They need no right to delete.
    pub credentials: Option<SecretSource>,
    /// The password that opens the copy. Default: the vault's.
    pub password: Option<SecretSource>,
    /// Which recovery points are kept in the copy. Default: the stack's.
    pub retention: Option<Retention>,
    /// Locks its objects against deletion; as `vault.object_lock`.
    pub object_lock: Option<ObjectLock>,
    /// How its store is spoken to; as `vault.store`.
    #[schemars(extend("default" = {}))]
    pub store: StoreOptions,
}

impl Vault {
    /// The copy of that name.
    pub fn copy(&self, name: &str) -> Option<&VaultCopy> {
        self.copies.iter().find(|copy| copy.name.as_str() == name)
    }

    /// A copy of this vault as a vault of its own, which has no copies.
    #[must_use]
    pub fn of_copy(&self, copy: &VaultCopy) -> Self {
        Self {
            at: copy.at.clone(),
            password: copy
                .password
                .clone()
                .unwrap_or_else(|| self.password.clone()),
            credentials: copy.credentials.clone(),
            storage_class: copy.storage_class.clone(),
            object_lock: copy.object_lock,
            store: copy.store.clone(),
            // Its disk is its own matter, and a prune of the copy keeps up what it has.
            parity: None,
            copies: Vec::new(),
            ..self.clone()
        }
    }
}

/// How a store is spoken to.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreOptions {
    /// S3: whether the bucket's name stands in the path of a URL, not in its host. Default: yes if the
    /// place has an endpoint.
    pub path_style: Option<bool>,
    /// S3, GCS, Azure: PEM file of the authority that signed the store's certificate, besides the
    /// system's.
    pub ca_file: Option<PathBuf>,
    /// S3: encryption by the store itself: `AES256`, `aws:kms`, or `aws:kms:` and a key. Default: as the
    /// bucket says.
    pub encryption: Option<String>,
    /// Most bytes per second to the store, as in `10MiB`.
    #[schemars(with = "Option<crate::schema::Size>")]
    pub upload_limit: Option<u64>,
    /// Most bytes per second from the store.
    #[schemars(with = "Option<crate::schema::Size>")]
    pub download_limit: Option<u64>,
    /// How long a failed operation is tried again, as in `15m`. Default: 5 minutes.
    pub retry_for: Option<Period>,
    /// SFTP: configuration of the SSH client, in place of the user's own.
    pub ssh_config: Option<PathBuf>,
}

/// How objects are locked against deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct ObjectLock {
    /// How the lock is meant.
    #[schemars(extend("default" = "governance"))]
    pub mode: ObjectLockMode,
    /// What is needed stays locked for so many days at least, counted from the last backup: 1 to 36500.
    #[schemars(range(min = 1, max = 36500))]
    pub days: u16,
}

choice! {
    /// How a lock on objects is meant.
    #[derive(Default)]
    "mode of object locks" ObjectLockMode {
        /// Whoever has the right `s3:BypassGovernanceRetention` may end it early; Rekindle needs it not.
        #[default]
        Governance = "governance",
        /// Nobody may end it early, whoever owns the bucket.
        Compliance = "compliance",
    }
}

choice! {
    /// How hard to compress.
    #[derive(Default)]
    "compression" Compression {
        /// Least time.
        Fast = "fast",
        /// A good ratio at the speed of the store.
        #[default]
        Default = "default",
        /// Least space.
        Max = "max",
    }
}
