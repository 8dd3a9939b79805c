//! An open vault.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    blob::BlobKind,
    budget::Budget,
    cache::Cache,
    crypto::Key,
    error::VaultError,
    host::Host,
    id::Id,
    index::{Index, Location, StoredIndex},
    keyfile::{self, Password},
    lock::{self, FoundLock, Lock, LockInfo, LockMode},
    opener::Opener,
    pack::PackedBlob,
    snapshot::{Snapshot, StoredSnapshot},
    store::{Distance, FileKind, ObjectKey, Store},
    together,
    tree::{Node, NodeKind, Tree},
    unpacked,
};

/// Index files that are opened at the same time while the index is read: as text they take several
/// times the table's room.
const INDEX_FILES_OPENED: usize = 4;

/// The version of restic's format that this engine reads and writes.
const FORMAT_VERSION: u32 = 2;

/// An open repository: its store, its master key and who we are. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) key: Key,
    pub(crate) config: Config,
    pub(crate) host: Host,
    /// What the vault was opened with; the WAL archive's key file is sealed by it.
    pub(crate) password: Password,
    /// Hash of the sealed configuration, by which the vault is known again.
    pub(crate) config_hash: Id,
    /// Where files of a vault that lies far away are kept.
    cache: Option<Arc<Cache>>,
    /// The key that the vault was opened by.
    pub(crate) key_id: Id,
}

/// The repository's configuration. Source: restic's design document, "Repository Layout".
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    version: u32,
    /// The repository's name.
    pub id: String,
    /// The irreducible polynomial of restic's own chunker, 16 hex digits at most. Ours takes it as a secret, so that
    /// chunk lengths tell nothing of known files.
    pub chunker_polynomial: String,
}

impl Config {
    /// A new one, with this polynomial or a new one.
    pub(crate) fn make(chunker_polynomial: Option<String>) -> Result<Self, VaultError> {
        Ok(Self {
            version: FORMAT_VERSION,
            id: Id::random()?.to_string(),
            chunker_polynomial: match chunker_polynomial {
                Some(polynomial) => polynomial,
                None => crate::polynomial::random_irreducible()?,
            },
        })
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", self.store.location())
    }
}

