//! What was laid to rest goes on: after a drop, a panic, and a process that was killed.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up should fail"
)]

mod common;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::{Processes, until};
use rekindle_runtimes::{
    RunState, Runtime,
    owed::{Owed, Rest},
};

const LIMIT: Duration = Duration::from_secs(5);

const SERVICES: &str = "  a: {stateless: true, run: {command: [sleep, '61'], log: HOME/a.log}}
  b: {stateless: true, run: {command: [sleep, '62'], log: HOME/b.log}}
";

#[test]
fn supervisor() {
    common::be_supervisor();
}

fn shared(world: &Processes) -> Arc<dyn Runtime> {
    Arc::new(world.again())
}

fn run(world: &Processes, service: &str) -> RunState {
    world.runtime.state(service).unwrap().run
}

fn notes(world: &Processes) -> usize {
    fs::read_dir(world.path("state/owed")).unwrap().count()
}

fn started() -> (Processes, Arc<dyn Runtime>, Owed) {
    let world = Processes::new(SERVICES);
    for name in ["a", "b"] {
        world.runtime.start(name).unwrap();
    }
    let runtime = shared(&world);
    let owed = Owed::open(&world.path("state"), "s").unwrap();
    (world, runtime, owed)
}

#[test]
fn a_guard_lets_go_on_what_it_laid_to_rest_also_by_a_panic() {
    let (world, runtime, owed) = started();
    let stopped = owed.stop(&runtime, "a", LIMIT).unwrap();
    let paused = owed.pause(&runtime, "b").unwrap();
    assert!(stopped.is_resting() && paused.is_resting());
    assert_eq!(run(&world, "a"), RunState::Stopped);
    until("it is paused", || run(&world, "b") == RunState::Paused);
    assert_eq!(notes(&world), 2);
    // Debts of one who lives are not paid by others.
    assert!(owed.settle(runtime.as_ref()).unwrap().is_empty());
    assert_eq!(run(&world, "a"), RunState::Stopped);
    stopped.wake().unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _paused = paused;
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_eq!(
        (run(&world, "a"), run(&world, "b")),
        (RunState::Running, RunState::Running)
    );
    assert_eq!(notes(&world), 0);
}

#[test]
fn what_did_not_run_is_not_started() {
    let (world, runtime, owed) = started();
    world.runtime.stop("a", LIMIT).unwrap();
    let guard = owed.stop(&runtime, "a", LIMIT).unwrap();
    assert!(!guard.is_resting() && notes(&world) == 0);
    drop(guard);
    assert_eq!(run(&world, "a"), RunState::Stopped);
}

/// The other process of the test below: lays both to rest, says so, and waits to be killed.
#[test]
fn the_one_who_is_killed() {
    let Some(home) = env::var_os("RK_TEST_OWED") else {
        return;
    };
    let home = std::path::PathBuf::from(home);
    let services = SERVICES.replace("HOME", &home.display().to_string());
    let text = format!("stack: s\nvault: {{at: v, password_env: P}}\nservices:\n{services}");
    let stack = rekindle_stack::Stack::parse(&text, &home.join("rekindle.yaml"))
        .unwrap()
        .stack;
    let runtime = rekindle_runtimes::process::ProcessRuntime::new(
        &stack,
        home.join("run"),
        common::supervisor(),
    );
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    let owed = Owed::open(&home.join("state"), "s").unwrap();
    let _stopped = owed.stop(&runtime, "a", LIMIT).unwrap();
    let _paused = owed.pause(&runtime, "b").unwrap();
    common::write(&home.join("rests"), "");
    std::thread::sleep(Duration::from_secs(61));
}

#[test]
fn what_a_killed_process_owed_is_paid_at_the_next_run_and_once() {
    let (world, runtime, owed) = started();
    let mut other = Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_one_who_is_killed", "--nocapture"])
        .env("RK_TEST_OWED", world.home.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("both rest", || world.path("rests").exists());
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(run(&world, "a"), RunState::Stopped);
    until("it is paused", || run(&world, "b") == RunState::Paused);
    // A debt of another stack is not ours.
    let others = Owed::open(&world.path("state"), "other").unwrap();
    assert!(others.settle(runtime.as_ref()).unwrap().is_empty());
    let settled = owed.settle(runtime.as_ref()).unwrap();
    let paid: Vec<_> = settled
        .iter()
        .map(|debt| (debt.service.as_str(), debt.rest, debt.was_needed))
        .collect();
    assert_eq!(
        paid,
        [("b", Rest::Paused, true), ("a", Rest::Stopped, true)]
    );
    assert_eq!(
        (run(&world, "a"), run(&world, "b")),
        (RunState::Running, RunState::Running)
    );
    assert!(owed.settle(runtime.as_ref()).unwrap().is_empty());
}

#[test]
fn a_note_that_cannot_be_read_is_an_error_and_stays() {
    let (world, runtime, owed) = started();
    common::write(&world.path("state/owed/x.json"), "{");
    let error = owed.settle(runtime.as_ref()).unwrap_err();
    assert!(format!("{:?}", error).contains("x.json"), "{error:?}");
    assert_eq!(notes(&world), 1);
}
