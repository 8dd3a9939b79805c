//! The spool's files.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::SpoolError;
use crate::layout::{SegmentName, SegmentSize, Timeline, WalFileKind};

/// What a segment's file is called until it is complete.
const PARTIAL: &str = ".partial";

/// Makes a directory that is nobody else's business, and its parents.
pub(super) fn make_private(path: &Path) -> Result<(), SpoolError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(SpoolError::io("make the directory", path))
}

/// How often a lock is tried that somebody may only have looked at.
const LOCK_ATTEMPTS: u32 = 5;

/// Takes the spool's lock, and writes our process into it.
pub(super) fn lock(root: &Path) -> Result<File, SpoolError> {
    let path = root.join("lock");
    let opened = private_options().create(true).truncate(false).open(&path);
    let mut file = opened.map_err(SpoolError::io("open", &path))?;
    for attempt in 1.. {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if attempt < LOCK_ATTEMPTS => sleep(Duration::from_millis(20)),
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // Only for the message; an unreadable number does not make the lock free.
                let _ = file.read_to_string(&mut pid);
                return Err(SpoolError::InUse {
                    path: root.display().to_string(),
                    pid: pid.trim().to_owned(),
                });
            }
            Err(error) => return Err(SpoolError::io("lock", &path)(error.into())),
        }
    }
    let signed = file
        .set_len(0)
        .and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0));
    signed.map_err(SpoolError::io("write", &path))?;
    Ok(file)
}

/// Whether somebody holds the spool's lock.
pub(super) fn is_locked(root: &Path) -> bool {
    File::open(root.join("lock")).is_ok_and(|file| {
        let looked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared);
        looked == Err(Errno::WOULDBLOCK)
    })
}

pub(super) fn read_system(root: &Path) -> Result<Option<(u64, SegmentSize)>, SpoolError> {
    let path = root.join("system");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SpoolError::io("read", &path)(error)),
    };
    let parsed = text.trim().split_once(' ').and_then(|(system, size)| {
        let size = SegmentSize::new(size.parse().ok()?).ok()?;
        Some((system.parse().ok()?, size))
    });
    parsed.map(Some).ok_or_else(|| SpoolError::Damaged {
        path: path.display().to_string(),
    })
}

pub(super) fn write_system(root: &Path, system: u64, size: SegmentSize) -> Result<(), SpoolError> {
    write_durably(
        &root.join("system"),
        format!("{system} {}\n", size.bytes()).as_bytes(),
    )
}

/// Writes a small file: its bytes are safe before it has its name, and its name when this returns.
fn write_durably(path: &Path, content: &[u8]) -> Result<(), SpoolError> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = private_options()
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(path.parent().unwrap_or(path))
    };
    write().map_err(SpoolError::io("write", path))
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Where the WAL of one system lies.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
    system: u64,
    size: SegmentSize,
}

/// A file that was found.
pub(super) enum Found {
    Complete(SegmentName),
    Partial(SegmentName, u64),
    History(Timeline, Vec<u8>),
}

impl Directory {
    pub(super) fn new(root: &Path, system: u64, size: SegmentSize) -> Result<Self, SpoolError> {
        let path = root.join(system.to_string());
        make_private(&path)?;
        sync_folder(root).map_err(SpoolError::io("sync", root))?;
        Ok(Self { path, system, size })
    }

    pub(super) fn system(&self) -> (u64, SegmentSize) {
        (self.system, self.size)
    }

    fn timeline_folder(&self, timeline: Timeline) -> PathBuf {
        self.path.join(format!("{:08X}", timeline.number()))
    }

    fn complete_path(&self, segment: SegmentName) -> PathBuf {
        self.timeline_folder(segment.timeline())
            .join(segment.to_string())
    }

    fn partial_path(&self, segment: SegmentName) -> PathBuf {
        let folder = self.timeline_folder(segment.timeline());
        folder.join(format!("{segment}{PARTIAL}"))
    }

    /// All that lies there, in any order. What is not ours is left alone.
    pub(super) fn scan(&self) -> Result<Vec<Found>, SpoolError> {
        let mut found = Vec::new();
        for folder in list(&self.path)? {
            for path in list(&folder)? {
                found.extend(self.look_at(&path)?);
            }
        }
        Ok(found)
    }

