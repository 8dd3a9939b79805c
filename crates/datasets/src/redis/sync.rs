//! An RDB over the replication protocol: we say we are a replica, take the RDB, and go. Needs neither the server's
//! disk nor its files. Source: `replication.c` of Redis, `redis-cli --rdb`.

use std::io::{self, Read};

use jiff::Timestamp;

use super::client::Client;
use super::error::RedisError;
use super::info::ServerVersion;

/// What stands behind an RDB whose length the server does not know beforehand.
const MARK_BYTES: usize = 40;

/// An RDB on its way. Reads as its bytes, to its end and no further.
pub struct IncomingRdb {
    client: Client,
    form: Form,
    /// When the server said that it forked.
    pub begun: Timestamp,
}

enum Form {
    /// So many bytes are to come.
    Counted(u64),
    /// Until these bytes come.
    Marked {
        mark: [u8; MARK_BYTES],
        /// What came and is not known yet to be no mark.
        held: Vec<u8>,
        next: usize,
        is_over: bool,
    },
}

impl IncomingRdb {
    /// Asks for it. Returns once it begins to come, which may take the server's `repl-diskless-sync-delay`, and a
    /// whole BGSAVE where it writes to its disk first.
    ///
    /// # Errors
    /// [`RedisError::Refused`] if the server does not give it to us.
    pub fn request(mut client: Client, server: &ServerVersion) -> Result<Self, RedisError> {
        // Each is unknown to some version, and only saves work: no stream of commands behind the RDB; no way over the server's disk;
        // the newest form, without which Valkey refuses data that older ones cannot hold.
        client.try_call(&["REPLCONF", "rdb-only", "1"])?;
        client.try_call(&["REPLCONF", "capa", "eof", "capa", "psync2"])?;
        if server.name == "Valkey" {
            client.try_call(&["REPLCONF", "version", &server.version])?;
        }
        client.send(&["PSYNC", "?", "-1"])?;
        let mut line = first_line(&mut client)?;
        if line.starts_with("-ERR unknown command") {
            client.send(&["SYNC"])?;
            line = first_line(&mut client)?;
        }
        if let Some(message) = line.strip_prefix('-') {
            return Err(RedisError::Refused {
                command: "PSYNC".to_owned(),
                message: message.to_owned(),
            });
        }
        let begun = Timestamp::now();
        if line.starts_with('+') {
            if !line.starts_with("+FULLRESYNC") {
                return Err(strange("it is no full synchronisation"));
            }
            line = first_line(&mut client)?;
        }
        let form = form_of(&line)?;
        Ok(Self {
            client,
            form,
            begun,
        })
    }

    /// How long it is, if the server knew.
    pub fn length(&self) -> Option<u64> {
        match &self.form {
            Form::Counted(bytes) => Some(*bytes),
            Form::Marked { .. } => None,
        }
    }

    fn read_marked(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Form::Marked {
            mark,
            held,
            next,
            is_over,
        } = &mut self.form
        else {
            return Ok(0);
        };
        loop {
            // All but as many bytes as a mark has can no longer be a part of it.
            let known = held.len() - MARK_BYTES.min(held.len());
            if *next < known {
                let now = buffer.len().min(known - *next);
                buffer[..now].copy_from_slice(&held[*next..*next + now]);
                *next += now;
                return Ok(now);
            }
            if *is_over {
                return Ok(0);
            }
            held.drain(..*next);
            *next = 0;
            let before = held.len();
            held.resize(before + (256 << 10), 0);
            let read = self.client.read(&mut held[before..]);
            held.truncate(before + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *is_over = held.ends_with(mark);
        }
    }
}

impl Read for IncomingRdb {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Form::Counted(left) = &mut self.form else {
            return self.read_marked(buffer);
        };
        let most = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let read = self.client.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= read as u64;
        Ok(read)
    }
}

/// The next line that says something: while it prepares, the server sends empty ones to show that it lives.
fn first_line(client: &mut Client) -> Result<String, RedisError> {
    loop {
        let line = client.line("PSYNC")?;
        if !line.is_empty() {
            return Ok(line);
        }
    }
}

fn form_of(line: &str) -> Result<Form, RedisError> {
    if let Some(message) = line.strip_prefix('-') {
        return Err(RedisError::Refused {
            command: "PSYNC".to_owned(),
            message: message.to_owned(),
        });
    }
    let length = line
        .strip_prefix('$')
        .ok_or(strange("its length is missing"))?;
    if let Some(mark) = length.strip_prefix("EOF:") {
        let mark = mark.as_bytes().try_into();
        return Ok(Form::Marked {
            mark: mark.map_err(|_| strange("its mark is not 40 bytes long"))?,
            held: Vec::new(),
            next: 0,
            is_over: false,
        });
    }
    let bytes = length
        .parse()
        .map_err(|_| strange("its length is no number"))?;
    Ok(Form::Counted(bytes))
}

fn strange(what: &'static str) -> RedisError {
    RedisError::Protocol {
        command: "PSYNC".to_owned(),
        what,
    }
}
