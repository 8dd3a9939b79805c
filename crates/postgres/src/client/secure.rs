//! From a fresh stream to one that is as secure as `sslmode` wants it.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::stream::{self, Stream};
use super::tls;
use crate::error::{Error, ServerError};
use crate::options::{ConnectOptions, Host, SslMode};

/// Adds TLS to a fresh stream, as far as `sslmode` and the server want it.
pub(super) fn secured(stream: Stream, options: &ConnectOptions) -> Result<Stream, Error> {
    let wanted = options.ssl_mode != SslMode::Disable && !stream.is_unix();
    let Stream::Tcp(mut tcp) = stream else {
        return Ok(stream);
    };
    if !wanted {
        return Ok(Stream::Tcp(tcp));
    }
    match ask_for_tls(&mut tcp, options)? {
        b'S' => Ok(Stream::Tls(Box::new(tls::handshake(options, tcp)?))),
        b'N' if options.ssl_mode == SslMode::Prefer => Ok(Stream::Tcp(tcp)),
        b'N' => Err(Error::TlsNotOffered {
            address: options.address(),
            mode: options.ssl_mode,
        }),
        b'E' => Err(Error::NotAvailable {
            source: Box::new(ServerError {
                message: "the server could not begin a session".into(),
                ..ServerError::default()
            }),
        }),
        _ => Err(Error::protocol(
            "no answer to the question for TLS; is this a PostgreSQL server?",
        )),
    }
}

/// Reads exactly one byte, so that nothing sent before the handshake can pass for encrypted.
fn ask_for_tls(tcp: &mut TcpStream, options: &ConnectOptions) -> Result<u8, Error> {
    let lost = |source| Error::ConnectionLost { source };
    let mut buffer = BytesMut::new();
    frontend::ssl_request(&mut buffer);
    tcp.set_read_timeout(Some(options.connect_timeout))
        .map_err(lost)?;
    tcp.write_all(&buffer).map_err(lost)?;
    let mut answer = [0];
    tcp.read_exact(&mut answer)
        .map_err(|error| match stream::is_timeout(&error) {
            true => Error::TimedOut {
                waited: options.connect_timeout,
            },
            false => lost(error),
        })?;
    Ok(answer[0])
}

/// Whether an attempt failed for the sake of TLS that was only a wish.
pub(super) fn may_retry_without_tls(options: &ConnectOptions, error: &Error) -> bool {
    let refused = match error.root() {
        Error::Tls { .. } => true,
        Error::LoginRefused { source, .. } => source.sqlstate == "28000",
        _ => false,
    };
    refused && options.ssl_mode == SslMode::Prefer && matches!(options.host, Host::Tcp(_))
}
