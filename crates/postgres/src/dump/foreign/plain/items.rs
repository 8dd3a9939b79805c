//! SQL text as psql reads it: statements, its own commands, comments, data of COPY.
//!
//! Source of the rules: PostgreSQL's `psqlscan.l`. Every byte of the text is in exactly one item,
//! so that leaving some out leaves the others as they were.

use std::io::BufRead;

use memchr::memchr_iter;

use super::super::error::Fault;
use super::lexer::{Lexer, Stop};
use super::statement::Tokens;

/// The server takes no statement of more than 1 GiB.
const MAX_STATEMENT: usize = (1 << 30) + (1 << 20);

/// A piece of SQL text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// White space.
    Blank,
    /// A line of comment between statements, without `--`.
    Comment(String),
    /// A statement with its semicolon.
    Statement(Statement),
    /// A command of psql's between statements, with its backslash.
    Meta(String),
    /// Some of the data that follow a COPY.
    CopyData {
        /// Line ends in it.
        rows: u64,
    },
    /// The line that ends them.
    CopyEnd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) tokens: Tokens,
    /// A command of psql's in the midst of it.
    pub(crate) meta: Option<String>,
}

/// Takes a text apart.
pub(crate) struct Items<R> {
    input: R,
    line: Vec<u8>,
    at: usize,
    number: u64,
    lexer: Lexer,
    is_copy: bool,
    is_line_start: bool,
}

