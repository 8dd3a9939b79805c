//! Objects on their way from a server into a backup: many small ones at once, a large one by several parts at once.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use rekindle_stores::s3::{ContentMd5, ETag, ListedVersion, ObjectHead, S3Client, S3Error};
use rekindle_vault::{Backup, BackupError, Chunking, FileWriter, TreePath};

use super::entry::ObjectEntry;
use crate::{CaptureError, with_causes};

/// Up to this length an object is read in one piece, into memory.
const LARGE: u64 = 8 << 20;
/// Parts of larger ones.
const PIECE: u64 = 8 << 20;
/// Small objects that are read at once. With `LARGE` this bounds the memory.
const AT_ONCE: usize = 16;
/// Parts of a large one that are read at once.
const PARTS_AT_ONCE: usize = 6;
/// An object that is replaced each time before it is read.
const MOST_TRIES: u32 = 5;

/// When tags of objects are asked for: a listing does not tell of them, and setting them changes nothing that it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// Of every object, in every backup.
    Always,
    /// Of an object that is new or changed.
    WithContent,
    /// Never.
    Never,
}

/// An object that is to be read.
pub struct Wanted {
    /// Which of the listing.
    pub number: usize,
    /// As it was listed.
    pub listed: ListedVersion,
    /// Where its content goes, below the dataset.
    pub path: String,
    /// The entry of the parent that has the same content, which is then not read.
    pub same: Option<ObjectEntry>,
}

/// Reads objects of one bucket into a backup.
pub struct Fetch<'a> {
    pub client: &'a S3Client,
    pub backup: &'a Backup,
    pub bucket: &'a str,
    /// The dataset's place.
    pub at: &'a TreePath,
    pub tags: Tags,
    pub seen: Seen,
}

/// What turned out on the way.
#[derive(Default)]
pub struct Seen {
    pub objects: AtomicU64,
    pub bytes: AtomicU64,
    /// Objects whose tag is no MD5, though it looks like one.
    pub odd_etags: AtomicU64,
    /// The server keeps no tags.
    pub no_tags: AtomicBool,
    /// Objects whose tags may not be read, or make no sense.
    pub denied_tags: AtomicU64,
    pub denied: AtomicU64,
}

/// How a try to read one object ended.
enum Tried {
    Stored(Box<ObjectEntry>),
    /// Other bytes than the tag tells; their MD5.
    Odd(ETag),
}

enum Failed {
    Capture(CaptureError),
    S3(S3Error),
}

impl From<S3Error> for Failed {
    fn from(error: S3Error) -> Self {
        Self::S3(error)
    }
}

impl From<BackupError> for Failed {
    fn from(error: BackupError) -> Self {
        Self::Capture(error.into())
    }
}

