//! Files into a running backup.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt, path::Path};

use jiff::Timestamp;
use rekindle_vault::{
    AddedBytes, Backup, BackupError, FileSet, Node, NodeKind, TreePath, TreeReport, Trouble,
};

use super::{FileSets, FilesError, FilesRecord, PathRecord, place::Declared, record::PathKind};
use crate::{CaptureContext, CaptureError, Captured, DatasetRecord};

/// Troubles that are told one by one; of more there is the number.
const MOST_TOLD: usize = 20;

pub(super) fn capture(
    sets: &FileSets,
    backup: &Backup,
    context: &CaptureContext<'_>,
) -> Result<Captured, CaptureError> {
    let began = Timestamp::now();
    if let Some(DatasetRecord::Files(previous)) = context.previous {
        context.progress.expect_bytes(previous.bytes());
    }
    let mut record = FilesRecord {
        exclude: sets.exclude.patterns().to_vec(),
        one_file_system: sets.one_file_system,
        ..FilesRecord::default()
    };
    if sets.paths.iter().all(|path| path.place != TreePath::root()) {
        backup.add_node(&context.at, directory_of_dataset())?;
    }
    let (mut troubles, mut warnings) = (Vec::new(), Vec::new());
    for declared in &sets.paths {
        let mut path = path_record(declared);
        match capture_path(sets, backup, context, declared)? {
            None => path.kind = PathKind::Missing,
            Some(mut report) => {
                path.count(&report);
                warnings.extend(of_mounts(&path));
                troubles.append(&mut report.troubles);
            }
        }
        record.paths.push(path);
    }
    record.add_troubles(&troubles);
    Ok(Captured {
        record: DatasetRecord::Files(record),
        warnings,
        partly: told(&troubles),
        as_of: Some(began),
        beside: AddedBytes::default(),
    })
}

/// Captures one path; `None` if it is not there and need not be.
fn capture_path(
    sets: &FileSets,
    backup: &Backup,
    context: &CaptureContext<'_>,
    declared: &Declared,
) -> Result<Option<TreeReport>, CaptureError> {
    let place = Path::new(OsStr::from_bytes(declared.place.as_bytes()));
    let leave_out =
        |path: &Path, is_directory: bool| sets.exclude.leaves_out(place, path, is_directory);
    let set = FileSet {
        source: declared.source.clone(),
        at: context.at.append(&declared.place),
        leave_out: &leave_out,
        one_file_system: sets.one_file_system,
    };
    match backup.add_file_set(&set) {
        Ok(report) => Ok(Some(report)),
        Err(BackupError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            if declared.is_optional {
                return Ok(None);
            }
            let path = declared.source.clone();
            Err(FilesError::Missing { path }.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn path_record(declared: &Declared) -> PathRecord {
    PathRecord {
        declared: declared.declared.display().to_string(),
        source: declared.source.display().to_string(),
        place: declared.place_text(),
        ..PathRecord::default()
    }
}

/// Without a time of its own, so that it is the same in each point.
fn directory_of_dataset() -> Node {
    Node {
        kind: NodeKind::Dir,
        mode: Node::go_mode(NodeKind::Dir, 0o755),
        ..Node::default()
    }
}

fn of_mounts(path: &PathRecord) -> Vec<String> {
    let say = |mount: &String| {
        format!("`{mount}` is on another file system, which `one_file_system` leaves out")
    };
    path.other_file_systems.iter().map(say).collect()
}

fn told(troubles: &[Trouble]) -> Vec<String> {
    let mut told: Vec<_> = troubles
        .iter()
        .take(MOST_TOLD)
        .map(ToString::to_string)
        .collect();
    if let Some(more) = troubles
        .len()
        .checked_sub(MOST_TOLD)
        .filter(|more| *more > 0)
    {
        told.push(format!("{more} more; `recovery-point.json` names them"));
    }
    told
}
