//! One file for each command: parse, call the library, print.

pub mod backup;
pub mod completion;
pub mod config;
pub mod copy;
mod doctor;
mod dumps;
pub mod export;
pub mod guard;
pub mod guards;
pub mod hold;
pub mod import;
pub mod init;
pub mod kit;
pub mod points;
pub mod restore;
pub mod retention;
pub mod service;
mod services;
mod status;
pub mod vault;
pub mod wal;

use std::io::Write;

use crate::{
    app::App,
    cli::Command,
    errors::{CliError, Exit},
};

/// Runs a command.
///
/// # Errors
/// Whatever kept it from doing as asked; what it did in part is in the exit code.
pub fn run(app: &App, command: &Command, out: &mut dyn Write) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::run(app, args, out),
        Command::Doctor => doctor::run(app, out),
        Command::Status => status::run(app, out),
        Command::Backup(args) => backup::run(app, args, out),
        Command::Import(args) => import::run(app, args, out),
        Command::Export(args) => export::run(app, args, out),
        Command::Guard(args) => guard::run(app, args),
        Command::Points(args) => points::run(app, args, out),
        Command::Restore(args) => restore::run(app, args, out),
        Command::Service(command) => service::run(app, command, out),
        Command::Wal(command) => wal::run(app, command, out),
        Command::Retention(command) => retention::run(app, command, out),
        Command::Copy(command) => copy::run(app, command, out),
        Command::Hold(command) => hold::run(app, command, out),
        Command::Kit(args) => kit::run(app, args, out),
        Command::Vault(command) => vault::run(app, command, out),
        Command::Config(command) => config::run(app, command, out),
        Command::Completion(args) => completion::run(args, out),
    }
}
