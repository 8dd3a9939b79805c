//! `rekindle wal …`: the archive of write-ahead log, one file for each command.

pub mod windows;

use std::io::Write;

use clap::Subcommand;

use crate::{
    app::App,
    errors::{CliError, Exit},
};

/// Commands of `wal`.
#[derive(Debug, Subcommand)]
pub enum WalCommand {
    /// List the spans of time in which any moment can be restored
    #[command(after_help = windows::EXAMPLES)]
    Windows(windows::WindowsArgs),
}

/// Runs the command.
///
/// # Errors
/// As the command fails.
pub fn run(app: &App, command: &WalCommand, out: &mut dyn Write) -> Result<Exit, CliError> {
    match command {
        WalCommand::Windows(args) => windows::run(app, args, out),
    }
}
