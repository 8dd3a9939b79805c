//! At most so many bytes per second.

use std::{
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rekindle_vault::store::{Distance, Listed, ObjectKey, ObjectLocks, Store, StoreError};

/// A store that is slower than it could be, so that others have some of the line.
pub struct Limited<S> {
    inner: S,
    upload: Option<Pace>,
    download: Option<Pace>,
}

impl<S: Store> Limited<S> {
    /// At most so many bytes per second each way, on average over a few objects; `None` is no limit.
    /// An object waits for its turn as a whole, so that one larger than the limit is late, not refused.
    pub fn new(inner: S, upload: Option<u64>, download: Option<u64>) -> Self {
        Self {
            inner,
            upload: upload.map(Pace::new),
            download: download.map(Pace::new),
        }
    }
}

/// Who comes next may begin when the bytes of all before are paid for.
struct Pace {
    bytes_per_second: u64,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            free_at: Mutex::new(None),
        }
    }

    /// How long to wait before `bytes` may be moved at `now`.
    fn book(&self, bytes: usize, now: Instant) -> Duration {
        #[allow(clippy::cast_precision_loss, reason = "a pace need not be exact")]
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.map_or(now, |free| free.max(now));
        *free_at = Some(start + takes);
        start - now
    }
}

fn wait(pace: Option<&Pace>, bytes: usize) {
    if let Some(pace) = pace {
        sleep(pace.book(bytes, Instant::now()));
    }
}

impl<S: Store> Store for Limited<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    /// Its length is known afterwards, so it is paid for by whoever comes next.
    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        wait(self.download.as_ref(), 0);
        let content = self.inner.read(key)?;
        if let Some(pace) = &self.download {
            pace.book(content.len(), Instant::now());
        }
        Ok(content)
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        wait(self.download.as_ref(), buffer.len());
        self.inner.read_range(key, offset, buffer)
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        wait(self.upload.as_ref(), content.len());
        self.inner.create(key, content)
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        wait(self.upload.as_ref(), content.len());
        self.inner.replace(key, content)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(folder)
    }

    fn object_locks(&self) -> Option<&dyn ObjectLocks> {
        self.inner.object_locks()
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        self.inner.written_at(key)
    }

    fn distance(&self) -> Distance {
        self.inner.distance()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_second_take_a_second_and_idle_time_is_not_saved_up() {
        let (pace, start) = (Pace::new(1000), Instant::now());
        assert_eq!(pace.book(500, start), Duration::ZERO);
        assert_eq!(pace.book(1500, start), Duration::from_millis(500));
        assert_eq!(pace.book(0, start), Duration::from_secs(2));
        let later = start + Duration::from_secs(100);
        assert_eq!(pace.book(1000, later), Duration::ZERO);
        assert_eq!(pace.book(1, later), Duration::from_secs(1));
    }
}
