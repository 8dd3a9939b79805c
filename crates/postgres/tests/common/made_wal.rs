//! WAL made by a test: whatever lengths and places are wanted, right to the last bit.

use rekindle_postgres::layout::{Lsn, SegmentName, SegmentSize, Timeline};
use rekindle_postgres::wal::reader::Segment;

pub const SIZE: u64 = 1 << 20;
const PAGE: u64 = 1 << 10;
const MAGIC: u16 = 0xD110;

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub xid: u32,
    pub rmgr: u8,
    pub info: u8,
    /// Bytes of a block's data.
    pub block: usize,
    pub main: Vec<u8>,
}

/// Writes records one after another, as a server does.
pub struct Writer {
    bytes: Vec<u8>,
    start: u64,
    previous: u64,
    /// Where each record begins.
    pub starts: Vec<Lsn>,
}

impl Writer {
    /// Begins with segment 3.
    pub fn new() -> Self {
        let start = 3 * SIZE;
        Self {
            bytes: Vec::new(),
            start,
            previous: start - 100,
            starts: Vec::new(),
        }
    }

    fn at(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn page_header(&mut self, remaining: usize) {
        let at = self.at();
        let is_long = at.is_multiple_of(SIZE);
        let info = u16::from(remaining > 0) | u16::from(is_long) << 1;
        self.bytes.extend(MAGIC.to_le_bytes());
        self.bytes.extend(info.to_le_bytes());
        self.bytes.extend(1_u32.to_le_bytes());
        self.bytes.extend(at.to_le_bytes());
        self.bytes.extend((remaining as u64).to_le_bytes());
        if is_long {
            self.bytes.extend(42_u64.to_le_bytes());
            self.bytes.extend((SIZE as u32).to_le_bytes());
            self.bytes.extend((PAGE as u32).to_le_bytes());
        }
    }

    pub fn write(&mut self, made: &Made) {
        if self.at().is_multiple_of(PAGE) {
            self.page_header(0);
        }
        let start = self.at();
        let record = record(made, self.previous);
        for (done, byte) in record.iter().enumerate() {
            if self.at().is_multiple_of(PAGE) {
                self.page_header(record.len() - done);
            }
            self.bytes.push(*byte);
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.previous = start;
        self.starts.push(Lsn::new(start));
    }

    /// Begins a record that a crash cuts off at the end of its page, as the server that comes up
    /// again leaves it: the next page says that it is given up.
    pub fn abandon(&mut self) {
        const OVERWRITES: u8 = 0x08;
        let kept = (self.starts.len(), self.previous);
        let long = Made {
            xid: 1,
            rmgr: 10,
            info: 0,
            block: 0,
            main: vec![7; 3 * PAGE as usize],
        };
        self.write(&long);
        let start = self.starts[kept.0].offset();
        let page = start.next_multiple_of(PAGE);
        self.bytes.truncate((page - self.start) as usize);
        self.page_header(0);
        let info = (page - self.start) as usize + 2;
        self.bytes[info] |= OVERWRITES;
        self.starts.truncate(kept.0);
        self.previous = kept.1;
    }

    /// The segments, the last one filled with zeros.
    pub fn finish(mut self) -> (Vec<Segment<Vec<u8>>>, Vec<Lsn>) {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(SIZE as usize), 0);
        let size = SegmentSize::new(SIZE).unwrap();
        let mut name = SegmentName::at(Timeline::FIRST, Lsn::new(self.start), size);
        let mut segments = Vec::new();
        for bytes in self.bytes.chunks(SIZE as usize) {
            segments.push(Segment {
                name,
                bytes: bytes.to_vec(),
            });
            name = name.next();
        }
        (segments, self.starts)
    }
}

fn record(made: &Made, previous: u64) -> Vec<u8> {
    let mut rest = Vec::new();
    if made.block > 0 {
        rest.extend([0, 0x20]);
        rest.extend((made.block as u16).to_le_bytes());
        for number in [1663_u32, 5, 16384, 7] {
            rest.extend(number.to_le_bytes());
        }
    }
    match made.main.len() {
        0 => {}
        short @ 1..=255 => rest.extend([255, short as u8]),
        long => {
            rest.push(254);
            rest.extend((long as u32).to_le_bytes());
        }
    }
    rest.resize(rest.len() + made.block, 0xAB);
    rest.extend(&made.main);
    let mut header = Vec::new();
    header.extend((24 + rest.len() as u32).to_le_bytes());
    header.extend(made.xid.to_le_bytes());
    header.extend(previous.to_le_bytes());
    header.extend([made.info, made.rmgr, 0, 0]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&rest), &header);
    header.extend(crc.to_le_bytes());
    header.extend(rest);
    header
}
