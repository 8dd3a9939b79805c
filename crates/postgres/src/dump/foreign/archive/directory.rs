//! Directory archives: `toc.dat`, and a file for the data of each entry.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::super::error::Fault;
use super::super::report::{DatabaseDump, DumpForm, ForeignDump};
use super::super::source::{self, Compression, Watch};
use super::data::measure;
use super::large_objects::LargeObjects;
use super::needs;
use super::primitives::Primitives;
use super::toc::{self, Entry, Layout, Place};

pub(crate) const TOC: &str = "toc.dat";
const SUFFIXES: [(&str, Option<Compression>); 4] = [
    ("", None),
    (".gz", Some(Compression::Gzip)),
    (".lz4", Some(Compression::Lz4)),
    (".zst", Some(Compression::Zstd)),
];

/// Reads every file that the table of contents names to its end.
pub(crate) fn inspect_directory(path: &Path, watch: &Watch) -> Result<ForeignDump, Fault> {
    let toc = File::open(path.join(TOC)).map_err(Fault::Disk)?;
    let mut input = Primitives::new(BufReader::new(toc));
    let contents = toc::read(&mut input, Layout::Files)?;
    if input.byte_or_end()?.is_some() {
        return Err(Fault::not_whole("something follows the end of its toc.dat"));
    }
    let mut files = Files {
        directory: path,
        watch,
        plain_bytes: input.position(),
        file_bytes: input.position(),
        seen: BTreeSet::new(),
    };
    let mut database = needs::of_database(&contents);
    let mut objects = LargeObjects::expected(&contents.entries);
    for entry in contents.entries.iter().filter(|entry| entry.has_data) {
        read_entry(&mut files, entry, &mut database, &mut objects)
            .map_err(|fault| fault.within(|| entry.words()))?;
    }
    objects.expect_all()?;
    let mut report = needs::report(DumpForm::Directory, &contents, database, files.plain_bytes);
    report.file_bytes = files.file_bytes;
    Ok(report)
}

fn read_entry(
    files: &mut Files<'_>,
    entry: &Entry,
    database: &mut DatabaseDump,
    objects: &mut LargeObjects,
) -> Result<(), Fault> {
    let Place::File(name) = &entry.place else {
        return Ok(());
    };
    if !entry.is_large_objects() {
        let measured = measure(files.open(name)?, entry.copy.is_some())?;
        files.plain_bytes += measured.bytes;
        needs::add_rows(database, entry, measured);
        return Ok(());
    }
    let mut list = String::new();
    files.open(name)?.read_to_string(&mut list)?;
    for file in objects.add_list(&list)? {
        let measured =
            measure(files.open(&file)?, false).map_err(|fault| fault.within(|| file.clone()))?;
        files.plain_bytes += measured.bytes;
        database.large_objects += 1;
    }
    Ok(())
}

struct Files<'a> {
    directory: &'a Path,
    watch: &'a Watch,
    plain_bytes: u64,
    file_bytes: u64,
    seen: BTreeSet<PathBuf>,
}

impl Files<'_> {
    /// Opens a file of the archive, compressed or not.
    fn open(&mut self, name: &str) -> Result<Box<dyn Read + Send>, Fault> {
        // The name comes out of the archive and must not lead anywhere else.
        if name.is_empty() || name.contains('/') || name == ".." {
            return Err(Fault::not_whole(format!("it names a file `{name}`")));
        }
        for (suffix, compression) in SUFFIXES {
            let path = self.directory.join(format!("{name}{suffix}"));
            match fs::metadata(&path) {
                Ok(metadata) if self.seen.insert(path.clone()) => {
                    self.file_bytes += metadata.len();
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Fault::Disk(error)),
            }
            let opened = source::open_as(&path, compression, self.watch);
            return opened.map_err(|fault| fault.within(|| format!("file {name}{suffix}")));
        }
        Err(Fault::not_whole(format!("its file {name} is missing")))
    }
}
