//! The byte stream below the protocol: TCP, TLS or a Unix socket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::address::{Endpoint, RedisOptions};
use super::error::RedisError;
use super::tls;

pub enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    pub fn connect(options: &RedisOptions) -> Result<Self, RedisError> {
        let stream = match &options.endpoint {
            Endpoint::Unix(path) => {
                Self::Unix(UnixStream::connect(path).map_err(RedisError::Unreachable)?)
            }
            Endpoint::Tcp { host, port } => {
                let tcp = connect_tcp(host, *port, options.connect_limit)
                    .map_err(RedisError::Unreachable)?;
                match options.tls {
                    false => Self::Tcp(tcp),
                    true => Self::Tls(Box::new(handshake(tcp, host, options)?)),
                }
            }
        };
        stream
            .set_limit(options.quiet_limit)
            .map_err(RedisError::Unreachable)?;
        Ok(stream)
    }

    fn set_limit(&self, limit: Duration) -> io::Result<()> {
        let limit = Some(limit);
        match self {
            Self::Tcp(tcp) => set_tcp_limit(tcp, limit),
            Self::Tls(tls) => set_tcp_limit(&tls.sock, limit),
            Self::Unix(unix) => {
                unix.set_read_timeout(limit)?;
                unix.set_write_timeout(limit)
            }
        }
    }

    /// Our address and the server's; `None` for a socket of this machine.
    pub fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => &tls.sock,
            Self::Unix(_) => return None,
        };
        Some((tcp.local_addr().ok()?, tcp.peer_addr().ok()?))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
            Self::Unix(unix) => unix.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
            Self::Unix(unix) => unix.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
            Self::Unix(unix) => unix.flush(),
        }
    }
}

pub fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn set_tcp_limit(tcp: &TcpStream, limit: Option<Duration>) -> io::Result<()> {
    tcp.set_read_timeout(limit)?;
    tcp.set_write_timeout(limit)
}

/// Tries every address of the name in turn; the last failure is the one reported.
fn connect_tcp(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn handshake(
    mut tcp: TcpStream,
    host: &str,
    options: &RedisOptions,
) -> Result<StreamOwned<ClientConnection, TcpStream>, RedisError> {
    let failed = |error: &dyn std::fmt::Display| RedisError::Tls(error.to_string());
    let name = options.tls_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned()).map_err(|error| failed(&error))?;
    let config = Arc::new(tls::of_client(options)?);
    let mut connection = ClientConnection::new(config, name).map_err(|error| failed(&error))?;
    set_tcp_limit(&tcp, Some(options.connect_limit)).map_err(|error| failed(&error))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp).map_err(|error| {
            if is_timeout(&error) {
                return RedisError::Tls(tls::NEVER_BEGUN.to_owned());
            }
            failed(&error)
        })?;
    }
    Ok(StreamOwned::new(connection, tcp))
}
