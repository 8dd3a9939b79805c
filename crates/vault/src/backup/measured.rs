//! What was added below which path, while several datasets go into one backup side by side.

use std::sync::{
    RwLock,
    atomic::{AtomicU64, Ordering},
};

use super::{Backup, compare::AddedBytes};
use crate::path::TreePath;

/// A path that somebody asked about, and what was added below it.
struct Below {
    path: TreePath,
    plain_bytes: AtomicU64,
    stored_bytes: AtomicU64,
}

/// The paths of a backup that are measured. There are few, one for each dataset.
#[derive(Default)]
pub(super) struct Measured(RwLock<Vec<Below>>);

impl Measured {
    fn ask(&self, path: &TreePath) {
        let mut all = self
            .0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !all.iter().any(|below| below.path == *path) {
            all.push(Below {
                path: path.clone(),
                plain_bytes: AtomicU64::new(0),
                stored_bytes: AtomicU64::new(0),
            });
        }
    }

    /// Counts what was added of the file at `path`.
    pub fn count(&self, path: &TreePath, added: AddedBytes) {
        if added == AddedBytes::default() {
            return;
        }
        let all = self
            .0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for below in all.iter().filter(|below| below.holds(path)) {
            below
                .plain_bytes
                .fetch_add(added.plain_bytes, Ordering::Relaxed);
            below
                .stored_bytes
                .fetch_add(added.stored_bytes, Ordering::Relaxed);
        }
    }

    fn below(&self, path: &TreePath) -> AddedBytes {
        let all = self
            .0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let found = all.iter().find(|below| below.path == *path);
        found.map_or_else(AddedBytes::default, |below| AddedBytes {
            plain_bytes: below.plain_bytes.load(Ordering::Relaxed),
            stored_bytes: below.stored_bytes.load(Ordering::Relaxed),
        })
    }
}

impl Below {
    fn holds(&self, path: &TreePath) -> bool {
        let rest = path.as_bytes().strip_prefix(self.path.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl Backup {
    /// Begins to measure what is added at and below `path`. To be called before anything is.
    pub fn measure(&self, path: &TreePath) {
        self.shared.measured.ask(path);
    }

    /// What was added of the content of files at and below a path that is measured; nothing if it
    /// is not. What another dataset added first is counted there alone. Complete after
    /// [`Backup::wait_for_files`].
    #[must_use]
    pub fn added_below(&self, path: &TreePath) -> AddedBytes {
        self.shared.measured.below(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn each_path_counts_what_is_below_it_and_no_namesake() {
        let measured = Measured::default();
        measured.ask(&path("db/postgres"));
        measured.ask(&path("db/redis"));
        let added = AddedBytes {
            plain_bytes: 10,
            stored_bytes: 4,
        };
        measured.count(&path("db/postgres/base/1"), added);
        measured.count(&path("db/postgres"), added);
        measured.count(&path("db/postgresql/base/1"), added);
        assert_eq!(measured.below(&path("db/postgres")).plain_bytes, 20);
        assert_eq!(measured.below(&path("db/postgres")).stored_bytes, 8);
        assert_eq!(measured.below(&path("db/redis")), AddedBytes::default());
    }
}
