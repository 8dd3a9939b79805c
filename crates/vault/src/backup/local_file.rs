//! A file of this machine on its way into the vault, read by several threads at once.

use std::{
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustix::fs::OFlags;

use super::{
    failure::BackupError,
    holes,
    open_folder::OpenFolder,
    trouble::{Group, Trouble, TroubleKind},
    worker::Worker,
};
use crate::{chunk::Chunking, id::Id, path::TreePath, tree::Node};

/// A file to be read.
pub struct LocalFile {
    /// The file.
    pub source: PathBuf,
    /// Its entry in the tree; size and content are filled in.
    pub node: Node,
    /// At most so many bytes are read, even if it grows meanwhile.
    pub most_bytes: u64,
    /// How it is cut.
    pub chunking: Chunking,
    /// What it means when it is not there any more.
    pub when_missing: WhenMissing,
    /// Looks at the bytes on their way.
    pub inspect: Option<Arc<Inspect>>,
}

/// What it means when a file is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenMissing {
    /// The backup fails.
    Fail,
    /// It is left out, and named by [`Backup::left_out`](super::Backup::left_out): its owner brings
    /// it back by other means, as PostgreSQL does from WAL.
    LeaveOut,
}

/// Looks at a piece of a file; it may read the file again. It sees every byte once, in pieces of
/// whole chunks, from several threads and in no order.
pub type Inspect = dyn Fn(&Inspected<'_>) + Send + Sync;

/// A piece of a file.
pub struct Inspected<'a> {
    /// Its place in the tree.
    pub path: &'a TreePath,
    /// The open file.
    pub file: &'a File,
    /// Where in the file the bytes begin.
    pub offset: u64,
    /// The bytes that go into the vault.
    pub bytes: &'a [u8],
}

/// Pieces that different threads read. Fixed chunks align with them; content-defined chunks end
/// at them, which costs one short chunk each.
const FIXED_RANGE_BYTES: u64 = 16 << 20;
const CONTENT_RANGE_BYTES: u64 = 64 << 20;
/// One read(2), and one look of the inspector.
const READ_BYTES: usize = 512 << 10;
const MOST_TRIES: u32 = 3;

/// A file in work.
pub(super) struct Reading {
    path: TreePath,
    file: LocalFile,
    opened: OnceLock<Option<File>>,
    ranges: Vec<Mutex<Range>>,
    remaining: AtomicUsize,
    /// Whoever wants to be told what happens to the file; without anybody, what happens ends the backup.
    group: Option<Arc<Group>>,
    /// Where it lies, if that is walked; until it is in the tree.
    folder: Mutex<Option<Arc<OpenFolder>>>,
    /// A first attempt to read it failed.
    has_failed: AtomicBool,
}

#[derive(Default)]
struct Range {
    content: Vec<Id>,
    bytes: u64,
}

