//! Running the program as a person does: in a directory, by its name, reading what it says.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "helpers of tests may panic, write files that need not survive, and serve some only"
)]

pub mod wal;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// A directory of one's own, in which `rekindle` is run.
pub struct Home(TempDir);

/// What a run said.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Home {
    pub fn new() -> Self {
        Self(rekindle_testing::temp_dir().unwrap())
    }

    /// With the configuration, password and vault that `init` makes.
    pub fn with_vault() -> Self {
        let home = Self::new();
        home.ok(&["init", "--stack", "shop"]);
        home
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The program with these arguments, in this directory and in nobody's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekindle"));
        command.args(arguments).current_dir(self.path());
        for name in ["REKINDLE_CONFIG", "REKINDLE_LOG", "NO_COLOR", "COLUMNS"] {
            command.env_remove(name);
        }
        command.env("TZ", "UTC");
        // Whatever runs on this machine is none of a test's business.
        command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
        for (name, folder) in [
            ("REKINDLE_CACHE_DIR", "cache"),
            ("REKINDLE_RUN_DIR", "run"),
            ("STATE_DIRECTORY", "state"),
        ] {
            command.env(name, self.join(folder));
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.ran(&self.command(arguments).output().unwrap())
    }

    pub fn ran(&self, output: &Output) -> Ran {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            masked(&text.replace(&self.path().display().to_string(), "HOME"))
        };
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Runs what must succeed; returns its stdout as it is.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        let code = output.status.code();
        assert_eq!(code, Some(0), "{arguments:?}:\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs what must succeed and print JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Runs what must fail with this exit code; returns the last line of its stderr, which is JSON.
    #[track_caller]
    pub fn json_error(&self, arguments: &[&str], code: i32) -> Value {
        let output = self
            .command(&[arguments, &["--json"]].concat())
            .output()
            .unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
        assert_eq!(stdout, "", "an error is no data");
        let last = stderr.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {stderr}"))
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// What differs from run to run: ids (8 or 64 hex digits) and moments.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() || "-:".contains(c) {
            word.push(c);
            continue;
        }
        masked += &mask_word(&word);
        masked.push(c);
        word.clear();
    }
    masked.pop();
    masked.replace("DATE CLOCK UTC", "TIME")
}

fn mask_word(word: &str) -> String {
    let is_id = |word: &str| {
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        matches!(word.len(), 8 | 64) && word.chars().all(is_hex)
    };
    let is_like = |pattern: &str| {
        let fits = |(c, p): (char, char)| c == p || (p == '9' && c.is_ascii_digit());
        word.len() == pattern.len() && word.chars().zip(pattern.chars()).all(fits)
    };
    match word {
        id if is_id(id) => "ID".to_owned(),
        _ if is_like("9999-99-99") => "DATE".to_owned(),
        _ if is_like("99:99:99") => "CLOCK".to_owned(),
        other => other.to_owned(),
    }
}

impl Ran {
    /// Compares everything that was said.
    #[track_caller]
    pub fn says(&self, code: i32, stdout: &str, stderr: &str) {
        assert_eq!(self.stdout, stdout, "stdout; stderr was:\n{}", self.stderr);
        assert_eq!(self.stderr, stderr, "stderr");
        assert_eq!(self.code, code, "exit code");
    }

    /// Compares the exit code and looks for a part of what was said on stderr.
    #[track_caller]
    pub fn fails_with(&self, code: i32, part: &str) {
        assert!(
            self.stderr.contains(part),
            "no `{part}` in:\n{}",
            self.stderr
        );
        assert_eq!(self.code, code, "{}", self.stderr);
    }
}
