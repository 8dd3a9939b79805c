//! Putting together records that lie on several pages.

use super::super::record::{HEADER, RecordHeader, main_bytes};
use super::super::{Rmgr, WalFormat};

/// Records up to this length are kept whole; of longer ones only the beginning, and the main data
/// where it is not longer than this or a transaction's end. A page image and what comes with it fit.
pub const WHOLE_RECORD_BYTES: usize = 64 << 10;

/// A record of which a part was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Assembly {
    total: u32,
    found: usize,
    /// The beginning, [`WHOLE_RECORD_BYTES`] at most.
    head: Vec<u8>,
    /// The main data of a long record.
    main: Vec<u8>,
    /// Where the main data to be kept begins; known when the head is full.
    main_from: Option<usize>,
    crc: u32,
}

impl Assembly {
    pub(super) fn begin(&mut self, total: u32) {
        self.total = total;
        self.found = 0;
        self.head.clear();
        self.main.clear();
        self.main_from = None;
        self.crc = 0;
    }

    pub(super) const fn total(&self) -> u32 {
        self.total
    }

    pub(super) const fn found(&self) -> usize {
        self.found
    }

    pub(super) const fn missing(&self) -> usize {
        self.total as usize - self.found
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The main data, if it was kept apart from the head.
    pub(super) fn main(&self) -> Option<&[u8]> {
        self.main_from.map(|_| self.main.as_slice())
    }

    /// Adds the next piece, which is not longer than what is missing.
    pub(super) fn add(&mut self, piece: &[u8], format: WalFormat) {
        let after_header = HEADER.saturating_sub(self.found).min(piece.len());
        self.crc = crc32c::crc32c_append(self.crc, &piece[after_header..]);
        let is_full = self.head.len() == WHOLE_RECORD_BYTES;
        let room = (WHOLE_RECORD_BYTES - self.head.len()).min(piece.len());
        self.head.extend_from_slice(&piece[..room]);
        if is_full {
            self.keep_main(self.found, piece);
        } else if self.head.len() == WHOLE_RECORD_BYTES && self.missing() > room {
            self.main_from = self.wanted_main(format);
            let head = std::mem::take(&mut self.head);
            self.keep_main(0, &head);
            self.head = head;
            self.keep_main(self.found + room, &piece[room..]);
        }
        self.found += piece.len();
    }

    fn wanted_main(&self, format: WalFormat) -> Option<usize> {
        let header = RecordHeader::parse(&self.head)?;
        let bytes = main_bytes(&self.head, self.total, format)?;
        let is_wanted = header.rmgr == Rmgr::TRANSACTION || bytes <= WHOLE_RECORD_BYTES;
        // The main data is a record's last part.
        is_wanted.then(|| (self.total as usize).saturating_sub(bytes))
    }

    fn keep_main(&mut self, at: usize, piece: &[u8]) {
        if let Some(from) = self.main_from {
            let skipped = from.saturating_sub(at).min(piece.len());
            self.main.extend_from_slice(&piece[skipped..]);
        }
    }

    /// The header, if the whole record's CRC holds.
    pub(super) fn verified(&self) -> Option<RecordHeader> {
        let header = RecordHeader::parse(&self.head)?;
        header.crc_holds(self.crc, &self.head).then_some(header)
    }
}
