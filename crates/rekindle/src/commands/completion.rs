//! `rekindle completion`.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{
    cli::Cli,
    errors::{CliError, Exit},
};

const EXAMPLES: &str = "\
Examples:
  rekindle completion bash > /etc/bash_completion.d/rekindle
  rekindle completion zsh > ~/.zfunc/_rekindle";

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// As the output fails.
pub fn run(args: &CompletionArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    // The generator panics if its writer fails, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rekindle", &mut script);
    out.write_all(&script)?;
    Ok(Exit::Done)
}
