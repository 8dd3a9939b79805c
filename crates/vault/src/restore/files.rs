//! The files that are being written: made when their first piece comes, finished when their last
//! one is written.

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{
    RestoreError, RestoreOptions,
    metadata::{self, Ownership},
    plan::{Plan, unfinished_name},
};
use crate::{direct, progress::Progress};

/// Open files kept in each shard. All in all this stays far below the usual limit of 1,024.
const OPEN_FILES: usize = 24;
const SHARDS: usize = 16;
/// Longer files are made durable while others are still written, for which they stay open.
pub(super) const MOST_WHOLE_BYTES: usize = 1 << 20;

pub(super) struct Files<'a> {
    target: &'a Path,
    plan: &'a Plan,
    ownership: Ownership,
    remaining: Vec<AtomicU32>,
    shards: Vec<Mutex<Shard>>,
    direct: direct::Ability,
    progress: &'a Progress,
}

/// A file that is open, for writes through the cache and, if it is large, past it.
pub(super) struct OpenFile {
    cached: File,
    direct: Option<File>,
}

#[derive(Default)]
struct Shard {
    open: HashMap<u32, Arc<OpenFile>>,
    order: VecDeque<u32>,
    made: Vec<bool>,
}

impl<'a> Files<'a> {
    pub fn new(target: &'a Path, plan: &'a Plan, options: &'a RestoreOptions) -> Self {
        let per_shard = plan.files.len().div_ceil(SHARDS);
        let shard = || {
            Mutex::new(Shard {
                made: vec![false; per_shard],
                ..Shard::default()
            })
        };
        Self {
            target,
            plan,
            ownership: options.ownership,
            remaining: plan
                .piece_counts
                .iter()
                .map(|&count| AtomicU32::new(count))
                .collect(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            direct: direct::Ability::default(),
            progress: &options.progress,
        }
    }

    /// Makes a file of these bytes in one go, without a place among the open ones. Most files are short, and each call
    /// that is made for every one of them can be felt.
    pub fn make_whole(&self, number: u32, bytes: &[u8]) -> Result<(), RestoreError> {
        let path = self.path(number);
        let file = open(&path, true).map_err(RestoreError::target("make the file", &path))?;
        let written = file.write_all_at(bytes, 0);
        written.map_err(RestoreError::target("write", &path))?;
        let node = &self.plan.files[number as usize].node;
        metadata::apply_to_file(&file, &path, node, self.ownership)
            .map_err(RestoreError::target("set owner, mode and times of", &path))?;
        self.progress.did_file();
        Ok(())
    }

    /// Whether a piece of so many bytes is all that a file has, and the file so short that it is made in one go.
    pub fn is_all(&self, number: u32, bytes: usize) -> bool {
        self.plan.piece_counts[number as usize] == 1
            && bytes < MOST_WHOLE_BYTES
            && self.plan.files[number as usize].node.size == bytes as u64
    }

    /// Counts a file that is whole.
    pub fn count_whole(&self) {
        self.progress.did_file();
    }

    /// Whether what is written to this file may go past the cache.
    pub fn may_be_direct(&self, number: u32) -> bool {
        self.direct.is_there()
            && self.plan.files[number as usize].node.size >= direct::WORTHWHILE_BYTES
    }

    /// Leaves a hole where a piece is all zeros, or lost: the file is made in its full length.
    pub fn skip(&self, number: u32, offset: u64, length: usize) -> Result<(), RestoreError> {
        let file = self.open(number)?;
        let blocks = direct::aligned_part(offset, length);
        if self.is_allocated(number) && !blocks.is_empty() {
            // What cannot be given back reads as zeros too.
            let length = (blocks.end - blocks.start) as u64;
            give_back(&file.cached, offset + blocks.start as u64, length);
        }
        Ok(())
    }

    /// Writes bytes through the cache.
    pub fn write(&self, number: u32, offset: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        let file = self.open(number)?;
        let written = file.cached.write_all_at(bytes, offset);
        written.map_err(RestoreError::target("write", &self.path(number)))
    }

    /// Writes bytes of a large file, which lie in memory as they will in the file's blocks: whole blocks past the cache,
    /// what is before and behind through it.
    pub fn write_run(&self, number: u32, offset: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        let file = self.open(number)?;
        let written = self.write_past_the_cache(&file, offset, bytes);
        written.map_err(RestoreError::target("write", &self.path(number)))
    }

    fn write_past_the_cache(&self, file: &OpenFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let part = direct::aligned_part(offset, bytes.len());
        let (from, to) = (part.start, part.end);
        let is_written = match &file.direct {
            Some(direct) if from < to && is_aligned_memory(&bytes[from..to]) => {
                let offset = offset + from as u64;
                self.direct.write(direct, &bytes[from..to], offset)?
            }
            _ => false,
        };
        if !is_written {
            return file.cached.write_all_at(bytes, offset);
        }
        file.cached.write_all_at(&bytes[..from], offset)?;
        file.cached.write_all_at(&bytes[to..], offset + to as u64)
    }

    /// Counts pieces of a file that are written. Returns the file if it is whole now.
    pub fn count_off(
        &self,
        number: u32,
        pieces: u32,
    ) -> Result<Option<Arc<OpenFile>>, RestoreError> {
        if self.remaining[number as usize].fetch_sub(pieces, Ordering::AcqRel) != pieces {
            return Ok(None);
        }
        let file = self.open(number)?;
        let (path, node) = (self.path(number), &self.plan.files[number as usize].node);
        metadata::apply_to_file(&file.cached, &path, node, self.ownership)
            .map_err(RestoreError::target("set owner, mode and times of", &path))?;
        self.shard(number).open.remove(&number);
        Ok(Some(file))
    }

    fn path(&self, number: u32) -> PathBuf {
        let path = self.target.join(&self.plan.files[number as usize].path);
        if self.plan.is_last(number) {
            unfinished_name(&path)
        } else {
            path
        }
    }

    fn shard(&self, number: u32) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[number as usize % SHARDS];
        shard
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn open(&self, number: u32) -> Result<Arc<OpenFile>, RestoreError> {
        let mut shard = self.shard(number);
        if let Some(file) = shard.open.get(&number) {
            return Ok(Arc::clone(file));
        }
        let path = self.path(number);
        let place = number as usize / SHARDS;
        let size = self.plan.files[number as usize].node.size;
        let is_new = !shard.made[place];
        let cached = open(&path, is_new)
            .and_then(|file| {
                if is_new {
                    file.set_len(size)?;
                }
                if is_new && self.is_allocated(number) {
                    allocate(&file, size)?;
                }
                Ok(file)
            })
            .map_err(RestoreError::target("make the file", &path))?;
        shard.made[place] = true;
        let direct = self.open_direct(&path, size);
        let file = Arc::new(OpenFile { cached, direct });
        shard.open.insert(number, Arc::clone(&file));
        shard.order.push_back(number);
        if shard.order.len() > OPEN_FILES
            && let Some(oldest) = shard.order.pop_front()
        {
            shard.open.remove(&oldest);
        }
        Ok(file)
    }

    /// Whether all blocks of a file are asked for before it is written: a large one without holes. Several threads write to
    /// blocks that are there at the same time, and to a hole one after another. Source: ext4's `ext4_dio_write_checks`.
    fn is_allocated(&self, number: u32) -> bool {
        let file = &self.plan.files[number as usize];
        file.node.size >= direct::WORTHWHILE_BYTES && !file.has_holes
    }

    /// Opens a large file once more, for writes past the cache; `None` where that cannot be.
    fn open_direct(&self, path: &Path, size: u64) -> Option<File> {
        if size < direct::WORTHWHILE_BYTES || !self.direct.is_there() {
            return None;
        }
        let flags = (rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::NOFOLLOW).bits() as i32;
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(path);
        if opened.is_err() {
            self.direct.lost();
        }
        opened.ok()
    }
}

impl OpenFile {
    /// Makes its content durable.
    ///
    /// # Errors
    /// As the file system failed.
    pub fn sync(&self) -> io::Result<()> {
        self.cached.sync_all()
    }
}

/// Asks for the blocks of a file of this length, as far as the file system can do that ahead.
fn allocate(file: &File, length: u64) -> io::Result<()> {
    use rustix::{
        fs::{FallocateFlags, fallocate},
        io::Errno,
    };
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => Err(errno.into()),
        // It can be written all the same.
        _ => Ok(()),
    }
}

/// Gives blocks of a file back, which then reads as zeros there.
fn give_back(file: &File, offset: u64, length: u64) {
    use rustix::fs::{FallocateFlags, fallocate};
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if let Err(errno) = fallocate(file, flags, offset, length) {
        tracing::debug!(%errno, "a hole takes room");
    }
}

fn is_aligned_memory(bytes: &[u8]) -> bool {
    (bytes.as_ptr() as usize).is_multiple_of(direct::ALIGNMENT)
}

/// Opens a file; a new one must not be there, not even as a link.
fn open(path: &Path, is_new: bool) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(is_new)
        .mode(0o600)
        .custom_flags(no_follow);
    options.open(path)
}