impl<R: BufRead> Items<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
            at: 0,
            number: 0,
            lexer: Lexer::default(),
            is_copy: false,
            is_line_start: true,
        }
    }

    /// The number of the line that was last begun, from 1.
    pub(crate) fn line_number(&self) -> u64 {
        self.number
    }

    /// The next item, whose bytes replace those in `raw`; `None` at the end of the text.
    pub(crate) fn next(&mut self, raw: &mut Vec<u8>) -> Result<Option<Item>, Fault> {
        raw.clear();
        if self.is_copy {
            return self.copy_data(raw).map(Some);
        }
        let mut meta = None;
        loop {
            if self.at == self.line.len() && !self.read_line()? {
                return self.at_end(raw);
            }
            if raw.is_empty()
                && let Some(item) = self.between_statements(raw)
            {
                return Ok(Some(item));
            }
            let rest = &self.line[self.at..];
            match self.lexer.feed(rest) {
                Stop::LineEnd => self.take(rest.len(), raw),
                Stop::Meta(at) => {
                    let text = &rest[at..];
                    meta.get_or_insert_with(|| Tokens::clip(text.trim_ascii_end()));
                    self.take(rest.len(), raw);
                }
                Stop::Statement(end) => {
                    self.take(end, raw);
                    return self.end_statement(raw, meta).map(Some);
                }
            }
            if raw.len() > MAX_STATEMENT {
                return Err(Fault::NotADump(
                    "a text with statements of more than 1 GiB".into(),
                ));
            }
        }
    }

    fn take(&mut self, count: usize, raw: &mut Vec<u8>) {
        raw.extend_from_slice(&self.line[self.at..self.at + count]);
        self.at += count;
    }

    fn read_line(&mut self) -> Result<bool, Fault> {
        self.line.clear();
        self.at = 0;
        let count = self.input.read_until(b'\n', &mut self.line)?;
        self.number += u64::from(count > 0);
        Ok(count > 0)
    }

    fn at_end(&self, raw: &[u8]) -> Result<Option<Item>, Fault> {
        // Comments alone may have been taken for the beginning of a statement.
        if self.lexer.is_midway() {
            let line = self.number;
            return Err(Fault::not_whole(format!(
                "it ends within a statement, in line {line}"
            )));
        }
        Ok((!raw.is_empty()).then_some(Item::Blank))
    }

    fn between_statements(&mut self, raw: &mut Vec<u8>) -> Option<Item> {
        let rest = &self.line[self.at..];
        let text = rest.trim_ascii();
        let item = if text.is_empty() {
            Item::Blank
        } else if let Some(comment) = text.strip_prefix(b"--") {
            Item::Comment(Tokens::clip(comment.trim_ascii()))
        } else if text.starts_with(b"\\") {
            Item::Meta(Tokens::clip(text))
        } else {
            return None;
        };
        self.take(rest.len(), raw);
        Some(item)
    }

    fn end_statement(&mut self, raw: &mut Vec<u8>, meta: Option<String>) -> Result<Item, Fault> {
        let tokens = self.lexer.take_tokens();
        if tokens
            .value_of_set("standard_conforming_strings")
            .is_some_and(|on| on == "off")
        {
            self.lexer.backslash_escapes();
        }
        if tokens.is_copy_from_stdin() {
            let rest = self.line.len() - self.at;
            if !self.line[self.at..].trim_ascii().is_empty() {
                let line = self.number;
                return Err(Fault::not_whole(format!(
                    "line {line}: something follows a COPY"
                )));
            }
            self.take(rest, raw);
            (self.is_copy, self.is_line_start) = (true, true);
        }
        Ok(Item::Statement(Statement { tokens, meta }))
    }

    /// Data are passed on in large pieces; only a line that begins with a backslash may be the last.
    fn copy_data(&mut self, raw: &mut Vec<u8>) -> Result<Item, Fault> {
        let buffer = self.input.fill_buf()?;
        match buffer.first() {
            None => {
                let line = self.number;
                Err(Fault::not_whole(format!(
                    "it ends within the rows of a table, in line {line}"
                )))
            }
            Some(b'\\') if self.is_line_start => self.copy_line(raw),
            Some(_) => {
                let ends = memchr_iter(b'\n', buffer);
                let (mut rows, mut length) = (0, buffer.len());
                for end in ends {
                    rows += 1;
                    if buffer.get(end + 1) == Some(&b'\\') {
                        length = end + 1;
                        break;
                    }
                }
                raw.extend_from_slice(&buffer[..length]);
                self.is_line_start = buffer[length - 1] == b'\n';
                self.input.consume(length);
                self.number += rows;
                Ok(Item::CopyData { rows })
            }
        }
    }

    fn copy_line(&mut self, raw: &mut Vec<u8>) -> Result<Item, Fault> {
        self.input.read_until(b'\n', raw)?;
        let is_whole = raw.ends_with(b"\n");
        self.number += 1;
        if raw.trim_ascii_end() == b"\\." && (is_whole || self.input.fill_buf()?.is_empty()) {
            self.is_copy = false;
            return Ok(Item::CopyEnd);
        }
        self.is_line_start = is_whole;
        Ok(Item::CopyData {
            rows: u64::from(is_whole),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn items(text: &str, buffer: usize) -> Result<Vec<(Item, String)>, Fault> {
        let mut items = Items::new(BufReader::with_capacity(buffer, text.as_bytes()));
        let (mut raw, mut all) = (Vec::new(), Vec::new());
        while let Some(item) = items.next(&mut raw)? {
            all.push((item, String::from_utf8(raw.clone()).unwrap()));
        }
        Ok(all)
    }

    fn statements(text: &str) -> Vec<String> {
        let is_statement = |(item, _): &(Item, String)| matches!(item, Item::Statement(_));
        let all = items(text, 64).unwrap().into_iter().filter(is_statement);
        all.map(|(_, raw)| raw.trim().to_owned()).collect()
    }

    fn metas(text: &str) -> Vec<String> {
        let meta = |(item, _): (Item, String)| match item {
            Item::Meta(meta) => Some(meta),
            Item::Statement(statement) => statement.meta,
            _ => None,
        };
        items(text, 64)
            .unwrap()
            .into_iter()
            .filter_map(meta)
            .collect()
    }

    #[test]
    fn semicolons_within_something_end_nothing() {
        let one = [
            "SELECT 'a;b';",
            "SELECT 'it''s; here';",
            "SELECT E'a\\';b';",
            "SELECT \"a;b\";",
            "SELECT $$a;b$$;",
            "SELECT $x$a;$$;b$x$;",
            "SELECT 1 /* ; /* ; */ ; */ + 1;",
            "SELECT 1 -- ; no\n + 1;",
            "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE 1 WHEN 1 THEN 2 END; END;",
            "SELECT a$b$c;",
        ];
        for text in one {
            assert_eq!(statements(text), [text]);
        }
        assert_eq!(statements("SELECT 1; SELECT '\\'; SELECT 2;").len(), 3);
    }

    #[test]
    fn psqls_own_commands_are_found_wherever_psql_would_find_them() {
        assert_eq!(metas("SELECT 1;\n\\! id\nSELECT 2;"), ["\\! id"]);
        assert_eq!(metas("SELECT 1 \\gexec\n;"), ["\\gexec"]);
        assert_eq!(metas("SELECT 1; \\! id\n"), ["\\! id"]);
        let harmless =
            "SELECT '\\! a', \"\\! b\", $$\\! c$$, E'\\\\! d'; -- \\! e\n/* \\! f */ SELECT 1;";
        assert!(metas(harmless).is_empty());
        assert!(metas("COPY t FROM stdin;\n\\N\t\\! id\na\n\\.\n").is_empty());
        assert_eq!(metas("COPY t FROM stdin;\na\n\\.\n\\! id\n"), ["\\! id"]);
    }

    #[test]
    fn with_the_old_setting_a_backslash_escapes_in_every_literal() {
        let text = "SET standard_conforming_strings = off;\nSELECT 'a\\'; \\! b';\nSELECT 2;";
        assert!(metas(text).is_empty());
        assert_eq!(statements(text).len(), 3);
    }

    #[test]
    fn rows_are_counted_and_no_byte_is_lost_whatever_the_buffer() {
        let rows = "1\ta\\nb\n\\N\tx\n\\\\.\n;--\n\n\\.x\n";
        let text = format!("COPY s.t (a) FROM stdin;\n{rows}\\.\n\nSELECT 1;\n");
        for buffer in 1..40 {
            let all = items(&text, buffer).unwrap();
            let rows: u64 = all
                .iter()
                .map(|(item, _)| match item {
                    Item::CopyData { rows } => *rows,
                    _ => 0,
                })
                .sum();
            assert_eq!(rows, 6, "buffer of {buffer}");
            let joined: String = all.iter().map(|(_, raw)| raw.as_str()).collect();
            assert_eq!(joined, text, "buffer of {buffer}");
        }
    }

    #[test]
    fn an_end_in_the_middle_is_told() {
        for text in [
            "SELECT 'a",
            "SELECT 1",
            "COPY t FROM stdin;\na\n",
            "COPY t FROM stdin;\na\n\\",
            "SELECT $x$ ;",
        ] {
            assert!(items(text, 64).is_err(), "{text}");
        }
        for text in ["", "\n\n", "-- x", "/* x */\n", "SELECT 1;"] {
            assert!(items(text, 64).is_ok(), "{text}");
        }
        let mut nothing = String::new();
        "".as_bytes().read_to_string(&mut nothing).unwrap();
    }
}
