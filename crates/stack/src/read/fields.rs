//! One mapping, read key by key; what is left over at the end is unknown.

use std::path::PathBuf;

use super::{Context, FoundSecret, first_word, scalar, shown_key};
use crate::keys::{OPEN_KEYS, SECTION_KEYS};
use crate::node::{Entry, Node, Place, Value};
use crate::secret::{Secret, SecretSource};
use crate::suggest;

/// The keys of one mapping.
pub(crate) struct Fields<'n> {
    entries: &'n [Entry],
    place: Place,
    /// What the mapping describes, for messages: `vault`, `service `api``.
    owner: String,
    asked: Vec<String>,
}

/// Reads a value, or notes what is wrong with it and gives nothing.
pub(crate) type Reader<T> = fn(&Node, &mut Context<'_>) -> Option<T>;

impl<'n> Fields<'n> {
    /// Begins to read `node`, which must be a mapping.
    pub(crate) fn of(
        node: &'n Node,
        owner: impl Into<String>,
        ctx: &mut Context<'_>,
    ) -> Option<Self> {
        let owner = owner.into();
        match &node.value {
            Value::Map(entries) => Some(Self {
                entries,
                place: node.place,
                owner,
                asked: Vec::new(),
            }),
            Value::Null => {
                ctx.error(node.place, format!("{owner} is empty"), None);
                None
            }
            other => {
                let found = scalar::describe(other);
                let message = format!("{owner} must be a mapping (`key: value`), not {found}");
                ctx.error(node.place, message, None);
                None
            }
        }
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The entry of a key, which is hereby known.
    pub(crate) fn entry(&mut self, key: &str) -> Option<&'n Entry> {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.to_owned());
        }
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn optional<T>(
        &mut self,
        key: &str,
        ctx: &mut Context<'_>,
        read: Reader<T>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        if matches!(entry.value.value, Value::Null) {
            ctx.error(entry.place, format!("`{key}` has no value"), None);
            return None;
        }
        read(&entry.value, ctx)
    }

    pub(crate) fn required<T>(
        &mut self,
        key: &str,
        ctx: &mut Context<'_>,
        read: Reader<T>,
    ) -> Option<T> {
        if !self.entries.iter().any(|entry| entry.key == key) {
            self.missing(key, ctx);
        }
        self.optional(key, ctx, read)
    }

    /// A list, each item read by `read`; a single value is refused with a hint.
    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        ctx: &mut Context<'_>,
        read: Reader<T>,
    ) -> Option<Vec<T>> {
        let entry = self.entry(key)?;
        let Value::List(items) = &entry.value.value else {
            let found = scalar::describe(&entry.value.value);
            let help = format!("write `{key}: [ … ]`, also for a single one");
            ctx.error(
                entry.value.place,
                format!("`{key}` must be a list, not {found}"),
                Some(help),
            );
            return None;
        };
        Some(items.iter().filter_map(|item| read(item, ctx)).collect())
    }

    /// As [`Self::list`], but the list must be there and hold something.
    pub(crate) fn filled_list<T>(
        &mut self,
        key: &str,
        ctx: &mut Context<'_>,
        read: Reader<T>,
    ) -> Vec<T> {
        match self
            .entry(key)
            .map(|entry| (&entry.value.value, entry.place))
        {
            None => self.missing(key, ctx),
            Some((Value::List(items), place)) if items.is_empty() => {
                ctx.error(place, format!("`{key}` is empty"), None);
            }
            Some(_) => {}
        }
        self.list(key, ctx, read).unwrap_or_default()
    }

    /// The secret `key`, `key_file` or `key_env`, if one of them is there.
    pub(crate) fn secret(&mut self, key: &str, ctx: &mut Context<'_>) -> Option<SecretSource> {
        let names = [key.to_owned(), format!("{key}_file"), format!("{key}_env")];
        let given: Vec<&Entry> = names.iter().filter_map(|name| self.entry(name)).collect();
        let (first, more) = given.split_first()?;
        if let Some(second) = more.first() {
            let help = Some("keep one of them".to_owned());
            let message = format!("`{}` and `{}` are both given", first.key, second.key);
            ctx.error(second.place, message, help);
        }
        if matches!(first.value.value, Value::Null) {
            ctx.error(first.place, format!("`{}` has no value", first.key), None);
            return None;
        }
        let source = match first.key.strip_prefix(key)? {
            "_file" => SecretSource::File(scalar::path(&first.value, ctx)?),
            "_env" => {
                let name = scalar::variable(&first.value, ctx)?;
                match ctx.env_file.clone() {
                    Some(file) => SecretSource::EnvOrFile { name, file },
                    None => SecretSource::Env(name),
                }
            }
            _ => SecretSource::Inline(Secret::new(scalar::filled_text(&first.value, ctx)?)),
        };
        ctx.secrets.push(FoundSecret {
            source: source.clone(),
            place: first.value.place,
        });
        Some(source)
    }

    /// As [`Self::secret`], but one of the three must be there.
    pub(crate) fn required_secret(
        &mut self,
        key: &str,
        ctx: &mut Context<'_>,
    ) -> Option<SecretSource> {
        let is_key = |name: &str| matches!(name.strip_prefix(key), Some("" | "_file" | "_env"));
        let names = [key.to_owned(), format!("{key}_file"), format!("{key}_env")];
        let is_missing = !self.entries.iter().any(|entry| is_key(&entry.key));
        if is_missing && !names.iter().any(|name| self.has_misspelt(name)) {
            let help = format!("give `{key}_file: PATH` or `{key}_env: VARIABLE`");
            let message = format!("{} has no `{key}`", self.owner);
            ctx.error(self.place, message, Some(help));
        }
        self.secret(key, ctx)
    }

    /// A path, which is absolute afterwards.
    pub(crate) fn path(&mut self, key: &str, ctx: &mut Context<'_>) -> Option<PathBuf> {
        self.optional(key, ctx, scalar::path)
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn finish(self, ctx: &mut Context<'_>) {
        for entry in self.entries {
            if !self.asked.contains(&entry.key) {
                let message = format!("unknown key `{}` in {}", shown_key(&entry.key), self.owner);
                ctx.error(entry.place, message, self.help_for(&entry.key));
            }
        }
    }

    fn help_for(&self, key: &str) -> Option<String> {
        let word = first_word(key);
        if word != key && self.asked.iter().any(|asked| asked == word) {
            return Some(format!("write `{word}: …`, with a colon and a space"));
        }
        suggest::help(key, self.asked.iter().map(String::as_str), "known keys")
    }

    /// Whether a key looks like `key` misspelt: then it is reported, and `key` is not missing.
    pub(crate) fn has_misspelt(&self, key: &str) -> bool {
        self.entries
            .iter()
            .map(|entry| entry.key.as_str())
            .any(|given| {
                let is_known = OPEN_KEYS.contains(&given) || SECTION_KEYS.contains(&given);
                !is_known && (first_word(given) == key || suggest::nearest(given, [key]).is_some())
            })
    }

    fn missing(&self, key: &str, ctx: &mut Context<'_>) {
        if !self.has_misspelt(key) {
            ctx.error(self.place, format!("{} has no `{key}`", self.owner), None);
        }
    }
}