impl Vault {
    /// Makes a new vault in an empty place.
    ///
    /// # Errors
    /// [`VaultError::VaultExists`] if there is one; [`VaultError::Damaged`] if there is one that
    /// lost its configuration, because new keys would bury what can still be saved.
    pub fn create(store: Arc<dyn Store>, password: &Password) -> Result<Self, VaultError> {
        let host = Host::current();
        let location = store.location();
        match store.read(&ObjectKey::config()) {
            Ok(_) => return Err(VaultError::VaultExists { location }),
            Err(error) if error.kind == crate::store::StoreErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        if holds_data(&*store)? {
            return Err(config_is_gone(location));
        }
        // A creation that was cut short left a key. Another one of the same password beside it
        // would make readers try the wrong one.
        let (key_id, key) = match keyfile::open(&*store, password, |_| true) {
            Ok(left_behind) => left_behind,
            Err(_) => {
                let key = Key::random()?;
                (keyfile::add(&*store, &key, password, &host)?, key)
            }
        };
        let config = Config::make(None)?;
        // Written last: a place without it is no vault, so a creation cut short is repeated.
        let sealed = key.seal(&serde_json::to_vec(&config)?)?;
        store.create(&ObjectKey::config(), &sealed)?;
        Ok(Self {
            store,
            key,
            config,
            host,
            password: password.clone(),
            config_hash: Id::of(&sealed),
            cache: None,
            key_id,
        })
    }

    /// Opens a vault.
    ///
    /// # Errors
    /// [`VaultError::NoVault`], [`VaultError::WrongPassword`], [`VaultError::UnknownVersion`], or
    /// as the store failed.
    pub fn open(store: Arc<dyn Store>, password: &Password) -> Result<Self, VaultError> {
        let location = store.location();
        let mut sealed = match store.read(&ObjectKey::config()) {
            Err(error) if error.kind == crate::store::StoreErrorKind::NotFound => {
                // What cannot be listed either is no vault that anybody could open.
                return Err(match holds_data(&*store) {
                    Ok(true) => config_is_gone(location),
                    _ => VaultError::NoVault { location },
                });
            }
            other => other?,
        };
        let config_hash = Id::of(&sealed);
        let fits = |key: &Key| key.open_in_place(&mut sealed.clone()).is_ok();
        let (key_id, key) = keyfile::open(&*store, password, fits)?;
        let damaged = |reason: String| VaultError::Damaged {
            kind: FileKind::Config,
            name: format!("of {location}"),
            reason,
        };
        let plain = key
            .open_in_place(&mut sealed)
            .map_err(|error| damaged(error.to_string()))?;
        let config: Config =
            serde_json::from_slice(plain).map_err(|error| damaged(error.to_string()))?;
        if config.version != FORMAT_VERSION {
            return Err(VaultError::UnknownVersion {
                location,
                version: config.version,
            });
        }
        Ok(Self {
            store,
            key,
            config,
            host: Host::current(),
            password: password.clone(),
            config_hash,
            cache: None,
            key_id,
        })
    }

    /// A vault whose configuration cannot be read, opened by a key that fits its other files.
    pub(crate) fn without_config(
        store: Arc<dyn Store>,
        password: &Password,
        (key_id, key): (Id, Key),
    ) -> Self {
        Self {
            store,
            key,
            config: Config {
                version: FORMAT_VERSION,
                id: String::new(),
                chunker_polynomial: String::new(),
            },
            host: Host::current(),
            password: password.clone(),
            config_hash: Id::of(b""),
            cache: None,
            key_id,
        }
    }

    /// Keeps snapshots, indexes and trees in a folder of this machine, for a vault that lies far
    /// away; `folder` may be shared by many vaults. They lie there sealed as in the vault.
    #[must_use]
    pub fn with_cache(mut self, folder: &Path) -> Self {
        // The hash of the configuration too: a vault made anew in the same place is another.
        let own = folder.join(&self.config_hash.to_string()[..32]);
        self.cache = Some(Arc::new(Cache::new(own)));
        self
    }

    /// The same vault reached through another store: a wrapper of its own, or one that holds the
    /// same bytes. What is read there has to fit this vault's key.
    #[must_use]
    pub fn through(&self, store: Arc<dyn Store>) -> Self {
        Self {
            store,
            ..self.clone()
        }
    }

    /// The same vault, read from its store only.
    pub(crate) fn without_cache(&self) -> Self {
        Self {
            cache: None,
            ..self.clone()
        }
    }

    /// Whether files may come from this machine instead of the store.
    pub(crate) const fn has_cache(&self) -> bool {
        self.cache.is_some()
    }

    /// A snapshot or index file.
    fn load<T: DeserializeOwned>(&self, kind: FileKind, id: &Id) -> Result<T, VaultError> {
        unpacked::parsed(&self.key, kind, id, self.fetch(kind, id)?)
    }

    /// The same as it lies in the vault.
    fn fetch(&self, kind: FileKind, id: &Id) -> Result<Vec<u8>, VaultError> {
        Ok(match &self.cache {
            Some(cache) => cache.read(&*self.store, kind, id)?,
            None => self.store.read(&ObjectKey::of(kind, id))?,
        })
    }

    /// Index files, in order of `ids`. All of them are fetched at a time, and a few opened.
    fn load_index_group(&self, ids: &[Id]) -> Vec<Result<StoredIndex, VaultError>> {
        let room = Budget::new(INDEX_FILES_OPENED);
        together::each_of(ids.len(), ids, |id| {
            let sealed = self.fetch(FileKind::Index, id)?;
            let _room = room.hold(1, || false);
            unpacked::parsed(&self.key, FileKind::Index, id, sealed)
        })
    }

    pub(crate) fn distance(&self) -> Distance {
        self.store.distance()
    }

    /// Calls `work`, which asks the store for something small, on each item; as many at a time as
    /// suits the store. What came of each is returned in their order.
    pub(crate) fn each<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> R + Sync,
    ) -> Vec<R> {
        together::each_of(self.distance().small_requests(), items, work)
    }

