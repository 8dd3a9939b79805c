//! A master for as long as a server needs to take one RDB from us. Source: `replication.c` of Redis.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::link::{Link, Speech};

const TICK: Duration = Duration::from_millis(20);
const BUFFER_BYTES: usize = 256 << 10;
/// A replica's commands have a handful of short parts.
const MOST_PARTS: u64 = 16;
const LONGEST_PART: u64 = 4096;

/// Listens for the server.
pub struct Master {
    listener: TcpListener,
    /// Without this word nobody gets anything.
    token: Option<String>,
    /// Whom we give it to; anybody who knows the word, if `None`.
    only: Option<IpAddr>,
    speech: Speech,
}

/// What it is doing, for who waits.
#[derive(Default)]
pub struct Serving {
    /// Set by who waits: it is over.
    pub is_over: AtomicBool,
    /// How often a connection came.
    pub connections: AtomicU64,
    /// How often the RDB was asked for.
    pub requests: AtomicU64,
    /// Bytes of it that were sent.
    pub sent: AtomicU64,
    /// Why we and the server do not come together, if it will not be otherwise the next time.
    refusal: OnceLock<String>,
}

impl Serving {
    /// Notes why we and the server do not come together; the first reason counts.
    pub fn note(&self, refusal: &str) {
        self.refusal.get_or_init(|| refusal.to_owned());
    }

    /// Why we and the server do not come together.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.get().map(String::as_str)
    }
}

impl Master {
    /// Listens on a free port of an address.
    ///
    /// # Errors
    /// As the system refused.
    pub fn listen(
        at: IpAddr,
        token: Option<String>,
        only: Option<IpAddr>,
        speech: Speech,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((at, 0))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            token,
            only,
            speech,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system refused.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Gives the RDB to whoever asks rightly, until [`Serving::is_over`]. A connection that breaks is no matter: the
    /// server comes again.
    pub fn serve(&self, rdb: &Path, serving: &Serving) {
        while !serving.is_over.load(Ordering::Acquire) {
            match self.listener.accept() {
                Ok((stream, peer)) if self.only.is_none_or(|only| only == peer.ip()) => {
                    serving.connections.fetch_add(1, Ordering::AcqRel);
                    if let Err(error) = self.answer(stream, rdb, serving) {
                        tracing::debug!(%error, "the server left, and will come again");
                    }
                }
                _ => sleep(TICK),
            }
        }
    }

    fn answer(&self, stream: TcpStream, rdb: &Path, serving: &Serving) -> io::Result<()> {
        let Some(link) = Link::accept(stream, &self.speech, serving)? else {
            return Ok(());
        };
        let mut input = BufReader::new(link);
        let mut is_known = self.token.is_none();
        loop {
            let Some(command) = read_command(&mut input)? else {
                return Ok(());
            };
            let out = input.get_mut();
            let word = command.first().map(|word| word.to_ascii_uppercase());
            match word.as_deref() {
                Some("AUTH") => {
                    is_known = command.last() == self.token.as_ref() || self.token.is_none();
                    match is_known {
                        true => out.write_all(b"+OK\r\n")?,
                        false => out.write_all(b"-WRONGPASS no\r\n")?,
                    }
                }
                Some("PING") => out.write_all(b"+PONG\r\n")?,
                // What it has received; asks for no answer.
                Some("REPLCONF")
                    if command
                        .get(1)
                        .is_some_and(|what| what.eq_ignore_ascii_case("ack")) => {}
                Some("REPLCONF") => out.write_all(b"+OK\r\n")?,
                Some("PSYNC" | "SYNC") if !is_known => {
                    return out.write_all(b"-NOAUTH Authentication required.\r\n");
                }
                Some(word @ ("PSYNC" | "SYNC")) => {
                    serving.requests.fetch_add(1, Ordering::AcqRel);
                    send(word == "PSYNC", rdb, out, serving)?;
                }
                _ => out.write_all(b"-ERR not here\r\n")?,
            }
        }
    }
}

fn send(with_id: bool, rdb: &Path, out: &mut Link<'_>, serving: &Serving) -> io::Result<()> {
    let mut file = File::open(rdb)?;
    let bytes = file.metadata()?.len();
    if with_id {
        let mut id = [0; 20];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        write!(out, "+FULLRESYNC {} 0\r\n", hex::encode(id))?;
    }
    write!(out, "${bytes}\r\n")?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..read])?;
        serving.sent.fetch_add(read as u64, Ordering::AcqRel);
    }
}

/// A command, in Redis' protocol or as words on a line; `None` at the end.
fn read_command(input: &mut impl BufRead) -> io::Result<Option<Vec<String>>> {
    loop {
        let Some(line) = read_line(input)? else {
            return Ok(None);
        };
        if line.is_empty() {
            // Shows that it lives while it loads.
            continue;
        }
        let Some(parts) = line.strip_prefix('*') else {
            return Ok(Some(line.split(' ').map(str::to_owned).collect()));
        };
        let parts = small(parts, MOST_PARTS)?;
        let mut command = Vec::new();
        for _ in 0..parts {
            let line = read_line(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let length = line.strip_prefix('$').ok_or(io::ErrorKind::InvalidData)?;
            let mut bytes = vec![0; usize::try_from(small(length, LONGEST_PART)?).unwrap_or(0) + 2];
            input.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            command.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        return Ok(Some(command));
    }
}

fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut limited = input.take(LONGEST_PART);
    if limited.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn small(digits: &str, most: u64) -> io::Result<u64> {
    let number = digits.parse().ok().filter(|number| *number <= most);
    number.ok_or(io::ErrorKind::InvalidData.into())
}
