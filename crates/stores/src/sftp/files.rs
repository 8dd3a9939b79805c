//! Files of the server: each call is one operation on one connection, with many requests under way at
//! once where it moves bytes.

use std::{collections::HashMap, io};

use super::{
    packet::{Attributes, In, kind, malformed, status},
    session::{Answer, Requests, Session},
};

/// Every server takes so much in one request.
const PIECE: usize = 32 << 10;
/// Requests under way of one transfer: 2 MiB cover a line of 100 Mbit/s and 160 ms.
const AHEAD: usize = 64;

const READ: u32 = 1;
const WRITE_NEW: u32 = 2 | 8 | 0x20;

/// A handle of the server.
pub(super) struct Handle(Vec<u8>);

impl Session {
    pub(super) fn open_to_read(&self, path: &str) -> io::Result<Handle> {
        self.handle(kind::OPEN, path, Some((READ, None)))
    }

    pub(super) fn create_new(&self, path: &str, mode: u32) -> io::Result<Handle> {
        self.handle(kind::OPEN, path, Some((WRITE_NEW, Some(mode))))
    }

    fn handle(&self, kind: u8, path: &str, open: Option<(u32, Option<u32>)>) -> io::Result<Handle> {
        let answer = self.ask(kind, |out| {
            let out = out.bytes(path.as_bytes());
            match open {
                Some((flags, Some(mode))) => out.u32(flags).mode(mode),
                Some((flags, None)) => out.u32(flags).u32(0),
                None => out,
            }
        })?;
        match answer.kind {
            kind::HANDLE => Ok(Handle(In(&answer.body).bytes()?.to_vec())),
            _ => Err(refused(&answer)),
        }
    }

    pub(super) fn close(&self, handle: &Handle) -> io::Result<()> {
        done(&self.ask(kind::CLOSE, |out| out.bytes(&handle.0))?)
    }

    /// Makes a file, or a folder that was opened like one, durable; without a word where the server
    /// cannot.
    pub(super) fn sync(&self, handle: &Handle) -> io::Result<()> {
        const NAME: &str = "fsync@openssh.com";
        if !self.has_extension(NAME) {
            return Ok(());
        }
        let answer = self.ask(kind::EXTENDED, |out| {
            out.bytes(NAME.as_bytes()).bytes(&handle.0)
        })?;
        done(&answer)
    }

    pub(super) fn attributes(&self, path: &str) -> io::Result<Attributes> {
        let answer = self.ask(kind::LSTAT, |out| out.bytes(path.as_bytes()))?;
        match answer.kind {
            kind::ATTRS => In(&answer.body).attributes(),
            _ => Err(refused(&answer)),
        }
    }

    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        match self.attributes(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        done(&self.ask(kind::REMOVE, |out| out.bytes(path.as_bytes()))?)
    }

    pub(super) fn make_folder(&self, path: &str, mode: u32) -> io::Result<()> {
        done(&self.ask(kind::MKDIR, |out| out.bytes(path.as_bytes()).mode(mode))?)
    }

