//! A store in memory with versions and locks, as S3's Object Lock has them, and a clock that is set by hand.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rekindle_vault::store::{
    Listed, LockPeriod, LockSupport, ObjectKey, ObjectLocks, ObjectVersion, Operation, PageMark,
    Store, StoreError, VersionsPage, is_lockable,
};

pub const DAYS: u16 = 30;
/// So small that every test turns pages.
const PAGE: usize = 7;

struct Version {
    id: u64,
    modified: Timestamp,
    content: Option<Vec<u8>>,
    lock: Option<Timestamp>,
}

/// Newest version last.
type Objects = BTreeMap<ObjectKey, Vec<Version>>;

pub struct Versioned {
    now: Mutex<Timestamp>,
    objects: Mutex<Objects>,
    ids: AtomicU64,
    /// Whether it locks what it writes: a program that knows of locks, and not a thief.
    locks: bool,
    /// Whether nobody may remove any version, not even a marker.
    pub keeps_markers: AtomicBool,
    /// Requests about the locks of single objects.
    pub asked: AtomicU64,
    pub extended: AtomicU64,
}

impl Versioned {
    pub fn at(now: Timestamp) -> Self {
        Self {
            now: Mutex::new(now),
            objects: Mutex::default(),
            ids: AtomicU64::new(1),
            locks: true,
            keeps_markers: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            extended: AtomicU64::new(0),
        }
    }

    pub fn set_clock(&self, now: Timestamp) {
        *self.now.lock().unwrap() = now;
    }

    /// Each write has a time of its own.
    fn tick(&self) -> Timestamp {
        let mut now = self.now.lock().unwrap();
        *now += SignedDuration::from_millis(1);
        *now
    }

    pub fn clock(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap()
    }

    fn push(&self, key: &ObjectKey, content: Option<Vec<u8>>, is_locked: bool) {
        let modified = self.tick();
        let lock = (is_locked && is_lockable(key)).then(|| self.period().end(modified));
        let version = Version {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            modified,
            content,
            lock,
        };
        self.objects().entry(key.clone()).or_default().push(version);
    }

    /// As somebody writes who knows nothing of locks.
    pub fn write_unlocked(&self, key: &ObjectKey, content: &[u8]) {
        self.push(key, Some(content.to_vec()), false);
    }

    /// Removes every version that is not locked, as the rules of a bucket do.
    pub fn expire(&self) {
        let now = self.clock();
        for versions in self.objects().values_mut() {
            let newest = versions.last().map(|version| version.id);
            versions.retain(|version| {
                Some(version.id) == newest || version.lock.is_some_and(|end| end > now)
            });
        }
    }

    pub fn keys(&self) -> Vec<ObjectKey> {
        let objects = self.objects();
        let seen = |versions: &[Version]| versions.last().is_some_and(|v| v.content.is_some());
        let seen = objects.iter().filter(|(_, versions)| seen(versions));
        seen.map(|(key, _)| key.clone()).collect()
    }

    pub fn lock_of(&self, key: &ObjectKey) -> Option<Timestamp> {
        self.objects().get(key)?.last()?.lock
    }

    fn error(&self, operation: Operation, key: &str, kind: ErrorKind) -> StoreError {
        StoreError::new(operation, key, self.location(), kind.into())
    }

    fn seen<T>(&self, key: &ObjectKey, take: impl Fn(&Version) -> T) -> Result<T, StoreError> {
        let objects = self.objects();
        let newest = objects.get(key).and_then(|versions| versions.last());
        let newest = newest.filter(|version| version.content.is_some());
        newest
            .map(take)
            .ok_or_else(|| self.error(Operation::Read, key.as_str(), ErrorKind::NotFound))
    }
}

impl Store for Versioned {
    fn location(&self) -> String {
        "versions in memory".to_owned()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.seen(key, |version| version.content.clone().unwrap_or_default())
    }

    fn read_range(&self, key: &ObjectKey, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let content = self.read(key)?;
        let start = usize::try_from(at).unwrap();
        let range = content.get(start..start + buffer.len());
        let short = || self.error(Operation::Read, key.as_str(), ErrorKind::UnexpectedEof);
        buffer.copy_from_slice(range.ok_or_else(short)?);
        Ok(())
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        if self.seen(key, |_| ()).is_ok() {
            return Err(self.error(Operation::Create, key.as_str(), ErrorKind::AlreadyExists));
        }
        self.push(key, Some(content.to_vec()), self.locks);
        Ok(())
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.push(key, Some(content.to_vec()), self.locks);
        Ok(())
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.seen(key, |_| ())?;
        self.push(key, None, false);
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        let prefix = format!("{folder}/");
        let keys = self.keys().into_iter();
        let inside = keys.filter(|key| key.as_str().starts_with(&prefix));
        Ok(inside
            .map(|key| Listed {
                size_bytes: self.read(&key).unwrap().len() as u64,
                key,
            })
            .collect())
    }

