//! Tar archives: `toc.dat` first, then a member for the data of each entry.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use super::super::error::Fault;
use super::super::report::{DatabaseDump, DumpForm, ForeignDump};
use super::Contents;
use super::data::measure;
use super::directory::TOC;
use super::large_objects::LargeObjects;
use super::needs;
use super::primitives::Primitives;
use super::toc::{self, Entry, Layout, Place};

const BLOCK: usize = 512;

/// Reads an archive to its end, which is marked by blocks of zeros.
pub(crate) fn inspect_tar(mut reader: impl Read) -> Result<ForeignDump, Fault> {
    let first = next_member(&mut reader)?;
    let Some(toc) = first.filter(|member| member.name == TOC) else {
        return Err(Fault::NotADump(
            "a tar archive that does not begin with toc.dat".to_owned(),
        ));
    };
    let contents = with_member(&mut reader, &toc, |content| {
        toc::read(&mut Primitives::new(content), Layout::Files)
    })?;
    let mut members = Members::new(&contents);
    members.plain_bytes = toc.bytes;
    while let Some(member) = next_member(&mut reader)? {
        with_member(&mut reader, &member, |content| {
            members.read(&member.name, content)
        })
        .map_err(|fault| fault.within(|| member.name.clone()))?;
    }
    let (database, plain_bytes) = members.finish()?;
    Ok(needs::report(
        DumpForm::Tar,
        &contents,
        database,
        plain_bytes,
    ))
}

struct Member {
    name: String,
    bytes: u64,
}

/// `None` at the mark of the end; an end without the mark is an error.
fn next_member(reader: &mut impl Read) -> Result<Option<Member>, Fault> {
    let mut header = [0; BLOCK];
    reader.read_exact(&mut header)?;
    if header.iter().all(|byte| *byte == 0) {
        return only_zeros(reader).map(|()| None);
    }
    // The checksum is of the header with spaces in its own place.
    let sum: u64 = (0..BLOCK)
        .map(|at| {
            if (148..156).contains(&at) {
                32
            } else {
                u64::from(header[at])
            }
        })
        .sum();
    if octal(&header[148..156])? != sum {
        return Err(Fault::not_whole("the header of a tar member is damaged"));
    }
    let name = header[..100]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    Ok(Some(Member {
        name: String::from_utf8_lossy(name).into_owned(),
        bytes: size(&header[124..136])?,
    }))
}

/// Sizes above 8 GiB are written in base 256, with the highest bit set.
fn size(field: &[u8]) -> Result<u64, Fault> {
    if field[0] & 0x80 == 0 {
        return octal(field);
    }
    Ok(field[field.len() - 8..]
        .iter()
        .fold(0, |size, byte| (size << 8) | u64::from(*byte)))
}

fn octal(field: &[u8]) -> Result<u64, Fault> {
    let text = String::from_utf8_lossy(field);
    let digits = text.trim_matches(|c: char| c == '\0' || c == ' ');
    u64::from_str_radix(digits, 8)
        .map_err(|_| Fault::not_whole("the header of a tar member is damaged"))
}

fn only_zeros(reader: &mut impl Read) -> Result<(), Fault> {
    let mut block = [0; BLOCK];
    reader.read_exact(&mut block)?;
    if block.iter().any(|byte| *byte != 0) {
        return Err(Fault::not_whole("something follows the mark of its end"));
    }
    Ok(io::copy(reader, &mut io::sink()).map(drop)?)
}

/// Gives the content of a member to `work`, and skips what that leaves and the padding.
fn with_member<R: Read, T>(
    reader: &mut R,
    member: &Member,
    work: impl FnOnce(&mut io::Take<&mut R>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut content = reader.by_ref().take(member.bytes);
    let worked = work(&mut content)?;
    io::copy(&mut content, &mut io::sink())?;
    if content.limit() > 0 {
        return Err(Fault::not_whole("it ends in the middle"));
    }
    let padding = member.bytes.next_multiple_of(BLOCK as u64) - member.bytes;
    let skipped = io::copy(&mut reader.by_ref().take(padding), &mut io::sink())?;
    if skipped < padding {
        return Err(Fault::not_whole("it ends in the middle"));
    }
    Ok(worked)
}

struct Members<'a> {
    /// Entries whose file has not been met yet.
    missing: BTreeMap<&'a str, &'a Entry>,
    /// Files of large objects that were met, and those that were listed.
    met: BTreeSet<String>,
    listed: BTreeSet<String>,
    objects: LargeObjects,
    database: DatabaseDump,
    plain_bytes: u64,
}

impl<'a> Members<'a> {
    fn new(contents: &'a Contents) -> Self {
        let with_data = contents.entries.iter().filter(|entry| entry.has_data);
        let by_file = with_data.filter_map(|entry| match &entry.place {
            Place::File(file) => Some((file.as_str(), entry)),
            Place::Block(_) => None,
        });
        Self {
            missing: by_file.collect(),
            met: BTreeSet::new(),
            listed: BTreeSet::new(),
            objects: LargeObjects::expected(&contents.entries),
            database: needs::of_database(contents),
            plain_bytes: 0,
        }
    }

    fn read(&mut self, name: &str, content: &mut impl Read) -> Result<(), Fault> {
        let entry = self
            .missing
            .remove(name)
            .or_else(|| self.list_of_large_objects(name));
        match entry {
            Some(entry) if entry.is_large_objects() => {
                let mut list = String::new();
                content.read_to_string(&mut list)?;
                self.listed.extend(self.objects.add_list(&list)?);
            }
            Some(entry) => {
                let measured = measure(content, entry.copy.is_some())?;
                self.plain_bytes += measured.bytes;
                needs::add_rows(&mut self.database, entry, measured);
            }
            None => {
                self.plain_bytes += measure(content, false)?.bytes;
                self.met.insert(name.to_owned());
            }
        }
        Ok(())
    }

    /// The list of large objects has another name than its entry says: `blobs.toc`, and since
    /// version 17 one with the entry's number.
    fn list_of_large_objects(&mut self, name: &str) -> Option<&'a Entry> {
        let is_list = |(_, entry): &(&&str, &&Entry)| {
            entry.is_large_objects()
                && (name == "blobs.toc" || name == format!("blobs_{}.toc", entry.id))
        };
        let file = *self.missing.iter().find(is_list)?.0;
        self.missing.remove(file)
    }

    fn finish(mut self) -> Result<(DatabaseDump, u64), Fault> {
        if let Some((file, entry)) = self.missing.first_key_value() {
            return Err(Fault::not_whole(format!(
                "{file}, the data of {}, is missing",
                entry.words()
            )));
        }
        if let Some(file) = self.listed.difference(&self.met).next() {
            return Err(Fault::not_whole(format!(
                "{file}, a large object, is missing"
            )));
        }
        self.objects.expect_all()?;
        self.database.large_objects = self.listed.len() as u64;
        Ok((self.database, self.plain_bytes))
    }
}
