//! Frames of the PostgreSQL protocol on a stream.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags};

use super::stream::{Deadline, Stream, is_timeout};
use crate::error::Error;

/// No message of a sane server is longer; a longer one means the stream is not PostgreSQL's.
const MAX_FRAME: usize = 1 << 30;

/// Tags of messages from the server. Source: PostgreSQL manual, "Message Formats".
pub(crate) mod tag {
    pub(crate) const AUTHENTICATION: u8 = b'R';
    pub(crate) const BACKEND_KEY_DATA: u8 = b'K';
    pub(crate) const COMMAND_COMPLETE: u8 = b'C';
    pub(crate) const COPY_BOTH: u8 = b'W';
    pub(crate) const COPY_DATA: u8 = b'd';
    pub(crate) const COPY_DONE: u8 = b'c';
    pub(crate) const COPY_OUT: u8 = b'H';
    pub(crate) const DATA_ROW: u8 = b'D';
    pub(crate) const EMPTY_QUERY: u8 = b'I';
    pub(crate) const ERROR: u8 = b'E';
    pub(crate) const NEGOTIATE_PROTOCOL: u8 = b'v';
    pub(crate) const NOTICE: u8 = b'N';
    pub(crate) const NOTIFICATION: u8 = b'A';
    pub(crate) const PARAMETER_STATUS: u8 = b'S';
    pub(crate) const READY: u8 = b'Z';
    pub(crate) const ROW_DESCRIPTION: u8 = b'T';
}

/// One message; `body` is a slice of the receive buffer, not a copy.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Bytes,
}

pub(crate) struct Connection {
    stream: Stream,
    buffer: BytesMut,
    /// The timeout the socket has now, to save the system call that sets it again.
    socket_timeout: Option<Duration>,
    broken: bool,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            socket_timeout: None,
            broken: false,
        }
    }

    /// Whether the stream has failed, so that nothing more can be said to the server.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The next message; fails if the server stays silent for `wait`.
    pub(crate) fn read(&mut self, wait: Duration) -> Result<Frame, Error> {
        self.poll(wait)?.ok_or(Error::TimedOut { waited: wait })
    }

    /// The next message, or `None` if none was complete within `wait`.
    pub(crate) fn poll(&mut self, wait: Duration) -> Result<Option<Frame>, Error> {
        if let Some(frame) = self.take_frame()? {
            return Ok(Some(frame));
        }
        let mut deadline = Deadline::after(Some(wait));
        loop {
            let Some(left) = deadline.remaining() else {
                return Ok(None);
            };
            if !self.fill(left)? {
                continue;
            }
            if let Some(frame) = self.take_frame()? {
                return Ok(Some(frame));
            }
            // Bytes of a longer message arrived, so the server is alive.
            deadline = Deadline::after(Some(wait));
        }
    }

    /// Waits until the server said something or hung up (true), `wake` can be read, or `wait` is
    /// over. With `listening` off, what the server says waits in the socket.
    pub(crate) fn wait_or_wake(
        &mut self,
        wake: BorrowedFd<'_>,
        listening: bool,
        wait: Duration,
    ) -> Result<bool, Error> {
        if listening && (self.has_whole_frame() || self.stream.has_buffered()) {
            return Ok(true);
        }
        let interest = match listening {
            true => PollFlags::IN,
            // The end of the connection is reported whatever is asked for.
            false => PollFlags::empty(),
        };
        let mut watched = [
            PollFd::from_borrowed_fd(self.stream.descriptor(), interest),
            PollFd::from_borrowed_fd(wake, PollFlags::IN),
        ];
        let timeout = rustix::event::Timespec {
            tv_sec: wait.as_secs().min(3600) as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let polled = rustix::event::poll(&mut watched, Some(&timeout));
        let input = !watched[0].revents().is_empty();
        match polled {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(input),
            Err(error) => Err(self.lost(error.into())),
        }
    }

    fn has_whole_frame(&self) -> bool {
        self.buffer.get(1..5).is_some_and(|length| {
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            self.buffer.len() > length as usize
        })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sent = self.stream.write_all(bytes);
        sent.map_err(|source| self.lost(source))
    }

    pub(crate) fn shutdown(&mut self) {
        self.stream.shutdown();
    }

    /// Reads once; false if nothing came within `wait`.
    fn fill(&mut self, wait: Option<Duration>) -> Result<bool, Error> {
        self.set_socket_timeout(wait)?;
        match self.stream.read_into(&mut self.buffer) {
            Ok(0) => Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// Rounded up to a tenth of a second, so that a countdown does not cost a call per read.
    fn set_socket_timeout(&mut self, wait: Option<Duration>) -> Result<(), Error> {
        let rounded = wait.map(|wait| {
            Duration::from_millis((wait.as_millis() as u64).div_ceil(100).max(1) * 100)
        });
        if rounded != self.socket_timeout {
            self.stream
                .set_read_timeout(rounded)
                .map_err(|source| self.lost(source))?;
            self.socket_timeout = rounded;
        }
        Ok(())
    }

    fn take_frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some(header) = self.buffer.get(..5) else {
            return Ok(None);
        };
        let tag = header[0];
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if !(4..=MAX_FRAME).contains(&length) {
            self.broken = true;
            return Err(Error::protocol(
                "a message of impossible length; is this a PostgreSQL server?",
            ));
        }
        if self.buffer.len() < length + 1 {
            self.buffer.reserve(length + 1 - self.buffer.len());
            return Ok(None);
        }
        let mut body = self.buffer.split_to(length + 1).freeze();
        body.advance(5);
        Ok(Some(Frame { tag, body }))
    }

    fn lost(&mut self, source: io::Error) -> Error {
        self.broken = true;
        Error::ConnectionLost { source }
    }
}

/// Reads fields off a message, refusing to read past its end.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let cut = || Error::protocol("a message cut short");
        let (head, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.take(N)?;
        bytes
            .try_into()
            .map_err(|_| Error::protocol("a message cut short"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Error> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Text up to the next zero byte.
    pub(crate) fn text(&mut self) -> Result<String, Error> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| Error::protocol("text without an end"))?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Connection, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (Connection::new(Stream::Unix(near)), far)
    }

    #[test]
    fn a_message_split_anywhere_is_put_together() {
        let (mut connection, mut far) = pair();
        for byte in [b"d\0\0\0\x07abcZ\0\0\0\x05I".as_slice()].concat() {
            far.write_all(&[byte]).unwrap();
        }
        let frame = connection.read(Duration::from_secs(5)).unwrap();
        assert_eq!((frame.tag, frame.body.as_ref()), (b'd', b"abc".as_slice()));
        assert_eq!(connection.read(Duration::from_secs(5)).unwrap().tag, b'Z');
    }

    #[test]
    fn silence_is_an_error_and_not_an_endless_wait() {
        let (mut connection, _far) = pair();
        let error = connection.read(Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }));
        assert!(
            connection
                .poll(Duration::from_millis(50))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn an_end_in_the_middle_of_a_message_is_a_lost_connection() {
        let (mut connection, mut far) = pair();
        far.write_all(b"d\0\0\0\x07a").unwrap();
        drop(far);
        let error = connection.read(Duration::from_secs(5)).unwrap_err();
        assert!(matches!(error, Error::ConnectionLost { .. }) && connection.is_broken());
    }

    #[test]
    fn a_stream_that_is_not_postgresql_is_refused() {
        let (mut connection, mut far) = pair();
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
        assert!(matches!(
            connection.read(Duration::from_secs(5)),
            Err(Error::Protocol { .. })
        ));
    }
}
