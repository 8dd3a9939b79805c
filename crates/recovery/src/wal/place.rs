//! Where a server keeps its WAL, found from the path that it hands to its commands.

use std::{
    io,
    path::{Path, PathBuf},
};

use rekindle_postgres::{self as pg, ControlFile, layout::SegmentSize};

/// What a data directory consists of, for telling one: its control file.
const CONTROL_FILE: &str = "global/pg_control";

/// Our folder beside the segments. PostgreSQL looks only at names that are its own, and base
/// backups leave the contents of `pg_wal` out.
const OURS: &str = "rekindle";

/// The `pg_wal` of a cluster, and its data directory where that is known.
///
/// `archive_command` and `restore_command` run in the data directory, and their `%p` begins at it.
/// Source: PostgreSQL manual, "archive_command" and "restore_command".
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The directory of the file, absolute.
    pub(crate) pg_wal: PathBuf,
    /// The data directory around it.
    pub(crate) pgdata: Option<PathBuf>,
}

/// What WAL of a cluster must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Tells it from all others.
    pub(crate) system: u64,
    /// How large its segments are.
    pub(crate) segment_size: SegmentSize,
}

impl Place {
    /// The place of the file at `path`; nothing of it need exist.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        // Word by word, not by links: `pg_wal` is a link where WAL has a disk of its own.
        let absolute = std::path::absolute(path)?;
        let pg_wal = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let above = pg_wal.parent().map(Path::to_owned);
        let pgdata = above.filter(|directory| directory.join(CONTROL_FILE).is_file());
        Ok(Self { pg_wal, pgdata })
    }

    /// Our folder in it, which need not exist.
    pub(crate) fn ours(&self) -> PathBuf {
        self.pg_wal.join(OURS)
    }

    /// Whether it is the `pg_wal` of a data directory, where we may keep what is ours.
    pub(crate) fn is_pg_wal(&self) -> bool {
        self.pgdata.is_some() && self.pg_wal.ends_with("pg_wal")
    }

    /// What the control file says; `None` if there is no data directory around.
    pub(crate) fn cluster(&self) -> Option<Result<Cluster, pg::Error>> {
        let control = ControlFile::read(self.pgdata.as_deref()?);
        Some(control.map(|control| Cluster {
            system: control.system_identifier,
            segment_size: control.wal_segment_size,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_pg_wal_belongs_to_the_directory_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let (pgdata, disk) = (dir.path().join("data"), dir.path().join("disk"));
        std::fs::create_dir_all(pgdata.join("global")).unwrap();
        std::fs::create_dir(&disk).unwrap();
        std::fs::File::create(pgdata.join(CONTROL_FILE)).unwrap();
        std::os::unix::fs::symlink(&disk, pgdata.join("pg_wal")).unwrap();
        let place = Place::of(&pgdata.join("pg_wal/000000010000000000000001")).unwrap();
        assert_eq!(place.pgdata.as_deref(), Some(&*pgdata));
        assert!(place.is_pg_wal());
        assert!(!Place::of(&dir.path().join("x")).unwrap().is_pg_wal());
    }
}
