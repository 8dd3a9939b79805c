//! What every command needs: the global options, the configuration, the vault.

use std::{env, ffi::OsString, fmt::Display, panic, path::PathBuf, process::ExitCode};

use clap::{ColorChoice, CommandFactory, FromArgMatches};
use rekindle_stack::{Loaded, Stack};
use rekindle_vault::Vault;

use crate::{
    cli::{Cli, GlobalArgs},
    commands,
    errors::{self, CliError, Exit},
    logging,
    output::{self, Out},
    progress::Reporting,
    signals,
};

/// Parses, runs, reports; returns the program's exit code.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let exit = match caller(&arguments) {
        Caller::Anybody => run(&arguments),
        Caller::RestoreCommand => stopping_recovery(run_safely(&arguments)),
        Caller::Nobody => harmless(run_safely(&arguments)),
    };
    exit.into()
}

fn run(arguments: &[OsString]) -> Exit {
    let command = Cli::command().color(ColorChoice::Auto);
    let parsed = command
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return errors::report_usage(&error, arguments),
    };
    logging::start(&cli.global);
    let app = App { global: cli.global };
    let mut out = Out::stdout();
    let outcome = commands::run(&app, &cli.command, &mut out);
    signals::give_way();
    outcome.unwrap_or_else(|error| errors::report(&error, &app.global))
}

/// Who sees our exit code.
enum Caller {
    /// Whoever reads `rekindle --help`.
    Anybody,
    /// A server that takes most exit codes for the end of its archive.
    RestoreCommand,
    /// Only who adopts orphans. In a container that may be PostgreSQL itself, to which any other
    /// code than 0 and 1 means that one of its own processes crashed.
    Nobody,
}

fn caller(arguments: &[OsString]) -> Caller {
    let mut words = arguments.iter().skip_while(|word| *word != "wal");
    let commands = ["push", "get", "fetch"];
    let command = words.find(|word| commands.iter().any(|command| *word == command));
    match command.and_then(|word| word.to_str()) {
        Some("get") => Caller::RestoreCommand,
        Some("fetch") => Caller::Nobody,
        _ => Caller::Anybody,
    }
}

/// `None` if it panicked, which has been told by then.
fn run_safely(arguments: &[OsString]) -> Option<Exit> {
    panic::catch_unwind(|| run(arguments)).ok()
}

/// Whatever goes wrong, wrong arguments and mistakes of ours included, stops recovery.
const fn stopping_recovery(exit: Option<Exit>) -> Exit {
    match exit {
        Some(exit @ (Exit::Done | Exit::NotInArchive)) => exit,
        _ => Exit::StopsRecovery,
    }
}

const fn harmless(exit: Option<Exit>) -> Exit {
    match exit {
        Some(Exit::Done) => Exit::Done,
        _ => Exit::Failed,
    }
}

/// The global options, and what follows from them.
pub struct App {
    /// The options.
    pub global: GlobalArgs,
}

impl App {
    /// The configuration file that counts.
    ///
    /// # Errors
    /// [`CliError::NoConfig`] with the places looked at.
    pub fn config_path(&self) -> Result<PathBuf, CliError> {
        let here = env::current_dir().map_err(CliError::io("find", "the current directory"))?;
        let from_environment = env::var_os("REKINDLE_CONFIG");
        let explicit = self.global.config.as_deref();
        Ok(rekindle_stack::find_config(
            explicit,
            from_environment.as_deref(),
            &here,
        )?)
    }

    /// Reads the configuration, warnings included. With `--vault COPY`, the copy takes the vault's place
    /// in it.
    ///
    /// # Errors
    /// [`CliError::NoConfig`], [`CliError::Config`], or that there is no such copy.
    pub fn load(&self) -> Result<Loaded, CliError> {
        let mut loaded = Stack::load(&self.config_path()?)?;
        if let Some(copy) = &self.global.vault {
            loaded.stack = rekindle_recovery::copies::on_copy(loaded.stack, copy)?;
        }
        Ok(loaded)
    }

    /// Reads the configuration. Its warnings are for `config check` and `doctor`: told by every
    /// command, they would soon be read by nobody.
    ///
    /// # Errors
    /// As [`App::load`].
    pub fn stack(&self) -> Result<Stack, CliError> {
        let loaded = self.load()?;
        for problem in loaded.warnings.iter().chain(&loaded.unreadable_secrets) {
            let place = format!("{}:{}", problem.origin.display(), problem.line);
            tracing::info!(%place, "{}", problem.message);
        }
        Ok(loaded.stack)
    }

    /// Opens the vault of the configuration.
    ///
    /// # Errors
    /// As [`App::load`], or as the vault could not be opened.
    pub fn vault(&self) -> Result<Vault, CliError> {
        Ok(rekindle_recovery::open_vault(&self.stack()?.vault)?)
    }

    /// Whether stdout shall hold one JSON value and nothing else.
    pub const fn is_json(&self) -> bool {
        self.global.json
    }

    /// How progress is to be shown.
    pub fn reporting(&self) -> Reporting {
        Reporting::choose(self.global.quiet)
    }

    /// Says something that is not data. Silent with `--quiet`.
    pub fn note(&self, text: impl Display) {
        if !self.global.quiet {
            output::to_stderr(text);
        }
    }

    /// Says something that must be noticed, and that is in the data where these are JSON.
    pub fn warn(&self, text: impl Display) {
        if self.global.json {
            return;
        }
        let label = output::paint(&self.global, output::Paint::Yellow, "warning:");
        output::to_stderr(format_args!("{label} {text}"));
    }

    /// Tells the commands that usually come next. Silent with `--quiet` and `--json`.
    pub fn next<I: Display>(&self, commands: impl IntoIterator<Item = I>) {
        let mut label = "next:";
        for command in commands {
            if !self.global.json {
                self.note(format_args!("{label} {command}"));
            }
            label = "     ";
        }
    }

    /// A command line of this program that reads the same configuration and uses the same vault.
    pub fn command(&self, arguments: impl Display) -> String {
        let config = match &self.global.config {
            Some(path) => format!("--config {} ", output::quoted(path)),
            None => String::new(),
        };
        let vault = match &self.global.vault {
            Some(copy) => format!("--vault {copy} "),
            None => String::new(),
        };
        format!("rekindle {config}{vault}{arguments}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_a_wal_file_is_known_wherever_the_options_stand() {
        let who = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            caller(&words)
        };
        for line in [
            "rekindle wal get %f %p",
            "rekindle --config x wal --json get",
            "rekindle wal --config get",
        ] {
            assert!(matches!(who(line), Caller::RestoreCommand), "{line}");
        }
        assert!(matches!(who("rekindle wal push get"), Caller::Anybody));
        assert!(matches!(who("rekindle restore --to get"), Caller::Anybody));
        assert!(matches!(
            who("rekindle --config x wal fetch get"),
            Caller::Nobody
        ));
    }
}
