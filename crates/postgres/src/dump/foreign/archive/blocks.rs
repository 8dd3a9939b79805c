//! Custom archives: a table of contents, then blocks of data.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::super::error::Fault;
use super::super::report::{DatabaseDump, DumpForm, ForeignDump};
use super::Contents;
use super::data::{Measured, inflated, measure};
use super::needs;
use super::primitives::Primitives;
use super::toc::{self, Entry, Layout, Place};

const DATA: u8 = 1;
const LARGE_OBJECTS: u8 = 3;

/// Reads an archive to its end. Every entry that has data must have its block, where the table of
/// contents says if it says so, and whole.
pub(crate) fn inspect_custom(reader: impl Read) -> Result<ForeignDump, Fault> {
    let mut input = Primitives::new(reader);
    let contents = toc::read(&mut input, Layout::Custom)?;
    let mut database = needs::of_database(&contents);
    let mut missing: BTreeMap<i64, &Entry> = contents
        .entries
        .iter()
        .filter(|entry| entry.has_data)
        .map(|entry| (entry.id, entry))
        .collect();
    let mut plain_bytes = input.position();
    loop {
        let position = input.position();
        let Some(kind) = input.byte_or_end()? else {
            break;
        };
        let id = input.int()?;
        let entry = missing.remove(&id).ok_or_else(|| {
            Fault::not_whole(format!(
                "a block at byte {position} belongs to nothing in it"
            ))
        })?;
        let at = |fault: Fault| fault.within(|| format!("{} (byte {position})", entry.words()));
        if let Place::Block(Some(expected)) = entry.place
            && expected != position
        {
            return Err(at(Fault::not_whole(format!(
                "its block should be at byte {expected}"
            ))));
        }
        plain_bytes += read_block(&mut input, kind, entry, &contents, &mut database).map_err(at)?;
    }
    if let Some(entry) = missing.values().next() {
        return Err(Fault::not_whole(format!(
            "it ends before the data of {} of its entries, among them {}",
            missing.len(),
            entry.words()
        )));
    }
    Ok(needs::report(
        DumpForm::Custom,
        &contents,
        database,
        plain_bytes,
    ))
}

/// Reads the table of contents alone. Says nothing of whether the archive is whole.
pub(crate) fn outline_custom(reader: impl Read) -> Result<ForeignDump, Fault> {
    let mut input = Primitives::new(reader);
    let contents = toc::read(&mut input, Layout::Custom)?;
    let database = needs::of_database(&contents);
    Ok(needs::report(
        DumpForm::Custom,
        &contents,
        database,
        input.position(),
    ))
}

fn read_block(
    input: &mut Primitives<impl Read>,
    kind: u8,
    entry: &Entry,
    contents: &Contents,
    database: &mut DatabaseDump,
) -> Result<u64, Fault> {
    match kind {
        DATA => {
            let measured = read_chunks(input, contents, entry.copy.is_some())?;
            needs::add_rows(database, entry, measured);
            Ok(measured.bytes)
        }
        LARGE_OBJECTS => {
            let mut bytes = 0;
            while input.int()? != 0 {
                bytes += read_chunks(input, contents, false)?.bytes;
                database.large_objects += 1;
            }
            Ok(bytes)
        }
        other => Err(Fault::not_whole(format!(
            "a block of the unknown kind {other}"
        ))),
    }
}

fn read_chunks(
    input: &mut Primitives<impl Read>,
    contents: &Contents,
    is_copy: bool,
) -> Result<Measured, Fault> {
    let mut chunks = Chunks {
        input,
        remaining: 0,
        is_ended: false,
    };
    let measured = measure(inflated(contents.head.inner, &mut chunks)?, is_copy)?;
    chunks.expect_end()?;
    Ok(measured)
}

/// The bytes of one block: pieces, each after its length, and a length of 0 at the end.
struct Chunks<'a, R> {
    input: &'a mut Primitives<R>,
    remaining: u64,
    is_ended: bool,
}

impl<R: Read> Chunks<'_, R> {
    fn begin_chunk(&mut self) -> Result<(), Fault> {
        let length = self.input.int()?;
        self.remaining = u64::try_from(length)
            .map_err(|_| Fault::not_whole("the length of a piece is damaged"))?;
        self.is_ended = self.remaining == 0;
        Ok(())
    }

    /// A decoder may stop at its own end, which must be that of the block too.
    fn expect_end(&mut self) -> Result<(), Fault> {
        let rest = io::copy(self, &mut io::sink())?;
        if rest > 0 {
            return Err(Fault::not_whole("something follows the end of its data"));
        }
        Ok(())
    }
}

impl<R: Read> Read for Chunks<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.is_ended {
            return Ok(0);
        }
        if self.remaining == 0 {
            self.begin_chunk().map_err(into_io)?;
            return self.read(buffer);
        }
        let most = buffer
            .len()
            .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let count = self.input.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.remaining -= count as u64;
        Ok(count)
    }
}

fn into_io(fault: Fault) -> io::Error {
    match fault {
        Fault::Disk(error) => {
            let kind = error.kind();
            io::Error::other(super::super::error::DiskError(error.to_string(), kind))
        }
        Fault::NotWhole(_) => io::ErrorKind::UnexpectedEof.into(),
        other => io::Error::other(format!("{other:?}")),
    }
}
