//! What is replaced by what. Changes nothing.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    io::ErrorKind,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rekindle_vault::{Id, Node, NodeKind, TreePath};

use super::{io, mounts, refused};
use crate::{
    DatasetRecord, InPlaceError, InPlaceSteps, PointSource,
    files::{
        FileSets, FilesRecord, PathKind,
        place::{Declared, rest_below},
    },
};

/// What will be done.
pub(super) struct Plan {
    pub targets: Vec<Target>,
    pub warnings: Vec<String>,
}

/// One path that is replaced.
pub(super) struct Target {
    /// The path, without links on the way.
    pub live: PathBuf,
    /// Where its successor lies in the recovery point.
    pub at: TreePath,
    /// The successor's name, if it is no directory.
    pub file_name: Option<OsString>,
    /// Whether the path is a mount point, so that it cannot be renamed.
    pub is_mount: bool,
    pub files: u64,
    pub bytes: u64,
    /// Whether there is something to be set aside.
    is_there: bool,
}

impl Plan {
    pub fn make(sets: &FileSets, source: &PointSource<'_>) -> Result<Self, InPlaceError> {
        let DatasetRecord::Files(record) = source.record else {
            return Err(refused(
                "the point holds another kind of dataset there",
                None,
            ));
        };
        let mut plan = Self {
            targets: Vec::new(),
            warnings: Vec::new(),
        };
        let all = mounts::all()?;
        for (declared, place) in wanted(sets, source)? {
            match state(record, declared) {
                None => plan.warnings.push(format!(
                    "`{}` is not in this recovery point, and stays as it is",
                    declared.declared.display()
                )),
                Some(PathKind::Missing) => plan.warnings.push(format!(
                    "`{}` was not there when the recovery point was made, and stays as it is",
                    declared.declared.display()
                )),
                Some(_) => {
                    let target = Target::find(source, declared, &place, &all)?;
                    plan.targets.push(target);
                }
            }
        }
        if plan.targets.is_empty() {
            let reason = match &source.part {
                Some(part) => format!("nothing that rekindle.yaml declares is at {part}"),
                None => "the recovery point has none of the paths of rekindle.yaml".to_owned(),
            };
            return Err(refused(
                reason,
                Some("`--to` restores anything to a directory"),
            ));
        }
        plan.warn(record);
        plan.ensure_room()?;
        Ok(plan)
    }

    fn warn(&mut self, record: &FilesRecord) {
        let in_point = |path: &&crate::files::PathRecord| path.left_out > 0 || path.sockets > 0;
        if record.paths.iter().any(|path| in_point(&path)) {
            self.warnings.push(
                "what `exclude` leaves out, and sockets, are not in the recovery point: they stay in what is set aside"
                    .to_owned(),
            );
        }
        if record.trouble_count > 0 {
            self.warnings.push(format!(
                "{} entries were not captured as they lay on the disk; `recovery-point.json` names them",
                record.trouble_count
            ));
        }
    }

    pub fn entries(&self) -> u64 {
        self.targets.iter().map(|target| target.files).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.targets.iter().map(|target| target.bytes).sum()
    }

    pub fn in_words(&self) -> InPlaceSteps {
        let each = |say: &dyn Fn(&Target) -> Option<String>| -> Vec<String> {
            self.targets.iter().filter_map(say).collect()
        };
        let mut steps = each(&|target| {
            Some(format!(
                "restore {} file(s) of {} beside {}, every piece verified",
                target.files,
                target.at,
                target.live.display()
            ))
        });
        steps.extend(each(&|target| {
            let what = if target.is_mount { "what is in " } else { "" };
            let live = target.live.display();
            target
                .is_there
                .then(|| format!("set aside {what}{live}, by renaming it"))
        }));
        steps.extend(each(&|target| {
            Some(format!(
                "give what was restored its place at {}",
                target.live.display()
            ))
        }));
        InPlaceSteps {
            steps,
            set_aside: each(&|target| target.is_there.then(|| target.live.display().to_string())),
            warnings: self.warnings.clone(),
            entries: self.entries(),
            bytes: self.bytes(),
        }
    }

    /// Everything stands twice for a while. What must have room is summed up for each file system.
    fn ensure_room(&self) -> Result<(), InPlaceError> {
        let mut needed: BTreeMap<u64, (u64, &Path)> = BTreeMap::new();
        for target in &self.targets {
            let folder = target.folder();
            let metadata = fs::metadata(folder).map_err(io("look at", folder))?;
            let sum = needed.entry(metadata.dev()).or_insert((0, folder));
            sum.0 = sum.0.saturating_add(target.bytes);
        }
        for (needed_bytes, folder) in needed.into_values() {
            let stat = rustix::fs::statvfs(folder)
                .map_err(|errno| io("ask for the free space of", folder)(errno.into()))?;
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            if needed_bytes > free {
                let reason = format!(
                    "{} has {free} bytes free, and {needed_bytes} are needed: what is there is kept beside what is restored",
                    folder.display()
                );
                return Err(refused(
                    reason,
                    Some("make room, or restore to another disk with `--to`"),
                ));
            }
        }
        Ok(())
    }
}

