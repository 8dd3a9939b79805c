//! Ctrl-C and SIGTERM.

use std::{
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rekindle_recovery::{extract::remove_temporary, wal::stream::StopHandle};
use rekindle_vault::Vault;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
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

/// From now on, SIGINT and SIGTERM end the program with 130 and 143, after `message` and after our
/// locks on the vault, scratch servers and their directories are gone; a second signal does not
/// wait for that. What was half done is safe by the vault's own order of writing, so nothing is
/// unwound.
pub fn watch(vault: &Vault, message: impl Into<String>) {
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!(%error, "signals cannot be watched; an interrupt leaves a lock behind");
            return;
        }
    };
    let (vault, message) = (vault.clone(), message.into());
    thread::spawn(move || {
        let mut signals = signals.forever();
        if let Some(signal) = signals.next() {
            IS_ENDING.store(true, Ordering::SeqCst);
            output::to_stderr(message);
            thread::spawn(move || end(&vault, signal));
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

fn end(vault: &Vault, signal: i32) {
    if let Err(error) = vault.release_own_locks() {
        tracing::warn!(%error, "our lock stays behind; `rekindle vault unlock` removes it");
    }
    remove_temporary();
    process::exit(128 + signal);
}
