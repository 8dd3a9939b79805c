//! Ctrl-C leaves nothing behind: no lock in any vault, and the terminal as it was.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    io::{Read, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rekindle_testing::skip;
use rekindle_vault::{BackupOptions, Node, SnapshotDraft, TreePath};
use rustix::process::{Pid, Signal, kill_process};
use support::Home;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_interrupted_copy_run_leaves_its_lock_in_neither_vault() {
    let home = Home::with_vault();
    home.write(
        "rekindle.yaml",
        "stack: shop\nvault: { at: vault, password_file: vault-password, copies: [ \
         { name: offsite, at: offsite } ] }\n\
         services: { page: { stateless: true } }\n",
    );
    let stack = rekindle_stack::Stack::load(&home.join("rekindle.yaml")).unwrap();
    let vault = rekindle_recovery::open_vault(&stack.stack.vault).unwrap();
    let backup = vault.start_backup(BackupOptions::default()).unwrap();
    let path = TreePath::new("page/files/note").unwrap();
    let content = rekindle_testing::data::Random::new(1).bytes(96 << 20);
    backup.add_bytes(&path, Node::default(), &content).unwrap();
    backup.finish(SnapshotDraft::default()).unwrap();

    let locks =
        |vault: &str| fs::read_dir(home.join(vault).join("locks")).map_or(0, Iterator::count);
    let began = Instant::now();
    // On a fast machine it may be done before it is interrupted; then it is tried again.
    let code = loop {
        assert!(began.elapsed() < PATIENCE, "it was never interrupted");
        let _ = fs::remove_dir_all(home.join("offsite"));
        home.ok(&["copy", "create", "offsite"]);
        let mut run = home.command(&["copy", "run"]).spawn().unwrap();
        let pid = Pid::from_child(&run);
        let mut is_interrupted = false;
        while run.try_wait().unwrap().is_none() {
            // While it is looked at, it takes and gives back nothing.
            kill_process(pid, Signal::STOP).unwrap();
            if !is_interrupted && locks("vault") > 0 && locks("offsite") > 0 {
                is_interrupted = true;
                kill_process(pid, Signal::INT).unwrap();
            }
            kill_process(pid, Signal::CONT).unwrap();
            thread::sleep(Duration::from_millis(2));
        }
        match run.wait().unwrap().code() {
            Some(0) => {}
            code => break code,
        }
    };
    assert_eq!(code, Some(130));
    assert_eq!((locks("vault"), locks("offsite")), (0, 0));
}

#[test]
fn ctrl_c_at_a_password_prompt_leaves_the_terminal_as_it_was() {
    let home = Home::with_vault();
    let program = env!("CARGO_BIN_EXE_rekindle");
    let line = format!("trap : INT; {program} vault keys add; echo code=$?; stty -a; echo end");
    // From util-linux: runs something on a terminal of its own.
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .current_dir(home.path())
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut terminal = match command.spawn() {
        Ok(terminal) => terminal,
        Err(error) => return skip::record(&format!("`script` cannot be run: {error}")),
    };
    let mut keyboard = terminal.stdin.take().unwrap();
    let mut screen = terminal.stdout.take().unwrap();
    let mut shown = String::new();
    let mut until = |shown: &mut String, part: &str| {
        let mut piece = [0; 4096];
        while !shown.contains(part) {
            let read = screen.read(&mut piece).unwrap();
            assert!(read > 0, "it ended with: {shown}");
            shown.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    };
    until(&mut shown, "new password of the vault: ");
    keyboard.write_all(b"\x03").unwrap();
    until(&mut shown, "end\r\n");
    assert!(shown.contains("code=130"), "{shown}");
    assert!(
        shown.contains(" echo ") && !shown.contains("-echo "),
        "{shown}"
    );
    drop(keyboard);
    terminal.wait().unwrap();
}