    /// Drops what was kept here of files that the vault has no more.
    fn tidy_cache(&self, kind: FileKind, ids: impl IntoIterator<Item = Id>) {
        if let Some(cache) = &self.cache {
            cache.keep_only(kind, &ids.into_iter().collect::<HashSet<_>>());
        }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// The repository's configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Takes a lock on the whole vault.
    ///
    /// # Errors
    /// [`VaultError::Locked`] if somebody is in the way.
    pub fn lock(&self, mode: LockMode) -> Result<Lock, VaultError> {
        Lock::take(
            Arc::clone(&self.store),
            self.key.clone(),
            self.host.clone(),
            mode,
        )
    }

    /// All locks on the vault, ours among them.
    ///
    /// # Errors
    /// As the store failed.
    pub fn locks(&self) -> Result<Vec<FoundLock>, VaultError> {
        lock::list(&*self.store, &self.key)
    }

    /// Removes the locks that nobody can be behind, and returns them: those older than 30 minutes, those of dead processes of
    /// this machine, and unreadable ones whose files are older than 30 minutes by the store's own clock.
    ///
    /// # Errors
    /// As the store failed.
    pub fn unlock_stale(&self) -> Result<Vec<FoundLock>, VaultError> {
        lock::remove_stale(&self.store, &self.key, &self.host)
    }

    /// Removes the locks of this very process, for a program that ends by a signal. What it was
    /// doing can no longer commit: [`Lock::ensure_held`] fails from now on.
    ///
    /// # Errors
    /// As the store failed.
    pub fn release_own_locks(&self) -> Result<(), VaultError> {
        for lock in self.locks()? {
            let is_ours =
                |info: &LockInfo| info.hostname == self.host.name && info.pid == self.host.pid;
            if lock.info().is_some_and(is_ours) {
                self.store
                    .delete(&ObjectKey::of(FileKind::Lock, &lock.id))?;
            }
        }
        Ok(())
    }

    /// Reads the whole index.
    ///
    /// # Errors
    /// The first index file that cannot be read: with a part of the index, a blob that is there
    /// looks missing.
    pub fn load_index(&self) -> Result<Index, VaultError> {
        let (index, mut failed) = self.load_index_files()?;
        failed.pop().map_or(Ok(index), Err)
    }

    /// Reads every index file that can be read, and returns why others cannot.
    pub(crate) fn load_index_files(&self) -> Result<(Index, Vec<VaultError>), VaultError> {
        let index = Index::default();
        let mut failed = Vec::new();
        let ids = self.list_ids(FileKind::Index)?;
        self.tidy_cache(FileKind::Index, ids.iter().copied());
        for some in ids.chunks(self.distance().index_files()) {
            for stored in self.load_index_group(some) {
                match stored {
                    Ok(stored) => {
                        index.add_unsorted(&stored.packs);
                        index.add_leaving(&stored.packs_to_delete);
                    }
                    Err(error) => failed.push(error),
                }
            }
        }
        index.sort();
        if failed.is_empty() {
            self.tidy_cache(FileKind::Pack, index.packs());
        }
        Ok((index, failed))
    }

    /// Takes out of the index what lies in packs that are gone or cut. A point that counts on them
    /// could not be restored, and a backup without them stores what it needs anew. Returns what was
    /// taken out.
    pub(crate) fn forget_lost_packs(
        &self,
        index: &Index,
    ) -> Result<Vec<(Id, Vec<PackedBlob>)>, VaultError> {
        let listed = self.store.list(FileKind::Pack.folder())?;
        let sizes: HashMap<Id, u64> = listed
            .iter()
            .filter_map(|object| Some((object.key.name().parse().ok()?, object.size_bytes)))
            .collect();
        let is_lost = |(id, least): &(Id, u64)| sizes.get(id).is_none_or(|size| size < least);
        let packs = index.least_pack_bytes();
        let lost: HashSet<Id> = packs
            .into_iter()
            .filter(is_lost)
            .map(|(id, _)| id)
            .collect();
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        tracing::warn!(
            packs = lost.len(),
            "packs that the index lists are gone or cut"
        );
        let blobs = index.blobs_in(&lost);
        index.forget_packs(&lost);
        Ok(blobs.into_iter().collect())
    }

    /// Makes readers find the copies that are there of what lies in lost packs too. What lies
    /// nowhere else stays where it was: the beginning of a cut pack may still be read.
    pub(crate) fn prefer_stored_copies(&self, index: &Index) -> Result<(), VaultError> {
        for (id, mut blobs) in self.forget_lost_packs(index)? {
            blobs.retain(|blob| index.find(blob.kind, &blob.id).is_none());
            index.add_pack(id, &blobs);
        }
        Ok(())
    }

    /// The ids of all files of a kind. Names that are no ids are other programs' temporary files.
    pub(crate) fn list_ids(&self, kind: FileKind) -> Result<Vec<Id>, VaultError> {
        let listed = self.store.list(kind.folder())?;
        Ok(listed
            .iter()
            .filter_map(|listed| listed.key.name().parse().ok())
            .collect())
    }

    /// All snapshots, oldest first.
    ///
    /// # Errors
    /// The first snapshot that cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, VaultError> {
        let (snapshots, mut failed) = self.readable_snapshots()?;
        failed.pop().map_or(Ok(snapshots), Err)
    }

