//! Files that are there whole or not at all, also after a power cut.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags},
    io::Errno,
};

use crate::{direct, together};

/// A file that is to be written: where, what, and its permission bits.
#[derive(Clone, Copy, Debug)]
pub struct NewFile<'a> {
    /// Its path; the folder must be there.
    pub path: &'a Path,
    /// Its bytes.
    pub content: &'a [u8],
    /// Its permission bits.
    pub mode: u32,
}

/// More files than this are made in several goes.
const MOST_OPEN_FILES: usize = 128;

/// Writes a new file: its bytes are durable before its name exists, and its name is durable when
/// this returns. `mode` are its permission bits.
///
/// Where the file system can, the bytes lie in a file without a name until they are safe
/// (`O_TMPFILE`), so that a killed process leaves nothing behind.
///
/// # Errors
/// `AlreadyExists` if there is a file of this name; it is untouched then, and durable.
pub fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let file = NewFile {
        path,
        content,
        mode,
    };
    let outcome = Nameless::write(&file).and_then(|nameless| nameless.name(&file));
    if is_there(&outcome) {
        sync_folder(folder_of(path))?;
    }
    outcome
}

/// Writes many new files as [`create`] writes one, and returns what became of each: bytes are made
/// durable a few files at a time, then all files get their names, then each folder is made durable
/// once.
#[must_use]
pub fn create_all(files: &[NewFile<'_>]) -> Vec<io::Result<()>> {
    // Each file is open until it has its name.
    let some = files.chunks(MOST_OPEN_FILES);
    some.flat_map(create_some).collect()
}

fn create_some(files: &[NewFile<'_>]) -> Vec<io::Result<()>> {
    let written = together::each(files, Nameless::write);
    let mut outcomes: Vec<_> = written
        .into_iter()
        .zip(files)
        .map(|(nameless, file)| nameless.and_then(|nameless| nameless.name(file)))
        .collect();
    let mut folders = BTreeMap::new();
    for (outcome, file) in outcomes.iter_mut().zip(files) {
        if !is_there(outcome) {
            continue;
        }
        let folder = folder_of(file.path);
        let synced = folders.entry(folder).or_insert_with(|| sync_folder(folder));
        if let Err(error) = synced {
            *outcome = Err(again(error));
        }
    }
    outcomes
}

/// Whether there is a file of this name now, ours or another one.
fn is_there(outcome: &io::Result<()>) -> bool {
    let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
    outcome.as_ref().err().is_none_or(is_taken)
}

/// The same error for another file that it concerns.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error.kind().into(),
    }
}

/// Replaces or creates a file, whole and durable.
///
/// # Errors
/// As the file system failed; the old content stands then.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let file = NewFile {
        path,
        content,
        mode,
    };
    Nameless::write(&file)?.replace(&file)?;
    sync_folder(folder_of(path))
}

/// Makes the entries of a folder durable.
///
/// # Errors
/// As the file system failed.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes everything written so far to the file system of `path` durable: one call instead of one
/// for each of many files. Reports earlier write errors too, from Linux 5.8 on (syncfs(2)).
///
/// # Errors
/// As the file system failed.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// A file whose bytes are durable and which has no name yet, or one that nobody looks for.
enum Nameless {
    Unnamed(File),
    Temporary(Temporary),
}

/// Removed when it is dropped, unless it got its name.
struct Temporary(PathBuf);

impl Nameless {
    fn write(file: &NewFile<'_>) -> io::Result<Self> {
        match write_unnamed(file) {
            Err(error) if is_unsupported(&error) => Temporary::write(file).map(Self::Temporary),
            other => other.map(Self::Unnamed),
        }
    }

