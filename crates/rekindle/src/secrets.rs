//! Secrets that a command is given: by a file, by the environment, or typed at a prompt; never as an
//! argument, which every user of the machine could read.

use std::{
    fs, io,
    io::{BufRead, IsTerminal, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use clap::Args;
use rekindle_stack::{Secret, SecretSource};
use rekindle_vault::durable;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::{errors::CliError, signals};

/// Where a new password is found.
#[derive(Debug, Default, Args)]
#[group(multiple = false)]
pub struct NewSecretArgs {
    /// A file that holds the new password and nothing else
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// An environment variable that holds the new password
    #[arg(long, value_name = "NAME")]
    pub new_password_env: Option<String>,
}

/// The new password: from where the arguments say, else typed twice.
///
/// # Errors
/// If there is none, or nobody to ask.
pub fn new_password(args: &NewSecretArgs) -> Result<Secret, CliError> {
    if let Some(file) = &args.new_password_file {
        return Ok(SecretSource::File(file.clone()).read()?);
    }
    if let Some(name) = &args.new_password_env {
        return Ok(SecretSource::Env(name.clone()).read()?);
    }
    let hint =
        "`--new-password-file FILE` or `--new-password-env NAME` gives it without a terminal";
    typed_twice("new password of the vault", hint)
}

/// A secret that is typed, twice, because nobody sees it.
///
/// # Errors
/// If there is no terminal, or both differ.
pub fn typed_twice(what: &str, hint: &str) -> Result<Secret, CliError> {
    let first = typed(what, hint)?;
    let second = typed(&format!("{what}, again"), hint)?;
    if first.expose() != second.expose() {
        return Err(CliError::wrong_use(
            "the two differ",
            "nothing was changed; try again",
        ));
    }
    if first.expose().is_empty() {
        return Err(CliError::wrong_use("it is empty", hint));
    }
    Ok(first)
}

/// A secret that is typed on the terminal, which does not show it.
///
/// # Errors
/// If there is no terminal.
pub fn typed(what: &str, hint: &str) -> Result<Secret, CliError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::wrong_use(
            format!("there is nobody to ask for the {what}"),
            hint,
        ));
    }
    let failed = |error: rustix::io::Errno| CliError::io("ask", "the terminal")(error.into());
    let before = tcgetattr(&stdin).map_err(failed)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    // Before anything is hidden, so that no signal comes in between.
    signals::begin_typing(move || {
        // Nobody is left to be told: the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    })
    .map_err(CliError::io("ask", "the terminal"))?;
    let hiding = tcsetattr(&stdin, OptionalActions::Now, &hidden).map_err(failed);
    let asked = hiding.and_then(|()| ask(what));
    signals::end_typing();
    asked
}

/// Shows what is wanted and reads a line.
fn ask(what: &str) -> Result<Secret, CliError> {
    let mut shown = io::stderr();
    write!(shown, "{what}: ").and_then(|()| shown.flush())?;
    let mut line = Zeroizing::new(String::new());
    let read = io::stdin().lock().read_line(&mut line);
    writeln!(shown)?;
    read.map_err(CliError::io("read", "the terminal"))?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

/// Gives a file other content, durably; it keeps its owner and its rights.
///
/// # Errors
/// As the file system failed; the old or the new content stands.
pub fn replace_in_place(path: &Path, content: &[u8]) -> io::Result<()> {
    let real = fs::canonicalize(path)?;
    let before = fs::metadata(&real)?;
    durable::replace(&real, content, before.permissions().mode() & 0o7777)?;
    let after = fs::metadata(&real)?;
    if (before.uid(), before.gid()) != (after.uid(), after.gid()) {
        std::os::unix::fs::chown(&real, Some(before.uid()), Some(before.gid()))?;
    }
    Ok(())
}
