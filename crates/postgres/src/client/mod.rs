//! One synchronous connection to a PostgreSQL server, for SQL and for replication.
//!
//! Everything goes through the simple query protocol, which is all that replication connections
//! speak. Absent on purpose: prepared statements, binary values, an async runtime.

mod auth;
mod connection;
mod quote;
mod replication;
mod rows;
mod secure;
mod stream;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::frontend;

pub use quote::{quote_identifier, quote_literal};
pub use rows::{Row, Rows};

pub(crate) use connection::{Fields, Frame, tag};
pub(crate) use replication::{StandbyStatus, wal_gone};

use crate::error::{Doing, Error, ServerError};
use crate::options::{ConnectOptions, SslMode};
use connection::Connection;
use secure::{may_retry_without_tls, secured};
use stream::Stream;

/// The oldest and the newest major version this crate knows how to talk to.
const SUPPORTED_MAJORS: std::ops::RangeInclusive<u32> = 13..=18;

/// How long giving up politely may take when a connection is dropped in the middle of something.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(3);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// SQL in a database.
    Sql,
    /// Replication commands only, in no database. Needs the REPLICATION attribute, and a line for
    /// `replication` in `pg_hba.conf`.
    Replication,
    /// Replication commands and SQL in a database.
    ReplicationInDatabase,
}

/// A connection to a PostgreSQL server. Dropping it ends it, and cancels what is still running.
pub struct Client {
    connection: Connection,
    options: ConnectOptions,
    mode: Mode,
    parameters: BTreeMap<String, String>,
    process_id: i32,
    secret_key: i32,
    notices: Vec<ServerError>,
    is_busy: bool,
}

impl Client {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Every variant of [`Error`] that has to do with reaching a server or logging in.
    pub fn connect(options: &ConnectOptions, mode: Mode) -> Result<Self, Error> {
        let connected = match Self::connect_once(options, mode) {
            // What libpq's `prefer` does: TLS was only a wish.
            Err(error) if may_retry_without_tls(options, &error) => {
                let mut plain = options.clone();
                plain.ssl_mode = SslMode::Disable;
                Self::connect_once(&plain, mode)
            }
            other => other,
        };
        connected.doing(|| match mode {
            Mode::Sql => format!("connect to {}", options.redacted()),
            _ => format!("open a replication connection to {}", options.redacted()),
        })
    }

    fn connect_once(options: &ConnectOptions, mode: Mode) -> Result<Self, Error> {
        let stream = secured(Stream::connect(options)?, options)?;
        // A server that takes nothing for this long is gone; keepalive sees only dead networks.
        let timed = stream.set_write_timeout(Some(options.read_timeout));
        timed.map_err(|source| Error::ConnectionLost { source })?;
        let mut client = Self {
            connection: Connection::new(stream),
            options: options.clone(),
            mode,
            parameters: BTreeMap::new(),
            process_id: 0,
            secret_key: 0,
            notices: Vec::new(),
            is_busy: false,
        };
        client.send_startup()?;
        let password_database = if mode == Mode::Replication {
            "replication"
        } else {
            &options.database
        };
        auth::log_in(&mut client.connection, options, password_database)?;
        client.await_greeting()?;
        Ok(client)
    }

    fn send_startup(&mut self) -> Result<(), Error> {
        let options = &self.options;
        let mut parameters = vec![
            ("user", options.user.as_str()),
            ("client_encoding", "UTF8"),
            ("application_name", options.application_name.as_str()),
        ];
        match self.mode {
            Mode::Sql => parameters.push(("database", &options.database)),
            Mode::Replication => parameters.push(("replication", "true")),
            Mode::ReplicationInDatabase => {
                parameters.extend([
                    ("database", options.database.as_str()),
                    ("replication", "database"),
                ]);
            }
        }
        let mut buffer = BytesMut::new();
        let written = frontend::startup_message(parameters, &mut buffer);
        written.map_err(|error| Error::protocol(error.to_string()))?;
        self.connection.send(&buffer)
    }