/// What threads work off, until the first failure.
struct Queue<'w> {
    wanted: &'w [Wanted],
    next: AtomicUsize,
    done: Mutex<Vec<(usize, ObjectEntry)>>,
    failure: Mutex<Option<CaptureError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fetch<'_> {
    /// Reads all of them; the entries say what was not had, and why.
    pub fn all(&self, wanted: Vec<Wanted>) -> Result<Vec<(usize, ObjectEntry)>, CaptureError> {
        let (large, small): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|want| want.listed.size > LARGE);
        let mut done = self.work_off(&small, AT_ONCE)?;
        // One after the other: their parts are read at once already.
        done.extend(self.work_off(&large, 1)?);
        Ok(done)
    }

    fn work_off(
        &self,
        wanted: &[Wanted],
        threads: usize,
    ) -> Result<Vec<(usize, ObjectEntry)>, CaptureError> {
        let queue = Queue {
            wanted,
            next: AtomicUsize::new(0),
            done: Mutex::default(),
            failure: Mutex::default(),
        };
        thread::scope(|scope| {
            for _ in 0..threads.min(wanted.len()) {
                scope.spawn(|| self.work(&queue));
            }
        });
        match queue
            .failure
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Some(error) => Err(error),
            None => Ok(queue
                .done
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn work(&self, queue: &Queue<'_>) {
        while lock(&queue.failure).is_none() {
            let number = queue.next.fetch_add(1, Ordering::Relaxed);
            let Some(want) = queue.wanted.get(number) else {
                return;
            };
            match self.one(want) {
                Ok(entry) => lock(&queue.done).push((want.number, entry)),
                Err(error) => {
                    lock(&queue.failure).get_or_insert(error);
                }
            }
        }
    }

    /// Reads one object, as it is now if it has no versions and was replaced since it was listed.
    fn one(&self, want: &Wanted) -> Result<ObjectEntry, CaptureError> {
        if let Some(entry) = self.take_over(want)? {
            return Ok(entry);
        }
        let mut listed = want.listed.clone();
        let mut odd = None;
        for _ in 0..MOST_TRIES {
            let error = match self.try_one(&listed, &want.path, odd.as_ref()) {
                Ok(Tried::Stored(entry)) => return Ok(*entry),
                Ok(Tried::Odd(md5)) => {
                    odd = Some(md5);
                    continue;
                }
                Err(Failed::Capture(error)) => return Err(error),
                Err(Failed::S3(error)) => error,
            };
            if !error.is_changed() {
                return self.missing(&listed, error);
            }
            match self
                .client
                .head(self.bucket, &listed.key, listed.version.as_deref())
            {
                Ok(head) => update(&mut listed, &head),
                Err(error) => return self.missing(&listed, error),
            }
        }
        let why = match odd {
            Some(_) => "its bytes are others each time they are read",
            None => "it was replaced again and again while it was read",
        };
        Ok(without(&listed, why.to_owned()))
    }

    /// The content as the parent has it; `None` if it must be read after all.
    fn take_over(&self, want: &Wanted) -> Result<Option<ObjectEntry>, CaptureError> {
        let Some(same) = &want.same else {
            return Ok(None);
        };
        let mut attributes = same.attributes.clone();
        // An object may change its class and stay what it is.
        attributes
            .storage_class
            .clone_from(&want.listed.storage_class);
        if self.tags == Tags::Always {
            match self.tags_of(&want.listed) {
                Ok(tags) => attributes.tags = tags,
                // Whatever it is, reading it will tell.
                Err(_) => return Ok(None),
            }
        }
        let entry = ObjectEntry {
            attributes,
            path: Some(want.path.clone()),
            ..ObjectEntry::listed(&want.listed)
        };
        let of = self.place(same.path.as_deref().unwrap_or_default())?;
        let path = self.place(&want.path)?;
        let taken = self.backup.add_from_parent(&path, entry.node(), &of)?;
        Ok(taken.then_some(entry))
    }

    /// An object that cannot be had is named and left out; a server that does not answer is a failure.
    fn missing(&self, listed: &ListedVersion, error: S3Error) -> Result<ObjectEntry, CaptureError> {
        let why = if error.is_missing() {
            "it was deleted while it was being captured".to_owned()
        } else if error.is_denied() {
            self.seen.denied.fetch_add(1, Ordering::Relaxed);
            with_causes(&error.source)
        } else if error.is_no_bucket() {
            return Err(CaptureError::S3(error));
        } else if error.status().is_some() || is_about_the_object(&error) {
            with_causes(&error.source)
        } else {
            return Err(CaptureError::S3(error));
        };
        Ok(without(listed, why))
    }

    fn try_one(
        &self,
        listed: &ListedVersion,
        path: &str,
        odd: Option<&ETag>,
    ) -> Result<Tried, Failed> {
        let path = self.place(path)?;
        match listed.size > LARGE {
            true => self.in_parts(listed, path, odd),
            false => self.in_one(listed, path, odd),
        }
    }

    fn place(&self, path: &str) -> Result<TreePath, BackupError> {
        Ok(self.at.append(&TreePath::new(path)?))
    }

    fn in_one(
        &self,
        listed: &ListedVersion,
        path: TreePath,
        odd: Option<&ETag>,
    ) -> Result<Tried, Failed> {
        let etag = Some(&listed.etag).filter(|etag| !etag.0.is_empty());
        let version = listed.version.as_deref();
        let fetched = self
            .client
            .get(self.bucket, &listed.key, version, etag, None)?;
        if fetched.is_as_tagged() == Some(false) {
            let md5 = fetched.md5();
            if odd != Some(&md5) {
                return Ok(Tried::Odd(md5));
            }
            // Twice the same bytes: it is the tag that is no MD5.
            self.seen.odd_etags.fetch_add(1, Ordering::Relaxed);
        }
        let mut entry = self.described(listed, &fetched.head, &path)?;
        entry.size = fetched.body.len() as u64;
        let (node, chunking) = (entry.node(), Chunking::ContentDefined);
        let mut writer = self
            .backup
            .file_writer_sized(path, node, chunking, entry.size);
        writer.write(&fetched.body)?;
        writer.finish()?;
        Ok(self.stored(entry))
    }

    fn stored(&self, entry: ObjectEntry) -> Tried {
        self.seen.objects.fetch_add(1, Ordering::Relaxed);
        self.seen.bytes.fetch_add(entry.size, Ordering::Relaxed);
        Tried::Stored(Box::new(entry))
    }

    /// What the answer tells of the object, and its tags.
    fn described(
        &self,
        listed: &ListedVersion,
        head: &ObjectHead,
        path: &TreePath,
    ) -> Result<ObjectEntry, Failed> {
        let mut entry = ObjectEntry::listed(listed);
        let class = entry.attributes.storage_class.take();
        entry.attributes = head.attributes.clone();
        entry.attributes.storage_class = entry.attributes.storage_class.or(class);
        if self.tags != Tags::Never {
            entry.attributes.tags = self.tags_of(listed)?;
        }
        // Below the dataset.
        let skipped = self.at.as_bytes().len() + 1;
        let below = path.as_bytes().get(skipped..).unwrap_or_default();
        entry.path = Some(String::from_utf8_lossy(below).into_owned());
        Ok(entry)
    }

    /// `None` if the server keeps none or does not give them.
    pub fn tags_of(
        &self,
        listed: &ListedVersion,
    ) -> Result<Option<std::collections::BTreeMap<String, String>>, S3Error> {
        if self.seen.no_tags.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let version = listed.version.as_deref();
        match self.client.tags(self.bucket, &listed.key, version) {
            Ok(tags) => Ok(Some(tags)),
            Err(error) if error.is_unsupported() => {
                self.seen.no_tags.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) if error.is_denied() || is_about_the_object(&error) => {
                self.seen.denied_tags.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn in_parts(
        &self,
        listed: &ListedVersion,
        path: TreePath,
        odd: Option<&ETag>,
    ) -> Result<Tried, Failed> {
        let first = self.part(listed, 0)?;
        let entry = self.described(listed, &first.head, &path)?;
        let writer = self
            .backup
            .file_writer(path, entry.node(), Chunking::ContentDefined);
        let tells = listed.etag.looks_like_md5() && !first.head.is_tag_opaque;
        let parts = Parts {
            count: listed.size.div_ceil(PIECE),
            next: AtomicU64::new(1),
            inner: Mutex::new(InOrder {
                turn: 0,
                writer: Some(writer),
                md5: tells.then(ContentMd5::default),
                failure: None,
            }),
            moved: Condvar::new(),
        };
        parts.put(0, Ok(&first.body));
        drop(first);
        thread::scope(|scope| {
            for _ in 0..PARTS_AT_ONCE {
                scope.spawn(|| self.read_parts(listed, &parts));
            }
        });
        let ended = parts
            .inner
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = ended.writer else {
            return Err(BackupError::Ended.into());
        };
        if let Some(failure) = ended.failure {
            writer.abandon()?;
            return Err(failure);
        }
        let md5 = ended.md5.map(ContentMd5::finish);
        if let Some(md5) = md5.filter(|md5| *md5 != listed.etag) {
            if odd != Some(&md5) {
                writer.abandon()?;
                return Ok(Tried::Odd(md5));
            }
            self.seen.odd_etags.fetch_add(1, Ordering::Relaxed);
        }
        writer.finish()?;
        Ok(self.stored(entry))
    }

    fn part(
        &self,
        listed: &ListedVersion,
        number: u64,
    ) -> Result<rekindle_stores::s3::Fetched, S3Error> {
        let start = number * PIECE;
        let range = start..listed.size.min(start + PIECE);
        let etag = Some(&listed.etag).filter(|etag| !etag.0.is_empty());
        let version = listed.version.as_deref();
        self.client
            .get(self.bucket, &listed.key, version, etag, Some(range))
    }

    fn read_parts(&self, listed: &ListedVersion, parts: &Parts) {
        while !parts.has_failed() {
            let number = parts.next.fetch_add(1, Ordering::Relaxed);
            if number >= parts.count {
                return;
            }
            match self.part(listed, number) {
                Ok(part) => parts.put(number, Ok(&part.body)),
                Err(error) => parts.put(number, Err(error.into())),
            }
        }
    }
}

/// The parts of a large object, which come in any order and are written in theirs. Each thread holds one, no more.
struct Parts {
    count: u64,
    next: AtomicU64,
    inner: Mutex<InOrder>,
    moved: Condvar,
}

struct InOrder {
    turn: u64,
    writer: Option<FileWriter>,
    md5: Option<ContentMd5>,
    failure: Option<Failed>,
}

impl Parts {
    fn has_failed(&self) -> bool {
        lock(&self.inner).failure.is_some()
    }

    /// Waits for its turn, and writes. A failure does not wait.
    fn put(&self, number: u64, part: Result<&[u8], Failed>) {
        let mut inner = lock(&self.inner);
        let part = match part {
            Ok(part) => part,
            Err(failure) => {
                inner.failure.get_or_insert(failure);
                self.moved.notify_all();
                return;
            }
        };
        while inner.turn != number && inner.failure.is_none() {
            inner = self
                .moved
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if inner.failure.is_some() {
            return;
        }
        if let Some(md5) = &mut inner.md5 {
            md5.update(part);
        }
        let written = inner.writer.as_mut().map(|writer| writer.write(part));
        match written {
            Some(Err(error)) => {
                inner.failure.get_or_insert(error.into());
            }
            _ => inner.turn += 1,
        }
        self.moved.notify_all();
    }
}

/// Whether the failure is this object's own: an answer that makes no sense, or a key that no URL can name.
fn is_about_the_object(error: &S3Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, Unsupported};
    matches!(
        error.source.kind(),
        InvalidData | InvalidInput | Unsupported
    )
}

fn without(listed: &ListedVersion, why: String) -> ObjectEntry {
    ObjectEntry {
        missing: Some(why),
        ..ObjectEntry::listed(listed)
    }
}

/// As the object is now.
fn update(listed: &mut ListedVersion, head: &ObjectHead) {
    listed.size = head.size;
    listed.etag = head.etag.clone();
    listed.modified = head.modified.unwrap_or(listed.modified);
    listed
        .storage_class
        .clone_from(&head.attributes.storage_class);
}
