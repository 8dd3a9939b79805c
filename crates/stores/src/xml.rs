//! Answers of S3, which are small and flat XML: `<` never stands in a text, so that an element is found by its tags.
//! What is not found is the caller's error.

use jiff::Timestamp;

/// What is between the first `<name>` and the next `</name>`.
pub(crate) fn text<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

pub(crate) fn time(xml: &str, name: &str) -> Result<Timestamp, String> {
    let text = text(xml, name).ok_or_else(|| format!("there is no {name}"))?;
    text.trim()
        .parse()
        .map_err(|_| format!("{name} is no time: `{text}`"))
}

/// The insides of all elements of this name, which must not be nested in one another.
///
/// # Errors
/// If the last one does not end.
pub(crate) fn all<'a>(xml: &'a str, name: &str) -> Result<Vec<&'a str>, String> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some((_, inner)) = rest.split_once(&start) {
        let (inner, after) = inner
            .split_once(&end)
            .ok_or_else(|| format!("the answer ends within <{name}>"))?;
        found.push(inner);
        rest = after;
    }
    Ok(found)
}

/// Whether it is a delete marker, its inside, and what follows.
type Version<'a> = (bool, &'a str, &'a str);

/// The next version or delete marker of a list of versions, in its order.
///
/// # Errors
/// If it does not end.
pub(crate) fn next_version(xml: &str) -> Result<Option<Version<'_>>, String> {
    let of = |name: &str| xml.find(&format!("<{name}>"));
    let (at, name) = match (of("Version"), of("DeleteMarker")) {
        (None, None) => return Ok(None),
        (Some(version), Some(marker)) if marker < version => (marker, "DeleteMarker"),
        (Some(version), _) => (version, "Version"),
        (None, Some(marker)) => (marker, "DeleteMarker"),
    };
    let inner = &xml[at + name.len() + 2..];
    let (inner, after) = inner
        .split_once(&format!("</{name}>"))
        .ok_or("the list of versions is cut")?;
    Ok(Some((name == "DeleteMarker", inner, after)))
}

/// A text as it may stand between tags.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push_str(&format!("&#{};", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

/// XML's own five names and numbers of characters.
pub(crate) fn unescaped(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let bad = || "a text of the answer is escaped wrongly".to_owned();
        let (name, after) = after.split_once(';').ok_or_else(bad)?;
        plain.push_str(before);
        plain.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            number => character(number).ok_or_else(bad)?,
        });
        rest = after;
    }
    plain.push_str(rest);
    Ok(plain)
}

fn character(number: &str) -> Option<char> {
    let number = number.strip_prefix('#')?;
    let code = match number.strip_prefix('x') {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    char::from_u32(code.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_their_escapes_and_cut_answers_are_noticed() {
        for text in ["a<b>&\"c\"", "x\u{1}y\n", "ü"] {
            assert_eq!(unescaped(&escaped(text)).unwrap(), text);
        }
        assert_eq!(all("<a>1</a><a>2</a>", "a").unwrap(), ["1", "2"]);
        assert!(all("<a>1</a><a>2", "a").is_err());
        assert!(unescaped("&nbsp;").is_err());
    }
}
