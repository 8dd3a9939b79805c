//! Where a statement ends. Source of the rules: PostgreSQL's `psqlscan.l`.

use super::statement::{Token, Tokens};

/// Why the lexer stopped in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The line is over, the statement is not.
    LineEnd,
    /// A statement ends before this place.
    Statement(usize),
    /// A command of psql's begins at this place.
    Meta(usize),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Nothing,
    /// `'…'`; with backslash escapes or without.
    Literal { escapes: bool },
    /// `"…"`.
    Name,
    /// `$tag$…$tag$`, with the whole delimiter.
    Dollar(Vec<u8>),
    /// `/*…*/`, so deep.
    Comment(u32),
}

/// Knows how far a statement has come.
#[derive(Debug, Default)]
pub(super) struct Lexer {
    within: Within,
    text: Vec<u8>,
    parentheses: u32,
    /// Depth of `BEGIN ATOMIC … END` in the body of a function.
    begins: u32,
    words: Vec<String>,
    all_escape: bool,
    tokens: Tokens,
}

impl Lexer {
    /// From now on a backslash escapes in every literal: `standard_conforming_strings` is off.
    pub(super) fn backslash_escapes(&mut self) {
        self.all_escape = true;
    }

    /// Whether something has begun that has not ended.
    pub(super) fn is_midway(&self) -> bool {
        self.within != Within::Nothing || !self.tokens.is_empty()
    }

    /// The statement that ended.
    pub(super) fn take_tokens(&mut self) -> Tokens {
        (self.parentheses, self.begins) = (0, 0);
        self.words.clear();
        std::mem::take(&mut self.tokens)
    }

    /// Reads on in a line.
    pub(super) fn feed(&mut self, line: &[u8]) -> Stop {
        let mut at = 0;
        while at < line.len() {
            let rest = &line[at..];
            if self.within != Within::Nothing {
                at += self.inside(rest);
                continue;
            }
            match rest {
                [b'\\', ..] => return Stop::Meta(at),
                [b'-', b'-', ..] => return Stop::LineEnd,
                [b'/', b'*', ..] => {
                    self.within = Within::Comment(1);
                    at += 2;
                }
                [b'\'', ..] => {
                    let escapes = self.all_escape;
                    self.within = Within::Literal { escapes };
                    at += 1;
                }
                [b'e' | b'E', b'\'', ..] => {
                    self.within = Within::Literal { escapes: true };
                    at += 2;
                }
                [b'"', ..] => {
                    self.within = Within::Name;
                    at += 1;
                }
                [b'$', ..] => at += self.dollar(rest),
                [b';', ..] if self.parentheses == 0 && self.begins == 0 => {
                    return Stop::Statement(at + 1);
                }
                [byte, ..] if is_word_start(*byte) => at += self.word(rest),
                [byte, ..] => {
                    self.symbol(*byte);
                    at += 1;
                }
                [] => {}
            }
        }
        Stop::LineEnd
    }

    fn symbol(&mut self, byte: u8) {
        match byte {
            b'(' => self.parentheses += 1,
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            self.tokens.push(Token::Symbol(char::from(byte)));
        }
    }

    fn word(&mut self, rest: &[u8]) -> usize {
        let is_inside = |byte: &u8| is_word_start(*byte) || byte.is_ascii_digit() || *byte == b'$';
        let length = rest.iter().take_while(|byte| is_inside(byte)).count();
        let word = String::from_utf8_lossy(&rest[..length]).to_ascii_lowercase();
        self.count_begins(&word);
        if self.words.len() < 4 {
            self.words.push(word.clone());
        }
        self.tokens.push(Token::Word(word));
        length
    }

    /// A semicolon ends no `CREATE FUNCTION` whose body has begun and not ended.
    fn count_begins(&mut self, word: &str) {
        let is_routine = |word: Option<&String>| {
            word.is_some_and(|word| word == "function" || word == "procedure")
        };
        let words = &self.words;
        let is_creation = words.first().is_some_and(|word| word == "create")
            && (is_routine(words.get(1))
                || words.get(1).is_some_and(|word| word == "or") && is_routine(words.get(3)));
        if !is_creation || self.parentheses > 0 {
            return;
        }
        match word {
            "begin" => self.begins += 1,
            "case" if self.begins > 0 => self.begins += 1,
            "end" => self.begins = self.begins.saturating_sub(1),
            _ => {}
        }
    }

    /// A dollar quote, a parameter `$1`, or a lone dollar.
    fn dollar(&mut self, rest: &[u8]) -> usize {
        let is_inside = |byte: &u8| is_word_start(*byte) || byte.is_ascii_digit();
        let tag = rest[1..].iter().take_while(|byte| is_inside(byte)).count();
        let starts_well = tag == 0 || !rest[1].is_ascii_digit();
        if starts_well && rest.get(tag + 1) == Some(&b'$') {
            let delimiter = rest[..tag + 2].to_vec();
            let length = delimiter.len();
            self.within = Within::Dollar(delimiter);
            return length;
        }
        self.tokens.push(Token::Symbol('$'));
        1
    }

    /// Reads on within quotes or a comment; at least one byte.
    fn inside(&mut self, rest: &[u8]) -> usize {
        match &mut self.within {
            Within::Nothing => 0,
            Within::Literal { escapes } => match rest {
                [b'\\', b'\'' | b'\\', ..] if *escapes => self.keep(&rest[..2]),
                [b'\'', b'\'', ..] => {
                    self.keep(b"'");
                    2
                }
                [b'\'', ..] => {
                    let text = self.end_quote();
                    self.tokens.push(Token::Literal(text));
                    1
                }
                _ => self.keep_until(rest, b"\\'"),
            },
            Within::Name => match rest {
                [b'"', b'"', ..] => {
                    self.keep(b"\"");
                    2
                }
                [b'"', ..] => {
                    let text = self.end_quote();
                    self.tokens.push(Token::Name(text));
                    1
                }
                _ => self.keep_until(rest, b"\""),
            },
            Within::Dollar(delimiter) => {
                if rest.starts_with(delimiter) {
                    let length = delimiter.len();
                    let text = self.end_quote();
                    self.tokens.push(Token::Literal(text));
                    return length;
                }
                self.keep_until(rest, b"$")
            }
            Within::Comment(depth) => match rest {
                [b'/', b'*', ..] => {
                    *depth += 1;
                    2
                }
                [b'*', b'/', ..] => {
                    *depth -= 1;
                    if *depth == 0 {
                        self.within = Within::Nothing;
                    }
                    2
                }
                _ => 1,
            },
        }
    }

    /// Keeps the first byte, and all after it up to one of `stops`.
    fn keep_until(&mut self, rest: &[u8], stops: &[u8]) -> usize {
        let more = rest[1..]
            .iter()
            .take_while(|byte| !stops.contains(byte))
            .count();
        self.keep(&rest[..=more])
    }

    /// Keeps text for its token, of which only the beginning counts.
    fn keep(&mut self, text: &[u8]) -> usize {
        if self.text.len() < 1024 {
            self.text.extend_from_slice(text);
        }
        text.len()
    }

    fn end_quote(&mut self) -> String {
        self.within = Within::Nothing;
        let text = Tokens::clip(&self.text);
        self.text.clear();
        text
    }
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}
