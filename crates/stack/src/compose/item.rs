//! The YAML of Compose files with its variables filled in, each value with its file and line.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::interpolate::{InterpolationError, interpolate};
use super::model::Note;
use crate::node;

/// Where a value stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    /// Which file, counted from 0.
    pub file: usize,
    pub line: usize,
}

#[derive(Clone)]
pub(super) struct Item {
    pub at: At,
    pub value: Value,
}

#[derive(Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// Text or number, as it was written.
    Text(Text),
    List(Vec<Item>),
    Map(Vec<(String, Item)>),
}

#[derive(Clone)]
pub(super) struct Text {
    pub text: String,
    /// The variable that the text, or in `NAME=text` the part after the `=`, is a reference to.
    pub reference: Option<String>,
}

impl Item {
    pub fn entries(&self) -> &[(String, Item)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Item> {
        let (_, item) = self.entries().iter().find(|(name, _)| name == key)?;
        Some(item)
    }

    pub fn items(&self) -> &[Item] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a text, number or boolean.
    pub fn text(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) => Some(text.text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub fn empty_map() -> Self {
        Self {
            at: At::default(),
            value: Value::Map(Vec::new()),
        }
    }
}

/// A number as Compose hands it over: it has been one, so `0123` is 83 and `1.50` is 1.5.
fn number(text: &str) -> String {
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok();
    let integer = match text.strip_prefix('0') {
        Some(rest) => match rest.split_at_checked(1) {
            Some(("x" | "X", digits)) => radix(digits, 16),
            Some(("o", digits)) => radix(digits, 8),
            Some(_) => radix(rest, 8),
            None => None,
        },
        None => None,
    };
    if let Some(integer) = integer {
        return integer.to_string();
    }
    match text.parse::<f64>() {
        Ok(float) if text.contains('.') && float.is_finite() => float.to_string(),
        _ => text.to_owned(),
    }
}

/// Fills in variables while a tree is taken over.
pub(super) struct Converter<'a> {
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    pub files: &'a [PathBuf],
    pub notes: Vec<Note>,
    /// Unset variables that have been told of.
    told: BTreeSet<String>,
}

impl<'a> Converter<'a> {
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>, files: &'a [PathBuf]) -> Self {
        Self {
            lookup,
            files,
            notes: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    pub fn convert(&mut self, node: node::Node, file: usize) -> Item {
        let at = At {
            file,
            line: node.place.line,
        };
        let value = match node.value {
            node::Value::Null => Value::Null,
            node::Value::Bool(value) => Value::Bool(value),
            node::Value::Number(text) => Value::Text(Text {
                text: number(&text),
                reference: None,
            }),
            node::Value::Text(text) => Value::Text(self.fill(&text, at)),
            node::Value::List(items) => {
                let convert = |item| self.convert(item, file);
                Value::List(items.into_iter().map(convert).collect())
            }
            node::Value::Map(entries) => {
                let convert = |entry: node::Entry| {
                    let mut item = self.convert(entry.value, file);
                    // An empty value stands nowhere; and a mapping begins at its key for people.
                    item.at.line = entry.place.line;
                    (entry.key, item)
                };
                Value::Map(entries.into_iter().map(convert).collect())
            }
        };
        Item { at, value }
    }

    fn fill(&mut self, text: &str, at: At) -> Text {
        if !text.contains('$') {
            return Text {
                text: text.to_owned(),
                reference: None,
            };
        }
        let part = |text: &str| interpolate(text, self.lookup).ok()?.reference;
        let reference = part(text).or_else(|| part(text.split_once('=')?.1));
        match interpolate(text, self.lookup) {
            Ok(filled) => {
                for name in &filled.unset {
                    if self.told.insert(name.clone()) {
                        self.note(at, format!("the variable {name} is not set"));
                    }
                }
                Text {
                    text: filled.text,
                    reference,
                }
            }
            Err(error) => {
                self.note(at, error.to_string());
                let text = match error {
                    InterpolationError::Format => text.to_owned(),
                    InterpolationError::Required { .. } => String::new(),
                };
                Text { text, reference }
            }
        }
    }

    fn note(&mut self, at: At, text: String) {
        self.notes.push(Note {
            file: self.files.get(at.file).cloned().unwrap_or_default(),
            line: at.line,
            text,
        });
    }
}