impl Reading {
    pub fn new(
        path: TreePath,
        file: LocalFile,
        group: Option<Arc<Group>>,
        folder: Option<Arc<OpenFolder>>,
    ) -> Arc<Self> {
        let count = file.most_bytes.div_ceil(range_bytes(file.chunking)).max(1) as usize;
        Arc::new(Self {
            path,
            file,
            opened: OnceLock::new(),
            ranges: (0..count).map(|_| Mutex::default()).collect(),
            remaining: AtomicUsize::new(count),
            group,
            folder: Mutex::new(folder),
            has_failed: AtomicBool::new(false),
        })
    }

    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Reads one range; whoever reads the last one finishes the file.
    pub fn read_range(&self, number: usize, worker: &mut Worker) -> Result<(), BackupError> {
        let length = range_bytes(self.file.chunking);
        let start = number as u64 * length;
        let end = (start + length).min(self.file.most_bytes);
        match self.read_into(number, start, end, worker) {
            Err(BackupError::Read { .. }) if self.group.is_some() => {
                self.has_failed.store(true, Ordering::Release);
            }
            other => other?,
        }
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            match &self.group {
                None => self.finish(worker)?,
                Some(group) => self.finish_or_tell(group, worker)?,
            }
            // Whoever waits for the file may look at the tree then.
            self.leave_folder();
            if let Some(group) = &self.group {
                group.is_done();
            }
            worker.shared.file_is_done();
        }
        Ok(())
    }

    fn leave_folder(&self) {
        let mut folder = self
            .folder
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(folder.take());
    }

    fn read_into(
        &self,
        number: usize,
        start: u64,
        end: u64,
        worker: &mut Worker,
    ) -> Result<(), BackupError> {
        if let Some(file) = self.open()? {
            let range = self.read_pieces(file, start, end, worker)?;
            *self.range(number) = range;
        }
        Ok(())
    }

    fn range(&self, number: usize) -> std::sync::MutexGuard<'_, Range> {
        self.ranges[number]
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Opens it once for all threads; `None` if it is gone and may be.
    fn open(&self) -> Result<Option<&File>, BackupError> {
        if self.opened.get().is_none() {
            let opened = match self.open_source() {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && self.file.when_missing == WhenMissing::LeaveOut =>
                {
                    None
                }
                other => Some(other.map_err(|error| self.unreadable(error))?),
            };
            // Another thread may have been faster; its file is the same.
            self.opened.set(opened).ok();
        }
        Ok(self.opened.get().and_then(Option::as_ref))
    }

    fn open_source(&self) -> io::Result<File> {
        match self.group {
            None => open_regular(&self.file.source),
            Some(_) => open_below(&self.file.source),
        }
    }

    fn unreadable(&self, source: io::Error) -> BackupError {
        BackupError::Read {
            path: self.path.clone(),
            source_path: self.file.source.display().to_string(),
            source,
        }
    }

    fn read_pieces(
        &self,
        file: &File,
        start: u64,
        end: u64,
        worker: &mut Worker,
    ) -> Result<Range, BackupError> {
        match self.file.chunking {
            Chunking::Fixed { bytes } => self.read_fixed(file, start, end, bytes as usize, worker),
            Chunking::ContentDefined => self.read_content_defined(file, start, end, worker),
        }
    }

    fn read_fixed(
        &self,
        file: &File,
        start: u64,
        end: u64,
        chunk: usize,
        worker: &mut Worker,
    ) -> Result<Range, BackupError> {
        let mut range = Range::default();
        let piece = (READ_BYTES / chunk).max(1) * chunk;
        let mut buffer = worker.take_buffer(piece);
        while start + range.bytes < end {
            let offset = start + range.bytes;
            let wanted = piece.min((end - offset) as usize);
            let read = read_full_at(file, &mut buffer[..wanted], offset)
                .map_err(|error| self.unreadable(error))?;
            let bytes = &buffer[..read];
            self.look(file, offset, bytes);
            worker.store_chunks(
                &self.path,
                bytes.chunks(chunk),
                self.file.chunking,
                &mut range.content,
            )?;
            range.bytes += read as u64;
            if read < wanted {
                break;
            }
        }
        worker.give_buffer(buffer);
        Ok(range)
    }

    fn read_content_defined(
        &self,
        file: &File,
        start: u64,
        end: u64,
        worker: &mut Worker,
    ) -> Result<Range, BackupError> {
        let mut range = Range::default();
        let longest = self.file.chunking.longest();
        let most = usize::try_from(end - start).unwrap_or(usize::MAX);
        let has_holes = most > longest && self.file.inspect.is_none() && holes::may_have(file);
        let mut buffer = worker.take_buffer((2 * longest).min(most));
        let (mut filled, mut at_end) = (0, false);
        loop {
            if has_holes && !at_end {
                let hole = holes::length_at(file, start + range.bytes);
                let zeros = hole.min(end - start - range.bytes);
                let skipped = worker.store_zeros(&self.path, zeros, &mut range.content)?;
                range.bytes += skipped;
                // What is in the buffer was read ahead from the hole, and perhaps from behind it.
                let known = filled.min(usize::try_from(skipped).unwrap_or(usize::MAX));
                buffer.copy_within(known..filled, 0);
                filled -= known;
            }
            if !at_end {
                let wanted = (buffer.len() - filled).min(
                    usize::try_from(end - start - range.bytes - filled as u64)
                        .unwrap_or(usize::MAX),
                );
                let offset = start + range.bytes + filled as u64;
                let read = read_full_at(file, &mut buffer[filled..filled + wanted], offset)
                    .map_err(|error| self.unreadable(error))?;
                self.look(file, offset, &buffer[filled..filled + read]);
                filled += read;
                at_end = read < wanted || offset + read as u64 == end;
            }
            let mut done = 0;
            while filled > done && (at_end || filled - done >= longest) {
                let length = worker.shared.gear.cut(&buffer[done..filled]);
                let chunk = &buffer[done..done + length];
                worker.store_chunks(
                    &self.path,
                    [chunk].into_iter(),
                    self.file.chunking,
                    &mut range.content,
                )?;
                done += length;
            }
            range.bytes += done as u64;
            buffer.copy_within(done..filled, 0);
            filled -= done;
            if at_end {
                worker.give_buffer(buffer);
                return Ok(range);
            }
        }
    }

    fn look(&self, file: &File, offset: u64, bytes: &[u8]) {
        if let Some(inspect) = &self.file.inspect
            && !bytes.is_empty()
        {
            inspect(&Inspected {
                path: &self.path,
                file,
                offset,
                bytes,
            });
        }
    }

    /// Puts the file into the tree.
    fn finish(&self, worker: &mut Worker) -> Result<(), BackupError> {
        let Some(file) = self.opened.get().and_then(Option::as_ref) else {
            worker.shared.leave_out(&self.path);
            return Ok(());
        };
        let whole = match self.join_ranges() {
            Some(whole) => whole,
            None => self.read_in_one_go(file, worker)?,
        };
        self.insert(self.file.node.clone(), whole, worker)
    }

    /// Puts the file into the tree if it was read whole and nobody wrote to it meanwhile; else reads it once more, and
    /// tells what is wrong then.
    fn finish_or_tell(&self, group: &Group, worker: &mut Worker) -> Result<(), BackupError> {
        let read = self.opened.get().and_then(Option::as_ref);
        if let Some(file) = read
            && !self.has_failed.load(Ordering::Acquire)
            && let Some(whole) = self.join_ranges()
            && is_still(file, &self.file.node, whole.bytes)
        {
            return self.insert(self.file.node.clone(), whole, worker);
        }
        let tell = |kind| {
            group.tell(Trouble {
                source: self.file.source.clone(),
                at: self.path.clone(),
                kind,
            });
        };
        match self.read_again(worker) {
            Ok((node, whole, is_steady)) => {
                if !is_steady {
                    tell(TroubleKind::Changed);
                }
                self.insert(node, whole, worker)
            }
            Err(BackupError::Read { source, .. }) => {
                tell(TroubleKind::of_error(&source));
                group.lose();
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// Reads what is there under the name now, in one go; whether it stayed the same meanwhile.
    fn read_again(&self, worker: &mut Worker) -> Result<(Node, Range, bool), BackupError> {
        let unreadable = |error| self.unreadable(error);
        let file = self.open_source().map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let mut node = Node::of_metadata(&metadata);
        node.extended_attributes
            .clone_from(&self.file.node.extended_attributes);
        let whole = self.read_pieces(&file, 0, metadata.len(), worker)?;
        let is_steady = is_still(&file, &node, whole.bytes);
        Ok((node, whole, is_steady))
    }

    fn insert(&self, mut node: Node, whole: Range, worker: &Worker) -> Result<(), BackupError> {
        node.size = whole.bytes;
        node.content = Some(whole.content);
        worker.shared.insert(&self.path, node)
    }

    /// All ranges in order; `None` if one is short and a later one is not empty, because then the
    /// file was cut and grew while it was read, and the pieces do not fit together.
    fn join_ranges(&self) -> Option<Range> {
        let length = range_bytes(self.file.chunking);
        let mut whole = Range::default();
        for (number, _) in self.ranges.iter().enumerate() {
            let mut range = self.range(number);
            if range.bytes > 0 && whole.bytes != number as u64 * length {
                return None;
            }
            whole.bytes += range.bytes;
            whole.content.append(&mut range.content);
        }
        Some(whole)
    }

    /// One thread reads from the first byte on: what it meets as the end is the end.
    fn read_in_one_go(&self, file: &File, worker: &mut Worker) -> Result<Range, BackupError> {
        for _ in 0..MOST_TRIES {
            let range = self.read_pieces(file, 0, self.file.most_bytes, worker)?;
            let length = file
                .metadata()
                .map_err(|error| self.unreadable(error))?
                .len();
            if range.bytes >= length.min(self.file.most_bytes) {
                return Ok(range);
            }
        }
        Err(BackupError::Unsteady {
            source_path: self.file.source.display().to_string(),
        })
    }
}

const fn range_bytes(chunking: Chunking) -> u64 {
    match chunking {
        Chunking::Fixed { bytes } => {
            let chunk = bytes as u64;
            let chunks = FIXED_RANGE_BYTES / chunk;
            if chunks == 0 { chunk } else { chunks * chunk }
        }
        Chunking::ContentDefined => CONTENT_RANGE_BYTES,
    }
}

/// Opens a file. What was a file when it was listed may be a pipe by now, and to open one of those
/// is to wait for its writer for ever; the file itself is gone then.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "it is no regular file any more",
        ))
    }
}

/// As [`open_regular`], but follows no link on the way: in a directory that others write to, a folder that was walked
/// may be a link to somewhere else by now.
fn open_below(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(open_without_links(path, flags)?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "it is no regular file any more",
        ))
    }
}

/// Opens a path of which no part may be a link. Kernels before 5.6, and some sandboxes, can only look at the last part.
pub(super) fn open_without_links(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    use rustix::{
        fs::{CWD, Mode, ResolveFlags, openat, openat2},
        io::Errno,
    };
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => openat(CWD, path, flags, Mode::empty()),
        other => other,
    }
}

/// Whether an open file is still what its entry says, of which so many bytes were read. The time of the last change of
/// anything tells also of a writer who sets the time of content back.
fn is_still(file: &File, node: &Node, bytes: u64) -> bool {
    file.metadata().is_ok_and(|metadata| {
        let now = Node::of_metadata(&metadata);
        now.inode == node.inode
            && now.size == node.size
            && now.size == bytes
            && now.mtime == node.mtime
            && now.ctime == node.ctime
    })
}

/// Reads until the buffer is full or the file ends.
fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
