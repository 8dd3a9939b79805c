//! A client that shares nothing with the one it tests.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing there.
    Nil,
    /// A number.
    Int(i64),
    /// Bytes, or a line.
    Bytes(Vec<u8>),
    /// Several.
    List(Vec<Value>),
    /// A refusal.
    Error(String),
}

impl Value {
    /// Bytes as text; other kinds as `Debug` shows them.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        }
    }

    /// The items of a list; none of anything else.
    #[must_use]
    pub fn items(&self) -> &[Value] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// A connection.
pub struct Connection(BufReader<Box<dyn Wire>>);

const PATIENCE: Duration = Duration::from_secs(60);

impl Connection {
    /// Opens one to a port of 127.0.0.1.
    ///
    /// # Errors
    /// As the network failed.
    pub fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(Box::new(stream))))
    }

    /// Opens one to a Unix socket.
    ///
    /// # Errors
    /// As the system refused.
    pub fn open_socket(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(Box::new(stream))))
    }

    /// Sends a command and reads the answer.
    ///
    /// # Errors
    /// As the network failed; a refusal is a [`Value::Error`].
    pub fn call(&mut self, command: &[&[u8]]) -> io::Result<Value> {
        self.send(command)?;
        self.read()
    }

    /// Sends many commands in one go, and reads all answers.
    ///
    /// # Errors
    /// As the network failed.
    pub fn call_all(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<Vec<Value>> {
        let mut answers = Vec::new();
        for some in commands.chunks(1000) {
            let mut request = Vec::new();
            for command in some {
                let parts: Vec<_> = command.iter().map(Vec::as_slice).collect();
                encode(&parts, &mut request);
            }
            self.0.get_mut().write_all(&request)?;
            for _ in some {
                answers.push(self.read()?);
            }
        }
        Ok(answers)
    }

    fn send(&mut self, command: &[&[u8]]) -> io::Result<()> {
        let mut request = Vec::new();
        encode(command, &mut request);
        self.0.get_mut().write_all(&request)
    }

    fn read(&mut self) -> io::Result<Value> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        let (Some(kind), Some(rest)) = (text.get(..1), text.get(1..)) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match kind {
            "+" => Value::Bytes(rest.into()),
            "-" => Value::Error(rest.into()),
            ":" => Value::Int(number()?),
            "$" => match usize::try_from(number()?) {
                Err(_) => Value::Nil,
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.0.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Value::Bytes(bytes)
                }
            },
            "*" => match usize::try_from(number()?) {
                Err(_) => Value::Nil,
                Ok(count) => {
                    Value::List((0..count).map(|_| self.read()).collect::<Result<_, _>>()?)
                }
            },
            _ => return Err(io::Error::other(format!("no answer of Redis: {text}"))),
        })
    }
}

fn encode(command: &[&[u8]], request: &mut Vec<u8>) {
    request.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
    for part in command {
        request.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        request.extend_from_slice(part);
        request.extend_from_slice(b"\r\n");
    }
}