    /// As version 3 has it: fails if `to` is there.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let answer = self.ask(kind::RENAME, |out| {
            out.bytes(from.as_bytes()).bytes(to.as_bytes())
        })?;
        done(&answer)
    }

    /// A request of OpenSSH's on two paths; `Unsupported` where the server does not offer it.
    pub(super) fn extended(&self, name: &str, from: &str, to: &str) -> io::Result<()> {
        if !self.has_extension(name) {
            let said = format!("the server does not offer `{name}`");
            return Err(io::Error::new(io::ErrorKind::Unsupported, said));
        }
        let answer = self.ask(kind::EXTENDED, |out| {
            out.bytes(name.as_bytes())
                .bytes(from.as_bytes())
                .bytes(to.as_bytes())
        })?;
        done(&answer)
    }

    /// Names and attributes in a folder, without `.` and `..`.
    pub(super) fn folder(&self, path: &str) -> io::Result<Vec<(Vec<u8>, Attributes)>> {
        let handle = self.handle(kind::OPENDIR, path, None)?;
        let listed = self.rest_of_folder(&handle);
        let closed = self.close(&handle);
        let listed = listed?;
        closed.map(|()| listed)
    }

    fn rest_of_folder(&self, handle: &Handle) -> io::Result<Vec<(Vec<u8>, Attributes)>> {
        let mut found = Vec::new();
        loop {
            let answer = self.ask(kind::READDIR, |out| out.bytes(&handle.0))?;
            if answer.kind != kind::NAME {
                return if code(&answer) == Some(status::EOF) {
                    Ok(found)
                } else {
                    Err(refused(&answer))
                };
            }
            let mut body = In(&answer.body);
            for _ in 0..body.u32()? {
                let name = body.bytes()?.to_vec();
                body.bytes()?;
                let attributes = body.attributes()?;
                if name != b"." && name != b".." {
                    found.push((name, attributes));
                }
            }
        }
    }

    /// Fills `buffer` from `offset` on.
    pub(super) fn fill(&self, handle: &Handle, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let requests = self.requests();
        // What is still to be asked for, and what was asked for under which number.
        let mut wanted: Vec<(usize, usize)> = (0..buffer.len())
            .step_by(PIECE)
            .map(|start| (start, buffer.len().min(start + PIECE)))
            .rev()
            .collect();
        let mut asked = HashMap::new();
        loop {
            while asked.len() < AHEAD
                && let Some((start, end)) = wanted.pop()
            {
                let length = u32::try_from(end - start).unwrap_or(u32::MAX);
                let number = requests.send(kind::READ, |out| {
                    out.bytes(&handle.0).u64(offset + start as u64).u32(length)
                })?;
                asked.insert(number, (start, end));
            }
            if asked.is_empty() {
                return Ok(());
            }
            let (number, answer) = requests.receive()?;
            let (start, end) = asked.remove(&number).ok_or_else(malformed)?;
            let read = match answer.kind {
                kind::DATA => In(&answer.body).bytes()?,
                _ if code(&answer) == Some(status::EOF) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                _ => return Err(refused(&answer)),
            };
            if read.is_empty() || read.len() > end - start {
                return Err(malformed());
            }
            buffer[start..start + read.len()].copy_from_slice(read);
            // A server may send less than was asked for.
            if start + read.len() < end {
                wanted.push((start + read.len(), end));
            }
        }
    }

    /// Writes all of `content` to a new file; returns when the server has taken it.
    pub(super) fn write(&self, handle: &Handle, content: &[u8]) -> io::Result<()> {
        let requests = self.requests();
        let mut under_way = 0;
        for (number, piece) in content.chunks(PIECE).enumerate() {
            if under_way == AHEAD {
                acknowledged(&requests)?;
                under_way -= 1;
            }
            let offset = (number * PIECE) as u64;
            requests.send(kind::WRITE, |out| {
                out.bytes(&handle.0).u64(offset).bytes(piece)
            })?;
            under_way += 1;
        }
        (0..under_way).try_for_each(|_| acknowledged(&requests))
    }

    fn ask(
        &self,
        kind: u8,
        fill: impl FnOnce(super::packet::Out) -> super::packet::Out,
    ) -> io::Result<Answer> {
        let requests = self.requests();
        requests.send(kind, fill)?;
        requests.receive().map(|(_, answer)| answer)
    }
}

fn acknowledged(requests: &Requests<'_>) -> io::Result<()> {
    let (_, answer) = requests.receive()?;
    done(&answer)
}

fn code(answer: &Answer) -> Option<u32> {
    (answer.kind == kind::STATUS).then(|| In(&answer.body).u32().ok())?
}

fn done(answer: &Answer) -> io::Result<()> {
    match code(answer) {
        Some(status::OK) => Ok(()),
        _ => Err(refused(answer)),
    }
}

/// A server's refusal in its own words.
fn refused(answer: &Answer) -> io::Error {
    let Some(code) = code(answer) else {
        return malformed();
    };
    let mut body = In(&answer.body);
    let words = body.u32().and_then(|_| body.bytes()).unwrap_or_default();
    let words = String::from_utf8_lossy(words);
    let kind = match code {
        status::NO_SUCH_FILE => io::ErrorKind::NotFound,
        status::PERMISSION_DENIED => io::ErrorKind::PermissionDenied,
        status::UNSUPPORTED => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("the server answered: {words} ({code})"))
}
