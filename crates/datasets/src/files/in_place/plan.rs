//! What is replaced by what. Changes nothing.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    io::ErrorKind,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rekindle_vault::{Id, Node, NodeKind, TreePath, VaultError};

use super::{
    ensure_room, io,
    mapping::{self, Archive, Mapped, Mapping},
    mounts, refused,
};
use crate::{
    DatasetRecord, InPlaceError, InPlaceSteps, PointSource,
    files::{
        FileSets, FilesRecord, PathKind,
        place::{Declared, rest_below},
    },
};

/// What helps where only some of an archive has a place.
const PARTLY: &str = "`--path` restores what does belong to one, `--to` all of it to a directory";

/// What will be done.
pub(super) struct Plan {
    pub targets: Vec<Target>,
    pub warnings: Vec<String>,
    /// How an imported archive was understood.
    notes: Vec<String>,
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
    /// Whether the directory keeps the owner and mode that it has.
    pub keeps_root: bool,
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
            notes: Vec::new(),
        };
        let all = mounts::all()?;
        let wanted = wanted(mapping(sets, record, source)?, source.part.as_ref())?;
        if is_imported(record) {
            plan.notes = understood(&wanted);
            plan.warn_of_absent(sets, &wanted, source);
        }
        for one in wanted {
            let declared = one.declared;
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
                    let target = Target::find(source, &one, &all)?;
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
        if is_imported(record) && source.part.is_none() {
            plan.ensure_nothing_left_over(source)?;
        }
        plan.warn(record);
        plan.ensure_room()?;
        Ok(plan)
    }

    fn warn_of_absent(&mut self, sets: &FileSets, wanted: &[Wanted<'_>], source: &PointSource<'_>) {
        let is_absent = |path: &&Declared| {
            source.part.is_none() && !wanted.iter().any(|one| one.declared == *path)
        };
        let absent = sets.paths.iter().filter(is_absent).map(|path| {
            format!(
                "`{}` is not in the imported archive, and stays as it is",
                path.declared.display()
            )
        });
        self.warnings.extend(absent);
    }

    /// Below a directory that only leads to a path there may be more than that path.
    fn ensure_nothing_left_over(&self, source: &PointSource<'_>) -> Result<(), InPlaceError> {
        let (mut files, mut bytes) = (0, 0);
        if let Some(node) = found(source, &source.at)? {
            count(source, &node, &mut files, &mut bytes)?;
        }
        let left_over = files.saturating_sub(self.entries());
        if left_over == 0 {
            return Ok(());
        }
        let reason = format!(
            "{left_over} file(s) of the imported archive belong to no path of rekindle.yaml"
        );
        Err(refused(reason, Some(PARTLY)))
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
        let mut steps = self.notes.clone();
        steps.extend(each(&|target| {
            Some(format!(
                "restore {} file(s) of {} beside {}, every piece verified",
                target.files,
                target.at,
                target.live.display()
            ))
        }));
        let stop_after = Some(steps.len());
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
            stop_after,
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
            ensure_room(folder, needed_bytes)?;
        }
        Ok(())
    }
}

/// A declared path that is meant.
struct Wanted<'s> {
    declared: &'s Declared,
    /// Where the path lies below the dataset.
    base: TreePath,
    /// What is restored of it: the same, or something below it.
    place: TreePath,
}

/// The declared paths that are meant. What lies outside of them is refused, unless a part is asked for that does not.
fn wanted<'s>(
    mapping: Mapping<'s>,
    part: Option<&TreePath>,
) -> Result<Vec<Wanted<'s>>, InPlaceError> {
    let whole = |Mapped { declared, base }: Mapped<'s>| Wanted {
        declared,
        place: base.clone(),
        base,
    };
    let Some(part) = part else {
        if let Some(first) = mapping.unmatched.first() {
            let reason =
                format!("`{first}` of the imported archive belongs to no path of rekindle.yaml");
            return Err(refused(reason, Some(PARTLY)));
        }
        return Ok(mapping.mapped.into_iter().map(whole).collect());
    };
    let mut mapped = mapping.mapped;
    let inside = |path: &Mapped<'_>| rest_below(&path.base, part).is_some();
    if let Some(at) = mapped.iter().position(inside) {
        let mut wanted = whole(mapped.swap_remove(at));
        wanted.place = part.clone();
        return Ok(vec![wanted]);
    }
    mapped.retain(|path| rest_below(part, &path.base).is_some());
    Ok(mapped.into_iter().map(whole).collect())
}