    /// Takes what the server says of itself, up to its first "ready".
    fn await_greeting(&mut self) -> Result<(), Error> {
        loop {
            let frame = self.next_frame(self.options.connect_timeout)?;
            match frame.tag {
                tag::BACKEND_KEY_DATA => {
                    let mut fields = Fields(&frame.body);
                    (self.process_id, self.secret_key) = (fields.i32()?, fields.i32()?);
                }
                tag::READY => break,
                other => return Err(unexpected(other, "the greeting")),
            }
        }
        match self.major() {
            major if SUPPORTED_MAJORS.contains(&major) => Ok(()),
            major => Err(Error::Version { major }),
        }
    }

    /// The server's major version, 13 to 18.
    pub fn major(&self) -> u32 {
        let version = self.parameter("server_version").unwrap_or_default();
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    }

    /// A setting the server reported at login, such as `server_encoding`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// What the connection was opened with.
    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// What the connection is for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.connection.stream(), Stream::Tls(_))
    }

    /// Runs one or more statements, and returns the rows of the last one that has any.
    ///
    /// # Errors
    /// What the server refuses, and any loss of the connection.
    pub fn query(&mut self, sql: &str) -> Result<Rows, Error> {
        self.query_within(sql, self.options.read_timeout)
    }

    /// Like [`Self::query`], letting the server be silent for `wait`.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn query_within(&mut self, sql: &str, wait: Duration) -> Result<Rows, Error> {
        self.send_query(sql)?;
        self.rest_of_answer(wait)
    }

    /// Reads an answer to its end.
    pub(crate) fn rest_of_answer(&mut self, wait: Duration) -> Result<Rows, Error> {
        let mut rows = Rows::default();
        loop {
            let frame = self.next_frame(wait)?;
            match frame.tag {
                tag::ROW_DESCRIPTION => rows = Rows::described(&frame.body)?,
                tag::DATA_ROW => rows.push(&frame.body)?,
                tag::COMMAND_COMPLETE | tag::EMPTY_QUERY => {}
                tag::READY => return Ok(rows),
                other => return Err(unexpected(other, "the answer to a query")),
            }
        }
    }

    /// The value of a server setting as `SHOW` prints it.
    ///
    /// # Errors
    /// As [`Self::query`]; some settings need `pg_read_all_settings`.
    pub fn show(&mut self, setting: &str) -> Result<String, Error> {
        self.query(&format!("SHOW {setting}"))?
            .single()
            .doing(|| format!("read the setting `{setting}`"))
    }

    /// Takes the notices and warnings that arrived since they were last taken.
    pub fn take_notices(&mut self) -> Vec<ServerError> {
        std::mem::take(&mut self.notices)
    }

    /// Ends the connection in good order.
    pub fn close(self) {}

    pub(crate) fn send_query(&mut self, sql: &str) -> Result<(), Error> {
        let mut buffer = BytesMut::new();
        let written = frontend::query(sql, &mut buffer);
        written.map_err(|error| Error::protocol(error.to_string()))?;
        self.is_busy = true;
        self.connection.send(&buffer)
    }

    /// Ends a copy in both directions in good order, so that the server has nothing to log about
    /// the end of the connection. Whatever was still on its way is dropped.
    pub(crate) fn end_copy(&mut self) -> Result<(), Error> {
        self.send_raw(&copy_done())?;
        while self.next_frame(CANCEL_TIMEOUT)?.tag != tag::READY {}
        Ok(())
    }

    /// Spares the cancellation when this is dropped: the server notices the hang-up at once.
    pub(crate) fn hang_up_quietly(&mut self) {
        self.is_busy = false;
    }

    /// Sends one message that is already framed.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.connection.send(bytes)
    }

    /// The next message that is not a side remark of the server's. An error of the server's is
    /// returned as one, after the connection was brought back to "ready" where that is possible.
    pub(crate) fn next_frame(&mut self, wait: Duration) -> Result<Frame, Error> {
        self.poll_frame(wait)?
            .ok_or(Error::TimedOut { waited: wait })
    }

    /// Like [`Self::next_frame`]; `None` if nothing came within `wait`.
    pub(crate) fn poll_frame(&mut self, wait: Duration) -> Result<Option<Frame>, Error> {
        loop {
            let Some(frame) = self.connection.poll(wait)? else {
                return Ok(None);
            };
            match frame.tag {
                tag::NOTICE => self.keep_notice(&frame.body)?,
                tag::NOTIFICATION => {}
                tag::PARAMETER_STATUS => {
                    let mut fields = Fields(&frame.body);
                    self.parameters.insert(fields.text()?, fields.text()?);
                }
                tag::ERROR => return Err(self.failed(&frame.body)),
                tag::READY => {
                    self.is_busy = false;
                    return Ok(Some(frame));
                }
                _ => return Ok(Some(frame)),
            }
        }
    }

    /// Waits until the server said something (true), `wake` can be read, or `wait` is over. With
    /// `listening` off, only the end of the connection is noticed of what the server says.
    pub(crate) fn wait_or_wake(
        &mut self,
        wake: BorrowedFd<'_>,
        listening: bool,
        wait: Duration,
    ) -> Result<bool, Error> {
        self.connection.wait_or_wake(wake, listening, wait)
    }

    fn keep_notice(&mut self, body: &[u8]) -> Result<(), Error> {
        let notice = server_error(body)?;
        tracing::debug!(severity = %notice.severity, message = %notice.message, "notice of the server");
        // A server that warns about every page of a ruined file must not fill our memory.
        if self.notices.len() < 100_000 {
            self.notices.push(notice);
        }
        Ok(())
    }

    /// Reads on to the "ready" that follows an error, unless the server has hung up.
    fn failed(&mut self, body: &[u8]) -> Error {
        let error = match server_error(body) {
            Ok(error) => error,
            Err(error) => return error,
        };
        let fatal = matches!(error.severity.as_str(), "FATAL" | "PANIC");
        while !fatal && self.is_busy {
            match self.connection.poll(self.options.connect_timeout) {
                Ok(Some(Frame {
                    tag: tag::READY, ..
                })) => self.is_busy = false,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        error.into()
    }

    /// Asks the server, on a connection of its own, to stop what this one is doing.
    fn cancel(&self) -> Result<(), Error> {
        let mut options = self.options.clone();
        options.connect_timeout = CANCEL_TIMEOUT;
        let mut stream = secured(Stream::connect(&options)?, &options)?;
        let mut buffer = BytesMut::new();
        frontend::cancel_request(self.process_id, self.secret_key, &mut buffer);
        stream
            .write_all(&buffer)
            .map_err(|source| Error::ConnectionLost { source })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.connection.is_broken() {
            return;
        }
        if self.is_busy {
            // The server notices the hang-up anyway, only later: nothing to do about a failure.
            let _ = self.cancel();
        }
        let mut buffer = BytesMut::new();
        frontend::terminate(&mut buffer);
        let _ = self.connection.send(&buffer);
        self.connection.shutdown();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.options)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// Reads an ErrorResponse or NoticeResponse.
fn server_error(body: &[u8]) -> Result<ServerError, Error> {
    let mut fields = Fields(body);
    let mut error = ServerError::default();
    loop {
        let kind = fields.u8()?;
        if kind == 0 {
            return Ok(error);
        }
        let text = fields.text()?;
        match kind {
            b'V' => error.severity = text,
            // Older than 9.6 or before the severity is known: the translated one is all there is.
            b'S' if error.severity.is_empty() => error.severity = text,
            b'C' => error.sqlstate = text,
            b'M' => error.message = text,
            b'D' => error.detail = Some(text),
            b'H' => error.hint = Some(text),
            _ => {}
        }
    }
}

pub(crate) fn unexpected(tag: u8, within: &str) -> Error {
    Error::protocol(format!(
        "message `{}` in {within}",
        char::from(tag).escape_default()
    ))
}

/// Frames CopyData around `body`.
pub(crate) fn copy_data(body: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(body.len() + 5);
    message.push(tag::COPY_DATA);
    message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    message.extend_from_slice(body);
    message.into()
}

/// The message that ends a copy from our side.
pub(crate) fn copy_done() -> BytesMut {
    let mut message = BytesMut::new();
    frontend::copy_done(&mut message);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_server_is_read_field_by_field() {
        let body = b"SFEHLER\0VERROR\0C42501\0Mno\0Dbecause\0Hask\0Fauth.c\0\0";
        let error = server_error(body).unwrap();
        assert_eq!(
            (error.severity.as_str(), error.sqlstate.as_str()),
            ("ERROR", "42501")
        );
        assert_eq!(
            (error.detail.as_deref(), error.hint.as_deref()),
            (Some("because"), Some("ask"))
        );
        assert!(server_error(b"SERR").is_err());
    }
}
