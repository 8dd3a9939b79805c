//! Any JSON value, for people.

use std::io::{self, Write};

use serde_json::Value;

/// A database may have thousands of tables; `--json` has them all.
const ITEMS_SHOWN: usize = 20;

/// Writes a value as indented `key: value` lines. Sizes (`…_bytes`) get their unit; what is null or
/// empty is left out.
///
/// # Errors
/// As the output fails.
pub fn write_tree(out: &mut dyn Write, value: &Value, indent: usize) -> io::Result<()> {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(_, value)| !is_nothing(value)) {
                write_entry(out, key, value, indent)?;
            }
            Ok(())
        }
        Value::Array(items) => write_items(out, items, indent),
        scalar => writeln!(out, "{}{}", " ".repeat(indent), text("", scalar)),
    }
}

fn write_entry(out: &mut dyn Write, key: &str, value: &Value, indent: usize) -> io::Result<()> {
    let margin = " ".repeat(indent);
    match value {
        Value::Array(items) if items.iter().all(is_scalar) => {
            let items: Vec<String> = items.iter().map(|item| text("", item)).collect();
            writeln!(out, "{margin}{key}: {}", items.join(", "))
        }
        Value::Object(_) | Value::Array(_) => {
            writeln!(out, "{margin}{key}:")?;
            write_tree(out, value, indent + 2)
        }
        scalar => writeln!(out, "{margin}{key}: {}", text(key, scalar)),
    }
}

fn write_items(out: &mut dyn Write, items: &[Value], indent: usize) -> io::Result<()> {
    for item in items.iter().take(ITEMS_SHOWN) {
        write_item(out, item, indent)?;
    }
    match items.len().saturating_sub(ITEMS_SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "{}… and {more} more", " ".repeat(indent)),
    }
}

/// An item of a list begins with a dash, and what belongs to it lines up behind.
fn write_item(out: &mut dyn Write, item: &Value, indent: usize) -> io::Result<()> {
    let mut block = Vec::new();
    write_tree(&mut block, item, indent + 2)?;
    if let Some(dash) = block.get_mut(indent) {
        *dash = b'-';
    }
    out.write_all(&block)
}

fn is_scalar(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn text(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if key == "bytes" || key.ends_with("_bytes") => number
            .as_u64()
            .map_or_else(|| number.to_string(), super::bytes),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_reads_like_a_note() {
        let value = json!({
            "datasets": [
                { "kind": "postgres", "size_bytes": 1_048_576, "logical": ["a", "b"] },
                { "kind": "files", "postgres": null },
            ],
            "stack": "shop",
        });
        let mut out = Vec::new();
        write_tree(&mut out, &value, 0).unwrap();
        let expected = "datasets:\n  - kind: postgres\n    logical: a, b\n    size_bytes: 1.0 MiB\n  \
                        - kind: files\nstack: shop\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
