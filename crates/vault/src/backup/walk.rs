//! The walk of a directory by several threads.
//!
//! A listing, or a few names of one, is a piece of work; whoever has none takes the newest, so that the walk goes into
//! the depth and few pieces wait. What is met goes into the tree in any order, which sorts it.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::fs::{Dir, FileType, OFlags};

use super::{
    Backup, BackupError,
    links::Links,
    local_file::{LocalFile, WhenMissing, open_without_links},
    local_tree::TreeReport,
    open_folder::OpenFolder,
    parent::{OldFolder, ParentView},
    trouble::{Group, Trouble, TroubleKind},
};
use crate::{
    chunk::Chunking,
    path::TreePath,
    tree::{Node, NodeKind},
};

/// More threads than this wait for each other; on a disk far away each would help.
const MOST_WALKERS: usize = 4;
/// Names that one thread looks at in one go.
const NAMES_AT_ONCE: usize = 128;

/// What is walked over, and what ends the walk.
pub(super) struct Rules<'a> {
    pub leave_out: &'a (dyn Fn(&Path, bool) -> bool + Sync),
    pub one_file_system: bool,
    /// Whatever cannot be read ends the backup. Otherwise it is told.
    pub is_strict: bool,
}

pub(super) struct Walk<'a> {
    backup: &'a Backup,
    source: PathBuf,
    at: TreePath,
    rules: Rules<'a>,
    device: u64,
    parent: Option<ParentView>,
    group: Arc<Group>,
    links: Links,
    queue: Mutex<Queue>,
    wake: Condvar,
    report: Mutex<TreeReport>,
}

#[derive(Default)]
struct Queue {
    work: Vec<Work>,
    busy: usize,
    failed: Option<BackupError>,
}

/// A directory that is being walked.
struct Folder {
    source: PathBuf,
    at: TreePath,
    old: Option<Arc<OldFolder>>,
    open: Arc<OpenFolder>,
}

enum Work {
    List(Arc<Folder>),
    Look(Arc<Folder>, Vec<OsString>),
}

/// An entry, looked at.
struct Entry {
    source: PathBuf,
    at: TreePath,
    node: Node,
    /// Where it lies, unless it is the source itself.
    folder: Option<Arc<OpenFolder>>,
}

