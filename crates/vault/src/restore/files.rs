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

/// Open files kept in each shard. All in all this stays far below the usual limit of 1,024.
const OPEN_FILES: usize = 24;
const SHARDS: usize = 16;

pub(super) struct Files<'a> {
    target: &'a Path,
    plan: &'a Plan,
    ownership: Ownership,
    remaining: Vec<AtomicU32>,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Default)]
struct Shard {
    open: HashMap<u32, Arc<File>>,
    order: VecDeque<u32>,
    made: Vec<bool>,
}

impl<'a> Files<'a> {
    pub fn new(target: &'a Path, plan: &'a Plan, options: &RestoreOptions) -> Self {
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
        }
    }

    /// Makes a file that has no content, whole.
    pub fn make_empty(&self, number: u32) -> Result<(), RestoreError> {
        let file = self.open(number)?;
        self.finish(number, &file)
    }

    /// Writes a piece that is all zeros by not writing it: the file is made in its full length.
    pub fn skip(&self, number: u32) -> Result<Option<Arc<File>>, RestoreError> {
        let file = self.open(number)?;
        self.count_off(number, file)
    }

    /// Writes a piece. Returns the file if this was its last one.
    pub fn write(
        &self,
        number: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Option<Arc<File>>, RestoreError> {
        let file = self.open(number)?;
        file.write_all_at(bytes, offset)
            .map_err(RestoreError::target("write", &self.path(number)))?;
        self.count_off(number, file)
    }

    fn count_off(&self, number: u32, file: Arc<File>) -> Result<Option<Arc<File>>, RestoreError> {
        if self.remaining[number as usize].fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(None);
        }
        self.finish(number, &file)?;
        self.shard(number).open.remove(&number);
        Ok(Some(file))
    }

    fn finish(&self, number: u32, _: &File) -> Result<(), RestoreError> {
        let path = self.path(number);
        metadata::apply(
            &path,
            &self.plan.files[number as usize].node,
            self.ownership,
        )
        .map_err(RestoreError::target("set owner, mode and times of", &path))
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

    fn open(&self, number: u32) -> Result<Arc<File>, RestoreError> {
        let mut shard = self.shard(number);
        if let Some(file) = shard.open.get(&number) {
            return Ok(Arc::clone(file));
        }
        let path = self.path(number);
        let place = number as usize / SHARDS;
        let size = self.plan.files[number as usize].node.size;
        let file = open(&path, !shard.made[place], size)
            .map_err(RestoreError::target("make the file", &path))?;
        shard.made[place] = true;
        let file = Arc::new(file);
        shard.open.insert(number, Arc::clone(&file));
        shard.order.push_back(number);
        if shard.order.len() > OPEN_FILES
            && let Some(oldest) = shard.order.pop_front()
        {
            shard.open.remove(&oldest);
        }
        Ok(file)
    }
}

/// Opens a file; a new one must not be there, not even as a link, and gets its full length.
fn open(path: &Path, is_new: bool, size: u64) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(is_new)
        .mode(0o600)
        .custom_flags(no_follow);
    let file = options.open(path)?;
    if is_new && size > 0 {
        file.set_len(size)?;
    }
    Ok(file)
}
