//! `rekindle wal …`: the archive of write-ahead log, one file for each command.

mod fetch;
pub mod find;
mod get;
mod push;
pub mod status;
pub mod stream;
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
    /// Receive WAL from the server as it is written, and archive it in the vault and its copies
    #[command(after_help = stream::EXAMPLES)]
    Stream(stream::StreamArgs),
    /// Say how archiving is doing: the receiver, the server, each vault
    #[command(after_help = status::EXAMPLES)]
    Status(status::StatusArgs),
    /// List the spans of time in which any moment can be restored
    #[command(after_help = windows::EXAMPLES)]
    Windows(windows::WindowsArgs),
    /// Archive a WAL file of a server: for its archive_command
    #[command(after_help = push::EXAMPLES)]
    Push(push::PushArgs),
    /// Bring a WAL file back from the archive: for a server's restore_command
    #[command(after_help = get::EXAMPLES)]
    Get(get::GetArgs),
    /// Fetch ahead what `get` will be asked for
    #[command(hide = true)]
    Fetch(fetch::FetchArgs),
    /// Say what was dropped, truncated, deleted when and by which transaction, and how to stand just before
    #[command(after_help = find::EXAMPLES)]
    Find(find::FindArgs),
}

/// Runs the command.
///
/// # Errors
/// As the command fails.
pub fn run(app: &App, command: &WalCommand, out: &mut dyn Write) -> Result<Exit, CliError> {
    match command {
        WalCommand::Status(args) => status::run(app, args, out),
        WalCommand::Stream(args) => stream::run(app, args, out),
        WalCommand::Windows(args) => windows::run(app, args, out),
        WalCommand::Push(args) => push::run(app, args, out),
        WalCommand::Get(args) => get::run(app, args, out),
        WalCommand::Fetch(args) => fetch::run(app, args),
        WalCommand::Find(args) => find::run(app, args, out),
    }
}
