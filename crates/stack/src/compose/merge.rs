//! One Compose file over another, and `extends`.
//!
//! Source: Compose Specification, "Merge and override" and "extends".

use super::item::{Item, Text, Value};

/// Keys whose list may also be written as a mapping, and is merged as one.
const MAPPINGS: [&str; 3] = ["environment", "labels", "annotations"];
/// Keys whose later value replaces the earlier one as a whole.
const REPLACED: [&str; 3] = ["command", "entrypoint", "test"];

/// Puts `over` over `base`: mappings key by key, lists one after the other, else `over` alone.
pub(super) fn merge(base: Item, over: Item) -> Item {
    let value = match (base.value, over.value) {
        (value, Value::Null) => value,
        (Value::Map(mut entries), Value::Map(more)) => {
            for (key, item) in more {
                put(&mut entries, key, item);
            }
            Value::Map(entries)
        }
        (Value::List(mut items), Value::List(more)) => {
            items.extend(more);
            Value::List(items)
        }
        (_, value) => value,
    };
    Item { at: base.at, value }
}

fn put(entries: &mut Vec<(String, Item)>, key: String, item: Item) {
    let Some(at) = entries.iter().position(|(known, _)| *known == key) else {
        entries.push((key, item));
        return;
    };
    let before = &mut entries[at].1;
    let base = std::mem::replace(before, Item::empty_map());
    *before = if REPLACED.contains(&key.as_str()) {
        item
    } else if MAPPINGS.contains(&key.as_str()) {
        merge(as_mapping(base), as_mapping(item))
    } else if key == "depends_on" {
        merge(as_conditions(base), as_conditions(item))
    } else {
        merge(base, item)
    };
}

/// `[A=1, B]` as `{A: 1, B: null}`.
pub(super) fn as_mapping(item: Item) -> Item {
    let Value::List(items) = item.value else {
        return item;
    };
    let mut entries: Vec<(String, Item)> = Vec::new();
    for Item { at, value } in items {
        let Value::Text(Text { text, reference }) = value else {
            continue;
        };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => {
                let text = value.to_owned();
                (name, Value::Text(Text { text, reference }))
            }
            None => (text.as_str(), Value::Null),
        };
        let entry = (name.to_owned(), Item { at, value });
        entries.retain(|(known, _)| *known != entry.0);
        entries.push(entry);
    }
    Item {
        at: item.at,
        value: Value::Map(entries),
    }
}

/// `[a, b]` as `{a: {}, b: {}}`.
pub(super) fn as_conditions(item: Item) -> Item {
    let Value::List(items) = item.value else {
        return item;
    };
    let entry = |item: &Item| {
        let mut none = Item::empty_map();
        none.at = item.at;
        Some((item.text()?, none))
    };
    Item {
        at: item.at,
        value: Value::Map(items.iter().filter_map(entry).collect()),
    }
}

/// The service with what it extends below it; the names on the way that could not be followed.
pub(super) fn extended(services: &Item, name: &str) -> Result<Item, String> {
    follow(services, name, &mut Vec::new())
}

fn follow(services: &Item, name: &str, way: &mut Vec<String>) -> Result<Item, String> {
    let Some(service) = services.get(name) else {
        return Err(format!("`extends` names the unknown service `{name}`"));
    };
    if way.iter().any(|known| known == name) {
        return Err(format!("`extends` goes round in a circle at `{name}`"));
    }
    way.push(name.to_owned());
    let Some(extends) = service.get("extends") else {
        return Ok(service.clone());
    };
    if extends.get("file").is_some() {
        return Err("`extends` from another file is not followed".to_owned());
    }
    let base = extends.text().or_else(|| extends.get("service")?.text());
    let Some(base) = base else {
        return Err("`extends` names no service".to_owned());
    };
    let mut base = follow(services, &base, way)?;
    if let Value::Map(entries) = &mut base.value {
        // What belongs to one service alone.
        entries.retain(|(key, _)| !["extends", "container_name"].contains(&key.as_str()));
    }
    let at = service.at;
    Ok(Item {
        at,
        ..merge(base, service.clone())
    })
}
