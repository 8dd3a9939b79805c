//! `.env` files and `env_file`s.

use std::collections::BTreeMap;
use std::fmt;

use super::interpolate::interpolate;

/// The lines of an env file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DotEnv {
    /// Variables and their values.
    pub values: BTreeMap<String, String>,
    /// Names that stand there without a value: it is taken from the environment.
    pub inherited: Vec<String>,
    /// Lines that could not be read, counted from 1, and why.
    pub wrong: Vec<(usize, &'static str)>,
}

impl fmt::Debug for DotEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DotEnv")
            .field("names", &self.values.keys().collect::<Vec<_>>())
            .field("inherited", &self.inherited)
            .field("wrong", &self.wrong)
            .finish()
    }
}

/// Reads the text of an env file.
///
/// A line is `NAME=value`, also after `export`. A value in single quotes is taken as it is; in double
/// quotes `\n`, `\r`, `\t`, `\"` and `\\` are what they are in C, and it may go over several lines; without
/// quotes it ends at a ` #`. Variables are filled in but in single quotes, from the lines above, else
/// by `outer`. Source: Docker, "Syntax for environment files in Docker Compose".
pub fn parse_dotenv(text: &str, outer: &dyn Fn(&str) -> Option<String>) -> DotEnv {
    let mut read = DotEnv::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((name, value)) = line.split_once(['=', ':']) else {
            if is_name(line) {
                read.inherited.push(line.to_owned());
            } else {
                read.wrong.push((index + 1, "there is no `=`"));
            }
            continue;
        };
        let name = name.trim_end();
        if !is_name(name) {
            read.wrong
                .push((index + 1, "what stands before the `=` is no name"));
            continue;
        }
        let value = value.trim_start();
        let more = &mut || lines.next().map(|(_, line)| line.to_owned());
        match unquoted(value, more) {
            Ok(raw) => {
                let value = raw.filled(&read.values, outer);
                read.values.insert(name.to_owned(), value);
            }
            Err(why) => read.wrong.push((index + 1, why)),
        }
    }
    read
}

/// A value without its quotes.
enum Raw {
    Literal(String),
    WithVariables(String),
}

impl Raw {
    fn filled(
        self,
        above: &BTreeMap<String, String>,
        outer: &dyn Fn(&str) -> Option<String>,
    ) -> String {
        let text = match self {
            Self::Literal(text) => return text,
            Self::WithVariables(text) => text,
        };
        let lookup = |name: &str| outer(name).or_else(|| above.get(name).cloned());
        match interpolate(&text, &lookup) {
            Ok(filled) => filled.text,
            // A `$` in a password is no error of a file that never meant a variable.
            Err(_) => text,
        }
    }
}

fn unquoted(value: &str, more: &mut dyn FnMut() -> Option<String>) -> Result<Raw, &'static str> {
    if let Some(rest) = value.strip_prefix('\'') {
        return quoted(rest, '\'', more).map(Raw::Literal);
    }
    if let Some(rest) = value.strip_prefix('"') {
        return quoted(rest, '"', more).map(|text| Raw::WithVariables(unescaped(&text)));
    }
    if value.starts_with('#') {
        return Ok(Raw::Literal(String::new()));
    }
    let end = [" #", "\t#"]
        .iter()
        .filter_map(|mark| value.find(mark))
        .min();
    let value = value[..end.unwrap_or(value.len())].trim_end();
    Ok(Raw::WithVariables(value.to_owned()))
}

/// What stands before the closing quote, perhaps lines below; what follows it is passed over.
fn quoted(
    rest: &str,
    quote: char,
    more: &mut dyn FnMut() -> Option<String>,
) -> Result<String, &'static str> {
    let mut text = String::new();
    let mut line = rest.to_owned();
    loop {
        let mut escaped = false;
        for (at, character) in line.char_indices() {
            if character == quote && !escaped {
                text.push_str(&line[..at]);
                return Ok(text);
            }
            escaped = character == '\\' && !escaped && quote == '"';
        }
        text.push_str(&line);
        text.push('\n');
        line = more().ok_or("the quote is not closed")?;
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('"') => out.push('"'),
            Some('\\') => out.push('\\'),
            Some('$') => out.push_str("$$"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed) && !text.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outer(name: &str) -> Option<String> {
        (name == "OUT").then(|| "side".to_owned())
    }

    #[test]
    fn values_are_read_as_compose_reads_them() {
        let text = "\u{feff}# a comment\n\nA=1\nexport B = two words \nC='$A \"x\" #'\nD=\"a\\nb\\\"c $A\"\n\
                    E=x # why\nF=x#y\nG=\nH=${A}-${OUT}-${NONE:-d}\nI=\"two\nlines\"\nJ=p$$w\nK=#none\nL: yes\n\
                    M=pa$-ss\nN\n";
        let read = parse_dotenv(text, &outer);
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$A \"x\" #"),
            ("D", "a\nb\"c 1"),
            ("E", "x"),
            ("F", "x#y"),
            ("G", ""),
            ("H", "1-side-d"),
            ("I", "two\nlines"),
            ("J", "p$w"),
            ("K", ""),
            ("L", "yes"),
            ("M", "pa$-ss"),
        ];
        for (name, value) in expected {
            assert_eq!(
                read.values.get(name).map(String::as_str),
                Some(value),
                "{name}"
            );
        }
        assert_eq!(read.values.len(), expected.len());
        assert_eq!(read.inherited, ["N"]);
        assert!(read.wrong.is_empty());
    }

    #[test]
    fn wrong_lines_are_told_and_do_not_hide_the_others() {
        let read = parse_dotenv("what is this\nA=1\n=x\n1A=x\nB=\"open\n", &outer);
        let lines: Vec<_> = read.wrong.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 4, 5]);
        assert_eq!(read.values.len(), 1);
        assert!(
            !format!("{read:?}").contains("\"1\""),
            "values are no one's business"
        );
    }
}
