//! An RDB that somebody else made, into a backup.

use std::path::Path;

use jiff::Timestamp;
use rekindle_vault::{Backup, Chunking, TreePath};

use super::capture::{DUMP_FILE, vault_failed};
use super::check::open_rdb;
use super::error::RedisError;
use super::rdb::{RdbError, RdbFamily, read_rdb};
use super::record::{RdbRecord, RdbWay, RedisRecord};
use crate::CaptureError;
use crate::postgres::{join, private_file};

/// Stores an RDB, unpacked if it is within gzip, as `dump.rdb` below `at`, and checks it on the way.
///
/// # Errors
/// If it cannot be read, is none, cut or damaged, or the vault does not take it; the backup must be given up then.
pub fn store_rdb(backup: &Backup, at: &TreePath, path: &Path) -> Result<RedisRecord, CaptureError> {
    let failed = |source| CaptureError::Redis {
        address: path.display().to_string(),
        source,
    };
    let mut source = open_rdb(path).map_err(failed)?;
    let mut writer = backup.file_writer(
        join(at, DUMP_FILE)?,
        private_file(),
        Chunking::ContentDefined,
    );
    let summary = read_rdb(&mut source, &mut writer).map_err(|error| match error {
        RdbError::Write(error) => vault_failed(error),
        error => failed(RedisError::Rdb(error)),
    })?;
    writer.finish()?;
    let created = summary.created.map(Timestamp::from_second);
    let modified = || path.metadata().ok()?.modified().ok()?.try_into().ok();
    let as_of = created.and_then(Result::ok).or_else(modified);
    let server = match summary.version.family {
        RdbFamily::Redis => "Redis",
        RdbFamily::Valkey => "Valkey",
    };
    Ok(RedisRecord {
        server: server.to_owned(),
        version: summary.written_by.clone().unwrap_or_default(),
        rdb: Some(RdbRecord {
            way: RdbWay::Imported,
            as_of: as_of.unwrap_or_else(Timestamp::now),
            summary,
        }),
        imported: Some(path.display().to_string()),
        ..RedisRecord::default()
    })
}