    /// All snapshots that can be read, oldest first, and why others cannot.
    ///
    /// # Errors
    /// As the store failed to list.
    pub fn readable_snapshots(&self) -> Result<(Vec<Snapshot>, Vec<VaultError>), VaultError> {
        let mut snapshots = Vec::new();
        let mut failed = Vec::new();
        let ids = self.list_ids(FileKind::Snapshot)?;
        self.tidy_cache(FileKind::Snapshot, ids.iter().copied());
        let load = |id: &Id| self.load::<StoredSnapshot>(FileKind::Snapshot, id);
        let loaded = self.each(&ids, load);
        for (id, stored) in ids.into_iter().zip(loaded) {
            match stored {
                Ok(stored) => snapshots.push(Snapshot { id, stored }),
                // Forgotten by somebody since the listing: no longer a snapshot.
                Err(error) if error.is_not_found() => {}
                Err(error) => failed.push(error),
            }
        }
        snapshots.sort_by_key(|snapshot| (snapshot.stored.time, snapshot.id));
        Ok((snapshots, failed))
    }

    /// The snapshot of this id, beginning of an id, or `latest`.
    ///
    /// # Errors
    /// [`VaultError::NoSnapshot`], [`VaultError::AmbiguousSnapshot`], or damage of the one meant.
    pub fn find_snapshot(&self, wanted: &str) -> Result<Snapshot, VaultError> {
        let none = || VaultError::NoSnapshot {
            wanted: wanted.to_owned(),
        };
        if wanted == "latest" {
            let (mut snapshots, mut failed) = self.readable_snapshots()?;
            for error in &failed {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "a recovery point was passed over"
                );
            }
            // Of those that there are none can be read: then that is what is wrong.
            let why = || failed.pop().unwrap_or_else(none);
            return snapshots.pop().ok_or_else(why);
        }
        if wanted.is_empty() {
            return Err(none());
        }
        let mut ids = self.list_ids(FileKind::Snapshot)?;
        ids.retain(|id| id.to_string().starts_with(wanted));
        match ids[..] {
            [] => Err(none()),
            [id] => {
                let stored = self.load(FileKind::Snapshot, &id)?;
                Ok(Snapshot { id, stored })
            }
            _ => Err(VaultError::AmbiguousSnapshot {
                wanted: wanted.to_owned(),
                count: ids.len(),
            }),
        }
    }

    /// Gives a snapshot other tags. The old one is removed only when the new one is durable;
    /// `original` keeps its id, as restic does it.
    ///
    /// # Errors
    /// [`VaultError::NoSnapshot`] if it is gone; as the store failed: there may be two then, and there
    /// is never none.
    pub fn set_tags(&self, snapshot: &Snapshot, tags: Vec<String>) -> Result<Snapshot, VaultError> {
        let lock = self.lock(LockMode::Exclusive)?;
        self.set_tags_under(&lock, snapshot, tags)
    }

    /// A tree out of a pack that is kept on this machine. Trees are small and lie side by side, so
    /// that to fetch their pack whole costs less than to ask for each.
    pub(crate) fn kept_tree(&self, location: &Location, sealed: &mut [u8]) -> Option<Vec<u8>> {
        let cache = self.cache.as_ref()?;
        let (pack, blob) = (&location.pack, &location.blob);
        if blob.kind != BlobKind::Tree
            || !cache.read_pack(&*self.store, pack, u64::from(blob.offset), sealed)
        {
            return None;
        }
        let opened = Opener::default().into_opened(&self.key, pack, blob, sealed);
        opened.inspect_err(|_| cache.drop_pack(pack)).ok()
    }

    /// Trees, in order of `ids`; as many are read at a time as suits the store.
    pub(crate) fn read_trees(&self, index: &Index, ids: &[Id]) -> Vec<Result<Tree, VaultError>> {
        self.each(ids, |id| self.read_tree(index, id))
    }

    /// Reads a tree.
    ///
    /// # Errors
    /// As [`Vault::read_blob`], and damage if it does not parse.
    pub fn read_tree(&self, index: &Index, id: &Id) -> Result<Tree, VaultError> {
        let bytes = self.read_blob(index, BlobKind::Tree, id)?;
        serde_json::from_slice(&bytes).map_err(|error| VaultError::Damaged {
            kind: FileKind::Pack,
            name: format!("(tree {id})"),
            reason: error.to_string(),
        })
    }

    /// The entry at `path` (names between slashes, text or bytes) of a snapshot; `None` is its root.
    ///
    /// # Errors
    /// [`VaultError::NoSuchPath`], or as a tree could not be read.
    pub fn find_node(
        &self,
        index: &Index,
        snapshot: &Snapshot,
        path: impl AsRef<[u8]>,
    ) -> Result<Option<Node>, VaultError> {
        let path = path.as_ref();
        let missing = || VaultError::NoSuchPath {
            snapshot: snapshot.id,
            path: String::from_utf8_lossy(path).into_owned(),
        };
        let mut tree = snapshot.stored.tree;
        let segments = path.split(|&byte| byte == b'/');
        let mut segments = segments.filter(|s| !s.is_empty()).peekable();
        while let Some(segment) = segments.next() {
            let listing = self.read_tree(index, &tree)?;
            let node = listing.get(segment).ok_or_else(missing)?;
            if segments.peek().is_none() {
                return Ok(Some(node.clone()));
            }
            tree = match (node.kind, node.subtree) {
                (NodeKind::Dir, Some(subtree)) => subtree,
                _ => return Err(missing()),
            };
        }
        Ok(None)
    }

    /// Writes a file's content, blob by blob, each verified.
    ///
    /// # Errors
    /// As a blob could not be read, or as `out` failed.
    pub fn copy_file(
        &self,
        index: &Index,
        node: &Node,
        out: &mut dyn std::io::Write,
    ) -> Result<u64, CopyError> {
        let mut written = 0;
        for id in node.content.iter().flatten() {
            let plain = self.read_blob(index, BlobKind::Data, id)?;
            out.write_all(&plain).map_err(CopyError::Write)?;
            written += plain.len() as u64;
        }
        Ok(written)
    }
}

/// Why a file's content did not reach its reader.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The vault did not give it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The reader did not take it.
    #[error("write the content out")]
    Write(#[source] std::io::Error),
}

/// Whether there are files of a vault that only its keys can read.
fn holds_data(store: &dyn Store) -> Result<bool, VaultError> {
    for kind in [FileKind::Snapshot, FileKind::Index, FileKind::Pack] {
        match store.list(kind.folder()) {
            Ok(listed) if listed.is_empty() => {}
            Ok(_) => return Ok(true),
            // The place itself is not there yet.
            Err(error) if error.kind == crate::store::StoreErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

fn config_is_gone(location: String) -> VaultError {
    VaultError::Damaged {
        kind: FileKind::Config,
        name: format!("of {location}"),
        reason: "it is gone, and other files of a vault are there".to_owned(),
    }
}
