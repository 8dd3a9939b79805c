//! Whether the servers of datasets can be reached at all, within seconds.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use jiff::Timestamp;
use rekindle_datasets::Surroundings;
use rekindle_stack::{self as stack, ServiceUrl};

use super::{Findings, clock};

/// Longest wait for a connection, and for an answer.
const LIMIT: Duration = Duration::from_secs(3);

/// Tries a connection to the server of a dataset. PostgreSQL is asked elsewhere, in its own words.
pub(super) fn look(
    subject: &str,
    dataset: &stack::Dataset,
    surroundings: &Surroundings,
    findings: &mut Findings,
) {
    let (url, port) = match dataset {
        stack::Dataset::Redis(redis) => (&redis.url, 6379),
        stack::Dataset::S3(s3) => (&s3.endpoint, default_port(&s3.endpoint)),
        stack::Dataset::Meilisearch(search) => (&search.url, default_port(&search.url)),
        stack::Dataset::Files(files) => {
            return look_at_files(subject, files, surroundings, findings);
        }
        _ => return,
    };
    let resolved = surroundings.reachable(url, port);
    let Some((host, own)) = resolved.hosts().first() else {
        return;
    };
    let port = own.unwrap_or(port);
    match connect(host, port) {
        Ok(stream) => {
            findings.fine(
                subject,
                format!("{} accepts connections at {host}:{port}", dataset.kind()),
            );
            if resolved.scheme() == "http" {
                look_at_clock(subject, stream, host, findings);
            }
        }
        Err(error) => {
            let text = format!(
                "its {} dataset cannot be reached at {host}:{port}: {error}",
                dataset.kind()
            );
            findings.problem(subject, text, Some(fix(subject, host, port)));
        }
    }
}

fn default_port(url: &ServiceUrl) -> u16 {
    if url.scheme() == "https" { 443 } else { 80 }
}

fn fix(subject: &str, host: &str, port: u16) -> String {
    if host == subject {
        return format!(
            "`{host}` is the service's own name, which only Docker's network knows: publish the port \
             (`ports: [\"127.0.0.1:{port}:{port}\"]`) and name localhost in the URL, or let rekindle reach Docker"
        );
    }
    format!("start the service, or correct the address in rekindle.yaml ({host}:{port})")
}

fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let mut last = std::io::Error::other("the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The `Date` of whatever answer comes; a server that sends none says nothing about its clock.
fn look_at_clock(subject: &str, mut stream: TcpStream, host: &str, findings: &mut Findings) {
    let before = Timestamp::now();
    let Some(date) = date_of(&mut stream, host) else {
        return;
    };
    clock::judge(subject, date, before, Timestamp::now(), findings);
}

fn date_of(stream: &mut TcpStream, host: &str) -> Option<Timestamp> {
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    stream.set_write_timeout(Some(LIMIT)).ok()?;
    let request = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = [0; 4096];
    let mut length = 0;
    while length < answer.len() {
        match stream.read(&mut answer[length..]) {
            Ok(0) | Err(_) => break,
            Ok(read) => length += read,
        }
        if answer[..length].windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8_lossy(&answer[..length]);
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date")
            .then(|| value.trim().to_owned())
    })?;
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(&line);
    parsed.ok()
}

/// Paths that are not there, or not ours to read.
fn look_at_files(
    subject: &str,
    files: &stack::FilesDataset,
    surroundings: &Surroundings,
    findings: &mut Findings,
) {
    for path in &files.paths {
        let readable = match path.metadata() {
            Ok(data) if data.is_dir() => std::fs::read_dir(path).map(drop),
            Ok(_) => std::fs::File::open(path).map(drop),
            Err(error) => Err(error),
        };
        let Err(error) = readable else { continue };
        if surroundings.runtime.is_some() && path.is_absolute() {
            // It may be a path inside of the service, which its runtime opens.
            let text = format!(
                "{} is not readable here: {error}; Docker is asked for it",
                path.display()
            );
            findings.advice(subject, text, "run rekindle as root to read it directly");
            continue;
        }
        let fix = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "run rekindle as root, or as a user who may read it"
            }
            _ => {
                "correct the path in rekindle.yaml; of a Docker volume `docker volume inspect NAME` tells it"
            }
        };
        let text = format!("{} cannot be read: {error}", path.display());
        findings.problem(subject, text, Some(fix.to_owned()));
    }
}
