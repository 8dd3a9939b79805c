//! The YAML as a tree that knows where everything stood, before it means anything.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Where something stands in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// Bytes covered; may span lines.
    pub start: usize,
    pub end: usize,
}

/// A value and its places: where it is used, and where its text stands (other with an alias).
#[derive(Debug)]
pub(crate) struct Node {
    pub value: Value,
    pub place: Place,
    pub defined: Place,
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number, as it was written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

/// The text is no YAML of the kind we take.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub place: Option<Place>,
    pub message: String,
}

/// Deep enough for any configuration, and small enough for every thread's stack.
const MAX_DEPTH: usize = 48;

/// Parses one YAML document. Duplicate keys are errors; `yes`, `no`, `on` and `off` are text.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        // A few anchors are welcome; a file that multiplies itself is not.
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 50_000 },
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Merge,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        with_snippet: false,
    };
    let root: Spanned<Raw> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| syntax(&error))?;
    Ok(node(root, text))
}

/// A value as the deserializer hands it over.
enum Raw {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let (place, defined) = (place(raw.referenced), place(raw.defined));
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        // The number's own text, so that `0123` as a name or a password stays what it was.
        Raw::Number => Value::Number(
            text.get(defined.start..defined.end)
                .unwrap_or_default()
                .trim()
                .to_owned(),
        ),
        Raw::Text(value) => Value::Text(value),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => {
            let entry = |(key, value): (Spanned<String>, _)| Entry {
                place: self::place(key.referenced),
                key: key.value,
                value: node(value, text),
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
    };
    Node {
        value,
        place,
        defined,
    }
}

fn place(location: Location) -> Place {
    let start = location.span().byte_offset().unwrap_or_default() as usize;
    Place {
        line: location.line() as usize,
        column: location.column() as usize,
        start,
        end: start + location.span().byte_len().unwrap_or_default() as usize,
    }
}

/// Puts a parser error into our words. Of the parser's own words only those are used that quote
/// nothing but a key, because what stands in the text may be a secret.
fn syntax(error: &serde_saphyr::Error) -> SyntaxError {
    use serde_saphyr::Error as E;
    let message = match error.without_snippet() {
        E::AliasError { error, .. } => return syntax(error),
        E::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{}` is given twice", crate::read::shown_key(key))
        }
        E::DuplicateMappingKey { key: None, .. } => "a key is given twice".into(),
        E::UnknownAnchor { .. } => {
            "an alias (`*…`) names no anchor; text with a `*` needs quotes".into()
        }
        E::MultipleDocuments { .. } => "there is more than one document (`---`) in the file".into(),
        E::Eof { .. } => "the file ends too early".into(),
        E::Budget { .. } | E::AliasReplayLimitExceeded { .. } => {
            "the file is nested too deeply or too large".into()
        }
        E::ExternalMessage { msg, .. } => format!("not YAML: {}", first_line(msg)),
        E::Unexpected { expected, .. } => format!("not YAML: {expected} was expected here"),
        _ => "not YAML that can be read here".into(),
    };
    SyntaxError {
        place: error.location().map(place).filter(|place| place.line > 0),
        message,
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Vec<Entry> {
        match parse(text).unwrap().value {
            Value::Map(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_and_values_know_their_places_also_behind_other_alphabets() {
        let entries = map("ä: ö\nb:\n  - {c: 0123}\n");
        assert_eq!((entries[1].place.line, entries[1].place.column), (2, 1));
        let Value::List(items) = &entries[1].value.value else {
            panic!()
        };
        let Value::Map(inner) = &items[0].value else {
            panic!()
        };
        assert_eq!(
            (inner[0].value.place.line, inner[0].value.place.column),
            (3, 9)
        );
        assert!(
            matches!(&inner[0].value.value, Value::Number(text) if text == "0123"),
            "{inner:?}"
        );
    }

    #[test]
    fn aliases_that_multiply_are_refused_before_they_fill_the_memory() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let message = parse(&text).unwrap_err().message;
        assert_eq!(message, "the file is nested too deeply or too large");
    }

    #[test]
    fn on_is_a_key_and_no_boolean() {
        let entries = map("on: [failure]\noff: yes\n");
        assert_eq!(
            (entries[0].key.as_str(), entries[1].key.as_str()),
            ("on", "off")
        );
        assert!(matches!(&entries[1].value.value, Value::Text(text) if text == "yes"));
    }

    #[test]
    fn a_duplicate_key_and_a_nest_of_thousands_are_refused() {
        let twice = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(
            (twice.place.unwrap().line, twice.message.as_str()),
            (3, "the key `a` is given twice")
        );
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("{}{}", "[".repeat(60), "]".repeat(60))).is_err());
    }
}
