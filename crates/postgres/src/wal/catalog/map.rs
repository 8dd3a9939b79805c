//! `pg_filenode.map`: where the catalogs are that the server must find before it can read any.

use std::collections::HashMap;

use super::super::Numbers;

/// Source: PostgreSQL's `utils/cache/relmapper.c`. The file is 512 bytes long to 15, 524 since 16;
/// its CRC follows the mappings.
const MAGIC: u32 = 0x0059_2717;

/// Reads the file; `None` if it is not whole. The result leads from OIDs to file numbers.
pub(super) fn parse(bytes: &[u8]) -> Option<HashMap<u32, u32>> {
    let crc_at = match bytes.len() {
        512 => 504,
        524 => 520,
        _ => return None,
    };
    if bytes.u32_at(0)? != MAGIC || crc32c::crc32c(&bytes[..crc_at]) != bytes.u32_at(crc_at)? {
        return None;
    }
    let count = bytes.u32_at(4)? as usize;
    let entries = bytes[8..crc_at].chunks_exact(8).take(count);
    let entry = |entry: &[u8]| Some((entry.u32_at(0)?, entry.u32_at(4)?));
    entries.map(entry).collect()
}
