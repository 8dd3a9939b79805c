//! Many segments at once: sealed on all cores, made durable together.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use rekindle_vault::{SealedWal, WalArchive, WalArchiveError, WalEffort};

use super::{PushError, examine::examine, identity::FileIdentity};
use crate::wal::{
    names::WalName,
    place::{Cluster, Place},
};

/// No file is begun later than this, so that a server that stops need not wait for a whole group.
const PATIENCE: Duration = Duration::from_secs(10);

/// About so many plain bytes are made durable together, and are in memory sealed.
const COMMIT_BYTES: u64 = 256 << 20;

/// What became of a file.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It is durable in the archive.
    Archived(FileIdentity),
    /// It is not.
    Failed(PushError),
    /// Nothing was done about it.
    NotTried,
}

impl Fate {
    /// Whether it could be told apart from what the archive has if the password were asked for.
    pub(crate) fn needs_password(&self) -> bool {
        matches!(self, Self::Failed(error) if error.needs_password())
    }
}

/// Puts files of one `pg_wal` into one archive.
pub(crate) struct Group<'a> {
    pub(crate) place: &'a Place,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) archive: &'a WalArchive,
    pub(crate) effort: WalEffort,
}

type Sealed = Result<(SealedWal, FileIdentity), PushError>;

impl Group<'_> {
    /// Archives the files in this order and tells each one's fate, in this order too. `stored` is
    /// called as soon as one is durable.
    pub(crate) fn push(
        &self,
        names: &[WalName],
        mut stored: impl FnMut(&WalName, FileIdentity),
    ) -> Vec<Fate> {
        let mut fates: Vec<Fate> = names.iter().map(|_| Fate::NotTried).collect();
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let threads = self.threads(names.len());
            let (sender, receiver) = mpsc::sync_channel(threads);
            for _ in 0..threads {
                let (sender, next, stop) = (sender.clone(), &next, &stop);
                scope.spawn(move || {
                    self.seal_all(names, next, stop, |number, sealed| {
                        sender.send((number, sealed)).is_ok()
                    });
                });
            }
            drop(sender);
            self.commit(&receiver, |number, fate| {
                match &fate {
                    Fate::Archived(identity) => stored(&names[number], *identity),
                    // What one file is to blame for does not stop the others.
                    Fate::Failed(error) if error.is_about_one_file() => {}
                    _ => stop.store(true, Ordering::Relaxed),
                }
                fates[number] = fate;
            });
        });
        fates
    }

    /// One for each core, and fewer where segments are so large that memory would be the price.
    fn threads(&self, files: usize) -> usize {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        cores.min(self.files_per_commit()).min(files).max(1)
    }

    fn files_per_commit(&self) -> usize {
        let segment = self
            .cluster
            .map_or(16 << 20, |cluster| cluster.segment_size.bytes());
        usize::try_from(COMMIT_BYTES / segment).unwrap_or(1).max(1)
    }

    fn seal_all(
        &self,
        names: &[WalName],
        next: &AtomicUsize,
        stop: &AtomicBool,
        send: impl Fn(usize, Sealed) -> bool,
    ) {
        let begin = Instant::now();
        let mut content = Vec::new();
        while !stop.load(Ordering::Relaxed) && begin.elapsed() < PATIENCE {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(name) = names.get(number) else {
                return;
            };
            if !send(number, self.seal(name, &mut content)) {
                return;
            }
        }
    }

    fn seal(&self, name: &WalName, content: &mut Vec<u8>) -> Sealed {
        let examined = examine(&self.place.pg_wal, name, self.cluster, content)?;
        let sealed = self.archive.seal(examined.file, content, self.effort);
        let sealed = sealed.map_err(|source| PushError::of_archive(self.archive, source))?;
        Ok((sealed, examined.identity))
    }

    /// Makes what is sealed durable: all that has gathered while the last ones were written.
    fn commit(&self, sealed: &Receiver<(usize, Sealed)>, mut told: impl FnMut(usize, Fate)) {
        while let Ok(first) = sealed.recv() {
            let gathered = [first].into_iter().chain(sealed.try_iter());
            let (mut numbers, mut files) = (Vec::new(), Vec::new());
            for (number, sealed) in gathered.take(self.files_per_commit()) {
                match sealed {
                    Ok((file, identity)) => {
                        numbers.push((number, identity));
                        files.push(file);
                    }
                    Err(error) => told(number, Fate::Failed(error)),
                }
            }
            let put = self.archive.put_all(files);
            for ((number, identity), put) in numbers.into_iter().zip(put) {
                told(number, self.fate(identity, put.map(drop)));
            }
        }
    }

    fn fate(&self, identity: FileIdentity, put: Result<(), WalArchiveError>) -> Fate {
        match put {
            Ok(()) => Fate::Archived(identity),
            Err(error) => Fate::Failed(PushError::of_archive(self.archive, error)),
        }
    }
}
