//! Dumps of unknown origin: recognised by what is in them, read to their end, never believed.
//!
//! Start at [`inspect`]. It reads every byte of a dump, says what it is and what it needs of a
//! server, and fails unless it is whole: `pg_restore --list` and `psql` succeed on dumps of which
//! the larger part is missing.
//!
//! Absent on purpose: judgement. Whether a server can take it is decided elsewhere, from the
//! [`ForeignDump`] that this makes.

mod archive;
mod error;
mod lz4;
pub(super) mod plain;
mod report;
mod source;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

pub use error::ForeignError;
pub use report::{Creation, DatabaseDump, DumpForm, ForeignDump, Suspect, TableData};
pub use source::{Compression, Watch};

use archive::{MAGIC, inspect_custom, inspect_directory, inspect_tar, outline_custom};
pub(super) use error::Fault;
use source::Source;

/// Says what the dump at `path` is, and makes sure that it is whole by reading all of it. The
/// name plays no part.
///
/// # Errors
/// [`ForeignError::NotWhole`] if anything of it is missing or damaged, [`ForeignError::NotADump`],
/// [`ForeignError::Unsupported`], [`ForeignError::Read`].
pub fn inspect(path: &Path, watch: &Watch) -> Result<ForeignDump, ForeignError> {
    inspect_any(path, watch).map_err(|fault| fault.of(path))
}

/// Opens the content of a dump that is one file, without what was wrapped around it.
///
/// # Errors
/// As [`inspect`], as far as the first bytes tell.
pub fn open(path: &Path, watch: &Watch) -> Result<Box<dyn BufRead + Send>, ForeignError> {
    let opened = source::open(path, watch).map_err(|fault| fault.of(path))?;
    Ok(opened.reader)
}

/// Looks at bare content again, without anything wrapped around it: while it is copied, say.
///
/// # Errors
/// As [`inspect`]; `name` stands for the path.
pub fn inspect_content(mut content: impl Read, name: &Path) -> Result<ForeignDump, ForeignError> {
    let mut head = Vec::new();
    let report = content
        .by_ref()
        .take(512)
        .read_to_end(&mut head)
        .map_err(Fault::from)
        .and_then(|_| {
            let form = form_of(&head)?;
            inspect_bare(
                form,
                BufReader::with_capacity(256 << 10, head.chain(content)),
            )
        });
    report.map_err(|fault| fault.of(name))
}

/// What the table of contents of a custom archive says it needs; its data is not read, and it may
/// not be whole.
///
/// # Errors
/// As [`inspect`]; `name` stands for the path.
pub fn outline(archive: impl Read, name: &Path) -> Result<ForeignDump, ForeignError> {
    outline_custom(BufReader::new(archive)).map_err(|fault| fault.of(name))
}

fn inspect_bare(form: DumpForm, reader: impl BufRead) -> Result<ForeignDump, Fault> {
    match form {
        DumpForm::Custom => inspect_custom(reader),
        DumpForm::Tar => inspect_tar(reader),
        _ => plain::inspect_plain(reader),
    }
}

fn inspect_any(path: &Path, watch: &Watch) -> Result<ForeignDump, Fault> {
    let metadata = fs::metadata(path).map_err(Fault::Disk)?;
    if metadata.is_dir() {
        return inspect_directory_if_one(path, watch);
    }
    if !metadata.is_file() {
        return Err(Fault::NotADump("neither a file nor a directory".to_owned()));
    }
    let Source {
        compression,
        head,
        reader,
    } = source::open(path, watch)?;
    let report = inspect_bare(form_of(&head)?, reader)?;
    Ok(ForeignDump {
        compression,
        file_bytes: metadata.len(),
        ..report
    })
}

fn inspect_directory_if_one(path: &Path, watch: &Watch) -> Result<ForeignDump, Fault> {
    if path.join(archive::TOC).is_file() {
        return inspect_directory(path, watch);
    }
    let looks_like = if path.join("PG_VERSION").is_file() {
        "a data directory, which a server is started on"
    } else {
        "a directory without toc.dat"
    };
    Err(Fault::NotADump(looks_like.to_owned()))
}

/// The form that the first bytes tell; anything that might be text is taken for SQL.
fn form_of(head: &[u8]) -> Result<DumpForm, Fault> {
    if head.is_empty() {
        return Err(Fault::not_whole("it is empty"));
    }
    if head.starts_with(MAGIC) {
        return Ok(DumpForm::Custom);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Ok(DumpForm::Tar);
    }
    if MAGIC.starts_with(head) {
        return Err(Fault::not_whole("it ends in its first bytes"));
    }
    if matches!(head, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Err(Fault::Unsupported {
            reason: "it is UTF-16 text, as PowerShell writes it".to_owned(),
            instead: "`iconv -f UTF-16 -t UTF-8 FILE` makes it readable".to_owned(),
        });
    }
    if head.contains(&0) {
        return Err(Fault::NotADump("its content is binary".to_owned()));
    }
    Ok(DumpForm::Plain)
}