/// Where the declared paths lie in the point.
fn mapping<'s>(
    sets: &'s FileSets,
    record: &FilesRecord,
    source: &PointSource<'_>,
) -> Result<Mapping<'s>, InPlaceError> {
    if is_imported(record) {
        return mapping::map(&sets.paths, &archive(sets, source)?);
    }
    let as_declared = sets.paths.iter().map(|declared| Mapped {
        declared,
        base: declared.place.clone(),
    });
    Ok(Mapping {
        mapped: as_declared.collect(),
        unmatched: Vec::new(),
    })
}

/// A backup knows its paths, an archive has none.
fn is_imported(record: &FilesRecord) -> bool {
    record.paths.is_empty()
}

fn archive(sets: &FileSets, source: &PointSource<'_>) -> Result<Archive, InPlaceError> {
    let nodes = match found(source, &source.at)?.and_then(|node| node.subtree) {
        Some(subtree) => source.vault.read_tree(source.index, &subtree)?.nodes,
        None => Vec::new(),
    };
    let tops: Vec<_> = nodes
        .into_iter()
        .map(|node| (node.name, node.kind == NodeKind::Dir))
        .collect();
    let has_place = sets
        .paths
        .iter()
        .map(|path| Ok(found(source, &source.at.append(&path.place))?.is_some()));
    let looks_like_content = match (sets.paths.as_slice(), tops.as_slice()) {
        ([path], [(name, _)]) => path.source.join(OsStr::from_bytes(name)).exists(),
        _ => false,
    };
    Ok(Archive {
        has_place: has_place.collect::<Result<_, InPlaceError>>()?,
        tops,
        looks_like_content,
    })
}

/// What lies there in the point, if anything does.
fn found(source: &PointSource<'_>, at: &TreePath) -> Result<Option<Node>, InPlaceError> {
    let node = source
        .vault
        .find_node(source.index, source.snapshot, at.as_bytes());
    match node {
        Err(VaultError::NoSuchPath { .. }) => Ok(None),
        other => Ok(other?),
    }
}

/// How the archive was understood, in words.
fn understood(wanted: &[Wanted<'_>]) -> Vec<String> {
    let each = wanted.iter().map(|one| {
        let what = match one.base.as_bytes() {
            [] => "all that is in the imported archive".to_owned(),
            base => format!(
                "`{}` of the imported archive",
                String::from_utf8_lossy(base)
            ),
        };
        format!("take {what} for {}", one.declared.source.display())
    });
    each.collect()
}

/// What the point says of a declared path; `None` if it does not know it. An archive has what was found in it.
fn state(record: &FilesRecord, declared: &Declared) -> Option<PathKind> {
    if is_imported(record) {
        return Some(PathKind::Directory);
    }
    let place = declared.place_text();
    let known = record.paths.iter().find(|path| path.place == place);
    known.map(|path| path.kind)
}

impl Target {
    fn find(
        source: &PointSource<'_>,
        wanted: &Wanted<'_>,
        all: &[PathBuf],
    ) -> Result<Self, InPlaceError> {
        let at = source.at.append(&wanted.place);
        let node = source
            .vault
            .find_node(source.index, source.snapshot, at.as_bytes())?;
        let node = node.ok_or_else(|| refused(format!("{at} is no file or directory"), None))?;
        let rest = rest_below(&wanted.base, &wanted.place).unwrap_or_default();
        let live = live_path(wanted.declared, Path::new(OsStr::from_bytes(rest)))?;
        let metadata = match fs::symlink_metadata(&live) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            other => Some(other.map_err(io("look at", &live))?),
        };
        // An archive of a directory's content says nothing of the directory itself.
        let keeps_root = wanted.place.as_bytes().is_empty()
            && matches!(source.record, DatasetRecord::Files(record) if is_imported(record));
        if keeps_root && metadata.as_ref().is_some_and(|there| !there.is_dir()) {
            let reason = format!("{} is no directory", live.display());
            return Err(refused(reason, Some("restore the archive with `--to`")));
        }
        let is_mount = ensure_renamable(&live, node.kind, metadata.as_ref(), all)?;
        let (mut files, mut bytes) = (0, 0);
        count(source, &node, &mut files, &mut bytes)?;
        Ok(Self {
            file_name: (node.kind != NodeKind::Dir)
                .then(|| OsStr::from_bytes(&node.name).to_owned()),
            is_there: metadata.is_some(),
            live,
            at,
            keeps_root,
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
