//! A bucket as it was at a moment, as files of a directory.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rekindle_vault::durable;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use super::{BucketInPoint, S3RestoreError, Scope, each, state_at};
use crate::s3::{ObjectEntry, path::object_path};

/// Lies in the directory until all is there, as with every restore to a directory.
const MARK: &str = "REKINDLE-RESTORE-UNFINISHED";

/// What a restore of a bucket to a directory would write, or has written.
#[derive(Clone, Debug, Serialize)]
pub struct DirectoryPlan {
    /// The directory.
    pub to: PathBuf,
    /// Objects, each a file below the name of its bucket.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// A restore to a directory that is planned and can be run.
pub struct DirectoryRestore<'a> {
    /// What it will do.
    pub plan: DirectoryPlan,
    point: BucketInPoint<'a>,
    /// Each object, and where it goes below the directory.
    files: Vec<(ObjectEntry, String)>,
}

/// Says what a restore of the objects as they were at `at` to a directory would write. Keys that cannot be paths are escaped as in
/// the point.
///
/// # Errors
/// [`S3RestoreError::Refused`] if the point does not know that moment.
pub fn plan_directory<'a>(
    point: BucketInPoint<'a>,
    scope: &Scope,
    at: Option<Timestamp>,
    to: &Path,
) -> Result<DirectoryRestore<'a>, S3RestoreError> {
    point.record()?;
    let entries = point.entries()?;
    point.ensure_known(&entries, at)?;
    let state = state_at(&point.bucket, &entries, scope, at);
    let place = |entry: &ObjectEntry| {
        let below = format!("{}/", entry.key);
        let next = state
            .objects
            .partition_point(|other| other.key.as_str() < below.as_str());
        let is_folder = state
            .objects
            .get(next)
            .is_some_and(|other| other.key.starts_with(&below));
        object_path(&point.bucket, &entry.key, is_folder)
    };
    let files: Vec<_> = state
        .objects
        .iter()
        .map(|entry| (entry.clone(), place(entry)))
        .collect();
    let plan = DirectoryPlan {
        to: to.to_owned(),
        objects: files.len() as u64,
        bytes: files.iter().map(|(entry, _)| entry.size).sum(),
        warnings: state.unknown,
    };
    Ok(DirectoryRestore { plan, point, files })
}

impl DirectoryRestore<'_> {
    /// Writes the files. The directory must be empty or not there, or hold what an interrupted run left, which is begun again.
    ///
    /// # Errors
    /// [`S3RestoreError`]; the directory stays marked as unfinished.
    pub fn run(&self) -> Result<(), S3RestoreError> {
        let to = &self.plan.to;
        let failed = |doing| {
            move |source| S3RestoreError::Write {
                doing,
                path: to.clone(),
                source,
            }
        };
        fs::create_dir_all(to).map_err(failed("make"))?;
        let _mark = self.begin(to)?;
        self.point.expect_bytes(self.plan.bytes);
        let (_, ended) = each(&self.files, |(entry, path)| {
            self.write(entry, &to.join(path))
        });
        ended?;
        durable::sync_file_system(to).map_err(failed("make durable"))?;
        fs::remove_file(to.join(MARK)).map_err(failed("remove the mark of"))?;
        durable::sync_folder(to).map_err(failed("make durable"))
    }

    /// Marks the directory, and keeps others out by a lock on the mark. What an interrupted run left goes: it was empty when the
    /// mark was made.
    fn begin(&self, to: &Path) -> Result<File, S3RestoreError> {
        let failed = |doing| {
            move |source| S3RestoreError::Write {
                doing,
                path: to.to_owned(),
                source,
            }
        };
        let path = to.join(MARK);
        let names = fs::read_dir(to).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let names = names.map_err(failed("list"))?;
        match names.first() {
            None => durable::create(&path, b"a restore of rekindle is not finished\n", 0o600)
                .map_err(failed("mark"))?,
            Some(first) if !path.exists() => {
                return Err(S3RestoreError::refused(
                    format!(
                        "{} is not empty: it has {}",
                        to.display(),
                        first.file_name().display()
                    ),
                    "nothing is ever overwritten: name a directory that is empty or not there",
                ));
            }
            Some(_) => {}
        }
        let mark = File::open(&path).map_err(failed("open the mark of"))?;
        if flock(&mark, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(S3RestoreError::refused(
                format!("another restore to {} is under way", to.display()),
                "wait until it is done",
            ));
        }
        for left in names.iter().filter(|left| left.file_name() != MARK) {
            let is_folder = left.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = match is_folder {
                true => fs::remove_dir_all(left.path()),
                false => fs::remove_file(left.path()),
            };
            removed.map_err(failed("clear what is left of a restore in"))?;
        }
        Ok(mark)
    }

    fn write(&self, entry: &ObjectEntry, to: &Path) -> Result<(), S3RestoreError> {
        let failed = |doing| {
            move |source| S3RestoreError::Write {
                doing,
                path: to.to_owned(),
                source,
            }
        };
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(failed("make the directory of"))?;
        }
        let path = entry.path.as_deref().unwrap_or_default();
        let mut content = self.point.open(path)?;
        let mut file = File::create(to).map_err(failed("create"))?;
        let length = copy(
            &mut content,
            &mut file,
            |source| self.point.bad(path, source),
            failed("write"),
        )?;
        if length != entry.size {
            let said = format!("it has {length} bytes and should have {}", entry.size);
            return Err(self
                .point
                .bad(path, io::Error::new(io::ErrorKind::InvalidData, said)));
        }
        file.set_permissions(Permissions::from_mode(0o644))
            .map_err(failed("set the mode of"))?;
        file.set_modified(entry.modified.into())
            .map_err(failed("set the time of"))?;
        self.point.did_bytes(entry.size);
        Ok(())
    }
}

/// Copies, and tells failures of reading from those of writing.
fn copy(
    from: &mut dyn io::Read,
    to: &mut File,
    read: impl Fn(io::Error) -> S3RestoreError,
    written: impl Fn(io::Error) -> S3RestoreError,
) -> Result<u64, S3RestoreError> {
    let mut piece = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let count = from.read(&mut piece).map_err(&read)?;
        if count == 0 {
            return Ok(length);
        }
        to.write_all(piece.get(..count).unwrap_or_default())
            .map_err(&written)?;
        length += count as u64;
    }
}
