//! How things are written: tables, sizes, times, JSON, colours.

mod table;
mod tree;
mod units;

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal, Write},
    path::Path,
};

use rekindle_stack::Problem;
use serde::Serialize;
use serde_json::{Value, json};

pub use table::Table;
pub use tree::write_tree;
pub use units::{age, bytes, count, duration, throughput, time};

use crate::{
    cli::{ColorWhen, GlobalArgs},
    errors::CliError,
    progress,
};

/// Stdout, until its reader goes away: what is written then is dropped, because `rekindle … | head`
/// is no failure, and the exit code must still tell of the work.
pub struct Out {
    inner: io::Stdout,
    is_closed: bool,
}

impl Out {
    /// The program's stdout.
    pub fn stdout() -> Self {
        Self {
            inner: io::stdout(),
            is_closed: false,
        }
    }

    fn unless_closed<T>(&mut self, result: io::Result<T>, closed: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(closed)
            }
            other => other,
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Ok(bytes.len());
        }
        let written = self.inner.write(bytes);
        self.unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let flushed = self.inner.flush();
        self.unless_closed(flushed, ())
    }
}

/// Writes one JSON value and a line end.
///
/// # Errors
/// As the value or the output fails.
pub fn write_json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), CliError> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a line to stderr. If stderr is closed, there is nobody to tell.
pub fn to_stderr(text: impl Display) {
    progress::around_bar(|| {
        let _ = writeln!(io::stderr(), "{text}");
    });
}

/// Problems of a configuration as JSON.
pub fn problems_json(problems: &[Problem]) -> Value {
    let problems = problems.iter().map(|problem| {
        json!({
            "file": problem.origin.display().to_string(),
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "help": problem.help,
        })
    });
    Value::Array(problems.collect())
}

/// The colours used.
#[derive(Clone, Copy, Debug)]
pub enum Paint {
    /// Errors.
    Red,
    /// Warnings.
    Yellow,
    /// What is well.
    Green,
    /// Advice.
    Cyan,
}

/// Whether stderr gets colours.
pub fn has_color(global: &GlobalArgs) -> bool {
    wants_color(global, &io::stderr())
}

fn wants_color(global: &GlobalArgs, stream: &impl IsTerminal) -> bool {
    match global.color {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        // The convention of no-color.org: any value but the empty one says no.
        ColorWhen::Auto => {
            stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}

/// The text, bold and coloured if stderr gets colours.
pub fn paint(global: &GlobalArgs, paint: Paint, text: &str) -> String {
    painted(has_color(global), paint, text)
}

/// The text, bold and coloured if stdout gets colours.
pub fn paint_stdout(global: &GlobalArgs, paint: Paint, text: &str) -> String {
    painted(wants_color(global, &io::stdout()), paint, text)
}

fn painted(is_colored: bool, paint: Paint, text: &str) -> String {
    let code = match paint {
        Paint::Red => 31,
        Paint::Green => 32,
        Paint::Yellow => 33,
        Paint::Cyan => 36,
    };
    if is_colored {
        format!("\u{1b}[1;{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_path_is_one_word_to_a_shell() {
        assert_eq!(quoted(Path::new("/srv/a-b.yaml")), "/srv/a-b.yaml");
        assert_eq!(quoted(Path::new("it's here")), r"'it'\''s here'");
        assert_eq!(quoted(Path::new("")), "''");
    }
}
