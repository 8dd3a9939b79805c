//! From the tree of YAML to the words of a stack: every problem is noted, none ends the reading.

mod dataset;
mod fields;
mod rules;
mod run;
mod scalar;
mod service;
mod stack;
mod vault;

use std::path::{Path, PathBuf};

pub(crate) use fields::Fields;
pub(crate) use scalar::is_variable;
pub(crate) use stack::stack;

use crate::mask::mask;
use crate::node::Place;
use crate::secret::SecretSource;

/// What reading found out besides the values.
pub(crate) struct Context<'a> {
    /// The directory that relative paths begin at.
    pub base: &'a Path,
    pub errors: Vec<Finding>,
    pub warnings: Vec<Finding>,
    /// Every secret named, to be looked at once the text itself is right.
    pub secrets: Vec<FoundSecret>,
    /// Services named by others.
    pub references: Vec<Reference>,
    /// The stack's `env.file`, where variables are looked up that are not set.
    pub env_file: Option<PathBuf>,
}

/// Something to say about a place.
#[derive(Debug)]
pub(crate) struct Finding {
    pub place: Place,
    pub message: String,
    pub help: Option<String>,
}

pub(crate) struct FoundSecret {
    pub source: SecretSource,
    pub place: Place,
}

/// A service named at a place other than its own.
pub(crate) struct Reference {
    pub service: String,
    pub place: Place,
    /// The key that names it.
    pub key: &'static str,
    pub needs: Needs,
}

/// What the service must be that a [`Reference`] names.
#[derive(PartialEq, Eq)]
pub(crate) enum Needs {
    Existence,
    Postgres,
}

impl<'a> Context<'a> {
    pub(crate) fn new(base: &'a Path) -> Self {
        Self {
            base,
            errors: vec![],
            warnings: vec![],
            secrets: vec![],
            references: vec![],
            env_file: None,
        }
    }

    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        self.errors.push(Finding {
            place,
            message: message.into(),
            help,
        });
    }

    pub(crate) fn warn(&mut self, place: Place, message: impl Into<String>, help: &str) {
        let help = Some(help.to_owned());
        self.warnings.push(Finding {
            place,
            message: message.into(),
            help,
        });
    }
}

/// A value as it may be quoted in a message: short, without a password of a URL, and on one line.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let masked = mask(text);
    let mut shown: String = masked
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if masked.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// A key as it may be shown. `password:hunter2`, its space forgotten, is a key to YAML, and so is
/// `password hunter2` between braces: what follows the first word is hidden.
pub(crate) fn shown_key(key: &str) -> String {
    match key
        .strip_prefix(first_word(key))
        .and_then(|rest| rest.chars().next())
    {
        Some(after) => quoted(&format!("{}{after}***", first_word(key))),
        None => quoted(key),
    }
}

/// The beginning of a key that could be a key or a name.
pub(crate) fn first_word(key: &str) -> &str {
    let ends = |c: char| !c.is_alphanumeric() && !"._-/".contains(c);
    key.split(ends).next().unwrap_or_default()
}
