//! Storage that this process can reach by a path.
//!
//! `tar` packs and unpacks: it knows sparse files, hard links, attributes and access lists, and
//! refuses names that lead out. Paths are resolved below the directory's own handle, so that a link
//! in the storage leads nowhere else.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Component, Path},
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    thread::{self, JoinHandle},
};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, ResolveFlags, openat, openat2, renameat_with};

use crate::{RuntimeError, Storage, StorageAccess};

/// What tar keeps of each file.
const KEEP: [&str; 4] = [
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
    "--acls",
];

/// A directory of this machine that a service keeps files in.
pub struct DirectoryAccess {
    service: String,
    /// What is opened, for errors.
    name: String,
    root: OwnedFd,
}

impl DirectoryAccess {
    /// Opens storage by its path on this machine.
    ///
    /// # Errors
    /// If it has none, or it cannot be opened.
    pub fn open(service: &str, storage: &Storage) -> Result<Self, RuntimeError> {
        let failed = |error: io::Error| RuntimeError::Failed {
            doing: format!("open {} of", storage.name),
            service: service.to_owned(),
            reason: error.to_string(),
            hint: None,
        };
        let unreachable = || io::Error::other("it has no path that can be read here");
        let here = storage
            .here
            .as_deref()
            .ok_or_else(unreachable)
            .map_err(failed)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, here, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let (service, name) = (service.to_owned(), storage.name.clone());
        Ok(Self {
            service,
            name,
            root,
        })
    }

    fn failed(&self, doing: &str, path: &Path) -> impl Fn(io::Error) -> RuntimeError + use<> {
        let doing = format!("{doing} {} in {} of", path.display(), self.name);
        let service = self.service.clone();
        move |error| RuntimeError::Failed {
            doing: doing.clone(),
            service: service.clone(),
            reason: error.to_string(),
            hint: None,
        }
    }

    /// Opens what lies at a path below the root, whatever links lie on the way.
    fn beneath(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path == Path::new("") {
            Path::new(".")
        } else {
            path
        };
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            how,
        )?)
    }

    /// The directory that `path` is in, and its name there.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p std::ffi::OsStr)> {
        let strange = || io::Error::new(io::ErrorKind::InvalidInput, "it is no name of an entry");
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name,
            _ => return Err(strange()),
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.beneath(parent, OFlags::DIRECTORY)?, name))
    }
}

/// `tar`, begun in a directory that is open.
fn tar_in(directory: &OwnedFd) -> Command {
    let mut tar = Command::new("tar");
    tar.current_dir(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()));
    tar.args(KEEP).env("LC_ALL", "C");
    tar
}

impl StorageAccess for DirectoryAccess {
    fn read(&mut self, path: &Path) -> Result<Box<dyn Read + '_>, RuntimeError> {
        let failed = self.failed("read", path);
        let opened = self.beneath(path, OFlags::PATH).map_err(&failed)?;
        let kind = rustix::fs::fstat(&opened).map_err(|error| failed(error.into()))?;
        let is_directory = rustix::fs::FileType::from_raw_mode(kind.st_mode).is_dir();
        let (directory, name) = if is_directory {
            (opened, Path::new(".").as_os_str())
        } else {
            self.parent(path).map_err(&failed)?
        };
        let mut tar = tar_in(&directory);
        tar.args(["--create", "--sparse", "--file=-", "--"])
            .arg(name);
        Ok(Box::new(Packing::start(tar).map_err(failed)?))
    }

    fn write(&mut self, path: &Path, tar: &mut (dyn Read + Send)) -> Result<(), RuntimeError> {
        let failed = self.failed("write to", path);
        let directory = self.beneath(path, OFlags::DIRECTORY).map_err(&failed)?;
        let mut command = tar_in(&directory);
        command.args(["--extract", "--preserve-permissions", "--file=-"]);
        if rustix::process::geteuid().is_root() {
            command.arg("--same-owner");
        }
        unpack(command, tar).map_err(failed)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), RuntimeError> {
        let failed = self.failed("rename", from);
        let (from_in, from_name) = self.parent(from).map_err(&failed)?;
        let (to_in, to_name) = self.parent(to).map_err(&failed)?;
        let renamed = renameat_with(&from_in, from_name, &to_in, to_name, RenameFlags::NOREPLACE);
        renamed.map_err(|error| failed(error.into()))?;
        let synced = rustix::fs::fsync(&to_in).and_then(|()| rustix::fs::fsync(&from_in));
        synced.map_err(|error| failed(error.into()))
    }

    fn copy_file(&mut self, path: &Path, out: &mut dyn Write) -> Result<u64, RuntimeError> {
        let failed = self.failed("read", path);
        // Without waiting for a writer, were it a pipe.
        let opened = self
            .beneath(path, OFlags::RDONLY | OFlags::NONBLOCK)
            .map_err(&failed)?;
        let mut file = File::from(opened);
        if !file.metadata().map_err(&failed)?.is_file() {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        io::copy(&mut file, out).map_err(failed)
    }
}