    fn listing_lag(&self) -> Duration {
        Duration::ZERO
    }

    fn object_locks(&self) -> Option<&dyn ObjectLocks> {
        Some(self)
    }
}

impl ObjectLocks for Versioned {
    fn period(&self) -> LockPeriod {
        LockPeriod::of_days(DAYS).unwrap()
    }

    fn support(&self) -> Result<LockSupport, StoreError> {
        Ok(LockSupport::On)
    }

    fn locked_until(
        &self,
        key: &ObjectKey,
        version: Option<&str>,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let Some(id) = version else {
            return self.seen(key, |version| version.lock);
        };
        let objects = self.objects();
        let mut versions = objects.get(key).into_iter().flatten();
        let found = versions.find(|version| version.id.to_string() == id);
        found
            .map(|version| version.lock)
            .ok_or_else(|| self.error(Operation::Read, key.as_str(), ErrorKind::NotFound))
    }

    fn lock_until(&self, key: &ObjectKey, end: Timestamp) -> Result<(), StoreError> {
        self.extended.fetch_add(1, Ordering::Relaxed);
        self.seen(key, |_| ())?;
        let mut objects = self.objects();
        let newest = objects
            .get_mut(key)
            .and_then(|versions| versions.last_mut());
        let newest = newest.unwrap();
        newest.lock = newest.lock.max(Some(end));
        Ok(())
    }

    fn versions(&self, folder: &str, from: Option<&PageMark>) -> Result<VersionsPage, StoreError> {
        let objects = self.objects();
        let inside = |key: &str| {
            folder.is_empty() || key == folder || key.starts_with(&format!("{folder}/"))
        };
        let all = objects.iter().filter(|(key, _)| inside(key.as_str()));
        let mut all = all.flat_map(|(key, versions)| {
            let newest = versions.last().map(|version| version.id);
            versions.iter().rev().map(move |version| ObjectVersion {
                key: key.clone(),
                id: version.id.to_string(),
                is_latest: Some(version.id) == newest,
                is_marker: version.content.is_none(),
                modified: version.modified,
                size_bytes: version.content.as_ref().map_or(0, |c| c.len() as u64),
                tag: version
                    .content
                    .as_ref()
                    .map_or_else(String::new, |c| rekindle_vault::Id::of(c).to_string()),
            })
        });
        if let Some(mark) = from {
            let is_last = |version: &ObjectVersion| {
                version.key.as_str() == mark.key && Some(&version.id) == mark.version.as_ref()
            };
            all.find(is_last);
        }
        let mut versions: Vec<_> = all.take(PAGE + 1).collect();
        let has_more = versions.len() > PAGE;
        versions.truncate(PAGE);
        let next = versions.last().filter(|_| has_more).map(|last| PageMark {
            key: last.key.to_string(),
            version: Some(last.id.clone()),
        });
        Ok(VersionsPage { versions, next })
    }

    fn read_version(&self, key: &ObjectKey, version: &str) -> Result<Vec<u8>, StoreError> {
        let objects = self.objects();
        let mut versions = objects.get(key).into_iter().flatten();
        let found = versions.find(|found| found.id.to_string() == version);
        found
            .and_then(|version| version.content.clone())
            .ok_or_else(|| self.error(Operation::Read, key.as_str(), ErrorKind::NotFound))
    }

    fn remove_marker(&self, key: &ObjectKey, version: &str) -> Result<(), StoreError> {
        let mut objects = self.objects();
        let versions = objects.get_mut(key).unwrap();
        let is_it = |found: &Version| found.id.to_string() == version;
        let is_locked = versions
            .iter()
            .any(|found| is_it(found) && found.lock.is_some());
        if is_locked || self.keeps_markers.load(Ordering::Relaxed) {
            return Err(self.error(Operation::Delete, key.as_str(), ErrorKind::PermissionDenied));
        }
        versions.retain(|found| !is_it(found));
        Ok(())
    }
}
