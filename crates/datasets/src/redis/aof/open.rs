//! A consistent set of append-only files, without asking the server to hold still.
//!
//! Redis' manual turns rewrites off while the files are copied, because a rewrite removes them. Here they are opened,
//! and counted as one set only if the manifest is the same before and after: what is open stays readable though it is
//! removed, nothing but the last file grows, and that only at its end. So there is no setting that a crash of ours
//! could leave changed.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::super::error::RedisError;
use super::{AofKind, Manifest, manifest_name};

/// A rewrite changes the manifest twice, so that a few tries are enough.
const TRIES: usize = 20;

/// Files that belong together, open.
pub struct OpenAof {
    /// They, in the order in which they are loaded.
    pub files: Vec<OpenAofFile>,
    /// What names them; `None` before Redis 7, which has one file.
    pub manifest: Option<Manifest>,
}

/// An open file.
pub struct OpenAofFile {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: AofKind,
    /// Where it is.
    pub path: PathBuf,
    /// It.
    pub file: File,
    /// How much of it belongs to the set.
    pub bytes: u64,
}

impl OpenAof {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Opens the files of a server whose `dir` is `directory` here.
///
/// # Errors
/// If one cannot be opened, or the set never holds still.
pub fn open(
    directory: &Path,
    append_directory: Option<&str>,
    append_file: &str,
) -> Result<OpenAof, RedisError> {
    let Some(append_directory) = append_directory else {
        return open_single(directory, append_file);
    };
    let directory = directory.join(append_directory);
    let path = directory.join(manifest_name(append_file));
    for _ in 0..TRIES {
        let text = read(&path)?;
        let manifest = Manifest::parse(&text).map_err(|what| RedisError::Files {
            path: path.clone(),
            what,
        })?;
        let opened = manifest
            .entries
            .iter()
            .map(|entry| open_one(&directory, &entry.name, entry.kind))
            .collect::<Result<Vec<_>, _>>();
        if read(&path)? != text {
            continue;
        }
        return Ok(OpenAof {
            files: opened?,
            manifest: Some(manifest),
        });
    }
    Err(RedisError::Files {
        path,
        what: "it changed each time that it was read".to_owned(),
    })
}

/// Before Redis 7 a rewrite puts another file in the place of the one there is.
fn open_single(directory: &Path, name: &str) -> Result<OpenAof, RedisError> {
    for _ in 0..TRIES {
        let file = open_one(directory, name, AofKind::Incremental)?;
        let here = file.file.metadata().map_err(failed(&file.path))?;
        let there = file.path.metadata().map_err(failed(&file.path))?;
        if (here.dev(), here.ino()) == (there.dev(), there.ino()) {
            return Ok(OpenAof {
                files: vec![file],
                manifest: None,
            });
        }
    }
    Err(RedisError::Files {
        path: directory.join(name),
        what: "another file stood there each time that it was opened".to_owned(),
    })
}

fn open_one(directory: &Path, name: &str, kind: AofKind) -> Result<OpenAofFile, RedisError> {
    let path = directory.join(name);
    let file = File::open(&path).map_err(failed(&path))?;
    let bytes = file.metadata().map_err(failed(&path))?.len();
    Ok(OpenAofFile {
        name: name.to_owned(),
        kind,
        path,
        file,
        bytes,
    })
}

fn read(path: &Path) -> Result<String, RedisError> {
    std::fs::read_to_string(path).map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RedisError {
    let path = path.to_owned();
    move |source| RedisError::File { path, source }
}
