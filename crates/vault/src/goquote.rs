//! Names as Go's `strconv.Quote` writes them, without the outer quotes: restic's trees hold names
//! so, because JSON has no way to say bytes that are not text.

use std::{borrow::Cow, fmt::Write};

/// Escapes quotes, backslashes, control characters and bytes that are not UTF-8.
pub(crate) fn quote(name: &[u8]) -> Cow<'_, str> {
    let plain = |text: &str| {
        !text
            .chars()
            .any(|c| c == '"' || c == '\\' || c.is_control())
    };
    match std::str::from_utf8(name) {
        Ok(text) if plain(text) => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(name)),
    }
}

fn escaped(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                c if c.is_control() => push_code(&mut out, c),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            push_hex(&mut out, 'x', 2, u32::from(*byte));
        }
    }
    out
}

fn push_code(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        c if c.is_ascii() => push_hex(out, 'x', 2, u32::from(c)),
        c => push_hex(out, 'u', 4, u32::from(c)),
    }
}

fn push_hex(out: &mut String, letter: char, digits: usize, value: u32) {
    // Writing to a `String` cannot fail.
    write!(out, "\\{letter}{value:0digits$x}").unwrap_or_default();
}

/// Undoes [`quote`] and every escape that Go's `strconv.Unquote` knows; `None` for any other.
pub(crate) fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = unescape(&rest[at + 1..], &mut out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

/// Reads what follows a backslash; returns what follows that.
fn unescape<'a>(text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let letter = text.chars().next()?;
    let rest = &text[letter.len_utf8()..];
    let simple = match letter {
        'a' => 7,
        'b' => 8,
        't' => b'\t',
        'n' => b'\n',
        'v' => 11,
        'f' => 12,
        'r' => b'\r',
        '\\' | '"' | '\'' => letter as u8,
        'x' => return number(rest, 2, 16).map(|(value, rest)| push_byte(value, rest, out))?,
        '0'..='7' => return number(text, 3, 8).map(|(value, rest)| push_byte(value, rest, out))?,
        'u' => return number(rest, 4, 16).map(|(value, rest)| push_char(value, rest, out))?,
        'U' => return number(rest, 8, 16).map(|(value, rest)| push_char(value, rest, out))?,
        _ => return None,
    };
    out.push(simple);
    Some(rest)
}

fn number(text: &str, digits: usize, radix: u32) -> Option<(u32, &str)> {
    let value = text.get(..digits)?;
    let fine = value.chars().all(|c| c.is_digit(radix));
    fine.then(|| u32::from_str_radix(value, radix).ok())?
        .map(|value| (value, &text[digits..]))
}

fn push_byte<'a>(value: u32, rest: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    out.push(u8::try_from(value).ok()?);
    Some(rest)
}

fn push_char<'a>(value: u32, rest: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let mut buffer = [0; 4];
    out.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut buffer).as_bytes());
    Some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_gos() {
        assert_eq!(quote(b"plain \xc3\xa9"), "plain é");
        assert_eq!(quote(b"a\"b\\c\n\x01\xff"), r#"a\"b\\c\n\x01\xff"#);
        assert_eq!(
            unquote(r"\303\251\u00e9\U0001F525\'").unwrap(),
            "éé🔥'".as_bytes()
        );
    }

    #[test]
    fn bad_escapes_are_refused() {
        for text in [
            "\\",
            "\\x1",
            "\\xzz",
            "\\q",
            "\\u12",
            "\\UFFFFFFFF",
            "\\777",
            "\\x+1",
        ] {
            assert_eq!(unquote(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_name_survives(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unquote(&quote(&name)), Some(name));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = unquote(&text);
        }
    }
}
