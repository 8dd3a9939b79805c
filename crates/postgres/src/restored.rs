//! A data directory that was just restored.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::control_file::ControlFile;
use crate::error::Error;
use crate::layout::{BackupLabel, SegmentName, SegmentSize, TablespaceMap};

/// What a server makes sure of at its start, and what it does not make by itself.
const NEEDED_DIRS: [&str; 8] = [
    "base",
    "global",
    "pg_wal",
    "pg_xact",
    "pg_multixact",
    "pg_tblspc",
    "pg_logical",
    "pg_subtrans",
];

/// What a restored data directory turned out to be.
#[derive(Clone, Debug)]
pub struct RestoredDirectory {
    /// Its major version, from `PG_VERSION`.
    pub major: u32,
    /// What its control file says.
    pub control: ControlFile,
    /// Where replay begins; `None` if the cluster was shut down cleanly before it was copied.
    pub label: Option<BackupLabel>,
    /// Whether the WAL from the start of the backup lies in `pg_wal`.
    pub has_own_wal: bool,
}

/// Makes a restored data directory acceptable to a server, and looks whether it is complete:
/// permissions are 0700 (a server refuses to start otherwise), the files a start needs are there,
/// tablespace links lead somewhere.
///
/// # Errors
/// [`Error::Damaged`] if something is missing, [`Error::Io`].
pub fn prepare_restored(directory: &Path) -> Result<RestoredDirectory, Error> {
    let major = major_of_directory(directory)?;
    let control = ControlFile::read(directory)?;
    for needed in NEEDED_DIRS {
        if !directory.join(needed).is_dir() {
            return Err(incomplete(
                directory,
                &format!("directory `{needed}` is missing"),
            ));
        }
    }
    check_tablespaces(directory)?;
    let label = read_optional(&directory.join("backup_label"))?
        .map(|text| BackupLabel::parse(&text))
        .transpose()?;
    let has_own_wal = label
        .as_ref()
        .is_some_and(|label| has_wal(directory, label, control.wal_segment_size));
    set_private(directory)?;
    Ok(RestoredDirectory {
        major,
        control,
        label,
        has_own_wal,
    })
}

/// The major version of a data directory, from `PG_VERSION`.
///
/// # Errors
/// [`Error::Damaged`] if there is none, [`Error::Io`].
pub fn major_of_directory(directory: &Path) -> Result<u32, Error> {
    let text = read_optional(&directory.join("PG_VERSION"))?;
    let text = text.ok_or_else(|| incomplete(directory, "file `PG_VERSION` is missing"))?;
    text.trim()
        .parse()
        .map_err(|_| incomplete(directory, "file `PG_VERSION` holds no version"))
}

/// Every tablespace of the map must lie where its link is going to point.
fn check_tablespaces(directory: &Path) -> Result<(), Error> {
    let Some(text) = read_optional(&directory.join("tablespace_map"))? else {
        return Ok(());
    };
    for entry in TablespaceMap::parse(&text)?.entries {
        let target = directory.join("pg_tblspc").join(&entry.target);
        if !target.is_dir() {
            return Err(incomplete(
                directory,
                &format!("tablespace {} is not at {}", entry.oid, target.display()),
            ));
        }
    }
    Ok(())
}

fn has_wal(directory: &Path, label: &BackupLabel, size: SegmentSize) -> bool {
    let first = SegmentName::at(label.timeline, label.start, size);
    directory.join("pg_wal").join(first.to_string()).is_file()
}

fn set_private(directory: &Path) -> Result<(), Error> {
    let metadata =
        fs::metadata(directory).map_err(|source| Error::io("look at", directory, source))?;
    // 0750 is what `initdb --allow-group-access` makes, and is accepted too.
    if matches!(metadata.permissions().mode() & 0o7777, 0o700 | 0o750) {
        return Ok(());
    }
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(directory, private)
        .map_err(|source| Error::io("set the permissions of", directory, source))
}

fn read_optional(path: &PathBuf) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path, source)),
    }
}

fn incomplete(directory: &Path, reason: &str) -> Error {
    Error::Damaged {
        what: format!("the data directory {}", directory.display()),
        reason: reason.to_owned(),
    }
}
