//! Which version of PostgreSQL wrote a page of WAL.

/// The format of WAL, which changes with every major version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalFormat {
    major: u32,
}

impl WalFormat {
    /// The format of a major version; `None` if it is not one of 13 to 18.
    pub const fn of_major(major: u32) -> Option<Self> {
        match major {
            13..=18 => Some(Self { major }),
            _ => None,
        }
    }

    /// Recognises the number with which each page begins (`XLOG_PAGE_MAGIC`); `None` if no release
    /// from 13 to 18 writes it.
    pub const fn of_magic(magic: u16) -> Option<Self> {
        let major = match magic {
            0xD106 => 13,
            0xD10D => 14,
            0xD110 => 15,
            0xD113 => 16,
            0xD116 => 17,
            0xD118 => 18,
            _ => return None,
        };
        Some(Self { major })
    }

    /// The major version.
    pub const fn major(self) -> u32 {
        self.major
    }

    /// The bits of a page image's `bimg_info` that say it is compressed. 15 brought LZ4 and zstd,
    /// and moved the bits.
    pub(super) const fn compressed_bits(self) -> u8 {
        match self.major {
            13 | 14 => 0x02,
            _ => 0x04 | 0x08 | 0x10,
        }
    }
}
