//! Content made from a seed: the same seed gives the same bytes, on every machine.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::TestingError;
use crate::process::set_mode;

/// Pseudo-random numbers: xorshift64* (Vigna, 2016), seeded through one step of splitmix64 so that
/// near seeds do not give near sequences. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // The state must not be 0, or the sequence is nothing but 0.
        Self((z ^ (z >> 31)) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number from 0 to `bound - 1`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The product's high half: no division, and a bias that no test can see.
        let product = u128::from(self.number()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// `len` bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// `len` bytes of words and numbers that compress about as well as a database's text.
    pub fn text(&mut self, len: usize) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "order",
            "customer",
            "shipped",
            "pending",
            "the",
            "of",
            "invoice",
            "2026-03-14",
            "paid",
            "Köln",
            "returned",
            "item",
            "and",
            "note:",
            "priority",
            "x",
        ];
        let mut text = Vec::with_capacity(len + 16);
        while text.len() < len {
            match self.below(5) {
                0 => text.extend_from_slice(self.below(100_000).to_string().as_bytes()),
                kind => {
                    let word = usize::try_from(self.below(16)).unwrap_or(0);
                    text.extend_from_slice(WORDS[word].as_bytes());
                    text.push(if kind == 1 { b'\n' } else { b' ' });
                }
            }
        }
        text.truncate(len);
        text
    }
}

/// Fills the new directory `dir` with a tree that is hard to keep: `small_files` of 0 to 9 KiB in
/// nested directories; links, sparse and large files, a FIFO, odd names, odd modes, old times.
///
/// # Errors
/// [`TestingError::File`].
pub fn file_tree(dir: &Path, seed: u64, small_files: u32) -> Result<(), TestingError> {
    let mut random = Random::new(seed);
    make_dir(dir)?;
    for number in 0..small_files {
        let parent = dir.join(format!("{}/{}", number % 7, number % 31));
        make_dir(&parent)?;
        let len = usize::try_from(random.below(9 * 1024)).unwrap_or(0);
        let content = if number % 3 == 0 {
            random.bytes(len)
        } else {
            random.text(len)
        };
        write(&parent.join(format!("file {number}")), &content)?;
    }
    odd_names(dir, &mut random)?;
    odd_kinds(dir, &mut random)?;
    old_times(dir, &mut random)
}

fn odd_names(dir: &Path, random: &mut Random) -> Result<(), TestingError> {
    let long = "n".repeat(255);
    let names: [&[u8]; 11] = [
        b"with space",
        b" leading and trailing ",
        b"quote'and\"quote",
        b"line\nbreak",
        b"tab\tinside",
        b"back\\slash",
        b"-rf",
        b"*?[glob]$(x)",
        "ünïcødé 数据".as_bytes(),
        b"not utf-8 \xff\xfe",
        long.as_bytes(),
    ];
    let odd = dir.join("odd names");
    make_dir(&odd)?;
    for name in names {
        write(&odd.join(OsStr::from_bytes(name)), &random.text(100))?;
    }
    make_dir(
        &odd.join(OsStr::from_bytes(b"directory \xff"))
            .join("deep/er/and/deep/er"),
    )
}

fn odd_kinds(dir: &Path, random: &mut Random) -> Result<(), TestingError> {
    let kinds = dir.join("kinds");
    make_dir(&kinds.join("empty directory"))?;
    write(&kinds.join("empty file"), b"")?;
    write(&kinds.join("large"), &random.bytes(5 << 20))?;
    write(&kinds.join("zeros"), &vec![0; 3 << 20])?;
    sparse(&kinds.join("sparse"), random)?;
    for (name, mode) in [
        ("unreadable", 0o000),
        ("setuid", 0o4755),
        ("sticky", 0o1644),
    ] {
        write(&kinds.join(name), b"mode")?;
        set_mode(&kinds.join(name), mode)?;
    }
    let hard = kinds.join("hard link to large");
    fs::hard_link(kinds.join("large"), &hard).map_err(TestingError::file("link", &hard))?;
    for (name, target) in [
        ("link", "large"),
        ("dangling", "/no/such/file"),
        ("up", ".."),
    ] {
        let path = kinds.join(name);
        symlink(target, &path).map_err(TestingError::file("link", &path))?;
    }
    let fifo = kinds.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o640), 0)
        .map_err(|errno| TestingError::file("make FIFO", &fifo)(errno.into()))
}

/// Holes at the start, in the middle and at the end of 64 MiB.
fn sparse(path: &Path, random: &mut Random) -> Result<(), TestingError> {
    let file = File::create(path).map_err(TestingError::file("create", path))?;
    file.set_len(64 << 20)
        .map_err(TestingError::file("extend", path))?;
    for offset in [10 << 20, (40 << 20) + 3] {
        file.write_all_at(&random.bytes(4096), offset)
            .map_err(TestingError::file("write", path))?;
    }
    Ok(())
}

/// Gives a few files times before 1970, far ahead, and with nanoseconds.
fn old_times(dir: &Path, random: &mut Random) -> Result<(), TestingError> {
    let day = Duration::from_secs(86_400);
    let fraction = Duration::from_nanos(random.below(1_000_000_000));
    for (name, time) in [
        ("1950", UNIX_EPOCH - day * 365 * 20 + fraction),
        ("2100", UNIX_EPOCH + day * 365 * 130 + fraction),
        ("epoch", UNIX_EPOCH),
    ] {
        let path = dir.join(name);
        write(&path, name.as_bytes())?;
        let file = File::options().write(true).open(&path);
        file.and_then(|file| file.set_modified(time))
            .map_err(TestingError::file("date", &path))?;
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), TestingError> {
    fs::create_dir_all(path).map_err(TestingError::file("create", path))
}

fn write(path: &Path, content: &[u8]) -> Result<(), TestingError> {
    fs::write(path, content).map_err(TestingError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        assert_eq!(Random::new(1).bytes(1001), Random::new(1).bytes(1001));
        assert_ne!(Random::new(1).bytes(1001), Random::new(2).bytes(1001));
        assert_eq!(Random::new(1).text(1001).len(), 1001);
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random::new(3);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[usize::try_from(random.below(10)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 10]);
        assert_eq!(random.below(0), 0);
    }
}
