//! How far an append-only file is whole: an RDB, or commands as a client sends them, or the first and then the second.

use std::io::{Read, Write};

use super::super::rdb::{RdbError, RdbSummary, Tap, read_preamble};

/// Numbers in front of commands and their parts are short.
const LONGEST_NUMBER: usize = 20;
const LONGEST_NAME: u64 = 16;

/// What an append-only file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes up to the end of the last whole command, or transaction.
    pub whole_bytes: u64,
    /// Whole commands.
    pub commands: u64,
    /// The RDB that it begins with.
    pub preamble: Option<RdbSummary>,
    /// Bytes behind the last whole command: one was being written.
    pub torn_bytes: u64,
}

/// Reads one to its end, passing every byte on to `sink`.
///
/// # Errors
/// If its RDB is cut or damaged, or something stands in it that is no command.
pub fn scan(source: &mut dyn Read, sink: &mut dyn Write) -> Result<Scanned, RdbError> {
    let mut tap = Tap::new(source, sink);
    let mut scanned = Scanned::default();
    if matches!(tap.peek()?.first(), Some(b'R' | b'V')) {
        scanned.preamble = Some(read_preamble(&mut tap)?);
        scanned.whole_bytes = tap.offset();
    }
    let mut in_transaction = false;
    while !tap.peek()?.is_empty() {
        let part = match part(&mut tap) {
            Err(RdbError::Cut { .. }) => break,
            other => other?,
        };
        match part {
            Part::Note => {}
            Part::Command(name) => {
                scanned.commands += 1;
                if name.eq_ignore_ascii_case(b"multi") {
                    in_transaction = true;
                } else if name.eq_ignore_ascii_case(b"exec") {
                    in_transaction = false;
                }
            }
        }
        // A server takes back a transaction that has no end.
        if !in_transaction {
            scanned.whole_bytes = tap.offset();
        }
    }
    tap.skip_to_end()?;
    scanned.torn_bytes = tap.offset() - scanned.whole_bytes;
    Ok(scanned)
}

enum Part {
    /// A line that begins with `#`: when what follows was written.
    Note,
    Command(Vec<u8>),
}

fn part(tap: &mut Tap<'_>) -> Result<Part, RdbError> {
    let at = tap.offset();
    match tap.byte()? {
        b'#' => {
            while tap.byte()? != b'\n' {}
            Ok(Part::Note)
        }
        b'*' => {
            let parts = number(tap)?;
            let mut name = Vec::new();
            for place in 0..parts {
                let at = tap.offset();
                if tap.byte()? != b'$' {
                    let what = "a part of a command has no length";
                    return Err(RdbError::Malformed { at, what });
                }
                let bytes = number(tap)?;
                match (place, usize::try_from(bytes)) {
                    (0, Ok(length)) if bytes <= LONGEST_NAME => name = tap.take(length)?,
                    _ => tap.skip(bytes)?,
                }
                tap.skip(2)?;
            }
            Ok(Part::Command(name))
        }
        _ => {
            let what = "no command begins here";
            Err(RdbError::Malformed { at, what })
        }
    }
}

fn number(tap: &mut Tap<'_>) -> Result<u64, RdbError> {
    let at = tap.offset();
    let mut digits = String::new();
    loop {
        match tap.byte()? {
            b'\n' => break,
            b'\r' => {}
            byte if byte.is_ascii_digit() && digits.len() < LONGEST_NUMBER => {
                digits.push(char::from(byte));
            }
            _ => {
                let what = "a number was expected";
                return Err(RdbError::Malformed { at, what });
            }
        }
    }
    digits.parse().map_err(|_| RdbError::Malformed {
        at,
        what: "a number was expected",
    })
}

impl Tap<'_> {
    fn skip_to_end(&mut self) -> Result<(), RdbError> {
        loop {
            let there = self.peek()?.len();
            if there == 0 {
                return Ok(());
            }
            self.consume(there);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\n\r\n1\r\n";
    const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
    const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

    fn scanned(bytes: &[u8]) -> Result<Scanned, RdbError> {
        scan(&mut &bytes[..], &mut std::io::sink())
    }

    #[test]
    fn whole_commands_are_counted_and_notes_passed_over() {
        let bytes = [b"#TS:1690000000\r\n", SET, SET].concat();
        let found = scanned(&bytes).unwrap();
        assert_eq!(found.commands, 2);
        assert_eq!(found.whole_bytes, bytes.len() as u64);
        assert_eq!(found.torn_bytes, 0);
    }

    #[test]
    fn a_torn_end_is_found_wherever_it_is() {
        for length in 1..SET.len() {
            let bytes = [SET, &SET[..length]].concat();
            let found = scanned(&bytes).unwrap();
            assert_eq!(found.whole_bytes, SET.len() as u64);
            assert_eq!(found.torn_bytes, length as u64);
        }
    }

    #[test]
    fn a_transaction_without_an_end_counts_as_torn() {
        let open = [SET, MULTI, SET, SET].concat();
        assert_eq!(scanned(&open).unwrap().whole_bytes, SET.len() as u64);
        let closed = [&open, EXEC].concat();
        assert_eq!(scanned(&closed).unwrap().torn_bytes, 0);
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let bytes = [SET, b"garbage"].concat();
        assert!(matches!(scanned(&bytes), Err(RdbError::Malformed { .. })));
    }
}
