//! YAML written: just enough of it to show a configuration.

/// A value to write; mappings keep their order.
pub(crate) enum Yaml {
    Plain(String),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    pub(crate) fn text(value: impl std::fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    /// A number or boolean, written without quotes whatever it is.
    pub(crate) fn plain(value: impl std::fmt::Display) -> Self {
        Self::Plain(value.to_string())
    }

    pub(crate) fn list<T: std::fmt::Display>(values: &[T]) -> Self {
        Self::List(values.iter().map(Self::text).collect())
    }

    /// The whole document, ending with a line end.
    pub(crate) fn document(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    /// A value on one line; of a mapping only `{}`.
    pub(crate) fn inline(&self) -> String {
        self.flow()
    }

    fn is_block(&self) -> bool {
        match self {
            Self::Map(entries) => !entries.is_empty(),
            Self::List(items) => items.iter().any(Self::is_block),
            Self::Plain(_) | Self::Text(_) => false,
        }
    }

    /// Writes from the current position, which is at `indent`.
    fn write(&self, indent: usize, out: &mut String) {
        match self {
            Self::Map(entries) if self.is_block() => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push_str(&" ".repeat(indent));
                    }
                    out.push_str(&scalar(key));
                    out.push(':');
                    value.write_after_key(indent, out);
                }
            }
            Self::List(items) if self.is_block() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(&" ".repeat(indent));
                    }
                    out.push_str("- ");
                    item.write(indent + 2, out);
                }
            }
            flow => {
                out.push_str(&flow.flow());
                out.push('\n');
            }
        }
    }

    fn write_after_key(&self, indent: usize, out: &mut String) {
        if self.is_block() {
            out.push('\n');
            out.push_str(&" ".repeat(indent + 2));
            self.write(indent + 2, out);
        } else {
            out.push(' ');
            self.write(indent, out);
        }
    }

    fn flow(&self) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Text(text) => scalar(text),
            Self::List(items) => {
                format!(
                    "[{}]",
                    items.iter().map(Self::flow).collect::<Vec<_>>().join(", ")
                )
            }
            Self::Map(_) => "{}".into(),
        }
    }
}

/// Text as it reads back as the same text, in quotes where it would not do so without.
fn scalar(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    let words = ["true", "false", "null", "yes", "no", "on", "off"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(safe)
        && !words.contains(&text.to_ascii_lowercase().as_str());
    if is_plain || is_period(text) {
        return text.to_owned();
    }
    // JSON strings are YAML strings.
    serde_json::Value::from(text).to_string()
}

/// `5m` and the like read well without quotes, and are no numbers.
fn is_period(text: &str) -> bool {
    text.parse::<crate::period::Period>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_as_the_same_text() {
        for text in [
            "a", "5m", "true", "on", "1", "0x1f", "a b", "a: b", "- x", "***", "", "ä\n\"", "~",
            "*x", "1e3", ".5",
        ] {
            let document = Yaml::Map(vec![("k".into(), Yaml::text(text))]).document();
            let root = crate::node::parse(&document).unwrap();
            let crate::node::Value::Map(entries) = &root.value else {
                panic!("{document}")
            };
            assert!(
                matches!(&entries[0].value.value, crate::node::Value::Text(read) if read == text),
                "{document}"
            );
        }
    }

    #[test]
    fn nested_blocks_are_indented() {
        let inner = Yaml::Map(vec![
            ("a".into(), Yaml::plain(1)),
            ("b".into(), Yaml::list(&["x"])),
        ]);
        let document = Yaml::Map(vec![("l".into(), Yaml::List(vec![inner]))]).document();
        assert_eq!(document, "l:\n  - a: 1\n    b: [x]\n");
    }
}
