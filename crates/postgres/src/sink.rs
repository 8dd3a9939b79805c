//! Where captured data directories go.

use bytes::Bytes;

/// What a directory entry carries besides its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMeta {
    /// Permission bits, as in `0o600`.
    pub mode: u32,
    /// Seconds since 1970 when the content last changed.
    pub mtime: i64,
    /// The owner's number, 0 where it is not known.
    pub uid: u32,
    /// The group's number, 0 where it is not known.
    pub gid: u32,
}

/// Receives a data directory, entry by entry.
///
/// Paths are relative to PGDATA with `/` between names, never absolute and without `..`;
/// tablespaces lie under `tablespaces/<oid>/`. A directory comes before what it holds. Between
/// [`begin_file`](Self::begin_file) and [`end_file`](Self::end_file) only
/// [`data`](Self::data) is called, and adds up to exactly the announced size. `global/pg_control`,
/// which makes the directory startable, comes after all other files of the data directory.
///
/// After an error nothing more is called. A caller must not take an unfinished tree for a backup:
/// only the success of the function that fills the sink means that it is whole.
pub trait PgdataSink {
    /// Why the sink could not take something.
    type Error;

    /// Takes a directory.
    ///
    /// # Errors
    /// Ends the capture.
    fn directory(&mut self, path: &str, meta: &EntryMeta) -> Result<(), Self::Error>;

    /// Takes a symbolic link. The only ones are `pg_tblspc/<oid>` to `../tablespaces/<oid>`.
    ///
    /// # Errors
    /// Ends the capture.
    fn symlink(&mut self, path: &str, target: &str, meta: &EntryMeta) -> Result<(), Self::Error>;

    /// Announces a file of `size` bytes.
    ///
    /// # Errors
    /// Ends the capture.
    fn begin_file(&mut self, path: &str, size: u64, meta: &EntryMeta) -> Result<(), Self::Error>;

    /// Takes the next bytes of the file, a slice of the receive buffer. Who keeps many of them
    /// keeps those buffers (512 KiB each) alive.
    ///
    /// # Errors
    /// Ends the capture.
    fn data(&mut self, bytes: Bytes) -> Result<(), Self::Error>;

    /// Ends the file.
    ///
    /// # Errors
    /// Ends the capture.
    fn end_file(&mut self) -> Result<(), Self::Error>;
}

/// Hands over a small file as a whole.
pub(crate) fn put_file<S: PgdataSink>(
    sink: &mut S,
    path: &str,
    content: Vec<u8>,
    meta: &EntryMeta,
) -> Result<(), S::Error> {
    sink.begin_file(path, content.len() as u64, meta)?;
    if !content.is_empty() {
        sink.data(content.into())?;
    }
    sink.end_file()
}

/// What a directory carries that we make ourselves.
pub(crate) fn private_directory() -> EntryMeta {
    EntryMeta {
        mode: 0o700,
        ..private_file()
    }
}

/// What a file carries that we make ourselves.
pub(crate) fn private_file() -> EntryMeta {
    let now = jiff::Timestamp::now().as_second();
    EntryMeta {
        mode: 0o600,
        mtime: now,
        uid: 0,
        gid: 0,
    }
}