    /// Gives it its name, unless there is a file of this name, which is made durable then.
    fn name(self, file: &NewFile<'_>) -> io::Result<()> {
        let named = match self {
            Self::Temporary(temporary) => temporary.name(file.path),
            Self::Unnamed(unnamed) => match name_unnamed(&unnamed, file.path) {
                Err(error) if is_unsupported(&error) => Temporary::write(file)?.name(file.path),
                other => other,
            },
        };
        match named {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                File::open(file.path)?.sync_all()?;
                Err(error)
            }
            other => other,
        }
    }

    /// Gives it its name, whoever has it. A file without any gets another one first, for the blink
    /// of an eye in which a killed process leaves it behind.
    fn replace(self, file: &NewFile<'_>) -> io::Result<()> {
        let temporary = match self {
            Self::Temporary(temporary) => temporary,
            Self::Unnamed(unnamed) => {
                let beside = Temporary::path_beside(file.path)?;
                match name_unnamed(&unnamed, &beside) {
                    Err(error) if is_unsupported(&error) => Temporary::write(file)?,
                    other => other.map(|()| Temporary(beside))?,
                }
            }
        };
        temporary.replace(file.path)
    }
}

fn write_unnamed(file: &NewFile<'_>) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(file.mode);
    let unnamed = File::from(rustix::fs::open(folder_of(file.path), flags, mode)?);
    write_durably(&unnamed, file.content)?;
    Ok(unnamed)
}

fn name_unnamed(unnamed: &File, path: &Path) -> io::Result<()> {
    // Naming a file by its descriptor needs either a capability or this path (open(2), O_TMPFILE).
    let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(unnamed));
    Ok(rustix::fs::linkat(
        CWD,
        descriptor,
        CWD,
        path,
        AtFlags::SYMLINK_FOLLOW,
    )?)
}

impl Temporary {
    fn write(file: &NewFile<'_>) -> io::Result<Self> {
        let path = Self::path_beside(file.path)?;
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(file.mode)
            .open(&path)?;
        // From here on it is removed again if anything fails.
        let temporary = Self(path);
        write_durably(&written, file.content)?;
        Ok(temporary)
    }

    /// A name that nobody has.
    fn path_beside(path: &Path) -> io::Result<PathBuf> {
        let mut name = OsString::from(path.file_name().unwrap_or_default());
        let mut random = [0_u8; 6];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        name.push(format!("-tmp-{}", hex::encode(random)));
        Ok(folder_of(path).join(name))
    }

    fn name(self, path: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, &self.0, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => self.forget(),
            // Some file systems cannot refuse to replace; a hard link can, where there are any.
            Err(Errno::INVAL | Errno::NOSYS) => std::fs::hard_link(&self.0, path)?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn replace(self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.0, path)?;
        self.forget();
        Ok(())
    }

    /// It has another name; there is nothing to remove.
    fn forget(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            remove_quietly(&self.0);
        }
    }
}

fn write_durably(file: &File, content: &[u8]) -> io::Result<()> {
    let written = direct::write_beginning(file, content)?;
    file.write_all_at(&content[written..], written as u64)?;
    file.sync_all()
}

/// The first error is the one to tell; what is left behind is a stray file of ours and no more.
fn remove_quietly(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a temporary file was left behind");
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    // EISDIR and ENOENT are what kernels and file systems without O_TMPFILE answer to it; a folder
    // that is really missing fails again, and is told, on the second way.
    [
        Errno::OPNOTSUPP,
        Errno::ISDIR,
        Errno::NOENT,
        Errno::INVAL,
        Errno::NOSYS,
    ]
    .iter()
    .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_whole_and_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        for way in [
            create as fn(&Path, &[u8], u32) -> io::Result<()>,
            |path, content, mode| {
                let file = NewFile {
                    path,
                    content,
                    mode,
                };
                Nameless::Temporary(Temporary::write(&file)?).name(&file)
            },
        ] {
            let path = dir.path().join("x");
            way(&path, b"one", 0o400).unwrap();
            let error = way(&path, b"two", 0o400).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(&path).unwrap(), b"one");
            assert_eq!(
                std::fs::read_dir(dir.path()).unwrap().count(),
                1,
                "nothing is left behind"
            );
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = create(&dir.path().join("no/x"), b"", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn replace_takes_the_place_of_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let file = NewFile {
            path: &path,
            content: b"three",
            mode: 0o600,
        };
        let named = Nameless::Temporary(Temporary::write(&file).unwrap());
        named.replace(&file).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
