//! The log of a service: it writes it itself, so that it needs nobody to go on.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

/// How often it is looked whether the log is too large.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// How many old files are kept.
const OLD_FILES: u32 = 3;

/// What our own lines begin with.
pub(crate) const MARK: &str = "--- rekindle ";

/// A log that is appended to by the service and by us.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    limit_bytes: u64,
}

impl Log {
    pub fn open(path: &Path, limit_bytes: u64) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("log {}: {error}", path.display()))
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(named)?;
        }
        let mut options = OpenOptions::new();
        let options = options.create(true).append(true).read(true).mode(0o640);
        let file = options.open(path).map_err(named)?;
        let path = path.to_owned();
        Ok(Self {
            path,
            file,
            limit_bytes,
        })
    }

    /// For the service's standard output and error.
    pub fn outlet(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Writes a line of ours, with the time. A log that cannot be written to stops nobody.
    pub fn mark(&self, text: &str) {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let _ = (&self.file).write_all(format!("{MARK}{now}: {text}\n").as_bytes());
    }

    /// Puts the log aside once it is too large. The service has the file open and goes on writing
    /// to it, so its content is copied and the file made empty; what is written between the last
    /// byte of the copy and the emptying, microseconds, is lost. A pipe would lose nothing, but
    /// would end the service with its supervisor.
    pub fn keep_small(&self) {
        let is_large = self
            .file
            .metadata()
            .is_ok_and(|meta| meta.len() > self.limit_bytes);
        if is_large && let Err(error) = self.rotate() {
            self.mark(&format!("the log cannot be rotated: {error}"));
        }
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..OLD_FILES).rev() {
            match fs::rename(old(&self.path, number), old(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(true).write(true).mode(0o640);
        let mut aside = options.open(old(&self.path, 1))?;
        let mut from = File::open(&self.path)?;
        io::copy(&mut from, &mut aside)?;
        self.file.set_len(0)
    }
}

/// The file of that age; 1 is the newest.
pub(crate) fn old(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_log_is_put_aside_and_the_service_goes_on_writing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/a.log");
        let log = Log::open(&path, 100).unwrap();
        let mut service = log.outlet().unwrap();
        for round in 0..6u8 {
            service.write_all(&[b'a' + round; 150]).unwrap();
            log.keep_small();
        }
        service.write_all(b"now").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"now");
        assert_eq!(fs::read(old(&path, 1)).unwrap(), [b'f'; 150]);
        assert_eq!(fs::read(old(&path, 3)).unwrap(), [b'd'; 150]);
        assert!(!old(&path, 4).exists());
    }
}
