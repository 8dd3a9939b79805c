//! A client of Redis' protocol, as far as backup and restore need it: one command, one answer; and the raw
//! stream behind a command that answers with one.
//!
//! Source: the protocol's specification, "RESP2".

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::address::RedisOptions;
use super::error::RedisError;
use super::info::Info;
use super::stream::{Stream, is_timeout};
use super::tls;

const BUFFER_BYTES: usize = 64 << 10;
/// Lines are short; what is longer is not of this protocol.
const LONGEST_LINE: usize = 64 << 10;
/// Answers to what we ask are short as well.
const LONGEST_ANSWER: usize = 64 << 20;
const DEEPEST_ANSWER: usize = 8;

/// A server's answer; refusals are errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nil,
    /// A number.
    Integer(i64),
    /// Text or bytes.
    Bytes(Vec<u8>),
    /// Several.
    List(Vec<Reply>),
}

impl Reply {
    /// As text; empty for anything that is none.
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Nil | Self::List(_) => String::new(),
        }
    }
}

/// A connection that is logged in.
pub struct Client {
    stream: Stream,
    quiet_limit: Duration,
    buffer: Box<[u8]>,
    next: usize,
    filled: usize,
}

impl Client {
    /// Connects and logs in.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses us.
    pub fn connect(options: &RedisOptions) -> Result<Self, RedisError> {
        let mut client = Self {
            stream: Stream::connect(options)?,
            quiet_limit: options.quiet_limit,
            buffer: vec![0; BUFFER_BYTES].into(),
            next: 0,
            filled: 0,
        };
        client.log_in(options).map_err(|error| match error {
            RedisError::Gone { source, .. } if options.tls => {
                RedisError::Tls(format!("{}: {source}", tls::CLOSED_AT_ONCE))
            }
            other => other,
        })?;
        Ok(client)
    }

    fn log_in(&mut self, options: &RedisOptions) -> Result<(), RedisError> {
        if let Some(password) = &options.password {
            let password = password.expose();
            match &options.user {
                Some(user) => self.call(&["AUTH", user, password])?,
                None => self.call(&["AUTH", password])?,
            };
        }
        self.call(&["PING"]).map(drop)
    }

    /// Sends a command and reads its answer.
    ///
    /// # Errors
    /// [`RedisError::Refused`] with the server's words; else as the connection failed.
    pub fn call(&mut self, command: &[&str]) -> Result<Reply, RedisError> {
        self.send(command)?;
        self.answer(command.first().copied().unwrap_or_default())
    }

    /// A command whose refusal means that it is not to be had here.
    ///
    /// # Errors
    /// As the connection failed.
    pub fn try_call(&mut self, command: &[&str]) -> Result<Option<Reply>, RedisError> {
        match self.call(command) {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if error.is_refusal() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A section of `INFO`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn info(&mut self, section: &str) -> Result<Info, RedisError> {
        Ok(Info::parse(&self.call(&["INFO", section])?.text()))
    }

    /// A setting; `None` if there is none of this name or it may not be asked for.
    ///
    /// # Errors
    /// As the connection failed.
    pub fn setting(&mut self, name: &str) -> Result<Option<String>, RedisError> {
        Ok(match self.try_call(&["CONFIG", "GET", name])? {
            Some(Reply::List(pair)) => pair.get(1).map(Reply::text),
            _ => None,
        })
    }

    /// Our address and the server's; `None` over a socket of this machine.
    pub fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.stream.addresses()
    }

    pub fn send(&mut self, command: &[&str]) -> Result<(), RedisError> {
        let mut request = format!("*{}\r\n", command.len()).into_bytes();
        for part in command {
            request.extend(format!("${}\r\n{part}\r\n", part.len()).into_bytes());
        }
        let doing = command.first().copied().unwrap_or_default();
        let sent = self.stream.write_all(&request);
        sent.and_then(|()| self.stream.flush())
            .map_err(|source| self.broken(doing, source))
    }

    /// Reads one answer to what was sent.
    pub fn answer(&mut self, command: &str) -> Result<Reply, RedisError> {
        self.reply(command, DEEPEST_ANSWER)
    }

    fn reply(&mut self, command: &str, depth: usize) -> Result<Reply, RedisError> {
        let wrong = |what| RedisError::Protocol {
            command: command.to_owned(),
            what,
        };
        let line = self.line(command)?;
        let (kind, rest) = line.split_at_checked(1).ok_or(wrong("an empty line"))?;
        let number = || {
            rest.parse::<i64>()
                .map_err(|_| wrong("a number was expected"))
        };
        match kind {
            "+" => Ok(Reply::Bytes(rest.into())),
            ":" => number().map(Reply::Integer),
            "-" => Err(RedisError::Refused {
                command: command.to_owned(),
                message: rest.to_owned(),
            }),
            "$" => {
                let Ok(length) = usize::try_from(number()?) else {
                    return Ok(Reply::Nil);
                };
                if length > LONGEST_ANSWER {
                    return Err(wrong("it is far too long"));
                }
                let mut bytes = vec![0; length + 2];
                self.read_exact(&mut bytes)
                    .map_err(|source| self.broken(command, source))?;
                bytes.truncate(length);
                Ok(Reply::Bytes(bytes))
            }
            "*" => {
                let Ok(count) = usize::try_from(number()?) else {
                    return Ok(Reply::Nil);
                };
                if count > LONGEST_ANSWER || depth == 0 {
                    return Err(wrong("it is far too long"));
                }
                let items = (0..count).map(|_| self.reply(command, depth - 1));
                items.collect::<Result<_, _>>().map(Reply::List)
            }
            _ => Err(wrong("its first byte")),
        }
    }

    /// Reads a line, without its end.
    pub fn line(&mut self, command: &str) -> Result<String, RedisError> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.read_exact(&mut byte)
                .map_err(|source| self.broken(command, source))?;
            match byte {
                [b'\n'] => break,
                [byte] => line.push(byte),
            }
            if line.len() > LONGEST_LINE {
                return Err(RedisError::Protocol {
                    command: command.to_owned(),
                    what: "a line has no end",
                });
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    pub fn broken(&self, command: &str, source: io::Error) -> RedisError {
        let doing = format!("waiting for {command}");
        match is_timeout(&source) {
            true => RedisError::Silent {
                doing,
                after: self.quiet_limit,
            },
            false => RedisError::Gone { doing, source },
        }
    }
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.next == self.filled {
            // What is large goes past our own buffer.
            if buffer.len() >= self.buffer.len() {
                return self.stream.read(buffer);
            }
            self.filled = self.stream.read(&mut self.buffer)?;
            self.next = 0;
        }
        let there = &self.buffer[self.next..self.filled];
        let now = there.len().min(buffer.len());
        buffer[..now].copy_from_slice(&there[..now]);
        self.next += now;
        Ok(now)
    }
}
