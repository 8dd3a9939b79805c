//! A whole directory of this machine.

use std::path::{Path, PathBuf};

use super::{
    Backup, BackupError,
    trouble::Trouble,
    walk::{Rules, Walk},
};
use crate::{path::TreePath, tree::NodeKind};

/// A directory to be backed up, all of it or not at all.
pub struct LocalTree<'a> {
    /// The directory.
    pub source: PathBuf,
    /// Its place in the recovery point.
    pub at: TreePath,
    /// Whether to leave out an entry, by its path relative to the directory.
    pub leave_out: &'a (dyn Fn(&Path) -> bool + Sync),
}

/// A file or directory to be backed up as far as it can be read; what cannot is told.
pub struct FileSet<'a> {
    /// The file or directory. If it is a link, what it leads to is meant.
    pub source: PathBuf,
    /// Its place in the recovery point.
    pub at: TreePath,
    /// Whether to leave out an entry with all that is below it, by its path relative to the source and whether it is a
    /// directory. Not asked for the source itself.
    pub leave_out: &'a (dyn Fn(&Path, bool) -> bool + Sync),
    /// Stay on the source's file system: the content of directories on which another one is mounted is left out.
    pub one_file_system: bool,
}

/// What a walk met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeReport {
    /// Regular files that are in the recovery point, each name of a file with several counted.
    pub files: u64,
    /// Directories, with the source itself.
    pub directories: u64,
    /// Links, pipes and devices.
    pub others: u64,
    /// Bytes of the files when they were met.
    pub bytes: u64,
    /// Entries that were left out as asked.
    pub left_out: u64,
    /// Sockets, which have no content and are made anew by whoever listens. Only a [`FileSet`] leaves them out.
    pub sockets: u64,
    /// Where other file systems are mounted, if those were to be left out.
    pub other_file_systems: Vec<PathBuf>,
    /// What is not in the recovery point as it lies on the disk, in the order of paths. Of a [`LocalTree`], what vanished.
    pub troubles: Vec<Trouble>,
}

impl Backup {
    /// Adds a directory with everything in it. Its files may still be read when this returns.
    ///
    /// # Errors
    /// The first entry that cannot be read, or the first failure of the backup, wherever it was.
    pub fn add_local_tree(&self, tree: &LocalTree<'_>) -> Result<TreeReport, BackupError> {
        let leave_out = |path: &Path, _: bool| (tree.leave_out)(path);
        let rules = Rules {
            leave_out: &leave_out,
            one_file_system: false,
            is_strict: true,
        };
        Walk::new(self, tree.source.clone(), tree.at.clone(), rules)?.run()
    }

    /// Adds a file, or a directory with everything in it, as far as it can be read. Returns when all of it has been.
    ///
    /// What cannot be read, or changes while it is read, is tried twice, and told in the report. Names of one file (hard
    /// links) get the same content, which is read once.
    ///
    /// # Errors
    /// [`BackupError::Read`] if the source itself cannot be looked at; else the first failure of the backup, wherever it was.
    pub fn add_file_set(&self, set: &FileSet<'_>) -> Result<TreeReport, BackupError> {
        let rules = Rules {
            leave_out: set.leave_out,
            one_file_system: set.one_file_system,
            is_strict: false,
        };
        let unreadable = |source| BackupError::Read {
            path: set.at.clone(),
            source_path: set.source.display().to_string(),
            source,
        };
        let source = std::fs::canonicalize(&set.source).map_err(unreadable)?;
        Walk::new(self, source, set.at.clone(), rules)?.run()
    }
}

impl TreeReport {
    pub(super) fn count(&mut self, kind: NodeKind) {
        *match kind {
            NodeKind::File => &mut self.files,
            NodeKind::Dir => &mut self.directories,
            _ => &mut self.others,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::*;
    use crate::{BackupOptions, Password, SnapshotDraft, Vault, store::MemoryStore};

    /// What is left of a walk in memory is in proportion to its directories, not to its files.
    #[test]
    fn entries_are_given_up_when_their_directory_is_complete() {
        let source = tempfile::tempdir().unwrap();
        for folder in ["a/b", "a/linked", "empty"] {
            fs::create_dir_all(source.path().join(folder)).unwrap();
        }
        for number in 0..300 {
            fs::File::create(source.path().join(format!("a/b/{number}"))).unwrap();
        }
        let first = source.path().join("a/linked/first");
        fs::File::create(&first).unwrap();
        fs::hard_link(&first, source.path().join("second")).unwrap();
        let vault = Vault::create(Arc::new(MemoryStore::default()), &Password::new("x")).unwrap();
        for round in 0..2 {
            let backup = vault.start_backup(BackupOptions::default()).unwrap();
            let at = TreePath::new("set").unwrap();
            let set = FileSet {
                source: source.path().to_owned(),
                at: at.clone(),
                leave_out: &|_, _| false,
                one_file_system: false,
            };
            assert_eq!(backup.add_file_set(&set).unwrap().files, 302);
            let mut tree = backup.shared.tree();
            let set = tree.open_at(&at).unwrap();
            assert!(set.others.is_empty() && set.directories.is_empty());
            assert!(set.frozen.is_some(), "round {round}");
            drop(tree);
            assert_eq!(backup.files_below(&at, &[]).0, 302);
            let without = [TreePath::new("set/a/b").unwrap()];
            assert_eq!(backup.files_below(&at, &without).0, 2);
            backup.finish(SnapshotDraft::default()).unwrap();
        }
    }
}
