//! `volumes` and `tmpfs` of a service.

use super::item::{Item, Value};
use super::model::{Mount, MountKind};
use super::reader::Reader;

/// All mounts, of two at one place the later.
pub(super) fn mounts(item: &Item, reader: &mut Reader<'_>) -> Vec<Mount> {
    if !matches!(item.value, Value::List(_) | Value::Null) {
        reader.note(item.at, "`volumes` of a service must be a list");
    }
    let mut mounts: Vec<Mount> = Vec::new();
    for item in item.items() {
        let mount = match item.text() {
            Some(text) => short(&text, reader),
            None => long(item, reader),
        };
        match mount {
            Some(mount) => {
                mounts.retain(|other| other.target != mount.target);
                mounts.push(mount);
            }
            None => reader.note(item.at, "a volume that is not understood"),
        }
    }
    mounts
}

/// `[source:]target[:options]`.
fn short(text: &str, reader: &Reader<'_>) -> Option<Mount> {
    let mut parts = text.split(':');
    let (first, second, options) = (parts.next()?, parts.next(), parts.next());
    if parts.next().is_some() || first.is_empty() {
        return None;
    }
    let Some(target) = second else {
        return Some(Mount::new(MountKind::Anonymous, clean(first), false));
    };
    let read_only = options
        .unwrap_or_default()
        .split(',')
        .any(|word| word == "ro");
    // `target:ro` has no source.
    if !target.starts_with('/') && first.starts_with('/') {
        return Some(Mount::new(
            MountKind::Anonymous,
            clean(first),
            target == "ro",
        ));
    }
    Some(Mount::new(source(first, reader), clean(target), read_only))
}

/// A path begins with `.`, `/` or `~`; everything else is the name of a volume.
fn source(text: &str, reader: &Reader<'_>) -> MountKind {
    if text.starts_with(['.', '/', '~']) {
        MountKind::Bind(reader.path(text))
    } else {
        MountKind::Volume(text.to_owned())
    }
}

fn long(item: &Item, reader: &Reader<'_>) -> Option<Mount> {
    let text = |key: &str| item.get(key).and_then(Item::text);
    let target = clean(&text("target")?);
    let kind = match (text("type").as_deref(), text("source")) {
        (Some("bind"), Some(source)) => MountKind::Bind(reader.path(&source)),
        (Some("volume") | None, Some(name)) => source(&name, reader),
        (Some("volume") | None, None) => MountKind::Anonymous,
        (Some("tmpfs"), _) => MountKind::Tmpfs,
        (Some(other), _) => MountKind::Other(other.to_owned()),
    };
    let read_only = text("read_only").as_deref() == Some("true");
    Some(Mount::new(kind, target, read_only))
}

/// `tmpfs`, one path or a list of them.
pub(super) fn tmpfs(item: &Item) -> Vec<Mount> {
    let single = std::slice::from_ref(item);
    let items = if item.items().is_empty() {
        single
    } else {
        item.items()
    };
    let mount = |item: &Item| {
        let text = item.text()?;
        let target = text.split(':').next().map(clean)?;
        Some(Mount::new(MountKind::Tmpfs, target, false))
    };
    items.iter().filter_map(mount).collect()
}

fn clean(target: &str) -> String {
    let trimmed = target.trim_end_matches('/');
    if trimmed.is_empty() { "/" } else { trimmed }.to_owned()
}
