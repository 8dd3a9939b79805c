//! Files of a vault that lies far away, kept on this machine: snapshots, indexes and packs of trees.
//!
//! Only what its own name proves is kept, sealed as it lies in the vault: a file whose name is the
//! hash of its bytes cannot become stale, and one that is damaged here is fetched again. What exists
//! is always asked of the store. Nothing here is needed: whatever fails, the store is read instead.

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    id::Id,
    store::{FileKind, ObjectKey, Store, StoreError},
};

/// Kept files of one vault.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// Whoever wants a pack that somebody fetches already waits for it. By the first byte of its name.
    fetching: [Mutex<()>; 64],
}

impl Cache {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            fetching: [const { Mutex::new(()) }; 64],
        }
    }

    /// A whole file, from here or else from the store.
    pub fn read(&self, store: &dyn Store, kind: FileKind, id: &Id) -> Result<Vec<u8>, StoreError> {
        if let Some(kept) = self.kept(kind, id) {
            return Ok(kept);
        }
        let sealed = store.read(&ObjectKey::of(kind, id))?;
        if Id::of(&sealed) == *id {
            self.keep(kind, id, &sealed);
        }
        Ok(sealed)
    }

    /// Fills `buffer` from byte `offset` of a pack on, and fetches the pack whole if it is not here.
    /// The bytes are as good as this machine's disk; whoever finds them wrong reads the store.
    pub fn read_pack(&self, store: &dyn Store, pack: &Id, offset: u64, buffer: &mut [u8]) -> bool {
        let path = self.path(FileKind::Pack, pack);
        let kept = |buffer: &mut [u8]| {
            let file = File::open(&path).ok()?;
            Some(file.read_exact_at(buffer, offset).is_ok())
        };
        if let Some(read) = kept(buffer) {
            return read;
        }
        let fetching = &self.fetching[usize::from(pack.as_bytes()[0]) % self.fetching.len()];
        let _fetching = fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = kept(buffer) {
            return read;
        }
        let Ok(whole) = store.read(&ObjectKey::of(FileKind::Pack, pack)) else {
            return false;
        };
        if Id::of(&whole) != *pack {
            return false;
        }
        self.keep(FileKind::Pack, pack, &whole);
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| whole.get(start..)?.get(..buffer.len()));
        range.is_some_and(|bytes| {
            buffer.copy_from_slice(bytes);
            true
        })
    }

    /// Drops a pack that turned out to be damaged here.
    pub fn drop_pack(&self, pack: &Id) {
        let _ = fs::remove_file(self.path(FileKind::Pack, pack));
    }

    /// Drops the files of a kind that are not in the vault any more.
    pub fn keep_only(&self, kind: FileKind, ids: &HashSet<Id>) {
        let Ok(entries) = fs::read_dir(self.folder.join(kind.folder())) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            if id.is_none_or(|id: Id| !ids.contains(&id)) && !is_being_written(&name) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn kept(&self, kind: FileKind, id: &Id) -> Option<Vec<u8>> {
        let path = self.path(kind, id);
        let kept = fs::read(&path).ok()?;
        if Id::of(&kept) == *id {
            return Some(kept);
        }
        tracing::debug!(path = %path.display(), "a kept file is damaged; it is fetched again");
        let _ = fs::remove_file(&path);
        None
    }

    fn keep(&self, kind: FileKind, id: &Id, sealed: &[u8]) {
        let path = self.path(kind, id);
        if let Err(error) = write(&path, sealed) {
            tracing::debug!(%error, path = %path.display(), "a file of the vault cannot be kept here");
        }
    }

    fn path(&self, kind: FileKind, id: &Id) -> PathBuf {
        self.folder.join(kind.folder()).join(id.to_string())
    }
}

const TEMPORARY: &str = ".part";

/// Files that a killed process left are not removed while one that lives may write them: the number
/// of the process is in their name.
fn is_being_written(name: &std::ffi::OsStr) -> bool {
    let Some(text) = name.to_str().and_then(|name| name.strip_suffix(TEMPORARY)) else {
        return false;
    };
    let process = text.rsplit('.').nth(1).and_then(|pid| pid.parse().ok());
    process.is_some_and(|pid: u32| Path::new("/proc").join(pid.to_string()).exists())
}

/// Not made durable: after a crash the file may be cut, and then its hash is not its name.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}.{number}{TEMPORARY}", process::id());
    let temporary = folder.join(name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