/// The declared paths that are meant, each with the place that is restored of it.
fn wanted<'s>(
    sets: &'s FileSets,
    source: &PointSource<'_>,
) -> Result<Vec<(&'s Declared, TreePath)>, InPlaceError> {
    let Some(part) = &source.part else {
        let whole = sets.paths.iter().map(|path| (path, path.place.clone()));
        return Ok(whole.collect());
    };
    let inside = sets
        .paths
        .iter()
        .find(|path| rest_below(&path.place, part).is_some());
    if let Some(declared) = inside {
        return Ok(vec![(declared, part.clone())]);
    }
    let below = sets
        .paths
        .iter()
        .filter(|path| rest_below(part, &path.place).is_some());
    Ok(below.map(|path| (path, path.place.clone())).collect())
}

/// What the point says of a declared path; `None` if it does not know it.
fn state(record: &FilesRecord, declared: &Declared) -> Option<PathKind> {
    let place = declared.place_text();
    let known = record.paths.iter().find(|path| path.place == place);
    known.map(|path| path.kind)
}

impl Target {
    fn find(
        source: &PointSource<'_>,
        declared: &Declared,
        place: &TreePath,
        all: &[PathBuf],
    ) -> Result<Self, InPlaceError> {
        let at = source.at.append(place);
        let node = source
            .vault
            .find_node(source.index, source.snapshot, at.as_bytes())?;
        let node = node.ok_or_else(|| refused(format!("{at} is no file or directory"), None))?;
        let rest = rest_below(&declared.place, place).unwrap_or_default();
        let live = live_path(declared, Path::new(OsStr::from_bytes(rest)))?;
        let metadata = match fs::symlink_metadata(&live) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            other => Some(other.map_err(io("look at", &live))?),
        };
        let is_mount = ensure_renamable(&live, node.kind, metadata.as_ref(), all)?;
        let (mut files, mut bytes) = (0, 0);
        count(source, &node, &mut files, &mut bytes)?;
        Ok(Self {
            file_name: (node.kind != NodeKind::Dir)
                .then(|| OsStr::from_bytes(&node.name).to_owned()),
            is_there: metadata.is_some(),
            live,
            at,
            is_mount,
            files,
            bytes,
        })
    }

    /// The directory whose file system must have room.
    fn folder(&self) -> &Path {
        match self.live.parent() {
            Some(parent) if !self.is_mount => parent,
            _ => &self.live,
        }
    }
}

/// Where a path really lies. Links in what the configuration declares are followed, as they were by the backup; none
/// further down are, because whoever writes there could lead us elsewhere.
fn live_path(declared: &Declared, rest: &Path) -> Result<PathBuf, InPlaceError> {
    let source = &declared.source;
    let base = match fs::canonicalize(source) {
        Ok(base) => base,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = source.parent().unwrap_or(Path::new("/"));
            let parent = fs::canonicalize(parent).map_err(|error| no_folder(parent, error))?;
            parent.join(source.file_name().unwrap_or_default())
        }
        Err(error) => return Err(io("look at", source)(error)),
    };
    let mut live = base;
    for name in rest.components() {
        let metadata = fs::symlink_metadata(&live).map_err(|error| no_folder(&live, error))?;
        if !metadata.is_dir() {
            return Err(refused(format!("{} is no directory", live.display()), None));
        }
        live.push(name);
    }
    Ok(live)
}

fn no_folder(folder: &Path, error: std::io::Error) -> InPlaceError {
    if error.kind() != ErrorKind::NotFound {
        return io("look at", folder)(error);
    }
    let reason = format!("the directory {} is not there", folder.display());
    refused(
        reason,
        Some("restore the directory itself, or make it first"),
    )
}

/// Whether a path is a mount point, whose content changes places. Nothing may be mounted further down: it would go
/// along with what is set aside.
fn ensure_renamable(
    live: &Path,
    kind: NodeKind,
    metadata: Option<&fs::Metadata>,
    all: &[PathBuf],
) -> Result<bool, InPlaceError> {
    if live.parent().is_none() {
        return Err(refused("the root directory cannot be replaced", None));
    }
    let mut is_mount = false;
    for mount in mounts::below(all, live) {
        if mount != live {
            let reason = format!("{} is mounted in {}", mount.display(), live.display());
            let hint = "unmount it, or restore to a directory with `--to`";
            return Err(refused(reason, Some(hint)));
        }
        is_mount = true;
    }
    let are_directories =
        kind == NodeKind::Dir && metadata.is_some_and(|metadata| metadata.is_dir());
    if is_mount && !are_directories {
        let reason = format!("something is mounted at {}", live.display());
        return Err(refused(reason, Some("unmount it first")));
    }
    Ok(is_mount)
}

/// Files and bytes at and below an entry of the point.
fn count(
    source: &PointSource<'_>,
    node: &Node,
    files: &mut u64,
    bytes: &mut u64,
) -> Result<(), InPlaceError> {
    if node.kind == NodeKind::File {
        *files += 1;
        *bytes = bytes.saturating_add(node.size);
    }
    let subtree: Option<&Id> = node.subtree.as_ref();
    if let Some(id) = subtree {
        for node in source.vault.read_tree(source.index, id)?.nodes {
            count(source, &node, files, bytes)?;
        }
    }
    Ok(())
}
