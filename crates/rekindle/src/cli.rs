//! The arguments, as types; their documentation is the help text.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    backup::BackupArgs, completion::CompletionArgs, config::ConfigCommand, copy::CopyCommand,
    export::ExportArgs, guard::GuardArgs, hold::HoldCommand, import::ImportArgs, init::InitArgs,
    kit::KitArgs, points::PointsArgs, restore::RestoreArgs, retention::RetentionCommand,
    service::ServiceCommand, vault::VaultCommand, wal::WalCommand,
};

const AFTER_HELP: &str = "\
A first recovery point, and the way back:
  rekindle init --postgres postgres://backup@localhost:5432/postgres
  rekindle doctor
  rekindle backup
  rekindle restore latest --service postgres --to /srv/restored

Configuration: --config FILE, else $REKINDLE_CONFIG, ./rekindle.yaml, /etc/rekindle/rekindle.yaml
Logs go to stderr; $REKINDLE_LOG chooses them as in `warn,rekindle_vault=debug`

Exit codes:
  0    done
  1    failed; `status` and `doctor`: something is wrong
  2    wrong use, or errors in rekindle.yaml
  4    stored, but not restorable
  5    partly done: something was skipped or could not be read
  6    a target (RPO, RTO) is missed
  7    approval needed: look at the plan, and say --yes
  126  `wal get`: any failure, so that PostgreSQL stops rather than end recovery early
  130  interrupted; 143 terminated";

/// Disaster recovery for self-hosted stacks: backs up every stateful service that rekindle.yaml
/// describes, and brings it back.
#[derive(Debug, Parser)]
#[command(name = "rekindle", version, after_help = AFTER_HELP)]
#[command(propagate_version = false, max_term_width = 100)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Work on this copy of the vault instead of the vault itself
    #[arg(long, global = true, value_name = "COPY")]
    pub vault: Option<String>,
    /// Print JSON: data to stdout, an error as the last line of stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// Show data and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log more; repeat for still more
    #[arg(short, long = "verbose", global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// How logs are written
    #[arg(long, global = true, value_name = "FORMAT", default_value = "human")]
    pub log_format: LogFormat,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,
}

/// How logs are written: for people, or one JSON object for each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Human,
    Json,
}

/// When to use colours: `Auto` means on a terminal, unless $NO_COLOR is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    Auto,
    Always,
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a rekindle.yaml, a vault password and an empty vault
    Init(InitArgs),
    /// Look for what would make a backup or a restore fail, and say how to mend it
    #[command(after_help = DOCTOR_HELP)]
    Doctor,
    /// Say whether everything can be brought back, and to when
    #[command(after_help = STATUS_HELP)]
    Status,
    /// Make a recovery point of all services, or of those named
    Backup(BackupArgs),
    /// List recovery points, show one, compare two
    Points(PointsArgs),
    /// Make a recovery point of dumps or archives that lie anywhere
    Import(ImportArgs),
    /// Write a recovery point as plain, dated files with checksums
    Export(ExportArgs),
    /// Make a recovery point, run a command, and offer the way back if it fails
    Guard(GuardArgs),
    /// Bring data of a recovery point back to a directory, or one database to its server
    Restore(RestoreArgs),
    /// Say how the services are; start and stop them in order
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Look after the WAL archive, with which any moment can be restored
    #[command(subcommand)]
    Wal(WalCommand),
    /// Show what need not be kept any longer, and remove it
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// Keep copies of the vault in other places, and say how far they are
    #[command(subcommand)]
    Copy(CopyCommand),
    /// Keep recovery points from being forgotten, whatever the retention says
    #[command(subcommand)]
    Hold(HoldCommand),
    /// Write what restores this stack elsewhere: a sealed file, and a page to print
    Kit(KitArgs),
    /// Make, check and look after the vault
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Check and show rekindle.yaml
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
}

const DOCTOR_HELP: &str = "\
Examples:
  rekindle doctor
  rekindle doctor --json | jq '.findings[] | select(.level == \"problem\")'

Exit code 1 if there is a problem. Nothing is changed.";

const STATUS_HELP: &str = "\
Examples:
  rekindle status
  watch --errexit rekindle status --quiet

Answers also when the services, or the vault, are down. Exit code 0 if all is well, 6 if the newest
recovery point of a service is older than its RPO, else 1.";
