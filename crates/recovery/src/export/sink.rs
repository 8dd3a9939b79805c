//! A file that gets its name when it is whole.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use rekindle_vault::durable;
use rustix::fs::{CWD, OFlags, RenameFlags};
use sha2::{Digest as _, Sha256};

use super::ExportedFile;

/// A file in work, under a temporary name. It is removed if it is dropped before [`Sink::finish`].
pub(super) struct Sink {
    out: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    directory: PathBuf,
    name: String,
    temporary: PathBuf,
    is_finished: bool,
}

impl Sink {
    pub(super) fn create(directory: &Path, name: &str) -> io::Result<Self> {
        let temporary = directory.join(format!(".{name}.part"));
        // What a killed export left.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // It may hold password hashes.
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(rustix::fs::openat(CWD, &temporary, flags, mode)?);
        Ok(Self {
            out: BufWriter::with_capacity(256 << 10, file),
            hash: Sha256::new(),
            bytes: 0,
            directory: directory.to_owned(),
            name: name.to_owned(),
            temporary,
            is_finished: false,
        })
    }

    /// Makes it durable, gives it its name, and writes its hash beside it.
    pub(super) fn finish(mut self, what: &str) -> io::Result<ExportedFile> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        let name = self.directory.join(&self.name);
        rustix::fs::renameat_with(CWD, &self.temporary, CWD, &name, RenameFlags::NOREPLACE)?;
        self.is_finished = true;
        durable::sync_folder(&self.directory)?;
        let sha256 = hex::encode(std::mem::take(&mut self.hash).finalize());
        // As `sha256sum --check` reads it.
        let line = format!("{sha256}  {}\n", self.name);
        let beside = self.directory.join(format!("{}.sha256", self.name));
        durable::create(&beside, line.as_bytes(), 0o600)?;
        Ok(ExportedFile {
            name: self.name.clone(),
            what: what.to_owned(),
            bytes: self.bytes,
            sha256,
        })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.is_finished {
            // It has a name that nobody takes for the file.
            drop(fs::remove_file(&self.temporary));
        }
    }
}
