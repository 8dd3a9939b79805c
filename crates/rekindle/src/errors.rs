//! Errors as words: the chain, a hint, an exit code.

use std::{
    error::Error,
    ffi::{OsStr, OsString},
    fmt::Display,
    io,
    process::ExitCode,
};

use rekindle_recovery::{
    RecoveryError,
    guard::GuardFinding,
    wal::{get::GetError, push::PushError},
};
use rekindle_runtimes::{RuntimeError, order::OrderError};
use rekindle_stack::{ConfigErrors, ConfigNotFound, SecretError};
use rekindle_vault::{PruneError, VaultError};
use serde_json::json;

use crate::{
    cli::GlobalArgs,
    output::{self, Paint},
};

/// How the program ends. Documented by `rekindle --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and all of it.
    Done = 0,
    /// Failed, or something is wrong.
    Failed = 1,
    /// Wrong use, or errors in the configuration.
    WrongUse = 2,
    /// Stored, but it cannot be restored.
    NotRestorable = 4,
    /// Something was left out.
    Partly = 5,
    /// The RPO or RTO of a service is missed.
    TargetMissed = 6,
    /// What would be done was shown; it needs somebody's yes.
    ApprovalNeeded = 7,
    /// Recovery must not go on: PostgreSQL takes 1 to 125 for the end of the archive. Source: its
    /// manual, "restore_command".
    StopsRecovery = 126,
    /// `wal get`: the archive does not have the file. The only bad news that ends a recovery well,
    /// and the exit code is that of [`Exit::Failed`].
    NotInArchive = 255,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::NotInArchive => Self::from(Exit::Failed as u8),
            other => Self::from(other as u8),
        }
    }
}

