//! The files, built and dressed like the ones whose place they take.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;

use rekindle_vault::{Ownership, RestoreOptions, durable};

use super::Plan;
use crate::files::in_place::{inode, io, is_there, refused, rename};
use crate::files::{FilesAside, Swap};
use crate::redis::{RedisServer, prepare_directory};
use crate::{InPlaceError, PointSource};

/// Whom nobody was before: only the server's user may read them.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Owner and mode.
#[derive(Clone, Copy)]
struct Dress {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// How files and directories look that a server made there.
struct Fashion {
    file: Dress,
    directory: Dress,
}

impl RedisServer {
    /// Restores the point's files into the place beside the RDB, makes them such that a server loads them, and puts each
    /// where its swap takes it from. Everything is durable when this returns.
    pub(super) fn build(
        &self,
        plan: &Plan<'_>,
        source: &PointSource<'_>,
        aside: &mut FilesAside,
    ) -> Result<(), InPlaceError> {
        let fashion = Fashion::of(plan, aside)?;
        let [rdb, others @ ..] = aside.swaps.as_mut_slice() else {
            return Ok(());
        };
        let stage = rdb.holder.clone();
        make_directory(&stage)?;
        let options = RestoreOptions {
            ownership: Ownership::of_this_process(),
            progress: Arc::clone(source.progress),
            ..RestoreOptions::default()
        };
        let restored = source
            .vault
            .restore(source.snapshot, &source.at, &stage, &options);
        restored.map_err(Box::new)?;
        // Restored with the owner and mode that it had in the point, and it is ours until it goes.
        let private = fs::set_permissions(&stage, Permissions::from_mode(DIRECTORY_MODE));
        private.map_err(io("set the mode of", &stage))?;
        prepare_directory(&stage, &plan.version, true, &plan.names)
            .map_err(|error| self.refused(error))?;
        for swap in others {
            take_out(swap, &stage)?;
            settle(swap, &fashion)?;
        }
        settle(rdb, &fashion)?;
        ensure_nothing_else(rdb, &stage)
    }
}

/// Moves what has the name of a swap to where that takes it from.
fn take_out(swap: &Swap, stage: &Path) -> Result<(), InPlaceError> {
    let built = stage.join(swap.live.file_name().unwrap_or_default());
    if !is_there(&built).map_err(io("look at", &built))? {
        return Ok(());
    }
    if swap.candidate != swap.holder {
        make_directory(&swap.holder)?;
    }
    rename(&built, &swap.candidate)
}

/// Dresses what takes a place, or notes that nothing does.
fn settle(swap: &mut Swap, fashion: &Fashion) -> Result<(), InPlaceError> {
    swap.is_vacated = !is_there(&swap.candidate).map_err(io("look at", &swap.candidate))?;
    if swap.is_vacated {
        return Ok(());
    }
    fashion.dress(&swap.candidate)?;
    swap.new_inode = Some(inode(&swap.candidate)?);
    Ok(())
}

/// What is left in the stage is the RDB, or nothing, and then the stage goes.
fn ensure_nothing_else(rdb: &Swap, stage: &Path) -> Result<(), InPlaceError> {
    let entries = fs::read_dir(stage).map_err(io("list", stage))?;
    for entry in entries {
        let path = entry.map_err(io("list", stage))?.path();
        if path != rdb.candidate {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let reason = format!("the point has `{name}`, which is no file that a server loads");
            return Err(refused(
                reason,
                Some("restore it to a directory with `--to`"),
            ));
        }
    }
    match rdb.is_vacated {
        true => fs::remove_dir(stage).map_err(io("remove the empty directory", stage)),
        false => Ok(()),
    }
}

fn make_directory(path: &Path) -> Result<(), InPlaceError> {
    let made = DirBuilder::new().mode(DIRECTORY_MODE).create(path);
    made.map_err(io("make the directory", path))
}

impl Fashion {
    /// As the files look that are there; where none are, they belong to whom the server's directory belongs to.
    fn of(plan: &Plan<'_>, aside: &FilesAside) -> Result<Self, InPlaceError> {
        let top = fs::metadata(&plan.directory).map_err(io("look at", &plan.directory))?;
        let dress = |like: Option<&Metadata>, mode| Dress {
            uid: like.unwrap_or(&top).uid(),
            gid: like.unwrap_or(&top).gid(),
            mode: like.map_or(mode, |like| like.mode() & 0o777),
        };
        let mut there = Vec::new();
        for swap in &aside.swaps {
            match fs::symlink_metadata(&swap.live) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                found => there.push(found.map_err(io("look at", &swap.live))?),
            }
        }
        let file = there.iter().find(|found| found.is_file());
        let directory = there.iter().find(|found| found.is_dir());
        let mut file_dress = dress(file.or(directory), FILE_MODE);
        if file.is_none() {
            file_dress.mode = FILE_MODE;
        }
        Ok(Self {
            file: file_dress,
            directory: dress(directory, DIRECTORY_MODE),
        })
    }

    /// Dresses a file, or a directory and the files in it.
    fn dress(&self, path: &Path) -> Result<(), InPlaceError> {
        let metadata = fs::symlink_metadata(path).map_err(io("look at", path))?;
        if !metadata.is_dir() {
            return put_on(path, &metadata, self.file);
        }
        for entry in fs::read_dir(path).map_err(io("list", path))? {
            let path = entry.map_err(io("list", path))?.path();
            let metadata = fs::symlink_metadata(&path).map_err(io("look at", &path))?;
            put_on(&path, &metadata, self.file)?;
        }
        put_on(path, &metadata, self.directory)?;
        durable::sync_folder(path).map_err(io("make durable", path))
    }
}

fn put_on(path: &Path, now: &Metadata, dress: Dress) -> Result<(), InPlaceError> {
    if now.is_symlink() {
        return Err(refused(format!("{} is a link", path.display()), None));
    }
    if (now.uid(), now.gid()) != (dress.uid, dress.gid) {
        chown(path, Some(dress.uid), Some(dress.gid)).map_err(io("set the owner of", path))?;
    }
    fs::set_permissions(path, Permissions::from_mode(dress.mode))
        .map_err(io("set the mode of", path))?;
    let file = File::open(path).map_err(io("open", path))?;
    file.sync_all().map_err(io("make durable", path))
}
