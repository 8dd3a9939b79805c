//! The text at the beginning of a file: one stanza for each who may open it, and a code that
//! proves them.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};

use super::{AgeError, FileKey, passphrase};

const FIRST_LINE: &str = "age-encryption.org/v1\n";
const LINE_COLUMNS: usize = 64;
const MAC_BYTES: usize = 32;

/// The file key, sealed in one way.
pub(super) struct Stanza {
    /// The kind, and what its way needs; words of visible ASCII.
    pub words: Vec<String>,
    pub body: Vec<u8>,
}

/// A header that can be read, and proves nothing yet.
pub(super) struct Header {
    pub stanzas: Vec<Stanza>,
    mac: [u8; MAC_BYTES],
    /// How many bytes of the file the code covers.
    covered: usize,
    payload_start: usize,
}

/// A header that is as it was written.
pub(super) struct Proven {
    pub payload_start: usize,
}

impl Header {
    pub fn parse(file: &[u8]) -> Result<Self, AgeError> {
        if !file.starts_with(FIRST_LINE.as_bytes()) {
            return Err(AgeError::Malformed("it does not begin with the version"));
        }
        let mut lines = Lines {
            file,
            at: FIRST_LINE.len(),
        };
        let mut stanzas = Vec::new();
        loop {
            let start = lines.at;
            let line = lines.next()?;
            if let Some(words) = line.strip_prefix("-> ") {
                stanzas.push(lines.stanza(words)?);
            } else if let Some(mac) = line.strip_prefix("--- ") {
                if stanzas.is_empty() {
                    return Err(AgeError::Malformed("nobody may open it"));
                }
                return Ok(Self {
                    stanzas,
                    mac: decoded(mac)?,
                    covered: start + "---".len(),
                    payload_start: lines.at,
                });
            } else {
                return Err(AgeError::Malformed("a line is neither stanza nor code"));
            }
        }
    }

    /// Holds the whole header against its code.
    pub fn proven(&self, file_key: &FileKey, file: &[u8]) -> Result<Proven, AgeError> {
        let is_proven = file_key.is_header_tag(&file[..self.covered], &self.mac);
        is_proven
            .then_some(Proven {
                payload_start: self.payload_start,
            })
            .ok_or(AgeError::HeaderChanged)
    }

    /// A passphrase must be the only way in: who knows it must be sure that its writer knew it.
    pub fn forbid_passphrase_beside_others(&self) -> Result<(), AgeError> {
        if self.stanzas.len() > 1 && self.stanzas.iter().any(passphrase::is_one) {
            return Err(AgeError::Malformed("a password is not the only way in"));
        }
        Ok(())
    }

    pub fn only_passphrase(&self) -> Result<&Stanza, AgeError> {
        self.forbid_passphrase_beside_others()?;
        let first = self.stanzas.first().filter(|s| passphrase::is_one(s));
        first.ok_or(AgeError::NotByPassphrase)
    }
}

/// A header with its code.
pub(super) fn written(stanzas: &[Stanza], file_key: &FileKey) -> String {
    let mut text = FIRST_LINE.to_owned();
    for stanza in stanzas {
        text.push_str("-> ");
        text.push_str(&stanza.words.join(" "));
        text.push('\n');
        let body = BASE64.encode(&stanza.body);
        let mut rest = &body[..];
        // The last line is shorter than the others, and empty if it must be.
        while rest.len() >= LINE_COLUMNS {
            let (line, next) = rest.split_at(LINE_COLUMNS);
            text.push_str(line);
            text.push('\n');
            rest = next;
        }
        text.push_str(rest);
        text.push('\n');
    }
    text.push_str("---");
    let mac = BASE64.encode(file_key.header_tag(text.as_bytes()));
    text.push(' ');
    text.push_str(&mac);
    text.push('\n');
    text
}

/// Exactly this many bytes, in the only way to write them.
pub(super) fn decoded<const N: usize>(text: &str) -> Result<[u8; N], AgeError> {
    let bytes = BASE64.decode(text).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(AgeError::Malformed("a base64 text is wrong"))
}

pub(super) fn encoded(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

struct Lines<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, AgeError> {
        let rest = &self.file[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let end = end.ok_or(AgeError::Malformed("it ends within the header"))?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| AgeError::Malformed("a line is no text"))
    }

    fn stanza(&mut self, words: &str) -> Result<Stanza, AgeError> {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let visible =
            |word: &String| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
        if !words.iter().all(visible) {
            return Err(AgeError::Malformed("a stanza's words are wrong"));
        }
        let mut body = Vec::new();
        loop {
            let line = self.next()?;
            if line.len() > LINE_COLUMNS {
                return Err(AgeError::Malformed("a line is too long"));
            }
            let bytes = BASE64.decode(line);
            body.extend(bytes.map_err(|_| AgeError::Malformed("a base64 text is wrong"))?);
            if line.len() < LINE_COLUMNS {
                return Ok(Stanza { words, body });
            }
        }
    }
}