impl<'a> Walk<'a> {
    pub fn new(
        backup: &'a Backup,
        source: PathBuf,
        at: TreePath,
        rules: Rules<'a>,
    ) -> Result<Self, BackupError> {
        let metadata = fs::metadata(&source).map_err(|error| read_error(&at, &source, error))?;
        Ok(Self {
            device: metadata.dev(),
            parent: backup.parent().as_ref().map(super::Parent::view),
            backup,
            source,
            at,
            rules,
            group: Arc::default(),
            links: Links::default(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            report: Mutex::default(),
        })
    }

    /// Walks; unless it is strict, waits until everything is read.
    pub fn run(self) -> Result<TreeReport, BackupError> {
        self.add_source()?;
        let walkers = thread::available_parallelism().map_or(1, |n| n.get().min(MOST_WALKERS));
        thread::scope(|scope| {
            for _ in 1..walkers {
                scope.spawn(|| self.work());
            }
            self.work();
        });
        if let Some(error) = self.queue().failed.take() {
            return Err(error);
        }
        if !self.rules.is_strict {
            self.group.wait(&self.backup.shared.failure);
            self.backup.shared.failure.check()?;
            self.add_second_names()?;
        }
        let mut report = std::mem::take(&mut *self.report());
        report.files -= self.group.lost();
        report.troubles = self.group.take_troubles();
        report.other_file_systems.sort();
        Ok(report)
    }

    /// The source itself: a directory to be listed, or anything else.
    fn add_source(&self) -> Result<(), BackupError> {
        let unreadable = |error| read_error(&self.at, &self.source, error);
        let metadata = fs::metadata(&self.source).map_err(unreadable)?;
        let mut node = Node::of_metadata(&metadata);
        if !self.add_attributes(&mut node, &self.source, &self.at)? {
            return Ok(());
        }
        let (above, name) = match self.at.split() {
            Some((above, name)) => (Some(above), name.to_vec()),
            None => (None, Vec::new()),
        };
        let old = |path: &TreePath| self.parent.as_ref()?.folder(&self.backup.index, path);
        if node.kind == NodeKind::Dir {
            self.backup.add_node(&self.at, node)?;
            self.report().count(NodeKind::Dir);
            let folder = Folder {
                source: self.source.clone(),
                at: self.at.clone(),
                old: old(&self.at),
                open: OpenFolder::new(self.at.clone(), None, &self.backup.shared),
            };
            self.queue().work.push(Work::List(Arc::new(folder)));
            return Ok(());
        }
        let folder = above.as_ref().and_then(old);
        let entry = Entry {
            source: self.source.clone(),
            at: self.at.clone(),
            node,
            folder: None,
        };
        self.add_entry(entry, folder.as_deref(), &name)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> MutexGuard<'_, TreeReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until there is nothing left, or somebody failed.
    fn work(&self) {
        while let Some(work) = self.take() {
            let found = self.perform(work);
            let mut queue = self.queue();
            queue.busy -= 1;
            match found {
                Ok(found) => queue.work.extend(found),
                Err(error) => drop(queue.failed.get_or_insert(error)),
            }
            self.wake.notify_all();
        }
    }

    fn take(&self) -> Option<Work> {
        let mut queue = self.queue();
        loop {
            if queue.failed.is_some() {
                return None;
            }
            if let Some(work) = queue.work.pop() {
                queue.busy += 1;
                return Some(work);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn perform(&self, work: Work) -> Result<Vec<Work>, BackupError> {
        match work {
            Work::List(folder) => self.list(&folder),
            Work::Look(folder, names) => self.look(&folder, names),
        }
    }

    /// The names in a directory, a few at a time.
    fn list(&self, folder: &Arc<Folder>) -> Result<Vec<Work>, BackupError> {
        let mut names = match self.names(folder) {
            Ok(names) => names,
            Err(error) => {
                self.told(Err(error), &folder.source, &folder.at)?;
                return Ok(Vec::new());
            }
        };
        if names.len() <= NAMES_AT_ONCE {
            return self.look(folder, names);
        }
        let mut work = Vec::new();
        while !names.is_empty() {
            let rest = names.split_off(names.len().saturating_sub(NAMES_AT_ONCE));
            work.push(Work::Look(Arc::clone(folder), rest));
        }
        Ok(work)
    }

    fn names(&self, folder: &Folder) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = if self.rules.is_strict {
            fs::File::open(&folder.source)?.into()
        } else {
            open_without_links(&folder.source, flags | OFlags::NOFOLLOW)?
        };
        let (mut names, mut left_out) = (Vec::new(), 0);
        for entry in Dir::new(directory)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = entry.file_type();
            // What the listing does not know, the look at the entry will.
            if kind != FileType::Unknown && self.is_left_out(folder, name, kind.is_dir()) {
                left_out += 1;
            } else {
                names.push(name.to_owned());
            }
        }
        if left_out > 0 {
            self.report().left_out += left_out;
        }
        Ok(names)
    }

    fn is_left_out(&self, folder: &Folder, name: &OsStr, is_directory: bool) -> bool {
        let source = folder.source.join(name);
        let relative = source.strip_prefix(&self.source).unwrap_or(&source);
        (self.rules.leave_out)(relative, is_directory)
    }

    fn look(&self, folder: &Arc<Folder>, names: Vec<OsString>) -> Result<Vec<Work>, BackupError> {
        let mut work = Vec::new();
        for name in names {
            let source = folder.source.join(&name);
            let Some(at) = folder.at.join(&name) else {
                continue;
            };
            let looked = fs::symlink_metadata(&source);
            let metadata = match looked {
                Ok(metadata) => metadata,
                Err(error) => {
                    self.told(Err(error), &source, &at)?;
                    continue;
                }
            };
            let mut node = Node::of_metadata(&metadata);
            let is_directory = node.kind == NodeKind::Dir;
            if self.is_left_out(folder, &name, is_directory) {
                self.report().left_out += 1;
                continue;
            }
            if self.rules.one_file_system && metadata.dev() != self.device {
                self.report().other_file_systems.push(source.clone());
                if is_directory {
                    self.backup.add_node(&at, node)?;
                    self.report().count(NodeKind::Dir);
                }
                continue;
            }
            if !self.add_attributes(&mut node, &source, &at)? {
                continue;
            }
            if is_directory {
                self.backup.add_node(&at, node)?;
                self.report().count(NodeKind::Dir);
                let old = self.old_subfolder(folder, &name);
                let shared = &self.backup.shared;
                work.push(Work::List(Arc::new(Folder {
                    open: OpenFolder::new(at.clone(), Some(&folder.open), shared),
                    source,
                    at,
                    old,
                })));
                continue;
            }
            let entry = Entry {
                source,
                at,
                node,
                folder: Some(Arc::clone(&folder.open)),
            };
            self.add_entry(entry, folder.old.as_deref(), name.as_bytes())?;
        }
        Ok(work)
    }

    fn old_subfolder(&self, folder: &Folder, name: &OsStr) -> Option<Arc<OldFolder>> {
        let (parent, old) = (self.parent.as_ref()?, folder.old.as_deref()?);
        parent.subfolder(&self.backup.index, old, name.as_bytes())
    }

    /// Adds anything but a directory.
    fn add_entry(
        &self,
        mut entry: Entry,
        old: Option<&OldFolder>,
        name: &[u8],
    ) -> Result<(), BackupError> {
        let kind = entry.node.kind;
        match kind {
            NodeKind::File => return self.add_file(entry, old, name),
            NodeKind::Socket if !self.rules.is_strict => {
                self.report().sockets += 1;
                return Ok(());
            }
            NodeKind::Symlink => match fs::read_link(&entry.source) {
                Ok(target) => entry.node.set_link_target(target.as_os_str().as_bytes()),
                Err(error) => return self.told(Err(error), &entry.source, &entry.at),
            },
            _ => {}
        }
        self.backup.add_node(&entry.at, entry.node)?;
        self.report().count(kind);
        Ok(())
    }

    fn add_file(
        &self,
        entry: Entry,
        old: Option<&OldFolder>,
        name: &[u8],
    ) -> Result<(), BackupError> {
        let Entry {
            source,
            at,
            node,
            folder,
        } = entry;
        {
            let mut report = self.report();
            report.count(NodeKind::File);
            report.bytes += node.size;
        }
        if !self.rules.is_strict
            && (self.links).is_second_name(&source, &at, &node, folder.as_ref())
        {
            return Ok(());
        }
        self.backup.shared.failure.check()?;
        let view = self.parent.as_ref();
        match view.and_then(|view| view.unchanged(&self.backup.index, old, name, &node)) {
            Some(content) => self.take_over(&at, node, content),
            None => self.read(source, at, node, folder),
        }
    }

    fn take_over(
        &self,
        at: &TreePath,
        mut node: Node,
        content: Vec<crate::id::Id>,
    ) -> Result<(), BackupError> {
        self.backup.shared.progress.did_bytes(node.size);
        node.content = Some(content);
        self.backup.shared.insert(at, node)
    }

    fn read(
        &self,
        source: PathBuf,
        at: TreePath,
        node: Node,
        folder: Option<Arc<OpenFolder>>,
    ) -> Result<(), BackupError> {
        let file = LocalFile {
            source,
            most_bytes: node.size,
            node,
            chunking: Chunking::ContentDefined,
            when_missing: WhenMissing::LeaveOut,
            inspect: None,
        };
        let group = (!self.rules.is_strict).then(|| Arc::clone(&self.group));
        self.backup.read_local_file(at, file, group, folder)
    }

    /// Further names of files get what was read under the first one, or what can be read under them.
    fn add_second_names(&self) -> Result<(), BackupError> {
        for second in self.links.take_second_names() {
            let first = self.backup.shared.file_at(&second.first);
            match first.filter(|first| second.is_name_of(first)) {
                Some(first) => self.backup.shared.insert(&second.at, first)?,
                None => self.read(second.source, second.at, second.node, second.folder)?,
            }
        }
        self.group.wait(&self.backup.shared.failure);
        self.backup.shared.failure.check()
    }

    /// What becomes of a failed look: vanished is told, anything else too unless the walk is strict.
    fn told(
        &self,
        outcome: io::Result<()>,
        source: &Path,
        at: &TreePath,
    ) -> Result<(), BackupError> {
        let Err(error) = outcome else {
            return Ok(());
        };
        self.tell(TroubleKind::of_error(&error), error, source, at)
    }

    /// Takes the attributes of an entry; `false` if it is not there any more.
    fn add_attributes(
        &self,
        node: &mut Node,
        source: &Path,
        at: &TreePath,
    ) -> Result<bool, BackupError> {
        let Err(error) = node.add_extended_attributes(source) else {
            return Ok(true);
        };
        let is_gone = error.kind() == io::ErrorKind::NotFound;
        let kind = if is_gone {
            TroubleKind::Vanished
        } else {
            TroubleKind::Attributes(error.to_string())
        };
        self.tell(kind, error, source, at)?;
        Ok(!is_gone)
    }

    fn tell(
        &self,
        kind: TroubleKind,
        error: io::Error,
        source: &Path,
        at: &TreePath,
    ) -> Result<(), BackupError> {
        if self.rules.is_strict && kind != TroubleKind::Vanished {
            return Err(read_error(at, source, error));
        }
        self.group.tell(Trouble {
            source: source.to_owned(),
            at: at.clone(),
            kind,
        });
        Ok(())
    }
}

fn read_error(path: &TreePath, source_path: &Path, source: io::Error) -> BackupError {
    let source_path = source_path.display().to_string();
    BackupError::Read {
        path: path.clone(),
        source_path,
        source,
    }
}
