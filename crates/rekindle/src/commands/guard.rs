//! `rekindle guard`: a recovery point, a command, and the way back.

use std::{
    env,
    ffi::OsString,
    io::{self, BufRead as _, IsTerminal as _},
    os::unix::process::ExitStatusExt as _,
    process::{self, Command, ExitStatus},
    sync::Arc,
};

use clap::Args;
use rekindle_recovery::{
    BackupOutcome,
    pre_change::{WayBack, before_change, ways_back},
};
use rekindle_vault::Progress;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{self, bytes, duration},
    progress::Watcher,
    signals,
};

const EXAMPLES: &str = "\
Examples:
  rekindle guard -- ./migrate.sh
  rekindle guard --service index --tag pre-ingest -- make ingest
  rekindle guard --service postgres --restore-on-failure --yes -- psql -f change.sql

The point gets the tag `pre-change`, by which `retention.pre_change` keeps it for a while, and the
tags that are given: `rekindle restore pre-ingest …` finds it again. The command gets this terminal
and its signals, and its exit code is the program's own (128 and the number of the signal that ended
it; 126 or 127 if it could not be started). It does not run if the point lacks something.";

/// Arguments of `guard`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GuardArgs {
    /// A service that the command changes; repeat for several. Default: all
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
    /// A word to find the point by, besides `pre-change`; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// If the command fails, put everything back in place, after a question
    #[arg(long)]
    restore_on_failure: bool,
    /// Do not ask before that
    #[arg(long, requires = "restore_on_failure")]
    yes: bool,
    /// Run the command although something is not in the point
    #[arg(long)]
    partly: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Makes the point and runs the command. Ends the program with the command's exit code.
///
/// # Errors
/// If the point could not be made: the command did not run then.
pub fn run(app: &App, args: &GuardArgs) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let progress = Arc::new(Progress::default());
    signals::watch("interrupted: no recovery point was made, and the command did not run");
    let watcher = Watcher::start("backing up", &progress, app.reporting());
    let made = before_change(&vault, &stack, &args.services, &args.tags, progress);
    drop(watcher);
    let made = made?;
    drop(vault);
    if let Some(exit) = tell_point(app, args, &made) {
        return Ok(exit);
    }
    let short = made.point.id.short();
    let further = format!(
        "interrupted: recovery point {short} has what was there; `rekindle points show {short}` tells of it"
    );
    signals::say_instead(further);
    let ways = ways_back(&short, &made.manifest);
    let code = match run_command(args) {
        Ok(status) => code_of(status),
        Err(error) => {
            let program = args.command[0].display();
            output::to_stderr(format_args!("error: run {program}: {error}"));
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            process::exit(if is_missing { 127 } else { 126 })
        }
    };
    if code != 0 {
        offer(app, args, &ways, code);
    }
    process::exit(code)
}

/// Says what the command is guarded by. `Some` if it must not run.
fn tell_point(app: &App, args: &GuardArgs, made: &BackupOutcome) -> Option<Exit> {
    made.warnings.iter().for_each(|warning| app.warn(warning));
    let missing: Vec<_> = made.skipped.iter().chain(&made.partly).collect();
    for what in &missing {
        app.warn(format_args!("not in the point: {what}"));
    }
    let (point, took) = (&made.point, duration(made.took));
    app.note(format_args!(
        "recovery point {} of {}, {} in {took}",
        point.id.short(),
        point.datasets.join(", "),
        bytes(point.size_bytes)
    ));
    if missing.is_empty() || args.partly {
        return None;
    }
    output::to_stderr("error: the command did not run: there would be no way back for all of it");
    output::to_stderr(
        "hint: `--service` names what the command changes; `--partly` runs it all the same",
    );
    Some(Exit::Partly)
}

fn run_command(args: &GuardArgs) -> io::Result<ExitStatus> {
    let mut command = Command::new(&args.command[0]);
    signals::run_passing_on(command.args(&args.command[1..]))
}

/// As a shell tells it.
fn code_of(status: ExitStatus) -> i32 {
    let of_signal = || status.signal().map_or(1, |signal| 128 + signal);
    status.code().unwrap_or_else(of_signal)
}

/// Puts everything back if that was asked for, else tells how.
fn offer(app: &App, args: &GuardArgs, ways: &[WayBack], code: i32) {
    output::to_stderr(format_args!("the command failed with exit code {code}"));
    let in_place = ways.iter().filter(|way| way.is_in_place).count();
    if args.restore_on_failure && in_place > 0 && (args.yes || asked(in_place)) {
        put_back(app, ways);
        return;
    }
    tell(app, ways);
}

fn tell(app: &App, ways: &[WayBack]) {
    output::to_stderr("nothing was put back; the way back:");
    for way in ways {
        let command = app.command(format_args!("restore {}", words(&way.arguments)));
        output::to_stderr(format_args!("  {command}"));
    }
}

fn words(arguments: &[String]) -> String {
    let quoted = arguments.iter().map(|word| output::quoted(word.as_ref()));
    quoted.collect::<Vec<_>>().join(" ")
}

fn asked(count: usize) -> bool {
    if !io::stdin().is_terminal() {
        output::to_stderr(
            "there is nobody to ask whether to put it back; `--yes` does it without asking",
        );
        return false;
    }
    output::to_stderr(format_args!(
        "put {count} dataset(s) back to what they were before the command? What is there now is set aside. [y/N]"
    ));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Each by a process of its own, as a person would do it, so that its journal, its signals and its words are those of
/// any restore.
fn put_back(app: &App, ways: &[WayBack]) {
    let mut left = ways.iter();
    for way in &mut left {
        if !way.is_in_place {
            continue;
        }
        output::to_stderr(format_args!("putting {} back", way.service));
        let ran = own_program(app).and_then(|mut program| {
            program.arg("restore").args(&way.arguments);
            // Our own stdout is the command's.
            program.stdout(io::stderr());
            signals::run_passing_on(&mut program)
        });
        let failed = match ran {
            Ok(status) if status.success() => continue,
            Ok(status) => format!("it ended with exit code {}", code_of(status)),
            Err(error) => error.to_string(),
        };
        output::to_stderr(format_args!(
            "error: {} was not put back: {failed}",
            way.service
        ));
        let not_yet: Vec<_> = [way].into_iter().chain(left).cloned().collect();
        tell(app, &not_yet);
        return;
    }
    let beside: Vec<_> = ways
        .iter()
        .filter(|way| !way.is_in_place)
        .cloned()
        .collect();
    if !beside.is_empty() {
        tell(app, &beside);
    }
}

fn own_program(app: &App) -> io::Result<Command> {
    let mut program = Command::new(env::current_exe()?);
    if let Some(config) = &app.global.config {
        program.arg("--config").arg(config);
    }
    if let Some(copy) = &app.global.vault {
        program.arg("--vault").arg(copy);
    }
    Ok(program)
}
