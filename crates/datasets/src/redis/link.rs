//! A server's connection to us, as its master: plain, or by TLS that the server begins.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::is_timeout;
use super::master::Serving;

/// It says something every second once it is our replica, and is looked at between.
const LOOK: Duration = Duration::from_millis(200);
const SEND_LIMIT: Duration = Duration::from_secs(60);
/// With this byte a client begins TLS: a record that is a handshake. Source: RFC 8446, 5.1.
const TLS_HANDSHAKE: u8 = 22;

/// How servers are spoken to that come to us.
#[derive(Clone)]
pub enum Speech {
    /// As they begin: by TLS if they do, and we can; else plainly.
    AsItComes(Option<Arc<ServerConfig>>),
    /// By TLS only.
    TlsOnly(Arc<ServerConfig>),
}

impl Speech {
    fn tls(&self) -> Option<&Arc<ServerConfig>> {
        match self {
            Self::AsItComes(tls) => tls.as_ref(),
            Self::TlsOnly(tls) => Some(tls),
        }
    }
}

/// A connection on which silence is no error until all is over, which is an end.
pub struct Link<'a> {
    wire: Wire,
    serving: &'a Serving,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl<'a> Link<'a> {
    /// Takes a connection; `None` if it ended before it said anything, or speaks as it should not.
    pub fn accept(
        mut stream: TcpStream,
        speech: &Speech,
        serving: &'a Serving,
    ) -> io::Result<Option<Self>> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(SEND_LIMIT))?;
        let mut first = [0];
        if patiently(serving, || stream.peek(&mut first))? == 0 {
            return Ok(None);
        }
        let begins_tls = first == [TLS_HANDSHAKE];
        let wire = match (begins_tls, speech.tls()) {
            (true, Some(config)) => {
                let connection = ServerConnection::new(Arc::clone(config));
                let mut connection = connection.map_err(io::Error::other)?;
                handshake(&mut connection, &mut stream, serving)?;
                Wire::Tls(Box::new(StreamOwned::new(connection, stream)))
            }
            (true, None) => {
                serving.note("it speaks TLS (`tls-replication yes`), and we have no certificate");
                return Ok(None);
            }
            (false, _) if matches!(speech, Speech::TlsOnly(_)) => return Ok(None),
            (false, _) => Wire::Plain(stream),
        };
        Ok(Some(Self { wire, serving }))
    }
}

fn handshake(
    connection: &mut ServerConnection,
    stream: &mut TcpStream,
    serving: &Serving,
) -> io::Result<()> {
    while connection.is_handshaking() {
        let came = patiently(serving, || connection.complete_io(stream).map(|_| 1));
        let came = came.inspect_err(|error| {
            // What only broke off comes again; what one side refuses it refuses again.
            if error
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>())
            {
                serving.note(&error.to_string());
            }
        })?;
        if came == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Reads; nothing once it is over.
fn patiently(serving: &Serving, mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if is_timeout(&error) => {
                if serving.is_over.load(Ordering::Acquire) {
                    return Ok(0);
                }
            }
            other => return other,
        }
    }
}

impl Read for Link<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = &mut self.wire;
        patiently(self.serving, || match wire {
            Wire::Plain(stream) => stream.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        })
    }
}

impl Write for Link<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}
