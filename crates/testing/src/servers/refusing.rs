//! A made-up S3 server for refusals that no real one gives on request. It keeps nothing: a proxy that
//! answers some requests itself and passes the others on to a real server.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::spawn;

use crate::TestingError;
use crate::listening::Listening;

/// Which requests are refused, and how.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The method, `PUT`; empty for all.
    pub method: &'static str,
    /// A part of the path.
    pub path: &'static str,
    /// How many such requests pass first.
    pub after: u64,
    /// How many are refused then.
    pub times: u64,
    /// The status line, `503 Slow Down`.
    pub status: &'static str,
    /// S3's code, `SlowDown`.
    pub code: &'static str,
}

/// Refuses as told, and passes everything else on to a real server on 127.0.0.1. One request per
/// connection.
pub struct MadeUpS3 {
    shared: Arc<Shared>,
    listening: Listening,
}

struct Shared {
    target: u16,
    rule: Mutex<Option<Rule>>,
    seen: AtomicU64,
    passed: AtomicU64,
    refused: AtomicU64,
}

/// What the rule says of a request.
enum Verdict {
    NoneOfIts,
    Passes,
    Refused(Rule),
}

impl MadeUpS3 {
    /// Starts to answer for the server on `target`.
    ///
    /// # Errors
    /// [`TestingError::Run`] if no port can be listened on.
    pub fn before(target: u16) -> Result<Self, TestingError> {
        let shared = Arc::new(Shared {
            target,
            rule: Mutex::new(None),
            seen: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let for_thread = Arc::clone(&shared);
        let listening = Listening::start("the made-up S3", move |client| {
            let shared = Arc::clone(&for_thread);
            // A client that hangs up in the middle is its own affair.
            spawn(move || drop(shared.serve(&client)));
        })?;
        Ok(Self { shared, listening })
    }

    /// Where it answers.
    pub fn port(&self) -> u16 {
        self.listening.port()
    }

    /// Follows `rule` from now on.
    pub fn set(&self, rule: Option<Rule>) {
        self.shared.seen.store(0, Ordering::SeqCst);
        self.shared.passed.store(0, Ordering::SeqCst);
        self.shared.refused.store(0, Ordering::SeqCst);
        *self
            .shared
            .rule
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = rule;
    }

    /// How many requests were refused since the rule was set.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// How many requests that the rule is about it let pass since it was set, and the real server has answered.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        client.set_nonblocking(false)?;
        let mut reader = BufReader::new(client.try_clone()?);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<u64>().ok())?
        });
        let mut body = Vec::new();
        reader.take(length.unwrap_or(0)).read_to_end(&mut body)?;
        match self.verdict(text.lines().next().unwrap_or_default()) {
            Verdict::NoneOfIts => self.pass_on(client, &head, &body),
            Verdict::Passes => {
                self.pass_on(client, &head, &body)?;
                self.passed.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
            Verdict::Refused(rule) => {
                self.refused.fetch_add(1, Ordering::SeqCst);
                refuse(client, &rule)
            }
        }
    }

    fn verdict(&self, request: &str) -> Verdict {
        let rule = self
            .rule
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(rule) =
            rule.filter(|rule| request.starts_with(rule.method) && request.contains(rule.path))
        else {
            return Verdict::NoneOfIts;
        };
        let number = self.seen.fetch_add(1, Ordering::SeqCst);
        if number >= rule.after && number - rule.after < rule.times {
            Verdict::Refused(rule)
        } else {
            Verdict::Passes
        }
    }

    /// The signature covers the host that the client named, so the head goes on as it is; only the
    /// connection ends with the answer.
    fn pass_on(&self, client: &TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
        let mut server = TcpStream::connect(("127.0.0.1", self.target))?;
        let end = head.len() - 2;
        server.write_all(&head[..end])?;
        server.write_all(b"Connection: close\r\n\r\n")?;
        server.write_all(body)?;
        let mut client = client;
        io::copy(&mut server, &mut client)?;
        client.shutdown(Shutdown::Both)
    }
}

fn refuse(mut client: &TcpStream, rule: &Rule) -> io::Result<()> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{}</Code><Message>made up for a test</Message></Error>",
        rule.code
    );
    write!(
        client,
        "HTTP/1.1 {}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        rule.status,
        body.len()
    )?;
    client.shutdown(Shutdown::Write)
}
