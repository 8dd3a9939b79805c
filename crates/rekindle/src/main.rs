//! `rekindle`, the command line: arguments in, words and exit codes out.
//!
//! Start at [`cli`] for the arguments and at [`commands`], one file for each: it parses, calls the
//! library and prints. Data goes to stdout, everything else to stderr. Absent on purpose: any
//! decision about recovery; those are made in `rekindle_recovery`.

mod app;
mod cli;
mod commands;
mod errors;
mod logging;
mod output;
mod progress;
mod secrets;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main()
}
