//! The line shown below an error, with everything masked that might be a secret.

use std::ops::Range;

use crate::keys::{OPEN_KEYS, SECRET_KEYS, SECTION_KEYS};
use crate::mask::mask;
use crate::node::{Entry, Node, Place, Value};
use crate::problem::Excerpt;
use crate::read::{is_variable, shown_key};

/// What to hide of a text: byte ranges by their start, and what is shown instead.
pub(crate) struct Mask(Vec<(Range<usize>, String)>);

impl Mask {
    /// Hides every value whose key is secret or unknown, and passwords of URLs.
    pub(crate) fn of_tree(root: &Node) -> Self {
        let mut hidden = Vec::new();
        collect(root, Openness::Closed, &mut hidden);
        hidden.sort_by_key(|(range, _)| (range.start, range.end));
        Self(hidden)
    }

    /// The same for a text that is no YAML: by its lines and by what looks like a key.
    pub(crate) fn of_broken(text: &str) -> Self {
        let mut hidden = Vec::new();
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            let body = line.trim_end();
            if let Some(start) = suspicious(body) {
                hidden.push((offset + start..offset + body.len(), "***".to_owned()));
            }
            offset += line.len();
        }
        Self(hidden)
    }

    /// The line at `place`, masked, and where in it the place is; `None` behind the last line.
    pub(crate) fn excerpt(&self, text: &str, place: Place) -> Option<Excerpt> {
        let line = line_at(text, place.line)?;
        let wanted = line.start + offset_of_column(&text[line.clone()], place.column);
        let from = self
            .around(wanted)
            .map_or(wanted, |range| range.start.max(line.start));
        let end = place.end.clamp(wanted, line.end);
        let last = end.saturating_sub(1).max(wanted);
        let to = self
            .around(last)
            .map_or(end, |range| range.end.min(line.end))
            .max(from);
        let [before, wrong, after] =
            [line.start..from, from..to, to..line.end].map(|range| self.masked(text, range));
        Some(Excerpt {
            offset: before.chars().count(),
            width: wrong.trim_end().chars().count().max(1),
            text: format!("{before}{wrong}{after}").trim_end().to_owned(),
        })
    }

    fn around(&self, at: usize) -> Option<&Range<usize>> {
        self.0
            .iter()
            .map(|(range, _)| range)
            .find(|range| range.contains(&at))
    }

    fn masked(&self, text: &str, part: Range<usize>) -> String {
        let mut shown = String::new();
        let mut at = part.start;
        for (range, instead) in &self.0 {
            if range.end <= at || range.start >= part.end {
                continue;
            }
            shown.push_str(text.get(at..range.start.max(at)).unwrap_or_default());
            shown.push_str(instead);
            at = range.end;
        }
        shown.push_str(text.get(at..part.end).unwrap_or_default());
        // Whoever wrote the file must not get to steer the terminal of who reads the error.
        shown
            .chars()
            .map(|c| {
                if c.is_control() && c != '\t' {
                    '\u{fffd}'
                } else {
                    c
                }
            })
            .collect()
    }
}

/// How much of what stands below a key may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Openness {
    Open,
    /// Values are hidden; a mapping's keys decide for themselves.
    Closed,
    /// Everything is hidden, keys as well.
    Secret,
}

fn openness(entry: &Entry) -> Openness {
    let key = entry.key.as_str();
    match &entry.value.value {
        _ if SECRET_KEYS.contains(&key) => Openness::Secret,
        // Who writes no name of a variable here has probably written the secret itself.
        Value::Text(text) if key.ends_with("_env") && !is_variable(text) => Openness::Closed,
        _ if OPEN_KEYS.contains(&key) => Openness::Open,
        _ => Openness::Closed,
    }
}

