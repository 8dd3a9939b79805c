//! Ports and commands, in their short and long forms.

use super::item::{Item, Value};
use super::model::Port;
use super::reader::Reader;

/// The words of a command; a single text is split at white space outside of quotes.
pub(super) fn words(item: &Item) -> Vec<String> {
    match &item.value {
        Value::List(items) => items.iter().filter_map(Item::text).collect(),
        _ => split(&item.text().unwrap_or_default()),
    }
}

/// As a shell splits, for quotes and backslashes. An open quote ends with the text.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// More ports in one range are not listed one by one.
const MAX_RANGE: u16 = 64;

pub(super) fn ports(item: &Item, reader: &mut Reader<'_>) -> Vec<Port> {
    if !matches!(item.value, Value::List(_) | Value::Null) {
        reader.note(item.at, "`ports` must be a list");
    }
    let mut ports = Vec::new();
    for item in item.items() {
        let found = match item.text() {
            Some(text) => short(&text),
            None => long(item),
        };
        match found {
            Some(found) => {
                for port in found {
                    if !ports.contains(&port) {
                        ports.push(port);
                    }
                }
            }
            None => reader.note(item.at, "a port that is not understood"),
        }
    }
    ports
}

/// `[[host:]published:]target[/protocol]`, each port perhaps a range.
fn short(text: &str) -> Option<Vec<Port>> {
    let (addresses, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (rest, target) = match addresses.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, addresses),
    };
    // An IPv6 address has brackets and colons of its own.
    let (host, published) = match rest.map(|rest| (rest.rsplit_once(':'), rest)) {
        None => (None, ""),
        Some((Some((host, published)), _)) => (Some(host), published),
        Some((None, published)) => (None, published),
    };
    let host = host.map(|host| host.trim_matches(['[', ']']).to_owned());
    pairs(target, published, protocol, host)
}

fn pairs(target: &str, published: &str, protocol: &str, host: Option<String>) -> Option<Vec<Port>> {
    let targets = range(target)?;
    let published = if published.is_empty() {
        None
    } else {
        Some(range(published)?)
    };
    let port = |(index, target): (usize, u16)| Port {
        host: host.clone(),
        // A range for one port means that Docker chooses.
        published: published
            .as_ref()
            .filter(|published| published.len() == targets.len())
            .map(|published| published[index]),
        target,
        udp: protocol == "udp",
    };
    Some(targets.iter().copied().enumerate().map(port).collect())
}

fn range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let last = last.min(first.saturating_add(MAX_RANGE));
    (first <= last).then(|| (first..=last).collect())
}

fn long(item: &Item) -> Option<Vec<Port>> {
    let text = |key: &str| item.get(key).and_then(Item::text);
    let protocol = text("protocol").unwrap_or_default();
    let published = text("published").unwrap_or_default();
    pairs(&text("target")?, &published, &protocol, text("host_ip"))
}

/// Ports that are only reached by other services.
pub(super) fn expose(item: &Item, ports: &mut Vec<Port>) {
    for text in item.items().iter().filter_map(Item::text) {
        let number = text.split('/').next().unwrap_or_default();
        let Ok(target) = number.parse() else { continue };
        if !ports.iter().any(|port| port.target == target) {
            ports.push(Port::new(target, None));
        }
    }
}