/// Why a command did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// No configuration file.
    #[error(transparent)]
    NoConfig(#[from] ConfigNotFound),
    /// The configuration is wrong; its `Display` is the whole report.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The library failed.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// What runs the services did not do as asked.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// There is no order in which services can be started.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A WAL file was not archived.
    #[error(transparent)]
    Push(#[from] PushError),
    /// A WAL file was not brought back.
    #[error(transparent)]
    Get(#[from] GetError),
    /// A prune stopped.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// A secret that an argument names could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Something is there that would have to be replaced.
    #[error("{path} exists")]
    Exists {
        /// Where.
        path: String,
        /// What to do instead.
        hint: String,
    },
    /// An argument that clap could not know to be wrong.
    #[error("{text}")]
    WrongUse {
        /// What is wrong.
        text: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// A file system said no.
    #[error("{operation} {what}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A value could not be written as JSON.
    #[error("write JSON")]
    Json(#[from] serde_json::Error),
    /// The system has no randomness to give.
    #[error("make a password: the system gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// A mistake of ours.
    #[error("{text}; this is a bug")]
    Internal {
        /// What was noticed.
        text: String,
    },
    /// A step of several failed; what was done before it stands.
    #[error("{doing}")]
    Step {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: Box<Self>,
        /// How to go on from what stands.
        hint: String,
    },
}

impl CliError {
    /// Something wrong with the arguments.
    pub fn wrong_use(text: impl Into<String>, hint: impl Into<String>) -> Self {
        let (text, hint) = (text.into(), Some(hint.into()));
        Self::WrongUse { text, hint }
    }

    /// A failure of the file system.
    pub fn io(operation: &'static str, what: impl Display) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Io {
            operation,
            what,
            source,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NoConfig(_)
            | Self::Config(_)
            | Self::WrongUse { .. }
            | Self::Order(OrderError::Unknown { .. })
            | Self::Runtime(RuntimeError::NoService { .. }) => Exit::WrongUse,
            Self::Recovery(
                RecoveryError::UnknownService { .. }
                | RecoveryError::UnknownCopy { .. }
                | RecoveryError::NotStreaming { .. },
            ) => Exit::WrongUse,
            Self::Recovery(error) if error.is_damage() => Exit::NotRestorable,
            Self::Prune(error) if error.is_damage() => Exit::NotRestorable,
            Self::Step { source, .. } => source.exit(),
            _ => Exit::Failed,
        }
    }

    /// What to do next.
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoConfig(_) => {
                Some("`rekindle init` writes one; `--config FILE` names another".into())
            }
            Self::Config(ConfigErrors::Invalid(_)) => {
                Some("`rekindle config check` reads it again once it is mended".into())
            }
            Self::Recovery(error) => error.hint(),
            Self::Runtime(error) => error.hint(),
            Self::Order(error) => error.hint(),
            Self::Push(error) => error.hint(),
            Self::Get(error) => error.hint(),
            Self::Prune(error) => error.hint(),
            Self::WrongUse { hint, .. } => hint.clone(),
            Self::Exists { hint, .. } | Self::Step { hint, .. } => Some(hint.clone()),
            _ => None,
        }
    }
}

impl From<VaultError> for CliError {
    fn from(error: VaultError) -> Self {
        Self::Recovery(error.into())
    }
}

impl From<io::Error> for CliError {
    fn from(source: io::Error) -> Self {
        Self::Io {
            operation: "write",
            what: "the output".into(),
            source,
        }
    }
}

/// What an error and its causes say, outermost first. A cause that the text before it ends with
/// is not told twice.
pub fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !texts.last().is_some_and(|last| last.ends_with(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    texts
}

/// Tells an error on stderr; returns how the program ends.
pub fn report(error: &CliError, global: &GlobalArgs) -> Exit {
    let chain = chain(error);
    let hint = error.hint();
    if global.json {
        let mut value = json!({ "error": chain.join(": "), "chain": chain, "hint": hint });
        if let CliError::Config(errors) = error {
            value["problems"] = output::problems_json(errors.problems());
        }
        if let CliError::Recovery(RecoveryError::Refused { findings, .. }) = error {
            value["findings"] = json!(findings);
        }
        output::to_stderr(value);
    } else {
        let label = output::paint(global, Paint::Red, "error:");
        match error {
            CliError::Config(ConfigErrors::Invalid(problems)) => problems
                .iter()
                .for_each(|problem| output::to_stderr(format_args!("{label} {problem}\n"))),
            CliError::Recovery(RecoveryError::Refused { what, findings }) => {
                output::to_stderr(format_args!("{label} {what} was not begun"));
                report_findings(findings);
            }
            _ => output::to_stderr(format_args!("{label} {}", chain.join(": "))),
        }
        if let Some(hint) = hint {
            let label = output::paint(global, Paint::Cyan, "hint:");
            output::to_stderr(format_args!("{label} {hint}"));
        }
    }
    error.exit()
}

fn report_findings(findings: &[GuardFinding]) {
    for finding in findings.iter().filter(|finding| !finding.forced) {
        output::to_stderr(format_args!("  {finding}\n    {}", finding.advice));
    }
}

/// Tells what clap found, or prints the help that was asked for.
pub fn report_usage(error: &clap::Error, arguments: &[OsString]) -> Exit {
    let wants_json = arguments
        .iter()
        .any(|argument| argument == OsStr::new("--json"));
    if error.use_stderr() && wants_json {
        let text = error.to_string();
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let first = first.trim_start_matches("error: ");
        let hint = Some(rest.trim()).filter(|rest| !rest.is_empty());
        output::to_stderr(json!({ "error": first, "chain": [first], "hint": hint }));
    } else {
        // Nobody is left to be told if this fails: stderr is closed, or the reader of stdout has
        // seen enough.
        let _ = error.print();
    }
    if error.use_stderr() {
        Exit::WrongUse
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let source = io::Error::other("disk on fire");
        let error = CliError::io("write", "x")(source);
        assert_eq!(chain(&error), ["write x", "disk on fire"]);
        let path = "/nonexistent/rekindle.yaml".into();
        let source = io::Error::other("gone");
        let error = CliError::from(ConfigErrors::Read { path, source });
        assert_eq!(
            chain(&error),
            ["/nonexistent/rekindle.yaml: cannot be read: gone"]
        );
    }
}
