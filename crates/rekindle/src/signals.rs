//! Ctrl-C and SIGTERM.

use std::{
    io, process,
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rekindle_recovery::{extract::remove_temporary, wake_services, wal::stream::StopHandle};
use rekindle_vault::release_all_locks;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
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
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!(%error, "signals cannot be watched; an interrupt leaves a lock behind");
            return;
        }
    };
    let message = message.into();
    IS_WATCHED.store(true, Ordering::SeqCst);
    thread::spawn(move || {
        let mut signals = signals.forever();
        if let Some(signal) = signals.next() {
            IS_ENDING.store(true, Ordering::SeqCst);
            output::to_stderr(message);
            thread::spawn(move || end(signal));
        }
        if let Some(signal) = signals.next() {
            process::exit(128 + signal);
        }
    });
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
