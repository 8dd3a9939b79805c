//! Ctrl-C and SIGTERM.

use std::{
    io::{self, IsTerminal as _},
    process::{self, Child, Command, ExitStatus},
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rekindle_recovery::{extract::remove_temporary, wake_services, wal::stream::StopHandle};
use rekindle_vault::release_all_locks;
use rustix::{
    io::retry_on_intr,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::Signals,
};

use crate::output;

/// Whether a signal is ending the program.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Does not return if a signal is ending the program: what the work says of what was taken from it
/// is no news, and the exit code is the signal's.
pub fn give_way() {
    while IS_ENDING.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// Whether [`watch`] or [`stop_gently`] decides what a signal does.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// From now on, SIGINT and SIGTERM end the program with 130 and 143, after `message` and after our
/// locks on all vaults, scratch servers and their directories are gone and what was laid to rest goes on; a second signal does not
/// wait for that. What was half done is safe by the vault's own order of writing, so nothing is
/// unwound.
pub fn watch(message: impl Into<String>) {
    say_instead(message);
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!(%error, "signals cannot be watched; an interrupt leaves a lock behind");
            return;
        }
    };
    IS_WATCHED.store(true, Ordering::SeqCst);
    thread::spawn(move || {
        // What is passed on is the command's affair, and not ours.
        let mut signals = signals.forever().filter(|signal| is_ours(*signal));
        if let Some(signal) = signals.next() {
            output::to_stderr(said().as_str());
            thread::spawn(move || end(signal));
        }
        if let Some(signal) = signals.next() {
            process::exit(128 + signal);
        }
    });
}

/// What is said when a signal ends the program.
static MESSAGE: Mutex<String> = Mutex::new(String::new());

fn said() -> MutexGuard<'static, String> {
    MESSAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an interrupt means from now on, where the work has come further than it had when it was [watched](watch).
pub fn say_instead(text: impl Into<String>) {
    *said() = text.into();
}

/// The command that signals are for.
static COMMAND: Mutex<Option<Pid>> = Mutex::new(None);

fn command() -> MutexGuard<'static, Option<Pid>> {
    COMMAND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a signal ends this program, because no command runs that it is passed on to. From then on none begins.
fn is_ours(signal: i32) -> bool {
    let command = command();
    match *command {
        Some(pid) => pass_on(signal, pid),
        None => IS_ENDING.store(true, Ordering::SeqCst),
    }
    command.is_none()
}

/// Passes a signal on to the command that runs. What is typed at a terminal reaches the command by itself, and would reach
/// it twice.
fn pass_on(signal: i32, to: Pid) {
    let is_typed = matches!(signal, SIGINT | SIGQUIT) && io::stdin().is_terminal();
    if let Some(signal) = Signal::from_named_raw(signal).filter(|_| !is_typed)
        && let Err(error) = kill_process(to, signal)
    {
        tracing::debug!(%error, "the command did not get the signal");
    }
}

/// Runs a command, and passes on to it what this process is sent meanwhile: it ends by its own decision, and what comes
/// after it is done.
///
/// # Errors
/// As the system refused.
pub fn run_passing_on(program: &mut Command) -> io::Result<ExitStatus> {
    // SIGINT and SIGTERM are watched by [`watch`]. Before the command begins: what comes while it does is for it, too.
    let mut others = Signals::new([SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2])?;
    let handle = others.handle();
    let mut child = begin(program)?;
    let pid = Pid::from_child(&child);
    let passing = thread::spawn(move || {
        for signal in others.forever() {
            if let Some(pid) = *command() {
                pass_on(signal, pid);
            }
        }
    });
    // Not reaped yet, so that its number is nobody else's while signals still go there.
    let ended = retry_on_intr(|| {
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )
    });
    *command() = None;
    handle.close();
    drop(passing.join());
    ended?;
    child.wait()
}

/// Starts a command to which signals are passed on from the first moment: who looks for it meanwhile waits. Does not return
/// if a signal is ending the program.
fn begin(program: &mut Command) -> io::Result<Child> {
    loop {
        let mut command = command();
        if !IS_ENDING.load(Ordering::SeqCst) {
            let child = program.spawn()?;
            *command = Some(Pid::from_child(&child));
            return Ok(child);
        }
        drop(command);
        give_way();
    }
}

/// From now on, the first SIGINT or SIGTERM asks a stream to end in good order; the second ends the program with 130 or
/// 143. What was received is in the spool either way.
pub fn stop_gently(stop: StopHandle) {
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!(%error, "signals cannot be watched; an interrupt leaves the end in the spool");
            return;
        }
    };
    IS_WATCHED.store(true, Ordering::SeqCst);
    thread::spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            stop.stop();
        }
        if let Some(signal) = signals.next() {
            process::exit(128 + signal);
        }
    });
}

/// What puts the terminal back as it was, while something is typed that is not shown.
static TERMINAL: Mutex<Option<Box<dyn Fn() + Send>>> = Mutex::new(None);
static WATCHES_TERMINAL: Once = Once::new();

/// Calls `restore` if a signal ends the program before [`end_typing`]: a shell whose terminal shows
/// nothing that is typed looks broken.
///
/// # Errors
/// As signals cannot be watched; then nothing should be hidden.
pub fn begin_typing(restore: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut failed = Ok(());
    WATCHES_TERMINAL.call_once(|| failed = watch_terminal());
    failed?;
    *terminal() = Some(Box::new(restore));
    Ok(())
}

/// Puts the terminal back.
pub fn end_typing() {
    if let Some(restore) = terminal().take() {
        restore();
    }
}

fn terminal() -> MutexGuard<'static, Option<Box<dyn Fn() + Send>>> {
    TERMINAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the program as the signal would have, unless somebody else watches for it.
fn watch_terminal() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        for signal in signals.forever() {
            end_typing();
            if signal == SIGHUP || !IS_WATCHED.load(Ordering::SeqCst) {
                output::to_stderr("");
                process::exit(128 + signal);
            }
        }
    });
    Ok(())
}

fn end(signal: i32) {
    // A prompt may be open.
    end_typing();
    for problem in wake_services() {
        output::to_stderr(format!("warning: {problem}"));
    }
    if let Err(error) = release_all_locks() {
        tracing::warn!(%error, "our lock stays behind; `rekindle vault unlock` removes it");
    }
    remove_temporary();
    process::exit(128 + signal);
}