fn unpack(mut command: Command, from: &mut (dyn Read + Send)) -> io::Result<()> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let complaint = child.stderr.take().map(listen);
    let mut copied = Ok(0);
    if let Some(mut pipe) = child.stdin.take() {
        copied = io::copy(from, &mut pipe);
        if copied.is_err() {
            // An archive that ends too early must not look like its end.
            child.kill()?;
        }
    }
    let status = child.wait()?;
    let complaint = complaint.map(said).unwrap_or_default();
    match copied {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ if !status.success() => Err(io::Error::other(format!("tar: {complaint}"))),
        other => other.map(drop),
    }
}

fn listen(mut pipe: ChildStderr) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        let _ = pipe.read_to_end(&mut text);
        String::from_utf8_lossy(&text).trim().to_owned()
    })
}

fn said(complaint: JoinHandle<String>) -> String {
    let text = complaint.join().unwrap_or_default();
    let last: Vec<&str> = text.lines().rev().take(3).collect();
    last.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// The output of a `tar` that packs; its end is only an end if `tar` is content.
struct Packing {
    child: Child,
    output: ChildStdout,
    complaint: Option<JoinHandle<String>>,
}

impl Packing {
    fn start(mut tar: Command) -> io::Result<Self> {
        tar.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = tar.spawn()?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("tar has no output"))?;
        let complaint = child.stderr.take().map(listen);
        Ok(Self {
            child,
            output,
            complaint,
        })
    }
}

impl Read for Packing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.output.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        if self.child.wait()?.success() {
            return Ok(0);
        }
        let complaint = self.complaint.take().map(said).unwrap_or_default();
        Err(io::Error::other(format!("tar: {complaint}")))
    }
}

impl Drop for Packing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StorageKind;
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    fn opened(path: &Path) -> DirectoryAccess {
        let storage = Storage {
            name: "data".into(),
            kind: StorageKind::Directory,
            inside: path.to_owned(),
            here: Some(path.to_owned()),
            read_only: false,
        };
        DirectoryAccess::open("a", &storage).unwrap()
    }

    #[test]
    fn what_was_read_is_written_with_owner_mode_time_and_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = from.path().join("sub/file");
        fs::create_dir(from.path().join("sub")).unwrap();
        File::create(&file).unwrap().write_all(b"bytes").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(1234), Some(4321)).unwrap();
        }
        symlink("sub/file", from.path().join("link")).unwrap();
        fs::hard_link(&file, from.path().join("twin")).unwrap();
        let mut source = opened(from.path());
        let mut tar = Vec::new();
        source
            .read(Path::new(""))
            .unwrap()
            .read_to_end(&mut tar)
            .unwrap();
        opened(to.path())
            .write(Path::new(""), &mut tar.as_slice())
            .unwrap();
        let (was, is) = (
            file.metadata().unwrap(),
            to.path().join("sub/file").metadata().unwrap(),
        );
        assert_eq!(
            (was.uid(), was.gid(), was.mode()),
            (is.uid(), is.gid(), is.mode())
        );
        assert_eq!(
            (was.mtime(), was.len(), is.nlink()),
            (is.mtime(), is.len(), 2)
        );
        assert_eq!(
            fs::read_link(to.path().join("link")).unwrap(),
            Path::new("sub/file")
        );
        let mut out = Vec::new();
        assert_eq!(
            opened(to.path())
                .copy_file(Path::new("sub/file"), &mut out)
                .unwrap(),
            5
        );
        let mut alone = Vec::new();
        source
            .read(Path::new("sub/file"))
            .unwrap()
            .read_to_end(&mut alone)
            .unwrap();
        opened(to.path())
            .write(Path::new(""), &mut alone.as_slice())
            .unwrap();
        assert_eq!(fs::read(to.path().join("file")).unwrap(), b"bytes");
    }

    #[test]
    fn a_link_or_a_name_leads_nowhere_else() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        File::create(other.path().join("secret")).unwrap();
        symlink(other.path(), dir.path().join("out")).unwrap();
        let mut access = opened(dir.path());
        for path in ["out/secret", "../secret", "/etc/hostname", "out"] {
            let path = Path::new(path);
            assert!(access.copy_file(path, &mut Vec::new()).is_err(), "{path:?}");
            assert!(access.write(path, &mut &b""[..]).is_err(), "{path:?}");
        }
        assert!(
            access
                .rename(Path::new("out"), Path::new("../out"))
                .is_err()
        );
    }

    #[test]
    fn a_name_that_is_taken_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mut access = opened(dir.path());
        for name in ["a", "b"] {
            File::create(dir.path().join(name))
                .unwrap()
                .write_all(name.as_bytes())
                .unwrap();
        }
        assert!(access.rename(Path::new("a"), Path::new("b")).is_err());
        assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"b");
        access.rename(Path::new("a"), Path::new("c")).unwrap();
        assert_eq!(fs::read(dir.path().join("c")).unwrap(), b"a");
    }

    #[test]
    fn an_archive_that_ends_too_early_is_an_error() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        File::create(from.path().join("file"))
            .unwrap()
            .write_all(&[7; 100_000])
            .unwrap();
        let mut tar = Vec::new();
        opened(from.path())
            .read(Path::new(""))
            .unwrap()
            .read_to_end(&mut tar)
            .unwrap();
        let half = &mut &tar[..tar.len() / 2];
        assert!(opened(to.path()).write(Path::new(""), half).is_err());
    }
}
