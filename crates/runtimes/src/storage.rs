//! Where a service keeps files that outlive it.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::RuntimeError;

/// Files of a service that outlive it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Its name: of a volume, else the directory.
    pub name: String,
    /// What it is.
    pub kind: StorageKind,
    /// Where the service sees it.
    pub inside: PathBuf,
    /// Where this process can read it; `None` if it cannot.
    pub here: Option<PathBuf>,
    /// Whether the service may only read it.
    pub read_only: bool,
}

/// What storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    /// A volume that the runtime keeps.
    Volume,
    /// A volume without a name, which goes with its container.
    Anonymous,
    /// A directory or file of the machine, as a container sees it.
    Bind,
    /// A directory of the machine.
    Directory,
}

/// Opened storage. Paths are relative to it.
pub trait StorageAccess: Send {
    /// A tar stream of what lies at `path` (`""` for all of it), with owners, modes, times and links.
    ///
    /// # Errors
    /// [`RuntimeError`]; a stream that breaks off later is an error of the reader.
    fn read(&mut self, path: &Path) -> Result<Box<dyn Read + '_>, RuntimeError>;

    /// Unpacks a tar stream below `path`, with owners, modes, times and links. What has the name of an entry is
    /// replaced; all else stays.
    ///
    /// # Errors
    /// [`RuntimeError`]; some of it may be there then.
    fn write(&mut self, path: &Path, tar: &mut (dyn Read + Send)) -> Result<(), RuntimeError>;

    /// Renames within the storage; the target must not exist.
    ///
    /// # Errors
    /// [`RuntimeError`].
    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), RuntimeError>;

    /// Copies one file out.
    ///
    /// # Errors
    /// [`RuntimeError`].
    fn copy_file(&mut self, path: &Path, out: &mut dyn Write) -> Result<u64, RuntimeError>;
}