    fn look_at(&self, path: &Path) -> Result<Option<Found>, SpoolError> {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let length = || {
            fs::metadata(path)
                .map(|m| m.len())
                .map_err(SpoolError::io("look at", path))
        };
        Ok(match name.parse() {
            Ok(WalFileKind::Segment) => match SegmentName::parse(name, self.size) {
                Ok(segment) if length()? == self.size.bytes() => Some(Found::Complete(segment)),
                _ => return Err(damaged(path)),
            },
            Ok(WalFileKind::Partial) => {
                let segment = SegmentName::parse(name.trim_end_matches(PARTIAL), self.size);
                let segment = segment.map_err(|_| damaged(path))?;
                Some(Found::Partial(segment, length()?))
            }
            Ok(WalFileKind::History) => {
                let number = u32::from_str_radix(&name[..8], 16).map_err(|_| damaged(path))?;
                let content = fs::read(path).map_err(SpoolError::io("read", path))?;
                Some(Found::History(Timeline::new(number), content))
            }
            _ => None,
        })
    }

    pub(super) fn write_history(
        &self,
        timeline: Timeline,
        content: &[u8],
    ) -> Result<(), SpoolError> {
        self.make_folder(timeline)?;
        let folder = self.timeline_folder(timeline);
        write_durably(&folder.join(timeline.history_file_name()), content)
    }

    fn make_folder(&self, timeline: Timeline) -> Result<(), SpoolError> {
        let folder = self.timeline_folder(timeline);
        if folder.is_dir() {
            return Ok(());
        }
        make_private(&folder)?;
        sync_folder(&self.path).map_err(SpoolError::io("sync", &self.path))
    }

    /// Opens a segment for writing, or makes its file. True if it is complete already.
    pub(super) fn open(&self, segment: SegmentName) -> Result<(File, bool), SpoolError> {
        self.make_folder(segment.timeline())?;
        let complete = self.complete_path(segment);
        match private_options().open(&complete) {
            Ok(file) => return Ok((file, true)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SpoolError::io("open", &complete)(error)),
        }
        let path = self.partial_path(segment);
        let is_new = !path.exists();
        let opened = private_options().create(true).truncate(false).open(&path);
        let file = opened.map_err(SpoolError::io("open", &path))?;
        if is_new {
            let folder = self.timeline_folder(segment.timeline());
            sync_folder(&folder).map_err(SpoolError::io("sync", &folder))?;
        }
        Ok((file, false))
    }

    /// Gives a segment whose bytes are durable its final name, durably.
    pub(super) fn complete(&self, segment: SegmentName) -> Result<(), SpoolError> {
        let (from, to) = (self.partial_path(segment), self.complete_path(segment));
        let folder = self.timeline_folder(segment.timeline());
        let named = fs::rename(&from, &to).and_then(|()| sync_folder(&folder));
        named.map_err(SpoolError::io("rename", &from))
    }

    /// Removes a segment, whichever name it has. The next receiver finds it again if the power fails now, and asks
    /// again who wants it.
    pub(super) fn remove(&self, segment: SegmentName) {
        for path in [self.complete_path(segment), self.partial_path(segment)] {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a file of the spool is left behind");
                }
            }
        }
    }

    pub(super) fn read(
        &self,
        segment: SegmentName,
        from: u64,
        to: u64,
    ) -> Result<Vec<u8>, SpoolError> {
        let (complete, partial) = (self.complete_path(segment), self.partial_path(segment));
        // It may get its final name between two looks.
        let opened = File::open(&complete)
            .or_else(|_| File::open(&partial))
            .or_else(|_| File::open(&complete));
        let file = opened.map_err(SpoolError::io("open", &complete))?;
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
        let read = file.read_exact_at(&mut bytes, from);
        read.map_err(SpoolError::io("read", &partial))?;
        Ok(bytes)
    }
}

fn damaged(path: &Path) -> SpoolError {
    SpoolError::Damaged {
        path: path.display().to_string(),
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let failed = || SpoolError::io("list", folder);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(failed()(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed())?.path());
    }
    Ok(paths)
}
