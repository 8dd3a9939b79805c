//! The stock `age` program, which must open what we seal and seal what we open.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::TestingError;
use crate::process::{output_with_input, run, succeeded};

/// Returns a new identity file as `age-keygen` writes it, and its recipient.
///
/// # Errors
/// [`TestingError::Unavailable`] if age is not installed, like every other call here.
pub fn keygen(file: &Path) -> Result<String, TestingError> {
    run(Command::new("age-keygen").arg("-o").arg(file)).map_err(not_installed)?;
    let recipient = run(Command::new("age-keygen").arg("-y").arg(file))?;
    Ok(recipient.trim().to_owned())
}

/// Runs age with these arguments on some input and returns what it prints.
///
/// # Errors
/// [`TestingError::Failed`] with what it said.
pub fn age<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    input: &[u8],
) -> Result<Vec<u8>, TestingError> {
    let mut command = Command::new("age");
    command.args(arguments);
    let output = output_with_input(&mut command, input).map_err(not_installed)?;
    succeeded(&command, &output)?;
    Ok(output.stdout)
}

/// Runs a line of shell in `folder` on a terminal of its own, for programs that ask for a password
/// there and nowhere else, and types `typed` into it. Returns all that the terminal showed.
///
/// # Errors
/// [`TestingError::Failed`] with what was shown.
pub fn on_a_terminal(folder: &Path, shell: &str, typed: &str) -> Result<String, TestingError> {
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", shell, "/dev/null"]);
    command.env("SHELL", "/bin/sh").current_dir(folder);
    let output = output_with_input(&mut command, typed.as_bytes()).map_err(not_installed)?;
    succeeded(&command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn not_installed(error: TestingError) -> TestingError {
    match error {
        TestingError::Run { program, source } if source.kind() == std::io::ErrorKind::NotFound => {
            TestingError::Unavailable {
                what: program,
                why: "install it with `make deps`".into(),
            }
        }
        other => other,
    }
}
