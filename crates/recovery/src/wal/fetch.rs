//! Brings the WAL of a recovery into `pg_wal`, before its server needs it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rekindle_postgres::{SegmentName, Timeline};
use rekindle_vault::{Progress, WalArchive, WalFile, durable};

use super::{moments, plan::Prepared, restore_at::Owner};
use crate::RecoveryError;

/// Segments are fetched ahead of each other by so many threads: one decrypts while another writes.
const MOST_THREADS: usize = 8;

/// WAL that lies where its server will look for it.
pub(super) struct Fetched {
    /// Whose the directory is.
    pub owner: Owner,
    /// Settings that the source raised after the base backup, with their greatest values.
    pub raised: Vec<(String, u32)>,
}

/// Fetches segments and histories.
pub(super) fn fetch(
    prepared: &Prepared,
    directory: &Path,
    progress: &Progress,
) -> Result<Fetched, RecoveryError> {
    let fetching = Fetching::begin(prepared, directory, progress)?;
    fetching.histories()?;
    fetching.segments()?;
    Ok(Fetched {
        owner: fetching.owner,
        raised: fetching.raised.into_inner().unwrap_or_default(),
    })
}

struct Fetching<'a> {
    prepared: &'a Prepared,
    wal: PathBuf,
    owner: Owner,
    progress: &'a Progress,
    raised: Mutex<Vec<(String, u32)>>,
}

impl<'a> Fetching<'a> {
    fn begin(
        prepared: &'a Prepared,
        directory: &Path,
        progress: &'a Progress,
    ) -> Result<Self, RecoveryError> {
        let owner = Owner::of(directory).map_err(failed(directory))?;
        let wal = directory.join("pg_wal");
        let status = wal.join("archive_status");
        match fs::create_dir(&status) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(failed(&status))?,
        }
        owner.give(&status).map_err(failed(&status))?;
        progress.expect_bytes(prepared.wal_bytes());
        Ok(Self {
            prepared,
            wal,
            owner,
            progress,
            raised: Mutex::default(),
        })
    }

    /// All histories there are, those of other branches too: the server begins a timeline that no
    /// history has yet, and must not take the number of one that lies in the archive.
    fn histories(&self) -> Result<(), RecoveryError> {
        let Some(archive) = &self.prepared.archive else {
            return Ok(());
        };
        for history in self.prepared.view.histories() {
            let file = history_file(self.prepared.chosen.base.system, history.timeline());
            // Byte for byte, because the restored server hands it on.
            let content = moments::read_file(archive, &file)?;
            self.put(&file.name, &content)?;
        }
        Ok(())
    }

    fn segments(&self) -> Result<(), RecoveryError> {
        let Some(archive) = &self.prepared.archive else {
            return Ok(());
        };
        let chosen = &self.prepared.chosen;
        let whole = chosen.segments.iter().map(|segment| (*segment, false));
        let all: Vec<_> = whole
            .chain(chosen.partial.map(|segment| (segment, true)))
            .collect();
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            while let Some((segment, is_partial)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                self.segment(archive, *segment, *is_partial)
                    .inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores * 2).min(MOST_THREADS).min(all.len());
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let outcomes = running.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            // Every thread is waited for; the first error is the one to tell.
            outcomes.collect::<Vec<_>>().into_iter().collect()
        })
    }

    fn segment(
        &self,
        archive: &WalArchive,
        segment: SegmentName,
        is_partial: bool,
    ) -> Result<(), RecoveryError> {
        let size = self.prepared.view.size();
        let system = self.prepared.chosen.base.system;
        let mut content = moments::read_segment(archive, system, segment, is_partial)?;
        moments::check(&content, segment, size, system, is_partial)?;
        let raised = moments::raised_settings(&content, segment);
        if let Ok(mut all) = self.raised.lock() {
            keep_greatest(&mut all, raised);
        }
        // What was not received yet is zeros to a server, as in a segment it has just begun.
        content.resize(usize::try_from(size.bytes()).unwrap_or(usize::MAX), 0);
        let name = segment.to_string();
        self.put(&name, &content)?;
        // It is in the archive: a server with an archive of its own need not push it again.
        let done = self.wal.join("archive_status").join(format!("{name}.done"));
        durable::replace(&done, b"", 0o600).map_err(failed(&done))?;
        self.owner.give(&done).map_err(failed(&done))?;
        self.progress.did_bytes(size.bytes());
        Ok(())
    }

    /// Writes a file of `pg_wal`. The base backup's own copy of a segment may be shorter.
    fn put(&self, name: &str, content: &[u8]) -> Result<(), RecoveryError> {
        let path = self.wal.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&path)(error));
            }
            _ => {}
        }
        durable::create(&path, content, 0o600).map_err(failed(&path))?;
        self.owner.give(&path).map_err(failed(&path))
    }
}

fn keep_greatest(all: &mut Vec<(String, u32)>, more: Vec<(String, u32)>) {
    for (name, value) in more {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, greatest)) => *greatest = value.max(*greatest),
            None => all.push((name, value)),
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RecoveryError + use<> {
    let path = path.display().to_string();
    move |source| RecoveryError::Prepare { path, source }
}

/// The archive's name of a segment.
pub(super) fn wal_file(system: u64, segment: SegmentName, is_partial: bool) -> WalFile {
    WalFile {
        system,
        timeline: segment.timeline().number(),
        name: if is_partial {
            format!("{segment}.partial")
        } else {
            segment.to_string()
        },
    }
}

/// The archive's name of a history.
pub(super) fn history_file(system: u64, timeline: Timeline) -> WalFile {
    WalFile {
        system,
        timeline: timeline.number(),
        name: timeline.history_file_name(),
    }
}