fn collect(node: &Node, open: Openness, hidden: &mut Vec<(Range<usize>, String)>) {
    let range = node.defined.start..node.defined.end;
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let below = if open == Openness::Secret {
                    open
                } else {
                    openness(entry)
                };
                collect(&entry.value, below, hidden);
                let shown = match open {
                    Openness::Secret => "***".into(),
                    _ => shown_key(&entry.key),
                };
                if shown != entry.key {
                    hidden.push((entry.place.start..entry.place.end, shown));
                }
            }
        }
        Value::List(items) => items.iter().for_each(|item| collect(item, open, hidden)),
        Value::Text(_) | Value::Number(_) if open != Openness::Open => {
            hidden.push((range, "***".into()));
        }
        Value::Text(text) => {
            let masked = mask(text);
            if masked != *text {
                hidden.push((range, masked));
            }
        }
        Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// Where in a line of broken YAML something begins that had better not be shown: the value of the
/// first key, unless all that looks like a key is known to be harmless.
fn suspicious(line: &str) -> Option<usize> {
    let start = line.len() - line.trim_start_matches([' ', '\t', '-']).len();
    if start == line.len() || line[start..].starts_with('#') {
        return None;
    }
    let Some(first) = line.find(':') else {
        return Some(start);
    };
    let harmless = |(colon, _): (usize, &str)| {
        let word = line[..colon].trim_end_matches(['"', '\'', ' ']);
        let key = word
            .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .next();
        line[colon..].starts_with("://")
            || key.is_some_and(|key| OPEN_KEYS.contains(&key) || SECTION_KEYS.contains(&key))
    };
    let all_harmless = line.match_indices(':').all(harmless) && mask(line) == line;
    (!all_harmless).then_some(first + 1)
}

fn line_at(text: &str, number: usize) -> Option<Range<usize>> {
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if index + 1 == number {
            return Some(start..start + line.trim_end_matches(['\n', '\r']).len());
        }
        start += line.len();
    }
    None
}

fn offset_of_column(line: &str, column: usize) -> usize {
    line.char_indices()
        .nth(column.saturating_sub(1))
        .map_or(line.len(), |(offset, _)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node;

    fn shown(text: &str, line: usize) -> String {
        let mask = match node::parse(text) {
            Ok(root) => Mask::of_tree(&root),
            Err(_) => Mask::of_broken(text),
        };
        mask.excerpt(
            text,
            Place {
                line,
                column: 1,
                ..Place::default()
            },
        )
        .unwrap()
        .text
    }

    #[test]
    fn harmless_values_are_shown_and_all_others_are_not() {
        assert_eq!(shown("rpo: 5m # soon", 1), "rpo: 5m # soon");
        assert_eq!(
            shown(
                "{ kind: redis, password: hunter2, url: \"redis://u:p@h\" }",
                1
            ),
            "{ kind: redis, password: ***, url: redis://u:***@h }"
        );
        assert_eq!(shown("pasword: hunter2", 1), "pasword: ***");
        assert_eq!(shown("password_env: hunter2!", 1), "password_env: ***");
        assert_eq!(
            shown("password: { hunter2: [hunter3] }", 1),
            "password: { ***: [***] }"
        );
        assert_eq!(shown("{ password:hunter2 }", 1), "{ password:*** }");
        assert_eq!(shown("key: |\n  hunter2\n  hunter3\n", 2), "  ***");
    }

    #[test]
    fn in_broken_yaml_all_that_may_be_a_secret_is_hidden() {
        assert_eq!(shown("rpo: 5m\nvault: [", 2), "vault: [");
        assert_eq!(shown("password: \"hunter2\n", 1), "password:***");
        assert_eq!(shown("{ at: x, password:hunter2 ", 1), "{ at:***");
        assert_eq!(shown("a: [\n  hunter2\n", 2), "  ***");
        assert_eq!(shown("a: [\n url: redis://u:hunter2@h\n", 2), " url:***");
    }

    #[test]
    fn the_caret_covers_what_is_shown_instead_of_a_secret() {
        let text = "{ password: hunter2, rpo: 5x }";
        let root = node::parse(text).unwrap();
        let mask = Mask::of_tree(&root);
        let at = |column, end| {
            mask.excerpt(
                text,
                Place {
                    line: 1,
                    column,
                    start: column - 1,
                    end,
                },
            )
            .unwrap()
        };
        assert_eq!((at(13, 19).offset, at(13, 19).width), (12, 3));
        assert_eq!((at(27, 28).offset, at(27, 28).width), (22, 2));
    }
}
