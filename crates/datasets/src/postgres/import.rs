//! Dumps from elsewhere, stored as they are.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rekindle_postgres::dump::{
    DatabaseInfo, TableCount,
    foreign::{self, DatabaseDump, DumpForm, ForeignDump, ForeignError, Watch},
};
use rekindle_vault::{Backup, Chunking, FileWriter, TreePath};
use serde::{Deserialize, Serialize};

use super::{DumpedDatabase, join, private_directory, private_file};
use crate::CaptureError;

/// Where an imported dump came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedDump {
    /// Its name below `dump/`.
    pub file: String,
    /// Where it lay.
    pub from: PathBuf,
    /// How it is written.
    pub format: DumpForm,
    /// The server's version, in its own words.
    #[serde(default)]
    pub server_version: Option<String>,
    /// The dumping tool's version.
    #[serde(default)]
    pub tool_version: Option<String>,
    /// When it was made, by the clock of the machine that made it, without a zone.
    #[serde(default)]
    pub made_at_local_time: Option<String>,
}

/// A dump to be stored.
pub struct DumpToStore<'a> {
    /// Where it lies.
    pub from: &'a Path,
    /// What was found when it was read to its end.
    pub dump: &'a ForeignDump,
    /// Its name below `dump/`.
    pub file: String,
}

/// Stores a dump below `at`, without what was wrapped around it, and reads it to its end once more
/// on the way: what is stored is what was looked at.
///
/// # Errors
/// If it changed in the meantime or cannot be read, or the vault does not take it.
pub fn store_dump(
    backup: &Backup,
    at: &TreePath,
    item: &DumpToStore<'_>,
    watch: &Watch,
) -> Result<u64, CaptureError> {
    if item.dump.form == DumpForm::Directory {
        return store_directory(backup, at, item, watch);
    }
    let failed = |source| CaptureError::Import {
        from: item.from.to_owned(),
        source,
    };
    let content = foreign::open(item.from, watch).map_err(failed)?;
    let writer = backup.file_writer(
        join(at, &item.file)?,
        private_file(),
        Chunking::ContentDefined,
    );
    let mut tee = Tee { content, writer };
    let again = foreign::inspect_content(&mut tee, item.from).map_err(failed)?;
    let bytes = tee.writer.bytes();
    if again.databases != item.dump.databases || again.plain_bytes != item.dump.plain_bytes {
        return Err(failed(changed(item.from)));
    }
    tee.writer.finish()?;
    Ok(bytes)
}

fn changed(path: &Path) -> ForeignError {
    ForeignError::NotWhole {
        path: path.display().to_string(),
        reason: "it changed while it was imported".to_owned(),
    }
}

/// All files of a directory archive, which has no other directories in it.
fn store_directory(
    backup: &Backup,
    at: &TreePath,
    item: &DumpToStore<'_>,
    watch: &Watch,
) -> Result<u64, CaptureError> {
    let unread = |source: io::Error| CaptureError::ReadDump {
        database: item.from.display().to_string(),
        source,
    };
    let directory = join(at, &item.file)?;
    backup.add_node(&directory, private_directory())?;
    let mut bytes = 0;
    for entry in fs::read_dir(item.from).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        if !entry.file_type().map_err(unread)?.is_file() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut writer = backup.file_writer(
            join(&directory, &name)?,
            private_file(),
            Chunking::ContentDefined,
        );
        let mut file = fs::File::open(entry.path()).map_err(unread)?;
        io::copy(&mut file, &mut writer).map_err(unread)?;
        bytes += writer.bytes();
        writer.finish()?;
    }
    let again = foreign::inspect(item.from, watch).map_err(|source| CaptureError::Import {
        from: item.from.to_owned(),
        source,
    })?;
    if again != *item.dump {
        return Err(CaptureError::Import {
            from: item.from.to_owned(),
            source: changed(item.from),
        });
    }
    Ok(bytes)
}

/// What the manifest says of one database of an imported dump.
#[must_use]
pub fn imported_database(
    name: &str,
    section: usize,
    item: &DumpToStore<'_>,
    bytes: u64,
) -> DumpedDatabase {
    let found = &item.dump.databases[section];
    DumpedDatabase {
        database: info(name, found),
        file: item.file.clone(),
        bytes,
        rows: rows(found),
        format: item.dump.form,
        section,
    }
}

fn info(name: &str, found: &DatabaseDump) -> DatabaseInfo {
    let creation = found.creation.clone().unwrap_or_default();
    DatabaseInfo {
        name: name.to_owned(),
        encoding: creation
            .encoding
            .or_else(|| found.client_encoding.clone())
            .unwrap_or_default(),
        collate: creation.collate.unwrap_or_default(),
        ctype: creation.ctype.unwrap_or_default(),
        locale_provider: creation.locale_provider.unwrap_or_else(|| "c".to_owned()),
        locale: creation.locale,
        ..DatabaseInfo::default()
    }
}

fn rows(found: &DatabaseDump) -> Vec<TableCount> {
    let known = found.tables.iter().filter_map(|table| {
        Some(TableCount {
            schema: table.schema.clone(),
            table: table.table.clone(),
            rows: table.rows?,
        })
    });
    known.collect()
}

/// Hands on what it reads, and writes it.
struct Tee<R> {
    content: R,
    writer: FileWriter,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.writer
            .write(&buffer[..count])
            .map_err(io::Error::other)?;
        Ok(count)
    }
}
