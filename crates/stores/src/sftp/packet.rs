//! SFTP version 3 on the wire. Source: draft-ietf-secsh-filexfer-02 and OpenSSH's PROTOCOL.

use std::io;

/// Largest packet that is accepted; OpenSSH's own limit is 256 KiB.
pub(super) const MOST_BYTES: usize = 1 << 20;

pub(super) mod kind {
    pub const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub const WRITE: u8 = 6;
    pub const LSTAT: u8 = 7;
    pub const OPENDIR: u8 = 11;
    pub const READDIR: u8 = 12;
    pub const REMOVE: u8 = 13;
    pub const MKDIR: u8 = 14;
    pub const RENAME: u8 = 18;
    pub const STATUS: u8 = 101;
    pub const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub const ATTRS: u8 = 105;
    pub const EXTENDED: u8 = 200;
}

/// Status codes that callers act on.
pub(super) mod status {
    pub const OK: u32 = 0;
    pub const EOF: u32 = 1;
    pub const NO_SUCH_FILE: u32 = 2;
    pub const PERMISSION_DENIED: u32 = 3;
    pub const UNSUPPORTED: u32 = 8;
}

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const MORE: u32 = 0x8000_0000;

/// A request or an answer being written.
pub(super) struct Out(Vec<u8>);

impl Out {
    /// A packet of this kind; its length is filled in by [`Out::finish`].
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    pub(super) fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend(length.to_be_bytes());
        self.0.extend(bytes);
        self
    }

    /// Attributes with nothing but permissions.
    pub(super) fn mode(self, mode: u32) -> Self {
        self.u32(PERMISSIONS).u32(mode)
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// A packet being read.
pub(super) struct In<'a>(pub(super) &'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?.try_into().map_err(|_| malformed())?;
        Ok(u32::from_be_bytes(bytes))
    }

    pub(super) fn u64(&mut self) -> io::Result<u64> {
        let bytes = self.take(8)?.try_into().map_err(|_| malformed())?;
        Ok(u64::from_be_bytes(bytes))
    }

    pub(super) fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.u32()?).map_err(|_| malformed())?;
        self.take(length)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn attributes(&mut self) -> io::Result<Attributes> {
        let flags = self.u32()?;
        let mut found = Attributes::default();
        if flags & SIZE != 0 {
            found.size = Some(self.u64()?);
        }
        if flags & OWNER != 0 {
            self.u64()?;
        }
        if flags & PERMISSIONS != 0 {
            found.mode = Some(self.u32()?);
        }
        if flags & TIMES != 0 {
            self.u32()?;
            found.modified = Some(self.u32()?);
        }
        if flags & MORE != 0 {
            for _ in 0..self.u32()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Ok(found)
    }
}

/// What a server tells of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    pub(super) mode: Option<u32>,
    /// Seconds since 1970 by the server's clock.
    pub(super) modified: Option<u32>,
}

const TYPE: u32 = 0o170_000;

impl Attributes {
    pub(super) fn is_folder(self) -> bool {
        self.mode.is_some_and(|mode| mode & TYPE == 0o040_000)
    }

    pub(super) fn is_file(self) -> bool {
        self.mode.is_some_and(|mode| mode & TYPE == 0o100_000)
    }
}

pub(super) fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the server's answer is not as SFTP has it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_comes_back_as_it_was_written() {
        let packet = Out::new(kind::OPEN)
            .u32(7)
            .bytes(b"name")
            .u64(1 << 40)
            .mode(0o400)
            .finish();
        assert_eq!(packet[..5], [0, 0, 0, 29, kind::OPEN]);
        let mut back = In(&packet[5..]);
        assert_eq!(back.u32().unwrap(), 7);
        assert_eq!(back.bytes().unwrap(), b"name");
        assert_eq!(back.u64().unwrap(), 1 << 40);
        assert_eq!(back.attributes().unwrap().mode, Some(0o400));
        assert!(back.is_empty());
    }

    #[test]
    fn an_answer_cut_anywhere_is_an_error() {
        let whole = Out::new(kind::ATTRS)
            .u32(SIZE | OWNER | PERMISSIONS | TIMES | MORE)
            .u64(5)
            .u64(0)
            .u32(0o100_644)
            .u32(0)
            .u32(9)
            .u32(1)
            .bytes(b"a")
            .bytes(b"b")
            .finish();
        let body = &whole[5..];
        let found = In(body).attributes().unwrap();
        assert!(found.is_file() && !found.is_folder() && found.size == Some(5));
        assert_eq!(found.modified, Some(9));
        for cut in 0..body.len() {
            assert!(In(&body[..cut]).attributes().is_err(), "{cut}");
        }
    }
}
