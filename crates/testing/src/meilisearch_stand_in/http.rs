//! One request for each connection.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{BANNER, Shared, routes};

/// What is asked.
pub(super) struct Request {
    pub(super) method: String,
    /// Names between slashes, decoded.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) bearer: Option<String>,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn number(&self, name: &str, otherwise: usize) -> usize {
        let found = self.query.iter().find(|(key, _)| key == name);
        found
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(otherwise)
    }

    pub(super) fn words(&self, name: &str) -> Option<Vec<String>> {
        let found = self.query.iter().find(|(key, _)| key == name)?;
        Some(found.1.split(',').map(str::to_owned).collect())
    }
}

/// A status and a body, or a refusal in MeiliSearch's words.
pub(super) struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    pub(super) const fn ok(body: Value) -> Self {
        Self { status: 200, body }
    }

    pub(super) const fn accepted(body: Value) -> Self {
        Self { status: 202, body }
    }

    pub(super) fn refused(status: u16, code: &str, message: &str) -> Self {
        let body =
            json!({ "message": message, "code": code, "type": "invalid_request", "link": "" });
        Self { status, body }
    }
}

pub(super) fn serve(shared: &Shared, client: &TcpStream) -> io::Result<()> {
    client.set_nonblocking(false)?;
    if shared.is_down.load(Ordering::SeqCst) {
        return client.shutdown(Shutdown::Both);
    }
    let Some(request) = read(client)? else {
        return Ok(());
    };
    let answer = routes::answer(&mut shared.database(), &request);
    if shared.is_down.load(Ordering::SeqCst) {
        return client.shutdown(Shutdown::Both);
    }
    write(client, &answer)
}

fn read(client: &TcpStream) -> io::Result<Option<Request>> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let header = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted)
                .then(|| value.trim().to_owned())
        })
    };
    let mut first = head.split_whitespace();
    let (method, target) = (
        first.next().unwrap_or_default().to_owned(),
        first.next().unwrap_or_default().to_owned(),
    );
    let length = header("content-length").and_then(|text| text.parse().ok());
    let mut body = Vec::new();
    reader.take(length.unwrap_or(0)).read_to_end(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    Ok(Some(Request {
        method,
        path: path
            .split('/')
            .filter(|name| !name.is_empty())
            .map(decoded)
            .collect(),
        query: pairs
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect(),
        bearer: header("authorization").and_then(|text| {
            let key = text.strip_prefix("Bearer ")?;
            Some(key.to_owned())
        }),
        content_type: header("content-type").unwrap_or_default(),
        body,
    }))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) if byte == b'%' => {
                bytes.push(value);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn write(mut client: &TcpStream, answer: &Answer) -> io::Result<()> {
    let body = answer.body.to_string();
    write!(
        client,
        "HTTP/1.1 {} -\r\nServer: {BANNER}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n{body}",
        answer.status,
        body.len()
    )?;
    client.shutdown(Shutdown::Write)
}
