//! A tar stream that is known to be whole.
//!
//! An engine that cannot read a file any more, because it became shorter or went away, ends its tar stream early and
//! calls that a success (moby's `pkg/archive` only logs it). The end of an archive is marked, so it is looked for.

use std::io::{self, Read};

const BLOCK: usize = 512;

/// Passes a tar stream on, and fails at its end if the archive has none.
pub(super) struct Whole<R> {
    inner: R,
    /// The part of a header that was seen.
    header: Vec<u8>,
    /// So many bytes of content and padding come before the next header.
    skip: u64,
    /// What is collected of a header for the next one: its records, in which the size may be.
    records: Option<Vec<u8>>,
    /// The size that the next header's own is replaced by.
    size: Option<u64>,
    empty_blocks: u8,
    /// What the archive says of the directory that it is unpacked into.
    root: Option<Vec<u8>>,
}

impl<R: Read> Whole<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            root: None,
            inner,
            header: Vec::with_capacity(BLOCK),
            skip: 0,
            records: None,
            size: None,
            empty_blocks: 0,
        }
    }

    /// An archive with one entry: the directory itself that the archive read so far is of, by another name. Engines
    /// leave owner, mode and time of the directory alone that they unpack into.
    pub(super) fn of_root(&self, name: &str) -> Option<Vec<u8>> {
        let mut header = self.root.clone().filter(|_| name.len() < 100)?;
        header[..100].fill(0);
        header[..name.len()].copy_from_slice(name.as_bytes());
        // The sum counts its own field as spaces.
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header.resize(3 * BLOCK, 0);
        Some(header)
    }

    fn look_at(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && self.empty_blocks < 2 {
            if self.skip > 0 {
                let length = bytes
                    .len()
                    .min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                let (content, rest) = bytes.split_at(length);
                if let Some(records) = &mut self.records {
                    records.extend_from_slice(content);
                }
                self.skip -= length as u64;
                bytes = rest;
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK - self.header.len()));
            self.header.extend_from_slice(part);
            bytes = rest;
            if self.header.len() == BLOCK {
                self.take_header()?;
                self.header.clear();
            }
        }
        Ok(())
    }

    fn take_header(&mut self) -> io::Result<()> {
        if self.header.iter().all(|byte| *byte == 0) {
            self.empty_blocks += 1;
            return Ok(());
        }
        self.empty_blocks = 0;
        if let Some(records) = self.records.take() {
            self.size = size_in(&records);
        }
        let own =
            number(&self.header[124..136]).ok_or_else(|| broken("a size that is no number"))?;
        let kind = self.header[156];
        if kind == b'5'
            && [&b"./\0"[..], b".\0"]
                .iter()
                .any(|name| self.header.starts_with(name))
        {
            self.root = Some(self.header.clone());
        }
        // Links, devices and directories have no content, whatever size they give.
        let has_content = !matches!(kind, b'1'..=b'6');
        let size = match kind {
            b'x' | b'g' | b'L' | b'K' => own,
            _ => self.size.take().unwrap_or(own),
        };
        self.skip = if has_content {
            size.next_multiple_of(BLOCK as u64)
        } else {
            0
        };
        if kind == b'x' {
            if size > 1 << 20 {
                return Err(broken("a header of over a megabyte"));
            }
            self.records = Some(Vec::new());
        }
        Ok(())
    }
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if length == 0 && !buffer.is_empty() && self.empty_blocks < 2 {
            let why = "the archive ends before its end: a file in it became shorter or went away meanwhile, or who sends \
                       it stopped";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        self.look_at(&buffer[..length])?;
        Ok(length)
    }
}

/// Octal digits, or, with the highest bit set, a number of many bytes as GNU tar writes it.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let is_small = high[0] == 0x80 && high[1..].iter().all(|byte| *byte == 0);
        return is_small.then(|| u64::from_be_bytes(low.try_into().unwrap_or_default()));
    }
    let text: String = field
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| char::from(*byte))
        .collect();
    let digits = text.trim();
    if digits.is_empty() {
        Some(0)
    } else {
        u64::from_str_radix(digits, 8).ok()
    }
}

/// The value of `size` among records of the form `LENGTH NAME=VALUE\n`.
fn size_in(records: &[u8]) -> Option<u64> {
    let mut rest = records;
    loop {
        let space = rest.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let record = rest.get(space + 1..length.checked_sub(1)?)?;
        if let Some(value) = record.strip_prefix(b"size=") {
            return std::str::from_utf8(value).ok()?.parse().ok();
        }
        rest = rest.get(length..)?;
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the archive has {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, size) in [("a", 0), ("b", 511), ("c", 512), ("d", 70_000)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(size as u64);
            header.set_cksum();
            builder
                .append_data(&mut header, name, vec![b'x'; size].as_slice())
                .unwrap();
        }
        let long = "long/".repeat(60) + "name";
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        builder.append_data(&mut header, long, &b"abc"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_whole_archive_passes_unchanged_in_pieces_of_any_size() {
        let archive = archive();
        for piece in [1, 7, 512, 4096] {
            let mut whole = Whole::new(archive.as_slice());
            let (mut out, mut buffer) = (Vec::new(), vec![0; piece]);
            loop {
                match whole.read(&mut buffer).unwrap() {
                    0 => break,
                    length => out.extend_from_slice(&buffer[..length]),
                }
            }
            assert_eq!(out, archive);
        }
    }

    #[test]
    fn an_archive_that_ends_early_is_an_error_wherever_it_was_cut() {
        let archive = archive();
        // The last two empty blocks are the mark.
        for end in (0..archive.len() - 2 * BLOCK)
            .step_by(97)
            .chain([0, archive.len() - 2 * BLOCK])
        {
            let error = io::copy(&mut Whole::new(&archive[..end]), &mut io::sink()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {end}");
        }
    }

    #[test]
    fn the_directory_itself_is_found_and_can_be_sent_by_another_name() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_uid(999);
        header.set_mode(0o700);
        header.set_size(0);
        header.as_old_mut().name[..2].copy_from_slice(b"./");
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
        let archive = builder.into_inner().unwrap();
        let mut whole = Whole::new(archive.as_slice());
        io::copy(&mut whole, &mut io::sink()).unwrap();
        let sent = whole.of_root("data").unwrap();
        let mut sent = tar::Archive::new(sent.as_slice());
        let entry = sent.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some("data"));
        assert_eq!(
            (
                entry.header().uid().unwrap(),
                entry.header().mode().unwrap()
            ),
            (999, 0o700)
        );
    }

    #[test]
    fn a_size_beyond_octal_digits_is_read_from_the_records_before_it() {
        assert_eq!(
            size_in(b"20 atime=1700000000\n20 size=99999999999\n"),
            Some(99_999_999_999)
        );
        assert_eq!(size_in(b"20 atime=1700000000\n"), None);
        assert_eq!(number(b"00000000777\0"), Some(511));
        assert_eq!(
            number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]),
            Some(8_589_934_592)
        );
    }
}
