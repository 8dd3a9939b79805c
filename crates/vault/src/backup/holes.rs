//! Where a file has holes, which need not be read.

use std::{fs::File, os::unix::fs::MetadataExt};

use rustix::{
    fs::{SeekFrom, fstatfs, seek},
    io::Errno,
};

/// Sectors in which `st_blocks` counts (stat(2)).
const SECTOR_BYTES: u64 = 512;
/// The name that ZFS gives itself in statfs(2). Releases of many years called data that was just written a hole
/// (openzfs/zfs#15526), so what it says of holes is not believed.
const ZFS: u64 = 0x2fc1_2fc1;

/// Whether a file takes less room than its length, and its file system is believed when it says where.
pub(super) fn may_have(file: &File) -> bool {
    let is_short = file
        .metadata()
        .is_ok_and(|of| of.blocks().saturating_mul(SECTOR_BYTES) < of.len());
    is_short && fstatfs(file).is_ok_and(|of| of.f_type as u64 != ZFS)
}

/// How many bytes from `offset` on are zeros because nothing was ever written there. 0 where there is data, behind the
/// end, and on file systems that cannot tell: those call the whole file data (lseek(2), `SEEK_DATA`).
pub(super) fn length_at(file: &File, offset: u64) -> u64 {
    let end = match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data,
        // Nothing but a hole is left, or nothing at all, as in a file that was cut.
        Err(Errno::NXIO) => file.metadata().map_or(0, |of| of.len()),
        Err(_) => 0,
    };
    end.saturating_sub(offset)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_hole_reaches_to_the_next_data_or_the_end_and_never_behind_it() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 * GIB).unwrap();
        file.write_all_at(&[1; 4096], GIB).unwrap();
        assert!(may_have(&file));
        let to_data = length_at(&file, 0);
        // File systems keep data in blocks of their own length, and some know of no holes.
        assert!(to_data == 0 || (GIB - (1 << 20)..=GIB).contains(&to_data));
        assert_eq!(length_at(&file, GIB), 0);
        assert!([0, GIB].contains(&length_at(&file, 3 * GIB)));
        assert_eq!(length_at(&file, 4 * GIB), 0);
        assert_eq!(length_at(&file, 5 * GIB), 0);
    }

    #[test]
    fn a_file_without_holes_is_not_asked_for_them() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 1 << 20], 0).unwrap();
        file.sync_all().unwrap();
        assert!(!may_have(&file) || length_at(&file, 0) == 0);
    }
}
