//! The byte stream below the protocol: TCP, TLS or a Unix socket.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustls::{ClientConnection, StreamOwned};
use socket2::{SockRef, TcpKeepalive};

use crate::error::Error;
use crate::options::{ConnectOptions, Host};

/// How much is asked of the system at once. Large enough that a system call costs nothing against
/// the copy, small enough to stay in the second-level cache.
const READ_SIZE: usize = 512 << 10;

/// With less room than this, a fresh buffer is taken rather than reading in crumbs.
const MIN_ROOM: usize = 64 << 10;

/// A gone peer is noticed after about this long, even while nothing is being sent.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    /// Opens the socket; TLS comes later, if at all.
    pub(crate) fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        let opened = match &options.host {
            Host::Tcp(host) => {
                connect_tcp(host, options.port, options.connect_timeout).map(Self::Tcp)
            }
            Host::Unix(_) => {
                UnixStream::connect(options.socket_path().unwrap_or_default()).map(Self::Unix)
            }
        };
        opened.map_err(|source| Error::Unreachable {
            address: options.address(),
            source,
        })
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp
                .peer_addr()
                .is_ok_and(|address| address.ip().is_loopback()),
            Self::Tls(_) => false,
            Self::Unix(_) => true,
        }
    }

    /// The socket, to wait for it together with others.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Tls(tls) => tls.sock.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }

    /// Whether bytes wait here that the socket knows nothing of any more.
    pub(crate) fn has_buffered(&self) -> bool {
        match self {
            // rustls wants to read unless something decrypted waits to be taken.
            Self::Tls(tls) => !tls.conn.wants_read(),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.set_read_timeout(timeout),
            Self::Tls(tls) => tls.sock.set_read_timeout(timeout),
            Self::Unix(unix) => unix.set_read_timeout(timeout),
        }
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.set_write_timeout(timeout),
            Self::Tls(tls) => tls.sock.set_write_timeout(timeout),
            Self::Unix(unix) => unix.set_write_timeout(timeout),
        }
    }

    /// Appends what has arrived to `buffer`; 0 at the end of the stream.
    pub(crate) fn read_into(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        if buffer.capacity() - buffer.len() < MIN_ROOM {
            buffer.reserve(READ_SIZE);
        }
        match self {
            Self::Tcp(tcp) => read_uninitialised(tcp, buffer),
            Self::Unix(unix) => read_uninitialised(unix, buffer),
            Self::Tls(tls) => read_zeroed(tls.as_mut(), buffer),
        }
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.write_all(bytes),
            Self::Unix(unix) => unix.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Ends the connection; the other side sees the end of the stream.
    pub(crate) fn shutdown(&mut self) {
        // The connection is given up either way, so a failure changes nothing.
        let _ = match self {
            Self::Tcp(tcp) => tcp.shutdown(std::net::Shutdown::Both),
            Self::Unix(unix) => unix.shutdown(std::net::Shutdown::Both),
            Self::Tls(tls) => {
                tls.conn.send_close_notify();
                let _ = tls.flush();
                tls.sock.shutdown(std::net::Shutdown::Both)
            }
        };
    }
}

/// Reads without first filling the buffer with zeros, which would cost a tenth of the throughput.
fn read_uninitialised(file: &impl std::os::fd::AsFd, buffer: &mut BytesMut) -> io::Result<usize> {
    let (filled, _) = rustix::io::read(file, buffer.spare_capacity_mut())?;
    let count = filled.len();
    // SAFETY: `read` has initialised the first `count` bytes of the spare capacity, which begins
    // right after the buffer's present length.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

fn read_zeroed(source: &mut impl Read, buffer: &mut BytesMut) -> io::Result<usize> {
    let before = buffer.len();
    // rustls hands out one record, at most 16 KiB, at a time.
    buffer.resize(before + (16 << 10), 0);
    let read = source.read(&mut buffer[before..]);
    buffer.truncate(before + *read.as_ref().unwrap_or(&0));
    read
}

/// Tries every address of the name in turn; the last failure is the one reported.
fn connect_tcp(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return prepared(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(Duration::from_secs(10));
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// Whether a read ended only because its time was up.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Counts down a waiting time; `None` waits for ever.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    end: Option<Instant>,
}

impl Deadline {
    pub(crate) fn after(wait: Option<Duration>) -> Self {
        Self {
            end: wait.and_then(|wait| Instant::now().checked_add(wait)),
        }
    }

    /// What is left, never zero because sockets take zero for "for ever"; `None` if time is up.
    pub(crate) fn remaining(self) -> Option<Option<Duration>> {
        match self.end {
            None => Some(None),
            Some(end) => {
                let left = end.checked_duration_since(Instant::now())?;
                (left > Duration::ZERO).then(|| Some(left.max(Duration::from_millis(1))))
            }
        }
    }
}
