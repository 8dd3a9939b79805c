//! What is wrong with a configuration, where, and how it is shown.

use std::fmt;
use std::path::PathBuf;

/// Why `rekindle.yaml` was refused. Its `Display` is the whole report, ready for a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigErrors {
    /// The file could not be read at all.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file was read and has these problems, in the order of its lines; never empty.
    #[error("{}", Listed(.0))]
    Invalid(Vec<Problem>),
}

impl ConfigErrors {
    /// The problems found in the text; empty when the file could not be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Read { .. } => &[],
            Self::Invalid(problems) => problems,
        }
    }
}

/// One error or warning about a place in the file. `Display` shows it with its line and a caret.
///
/// No secret is ever in it: the line shown has the values of secret, and of unknown, keys replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to us.
    pub origin: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// The line concerned, secrets masked; `None` if there is none, as in an empty file.
    pub(crate) excerpt: Option<Excerpt>,
}

/// A masked source line and what to underline in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub text: String,
    /// Characters before the underlined part.
    pub offset: usize,
    /// Characters underlined, at least one.
    pub width: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin,
            line,
            column,
            message,
            ..
        } = self;
        write!(f, "{}:{line}:{column}: {message}", origin.display())?;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        if let Some(Excerpt {
            text,
            offset,
            width,
        }) = &self.excerpt
        {
            // A tab stays a tab, so that the caret stands below what it means.
            let indent: String = text
                .chars()
                .take(*offset)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(
                f,
                "\n{margin} |\n{number} | {text}\n{margin} | {indent}{}",
                "^".repeat(*width)
            )?;
        }
        match &self.help {
            Some(help) => write!(f, "\n{margin} = help: {help}"),
            None => Ok(()),
        }
    }
}

struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_what_is_wrong_even_after_tabs() {
        let problem = Problem {
            origin: "r.yaml".into(),
            line: 12,
            column: 3,
            message: "unknown key `x`".into(),
            help: Some("did you mean `y`?".into()),
            excerpt: Some(Excerpt {
                text: "\t x: 1".into(),
                offset: 2,
                width: 1,
            }),
        };
        assert_eq!(
            problem.to_string(),
            "r.yaml:12:3: unknown key `x`\n   |\n12 | \t x: 1\n   | \t ^\n   = help: did you mean `y`?"
        );
    }
}
