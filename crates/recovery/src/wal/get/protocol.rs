//! What `wal get` and the fetcher in the background say to each other: one line of JSON each.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
};

use rekindle_vault::Id;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Longer than any line that is said.
const MAX_LINE_BYTES: u64 = 1 << 14;

/// The fetcher's socket, in our folder.
const SOCKET: &str = "fetch.sock";

/// A file that the server wants.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ask {
    /// Its name.
    pub(super) file: String,
    /// Of which cluster.
    pub(super) system: u64,
    /// From which vault: a fetcher that serves another one must not answer.
    pub(super) vault: Id,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It lies in the folder of fetched files, whole, to be taken from there.
    Here,
    /// The archive does not have it.
    Absent,
    /// It could not be told. Whoever wants to know why tries it alone.
    Failed,
}

/// The socket's path, made short: those of sockets are limited to about a hundred bytes, those of
/// data directories are not. It holds as long as `folder` is open.
pub(super) fn socket_path(folder: &impl AsRawFd) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(SOCKET)
}

/// Says one line.
pub(super) fn say(stream: &mut UnixStream, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Hears one line.
pub(super) fn hear<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE_BYTES)).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}
