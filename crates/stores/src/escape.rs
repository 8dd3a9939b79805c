//! Percent-encoding as signatures want it: every byte but the plainest, with upper-case digits.

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

fn escape(text: &str, slash_is_plain: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) || slash_is_plain && byte == b'/' {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// A name or value of a query.
pub(crate) fn escaped(text: &str) -> String {
    escape(text, false)
}

/// A path, whose slashes stay.
pub(crate) fn escaped_path(text: &str) -> String {
    escape(text, true)
}

/// The way back; `+` is a space, as some servers write one. `None` if the bytes are no UTF-8 or an escape is none.
pub(crate) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_survives() {
        for text in ["a b+c", "ü/%41", "x\n\u{7f}", ""] {
            assert_eq!(unescaped(&escaped(text)).as_deref(), Some(text));
            assert_eq!(unescaped(&escaped_path(text)).as_deref(), Some(text));
        }
        assert_eq!(escaped("a/b"), "a%2Fb");
        assert_eq!(escaped_path("a/b"), "a/b");
        assert_eq!(unescaped("%f"), None);
        assert_eq!(unescaped("%ff"), None);
    }
}
