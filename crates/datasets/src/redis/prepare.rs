//! Files that a server loads whatever its settings. With `appendonly yes` a server never looks at an RDB that was put
//! there: its append-only files have to say the same.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rekindle_vault::durable;

use super::aof::{APPEND_DIRECTORY, APPEND_FILE, Manifest, manifest_name};
use super::capture::DUMP_FILE;
use super::error::RedisError;
use super::info::ServerVersion;
use super::rdb::read_rdb;
use super::record::RedisRecord;

/// What a server calls its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNames {
    /// `dbfilename`.
    pub rdb: String,
    /// `appendfilename`.
    pub append_file: String,
    /// `appenddirname`, since Redis 7.
    pub append_directory: String,
}

impl Default for FileNames {
    fn default() -> Self {
        Self {
            rdb: DUMP_FILE.to_owned(),
            append_file: APPEND_FILE.to_owned(),
            append_directory: APPEND_DIRECTORY.to_owned(),
        }
    }
}

impl FileNames {
    /// As the captured server had them.
    #[must_use]
    pub fn of(record: &RedisRecord) -> Self {
        let default = Self::default();
        let name = |key: &str, default: String| {
            let set = record.settings.get(key).filter(|name| is_plain(name));
            set.cloned().unwrap_or(default)
        };
        Self {
            rdb: name("dbfilename", default.rdb),
            append_file: name("appendfilename", default.append_file),
            append_directory: name("appenddirname", default.append_directory),
        }
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

/// Makes the files of a point, as a restore wrote them, such that the server they were captured of starts on them; of a
/// cluster the directory of each shard.
///
/// # Errors
/// As [`prepare_directory`].
pub fn prepare_point(directory: &Path, record: &RedisRecord) -> Result<Vec<String>, RedisError> {
    let (version, names) = (record.server_version(), FileNames::of(record));
    let prepare = |place: &Path| prepare_directory(place, &version, record.append_only(), &names);
    let Some(cluster) = &record.cluster else {
        return prepare(directory);
    };
    let mut done = Vec::new();
    for shard in &cluster.shards {
        done.extend(prepare(&directory.join(&shard.directory))?);
    }
    Ok(done)
}

/// Makes a directory with a point's files, as a restore wrote them, one on which a server of this version starts with
/// the restored data. Returns what was done, in words. May be called again.
///
/// With `append_only`, where the point has no append-only files, they are made of the RDB: since Redis 7 a base file and its
/// manifest; before, the RDB itself as the beginning of `appendonly.aof`.
///
/// # Errors
/// If there is nothing that such a server would load, it cannot read what there is, or a file cannot be written.
pub fn prepare_directory(
    directory: &Path,
    version: &ServerVersion,
    append_only: bool,
    names: &FileNames,
) -> Result<Vec<String>, RedisError> {
    let mut done = Vec::new();
    let rdb = directory.join(&names.rdb);
    let stored = directory.join(DUMP_FILE);
    if stored != rdb && stored.exists() && !rdb.exists() {
        fs::rename(&stored, &rdb).map_err(failed(&stored))?;
        done.push(format!("{DUMP_FILE} is {} now", names.rdb));
    }
    let has_rdb = rdb.exists();
    if has_rdb {
        let summary = read_file(&rdb)?;
        version
            .reads(summary.version)
            .map_err(|readable| RedisError::TooNew {
                wanted: summary.version,
                server: version.to_string(),
                readable,
            })?;
    }
    let single = directory.join(&names.append_file);
    let in_directory = directory.join(&names.append_directory);
    let manifest = in_directory.join(manifest_name(&names.append_file));
    let has_append_only = manifest.exists() || single.exists();
    match (append_only, has_append_only, has_rdb) {
        (true, false, true) if version.has_append_directory() => {
            make_append_directory(&rdb, &in_directory, &manifest, &names.append_file)?;
            done.push(format!("{} was made of the RDB", names.append_directory));
        }
        (true, false, true) => {
            copy_as(&rdb, &single)?;
            done.push(format!("{} was made of the RDB", names.append_file));
        }
        (true, true, _) | (false, _, true) => {}
        (false, true, false) => {
            let why = "the point has append-only files and no RDB, and a server with `appendonly no` would not load them";
            return Err(RedisError::Unsuitable(why.to_owned()));
        }
        (_, false, false) => {
            let why = format!(
                "{} has neither an RDB nor append-only files",
                directory.display()
            );
            return Err(RedisError::Unsuitable(why));
        }
    }
    durable::sync_folder(directory).map_err(failed(directory))?;
    Ok(done)
}

fn read_file(path: &Path) -> Result<super::RdbSummary, RedisError> {
    let file = File::open(path).map_err(failed(path))?;
    let mut reader = BufReader::new(file);
    read_rdb(&mut reader, &mut io::sink()).map_err(|error| RedisError::Files {
        path: path.to_owned(),
        what: crate::with_causes(&error),
    })
}

/// The manifest comes last: without it the server sees nothing of it.
fn make_append_directory(
    rdb: &Path,
    directory: &Path,
    manifest: &Path,
    append_file: &str,
) -> Result<(), RedisError> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed(directory)(error));
        }
        _ => {}
    }
    let like = rdb.metadata().map_err(failed(rdb))?;
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(directory, mode).map_err(failed(directory))?;
    own_as(directory, &like)?;
    let base = format!("{append_file}.1.base.rdb");
    copy_as(rdb, &directory.join(&base))?;
    let text = Manifest::of_base(&base).to_text();
    durable::replace(manifest, text.as_bytes(), 0o600).map_err(failed(manifest))?;
    own_as(manifest, &like)
}

/// A copy and no link: a server goes on writing at the end of such a file. Under its name it is whole.
fn copy_as(from: &Path, to: &Path) -> Result<(), RedisError> {
    let partial = with_suffix(to, ".partial");
    let like = from.metadata().map_err(failed(from))?;
    fs::copy(from, &partial).map_err(failed(&partial))?;
    let file = File::open(&partial).map_err(failed(&partial))?;
    file.sync_all().map_err(failed(&partial))?;
    own_as(&partial, &like)?;
    fs::rename(&partial, to).map_err(failed(to))?;
    let folder = to.parent().unwrap_or(to);
    durable::sync_folder(folder).map_err(failed(folder))
}

/// Gives a file the owner of another. Who may not needs not: then all is ours.
pub(super) fn own_as(path: &Path, like: &fs::Metadata) -> Result<(), RedisError> {
    let here = path.metadata().map_err(failed(path))?;
    if (here.uid(), here.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    chown(path, Some(like.uid()), Some(like.gid())).map_err(failed(path))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> RedisError {
    let path = path.to_owned();
    move |source| RedisError::File { path, source }
}
