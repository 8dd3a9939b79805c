//! Files out of the archive, each held against its name before anybody sees it.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rekindle_postgres::layout::{SegmentSize, WalFileKind};
use rekindle_vault::{WalArchive, WalFile};

use super::GetError;
use crate::wal::{names::WalName, place::Cluster, push::check_segment};

/// The files of one cluster in one archive.
pub(crate) struct Source {
    archive: WalArchive,
    system: u64,
    segment_size: Option<SegmentSize>,
    is_known: AtomicBool,
}

impl Source {
    /// Those of the cluster around us; or of `system`; or of the only one that the archive has.
    pub(crate) fn new(
        archive: WalArchive,
        cluster: Option<Cluster>,
        system: Option<u64>,
    ) -> Result<Self, GetError> {
        let system = match (system, cluster) {
            (Some(system), _) => system,
            (None, Some(cluster)) => cluster.system,
            (None, None) => only_system(&archive)?,
        };
        // The size that the control file tells is that of its own cluster.
        let cluster = cluster.filter(|cluster| cluster.system == system);
        Ok(Self {
            archive,
            system,
            segment_size: cluster.map(|cluster| cluster.segment_size),
            is_known: AtomicBool::new(false),
        })
    }

    /// Whose files these are.
    pub(crate) const fn system(&self) -> u64 {
        self.system
    }

    /// How large a segment is.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_size.unwrap_or(SegmentSize::DEFAULT).bytes()
    }

    /// The content of the file, checked; `None` if the archive has other files of this cluster, and
    /// not this one.
    pub(crate) fn read(&self, name: &WalName) -> Result<Option<Vec<u8>>, GetError> {
        let Some(content) = self.get(name)? else {
            self.ensure_known()?;
            return Ok(None);
        };
        self.check(name, &content)?;
        Ok(Some(content))
    }

    /// The unfinished segment of this name, filled up with zeros as the server would have it.
    pub(crate) fn read_partial(&self, name: &WalName) -> Result<Option<Vec<u8>>, GetError> {
        let partial = WalName::parse(&format!("{}.partial", name.text));
        let Some(mut content) = partial.map_or(Ok(None), |partial| self.get(&partial))? else {
            return Ok(None);
        };
        let size = self.segment_size.unwrap_or(SegmentSize::DEFAULT).bytes();
        let length = usize::try_from(size)
            .unwrap_or(usize::MAX)
            .max(content.len());
        content.resize(length, 0);
        self.check(name, &content)?;
        Ok(Some(content))
    }

    fn get(&self, name: &WalName) -> Result<Option<Vec<u8>>, GetError> {
        let file: WalFile = name.of_system(self.system);
        self.archive.get(&file).map_err(|source| GetError::Archive {
            name: name.text.clone(),
            location: self.archive.location(),
            source,
        })
    }

    /// An archive without a single file of this cluster is more likely the wrong one than the end.
    fn ensure_known(&self) -> Result<(), GetError> {
        if self.is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !systems(&self.archive)?.contains(&self.system) {
            return Err(GetError::NothingOfSystem {
                location: self.archive.location(),
                system: self.system,
            });
        }
        self.is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn check(&self, name: &WalName, content: &[u8]) -> Result<(), GetError> {
        let (WalFileKind::Segment, Some(segment_size)) = (name.kind, self.segment_size) else {
            return Ok(());
        };
        let cluster = Cluster {
            system: self.system,
            segment_size,
        };
        check_segment(name, content, cluster).map_err(|reason| GetError::Unsound {
            name: name.text.clone(),
            location: self.archive.location(),
            reason,
        })
    }
}

fn only_system(archive: &WalArchive) -> Result<u64, GetError> {
    let location = archive.location();
    let systems = systems(archive)?;
    match systems.as_slice() {
        [system] => Ok(*system),
        several => Err(GetError::WhichSystem {
            location,
            count: several.len(),
        }),
    }
}

fn systems(archive: &WalArchive) -> Result<Vec<u64>, GetError> {
    archive.systems().map_err(|source| GetError::List {
        location: archive.location(),
        source,
    })
}

/// Writes a file under a temporary name and gives it its own, so that nobody sees half of it. Not
/// fsynced: whoever reads WAL after a crash asks the archive again.
pub(crate) fn place(content: &[u8], path: &Path) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary: PathBuf = path.with_file_name(name);
    let mut options = fs::OpenOptions::new();
    let opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary);
    let written = opened.and_then(|mut file| file.write_all(content));
    let placed = written.and_then(|()| fs::rename(&temporary, path));
    placed.inspect_err(|_| {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    })
}
