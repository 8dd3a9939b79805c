//! The question by HTTP.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rekindle_stack::ServiceUrl;
use serde_json::Value;

use super::{ANSWER, addresses};
use crate::Runtime;

/// Longest answer that is looked at.
const LONGEST_BYTES: usize = 1 << 20;

pub(super) fn ask(
    runtime: &dyn Runtime,
    service: &str,
    url: &ServiceUrl,
    expect: &BTreeMap<String, Value>,
) -> Result<(), String> {
    let body = request(runtime, service, url).map_err(|error| format!("GET {url}: {error}"))?;
    if expect.is_empty() {
        return Ok(());
    }
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|error| format!("GET {url}: the answer is no JSON: {error}"))?;
    compare(&answer, expect).map_err(|why| format!("GET {url}: {why}"))
}

fn request(runtime: &dyn Runtime, service: &str, url: &ServiceUrl) -> Result<Vec<u8>, String> {
    if url.scheme() != "http" {
        return Err(
            "only `http` is asked; for `https` use `command: [curl, --fail, …]`".to_owned(),
        );
    }
    let (host, port) = url.hosts().first().ok_or("it names no host")?;
    let mut why = format!("{host} has no address");
    for address in addresses(runtime, service, host, port.unwrap_or(80))? {
        let login = url.user().map(|user| {
            let password = url.password().map_or("", |password| password.expose());
            format!("{user}:{password}")
        });
        match get(address, &authority(url), &path_of(url), login.as_deref()) {
            Ok(body) => return Ok(body),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// Host and port as they stand in the URL.
fn authority(url: &ServiceUrl) -> String {
    let rest = rest_of(url);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

fn path_of(url: &ServiceUrl) -> String {
    let rest = rest_of(url);
    match rest.find(['/', '?']) {
        None => "/".to_owned(),
        Some(at) if rest[at..].starts_with('/') => rest[at..].to_owned(),
        Some(at) => format!("/{}", &rest[at..]),
    }
}

fn rest_of(url: &ServiceUrl) -> &str {
    let whole = url.expose();
    whole.split_once("://").map_or(whole, |(_, rest)| rest)
}

/// One request; returns the body of an answer with a status of 200 to 299.
fn get(
    address: SocketAddr,
    host: &str,
    path: &str,
    login: Option<&str>,
) -> Result<Vec<u8>, String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).map_err(said)?;
    stream.set_read_timeout(Some(ANSWER)).map_err(said)?;
    stream.set_write_timeout(Some(ANSWER)).map_err(said)?;
    let login = login.map(|login| format!("Authorization: Basic {}\r\n", BASE64.encode(login)));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rekindle\r\nAccept: */*\r\n{}Connection: close\r\n\r\n",
        login.unwrap_or_default()
    );
    stream.write_all(request.as_bytes()).map_err(said)?;
    let answer = read_all(&mut stream)?;
    body_of(&answer)
}

/// Everything until the other side closes, as it was asked to.
fn read_all(stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    let begun = Instant::now();
    let (mut answer, mut piece) = (Vec::new(), [0; 8192]);
    loop {
        match stream.read(&mut piece).map_err(said)? {
            0 => return Ok(answer),
            read => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
        }
        if answer.len() > LONGEST_BYTES {
            return Err("the answer is longer than 1 MiB".to_owned());
        }
        if begun.elapsed() > ANSWER {
            return Err(no_answer());
        }
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", ANSWER.as_secs())
}

fn said(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => no_answer(),
        _ => error.to_string(),
    }
}

/// The body, if the status is good and all of it is there. Source: RFC 9112, sections 4, 6 and 7.
fn body_of(answer: &[u8]) -> Result<Vec<u8>, String> {
    let strange = || "the answer is no HTTP".to_owned();
    let split = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, rest) = answer.split_at(split.ok_or_else(strange)?);
    let body = rest.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let (version, status) = status.split_once(' ').ok_or_else(strange)?;
    if !version.starts_with("HTTP/") {
        return Err(strange());
    }
    if !(status.len() >= 3 && status.starts_with('2')) {
        return Err(format!("status {}", status.trim()));
    }
    let headers = lines.filter_map(|line| line.split_once(':'));
    let find = |name: &str| {
        let mut headers = headers.clone();
        let found = headers.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    if find("transfer-encoding").is_some_and(|encoding| encoding.ends_with("chunked")) {
        return unchunked(body).ok_or_else(|| "the answer broke off".to_owned());
    }
    match find("content-length").and_then(|length| length.parse::<usize>().ok()) {
        None => Ok(body.to_vec()),
        Some(length) => {
            let whole = body.get(..length).map(<[u8]>::to_vec);
            whole.ok_or_else(|| "the answer broke off".to_owned())
        }
    }
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size.checked_add(2)?..)?;
    }
}

/// Each field must be there and equal. `a.b` is field `b` of field `a`.
fn compare(answer: &Value, expect: &BTreeMap<String, Value>) -> Result<(), String> {
    for (path, wanted) in expect {
        let direct = answer.get(path);
        let nested = || {
            path.split('.')
                .try_fold(answer, |value, key| value.get(key))
        };
        match direct.or_else(nested) {
            None => return Err(format!("the answer has no field `{path}`")),
            Some(found) if is_equal(found, wanted) => {}
            Some(found) => return Err(format!("`{path}` is {}, not {wanted}", short(found))),
        }
    }
    Ok(())
}

/// `1` and `1.0` are one number.
fn is_equal(found: &Value, wanted: &Value) -> bool {
    match (found.as_f64(), wanted.as_f64()) {
        (Some(found), Some(wanted)) => found == wanted,
        _ => found == wanted,
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_field_must_be_there_and_equal() {
        let answer = json!({ "status": "ok", "db": { "up": true }, "n": 1.0, "a.b": 2 });
        let expect = |text: Value| {
            let fields: BTreeMap<String, Value> = serde_json::from_value(text).unwrap();
            compare(&answer, &fields)
        };
        expect(json!({ "status": "ok", "db.up": true, "n": 1, "a.b": 2 })).unwrap();
        let error = expect(json!({ "status": "fine" })).unwrap_err();
        assert_eq!(error, "`status` is \"ok\", not \"fine\"");
        let error = expect(json!({ "db.down": true })).unwrap_err();
        assert_eq!(error, "the answer has no field `db.down`");
    }

    #[test]
    fn a_url_is_asked_for_as_it_is_written() {
        let parts = |text: &str| {
            let url = ServiceUrl::parse(text, &["http"]).unwrap();
            (authority(&url), path_of(&url))
        };
        let expected = ("api:8080".to_owned(), "/x?y".to_owned());
        assert_eq!(parts("http://u:p@api:8080/x?y"), expected);
        assert_eq!(parts("http://h"), ("h".to_owned(), "/".to_owned()));
        assert_eq!(parts("http://h?q"), ("h".to_owned(), "/?q".to_owned()));
    }

    #[test]
    fn an_answer_that_is_cut_or_refuses_is_no_answer() {
        let body = |text: &str| body_of(text.as_bytes());
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        assert_eq!(body(chunked).unwrap(), b"abcde");
        assert!(body(&chunked[..chunked.len() - 9]).is_err());
        assert_eq!(body("HTTP/1.0 204 No Content\r\n\r\n").unwrap(), b"");
        assert_eq!(
            body("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc").unwrap(),
            b"ab"
        );
        assert!(body("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").is_err());
        let refused = body("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err();
        assert_eq!(refused, "status 503 Service Unavailable");
        assert!(body("SSH-2.0-OpenSSH\r\n\r\n").is_err() && body("HTTP/1.1 200").is_err());
    }
}
