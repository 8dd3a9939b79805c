//! Files that are there whole or not at all, also after a power cut.

use std::{
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

use crate::direct;

/// Writes a new file: its bytes are durable before its name exists, and its name is durable when
/// this returns. `mode` are its permission bits.
///
/// Where the file system can, the bytes lie in a file without a name until they are safe
/// (`O_TMPFILE`), so that a killed process leaves nothing behind.
///
/// # Errors
/// `AlreadyExists` if there is a file of this name; it is untouched then.
pub fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path);
    match create_unnamed(folder, path, content, mode) {
        Err(error) if is_unsupported(&error) => create_named(folder, path, content, mode)?,
        other => other?,
    }
    sync_folder(folder)
}

/// Replaces or creates a file, whole and durable.
///
/// # Errors
/// As the file system failed; the old content stands then.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path);
    let temporary = write_temporary(folder, path, content, mode)?;
    std::fs::rename(&temporary, path).inspect_err(|_| remove_quietly(&temporary))?;
    sync_folder(folder)
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

fn create_unnamed(folder: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(folder, flags, Mode::from_raw_mode(mode))?);
    write_durably(&file, content)?;
    // Naming a file by its descriptor needs either a capability or this path (open(2), O_TMPFILE).
    let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    Ok(rustix::fs::linkat(
        CWD,
        descriptor,
        CWD,
        path,
        AtFlags::SYMLINK_FOLLOW,
    )?)
}

fn create_named(folder: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = write_temporary(folder, path, content, mode)?;
    let named = match rustix::fs::renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE)
    {
        // Some file systems cannot refuse to replace; a hard link can, where there are any.
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::hard_link(&temporary, path).map(|()| remove_quietly(&temporary))
        }
        other => other.map_err(io::Error::from),
    };
    named.inspect_err(|_| remove_quietly(&temporary))
}

fn write_temporary(folder: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    let mut random = [0_u8; 6];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    name.push(format!("-tmp-{}", hex::encode(random)));
    let temporary = folder.join(name);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    let written = write_durably(&file, content);
    written.inspect_err(|_| remove_quietly(&temporary))?;
    Ok(temporary)
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
            |p, c, m| create_named(folder_of(p), p, c, m),
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
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
