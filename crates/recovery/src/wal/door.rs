//! The way into a WAL archive: with the password, or, for putting files in, without.

use std::{fs, path::PathBuf, sync::Arc};

use rekindle_stack::SecretSource;
use rekindle_vault::{Id, Store, Vault, WalArchive, WalPublic, durable, store::ObjectKey};

use crate::{RecoveryError, vault::password_of};

/// A vault whose archive is used, opened no further than needed. Checking the password takes longer
/// than archiving a segment, and putting files in does not need it: what is public is kept beside
/// the segments. That is no secret; whoever has it can add files and read none.
pub(crate) struct Door<'a> {
    store: Arc<dyn Store>,
    password: &'a SecretSource,
    cache: Option<PathBuf>,
}

impl<'a> Door<'a> {
    /// The vault in `store`. What is public of it is remembered in the file `cache`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        password: &'a SecretSource,
        cache: Option<PathBuf>,
    ) -> Self {
        Self {
            store,
            password,
            cache,
        }
    }

    /// What tells this vault from every other, also from one made later in the same place: the hash
    /// of its configuration as it is stored. `None` if that cannot be read.
    pub(crate) fn mark(&self) -> Option<Id> {
        let config = self.store.read(&ObjectKey::config()).ok()?;
        Some(Id::of(&config))
    }

    /// For putting files in: without the password if that was asked for once.
    pub(crate) fn public(&self) -> Result<WalArchive, RecoveryError> {
        match self.cached() {
            Some(public) => Ok(WalArchive::from_public(Arc::clone(&self.store), public)?),
            None => self.full(),
        }
    }

    /// For everything.
    pub(crate) fn full(&self) -> Result<WalArchive, RecoveryError> {
        let vault = Vault::open(Arc::clone(&self.store), &password_of(self.password)?)?;
        let archive = vault.wal_archive()?;
        if self.cache.is_some() && self.cached().is_none() {
            self.remember(&archive.public_part());
        }
        Ok(archive)
    }

    fn cached(&self) -> Option<WalPublic> {
        let text = fs::read_to_string(self.cache.as_deref()?).ok()?;
        let public: WalPublic = text.parse().ok()?;
        (Some(public.config_hash) == self.mark()).then_some(public)
    }

    fn remember(&self, public: &WalPublic) {
        let Some(path) = &self.cache else { return };
        if let Err(error) = durable::replace(path, public.to_string().as_bytes(), 0o600) {
            // The next call asks for the password again, and no more than that.
            tracing::warn!(path = %path.display(), %error, "the archive's recipient is not kept");
        }
    }
}
