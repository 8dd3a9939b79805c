//! Names of tables, and names that are free.

use std::{collections::BTreeSet, fmt, str::FromStr};

use rekindle_postgres::quote_identifier;

/// A name has 63 bytes at most (`NAMEDATALEN` − 1); PostgreSQL cuts longer ones silently.
const MAX_NAME: usize = 63;

/// A table's name as a person writes it: `orders`, `sales.orders`, `shop.sales.orders`,
/// `"My Shop"."Orders"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The database, if it was said.
    pub database: Option<String>,
    /// The schema, if it was said.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
}

/// A text that names no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no table: write `table`, `schema.table` or `database.schema.table`; parts may be in double quotes"
)]
pub struct ParseTableError {
    text: String,
}

impl FromStr for TableName {
    type Err = ParseTableError;

    /// Reads one to three parts. Without quotes a part is taken as it is written: a person copies it
    /// from a list, where capital letters are not folded.
    fn from_str(text: &str) -> Result<Self, ParseTableError> {
        let refuse = || ParseTableError {
            text: text.to_owned(),
        };
        let mut parts = parts(text).ok_or_else(refuse)?;
        let fits = |part: &String| !part.is_empty() && part.len() <= MAX_NAME;
        if parts.len() > 3 || !parts.iter().all(fits) {
            return Err(refuse());
        }
        let table = parts.pop().ok_or_else(refuse)?;
        let schema = parts.pop();
        Ok(Self {
            database: parts.pop(),
            schema,
            table,
        })
    }
}

/// The parts between dots; `None` if a quote is not where one belongs.
fn parts(text: &str) -> Option<Vec<String>> {
    let (first, mut rest) = part(text)?;
    let mut parts = vec![first];
    while !rest.is_empty() {
        let (next, after) = part(rest.strip_prefix('.')?)?;
        parts.push(next);
        rest = after;
    }
    Some(parts)
}

/// One part, and what follows it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let name = &text[..end];
        return (!name.contains(['"', '\0'])).then(|| (name.to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                name.push('"');
            }
            '"' => return Some((name, &quoted[at + 1..])),
            '\0' => return None,
            other => name.push(other),
        }
    }
    None
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.database.iter().chain(&self.schema) {
            write!(f, "{part}.")?;
        }
        f.write_str(&self.table)
    }
}

/// `"schema"."name"`.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}

/// Hands out names that nobody has, in one schema.
#[derive(Debug, Default)]
pub(super) struct FreeNames {
    taken: BTreeSet<String>,
}

impl FreeNames {
    pub(super) fn new(taken: impl IntoIterator<Item = String>) -> Self {
        Self {
            taken: taken.into_iter().collect(),
        }
    }

    pub(super) fn is_free(&self, name: &str) -> bool {
        !self.taken.contains(name)
    }

    pub(super) fn take(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// The name that `old`, which belongs to the table `from`, gets when the table is called `to`:
    /// `orders_pkey` becomes `restored_pkey`.
    pub(super) fn renamed(&mut self, old: &str, from: &str, to: &str) -> String {
        let rest = match old.strip_prefix(from) {
            Some(rest) => rest.to_owned(),
            None => format!("_{old}"),
        };
        let mut number = 0_u32;
        loop {
            let end = match number {
                0 => rest.clone(),
                number => format!("{rest}_{number}"),
            };
            let end = last(&end, MAX_NAME / 2);
            let name = format!("{}{end}", first(to, MAX_NAME - end.len()));
            if self.taken.insert(name.clone()) {
                return name;
            }
            number += 1;
        }
    }
}

/// At most `bytes` from the beginning, no character cut.
fn first(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// At most `bytes` from the end, no character cut.
fn last(text: &str, bytes: usize) -> &str {
    let from = text.len().saturating_sub(bytes);
    let start = (from..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> (Option<String>, String) {
        let name: TableName = text.parse().unwrap();
        (name.schema, name.table)
    }

    #[test]
    fn a_table_is_one_part_to_three() {
        assert_eq!(name("Orders"), (None, "Orders".into()));
        assert_eq!(name("shop.orders"), (Some("shop".into()), "orders".into()));
        assert_eq!(
            name("\"My.Shop\".\"a\"\"b\""),
            (Some("My.Shop".into()), "a\"b".into())
        );
        let whole: TableName = "shop.\"my sales\".orders".parse().unwrap();
        assert_eq!(whole.database.as_deref(), Some("shop"));
        assert_eq!(whole.to_string(), "shop.my sales.orders");
        for text in [
            "", ".", "a.", ".b", "a.b.c.d", "\"a", "\"a\"b", "a\"b", "a..b",
        ] {
            assert!(text.parse::<TableName>().is_err(), "{text}");
        }
        assert!("x".repeat(64).parse::<TableName>().is_err());
    }

    #[test]
    fn what_belongs_to_a_table_is_renamed_with_it_and_never_to_a_name_that_is_taken() {
        let mut free = FreeNames::new(["old_pkey".to_owned(), "old".to_owned()]);
        assert_eq!(free.renamed("orders_pkey", "orders", "old"), "old_pkey_1");
        assert_eq!(free.renamed("orders_pkey", "orders", "old"), "old_pkey_2");
        assert_eq!(free.renamed("by_day", "orders", "old"), "old_by_day");
        let long = "ä".repeat(31);
        let name = free.renamed(&format!("{long}x"), "orders", &long);
        assert!(name.len() <= MAX_NAME, "{name}");
        assert!(!free.is_free("old_by_day"));
    }
}
