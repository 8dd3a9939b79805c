//! Services that are ordinary processes, with real supervisors.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up should fail"
)]

mod common;

use std::{fs, time::Duration};

use common::{Processes, until, write};
use rekindle_runtimes::{
    ExecCommand, ExecStreams, Health, Identity, LogRequest, RunState, Runtime, SandboxRequest,
};
use rekindle_testing::skip;
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn supervisor() {
    common::be_supervisor();
}

fn pid_of(runtime: &dyn Runtime, service: &str) -> i32 {
    let unit = runtime.state(service).unwrap().unit;
    unit.strip_prefix("process ").unwrap().parse().unwrap()
}

fn alive(pid: i32) -> bool {
    Identity::of(pid)
        .unwrap()
        .is_some_and(|identity| identity.is_alive())
}

fn supervisor_of(world: &Processes, service: &str) -> Identity {
    let text = world.text(&format!("run/s/{service}/state.json"));
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(record["supervisor"].clone()).unwrap()
}

#[test]
fn a_service_lives_on_and_another_command_stops_it_with_all_it_started() {
    let world = Processes::new(
        "  a: {stateless: true, run: {command: 'echo up; sleep 61 & echo $! > child; sleep 62', log: HOME/a.log, pid_file: HOME/a.pid}}\n",
    );
    let runtime = &world.runtime;
    assert_eq!(runtime.state("a").unwrap().run, RunState::Created);
    runtime.start("a").unwrap();
    runtime.start("a").unwrap();
    let state = runtime.state("a").unwrap();
    assert_eq!(
        (state.run, state.health, state.restarts),
        (RunState::Running, Health::Unchecked, 0)
    );
    let pid = pid_of(runtime, "a");
    assert_eq!(world.text("a.pid").trim(), pid.to_string());
    until("its child", || world.text("child").ends_with('\n'));
    let child: i32 = world.text("child").trim().parse().unwrap();
    assert!(alive(pid) && alive(child));
    let other = world.again();
    other.stop("a", LIMIT).unwrap();
    other.stop("a", LIMIT).unwrap();
    assert!(!alive(pid) && !alive(child));
    let state = other.state("a").unwrap();
    assert_eq!((state.run, state.exit_code), (RunState::Stopped, Some(143)));
    assert!(!world.path("a.pid").exists());
    assert!(
        world.text("a.log").lines().any(|line| line == "up"),
        "{}",
        world.text("a.log")
    );
}

#[test]
fn one_that_does_not_hear_is_killed_after_the_limit_and_that_is_told() {
    let world = Processes::new(
        "  a: {stateless: true, run: {command: 'trap \"\" TERM; echo deaf > ready; while :; do sleep 0.1; done', log: HOME/a.log}}\n",
    );
    world.runtime.start("a").unwrap();
    until("it is deaf", || world.path("ready").exists());
    world.runtime.stop("a", Duration::from_millis(200)).unwrap();
    let state = world.runtime.state("a").unwrap();
    assert_eq!((state.run, state.exit_code), (RunState::Stopped, Some(137)));
    assert!(state.why.unwrap().contains("SIGTERM did not end it"));
}

#[test]
fn what_ended_is_started_again_or_not_as_the_policy_says() {
    let world = Processes::new(
        "  no: {stateless: true, run: {command: 'exit 3', restart: no, log: HOME/1.log}}
  fine: {stateless: true, run: {command: 'exit 0', log: HOME/2.log}}
  failure: {stateless: true, run: {command: 'exit 4', log: HOME/3.log}}
  always: {stateless: true, run: {command: 'exit 0', restart: always, log: HOME/4.log}}
  missing: {stateless: true, run: {command: [/nonexistent/program], restart: always, log: HOME/5.log}}
",
    );
    let runtime = &world.runtime;
    for name in ["no", "fine", "failure", "always"] {
        runtime.start(name).unwrap();
    }
    let error = runtime.start("missing").unwrap_err().to_string();
    assert!(error.contains("/nonexistent/program"), "{error}");
    until("it failed", || {
        runtime.state("no").unwrap().run == RunState::Failed
    });
    until("it ended", || {
        runtime.state("fine").unwrap().run == RunState::Stopped
    });
    let failed = runtime.state("no").unwrap();
    assert_eq!((failed.exit_code, failed.restarts), (Some(3), 0));
    assert_eq!(failed.why.unwrap(), "ended with exit code 3");
    assert_eq!(runtime.state("fine").unwrap().exit_code, Some(0));
    for name in ["failure", "always"] {
        until("it was started again", || {
            runtime.state(name).unwrap().restarts >= 2
        });
        runtime.stop(name, LIMIT).unwrap();
        assert_eq!(runtime.state(name).unwrap().run, RunState::Stopped);
    }
    assert_eq!(runtime.state("missing").unwrap().run, RunState::Failed);
}

#[test]
fn a_killed_service_comes_back_as_another_process() {
    let world =
        Processes::new("  a: {stateless: true, run: {command: [sleep, '61'], log: HOME/a.log}}\n");
    let runtime = &world.runtime;
    runtime.start("a").unwrap();
    let first = pid_of(runtime, "a");
    Identity::of(first)
        .unwrap()
        .unwrap()
        .signal(Signal::KILL)
        .unwrap();
    until("it is back", || {
        let state = runtime.state("a").unwrap();
        state.run == RunState::Running && state.restarts == 1
    });
    assert_ne!(pid_of(runtime, "a"), first);
    let why = runtime.state("a").unwrap().why.unwrap();
    assert!(why.contains("signal 9 (SIGKILL)"), "{why}");
}

#[test]
fn a_service_whose_supervisor_was_killed_lives_and_is_stopped_and_started() {
    let world =
        Processes::new("  a: {stateless: true, run: {command: [sleep, '61'], log: HOME/a.log}}\n");
    let runtime = &world.runtime;
    runtime.start("a").unwrap();
    let pid = pid_of(runtime, "a");
    let supervisor = supervisor_of(&world, "a");
    supervisor.signal(Signal::KILL).unwrap();
    until("the supervisor is gone", || !supervisor.is_alive());
    // Its lock is free once the last of its threads is gone.
    until("that is told", || {
        let state = runtime.state("a").unwrap();
        let told = state
            .why
            .is_some_and(|why| why.contains("supervisor was killed"));
        state.run == RunState::Running && told
    });
    runtime.stop("a", LIMIT).unwrap();
    assert!(!alive(pid));
    runtime.start("a").unwrap();
    assert_ne!(pid_of(runtime, "a"), pid);
}

#[test]
fn a_recycled_number_is_neither_taken_for_the_service_nor_killed() {
    let world =
        Processes::new("  a: {stateless: true, run: {command: [sleep, '61'], log: HOME/a.log}}\n");
    let runtime = &world.runtime;
    runtime.start("a").unwrap();
    let supervisor = supervisor_of(&world, "a");
    supervisor.signal(Signal::KILL).unwrap();
    until("the supervisor is gone", || !supervisor.is_alive());
    let pid = pid_of(runtime, "a");
    let service = Identity::of(pid).unwrap().unwrap();
    service.signal(Signal::KILL).unwrap();
    // The number now belongs to a stranger, who is younger: no number comes back within one tick of the kernel's clock,
    // as a stranger of this test could.
    std::thread::sleep(Duration::from_millis(50));
    let mut stranger = std::process::Command::new("sleep")
        .arg("61")
        .spawn()
        .unwrap();
    let stranger_id = i32::try_from(stranger.id()).unwrap();
    let young = Identity::of(stranger_id).unwrap().unwrap();
    assert!(young.started > service.started);
    let file = world.path("run/s/a/state.json");
    let text = fs::read_to_string(&file).unwrap();
    write(
        &file,
        &text.replace(
            &format!("\"pid\": {pid}"),
            &format!("\"pid\": {}", stranger.id()),
        ),
    );
    until("it failed", || {
        runtime.state("a").unwrap().run == RunState::Failed
    });
    runtime.stop("a", LIMIT).unwrap();
    assert!(
        stranger.try_wait().unwrap().is_none(),
        "the stranger was ended"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_paused_service_is_frozen_with_all_it_started_until_it_goes_on_or_is_stopped() {
    let world = Processes::new(
        "  a: {stateless: true, run: {command: 'while :; do echo x >> beats; sleep 0.02; done', log: HOME/a.log}}\n",
    );
    let runtime = &world.runtime;
    runtime.start("a").unwrap();
    until("it beats", || world.text("beats").len() > 4);
    runtime.pause("a").unwrap();
    until("it is paused", || {
        runtime.state("a").unwrap().run == RunState::Paused
    });
    let beats = world.text("beats").len();
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(world.text("beats").len(), beats);
    runtime.resume("a").unwrap();
    until("it beats again", || world.text("beats").len() > beats);
    runtime.pause("a").unwrap();
    runtime.stop("a", LIMIT).unwrap();
    assert_eq!(runtime.state("a").unwrap().run, RunState::Stopped);
    assert!(runtime.pause("a").is_err());
}

#[test]
fn the_environment_is_the_services_and_none_of_ours() {
    let world = Processes::new(
        "  a: {stateless: true, run: {command: 'env > seen; pwd >> seen; sleep 61', directory: HOME/dir, env: {A: inside}, env_file: HOME/e, log: HOME/a.log}}\n",
    );
    fs::create_dir(world.path("dir")).unwrap();
    write(&world.path("e"), "A=file\nB=file\n");
    world.runtime.start("a").unwrap();
    until("it told", || {
        world
            .text("dir/seen")
            .contains(&world.path("dir").display().to_string())
    });
    let seen = world.text("dir/seen");
    let has = |line: &str| seen.lines().any(|seen| seen == line);
    assert!(has("A=inside") && has("B=file"), "{seen}");
    assert!(
        !seen.contains("CARGO") && !seen.contains("RK_TEST"),
        "{seen}"
    );
    let mut out = Vec::new();
    let command = ExecCommand {
        argv: ["/bin/sh", "-c", "echo $A $B $C; pwd"]
            .map(str::to_owned)
            .to_vec(),
        env: vec![("C".into(), "more".into())],
        ..ExecCommand::default()
    };
    let streams = ExecStreams {
        stdin: None,
        stdout: &mut out,
        stderr: &mut Vec::new(),
    };
    assert_eq!(
        world
            .runtime
            .exec("a", &command, streams)
            .unwrap()
            .exit_code,
        0
    );
    let expected = format!("inside file more\n{}\n", world.path("dir").display());
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_service_runs_as_its_user() {
    if !rustix::process::geteuid().is_root() {
        skip::record("run as another user: that needs root");
        return;
    }
    let world = Processes::new(
        "  a: {stateless: true, run: {command: 'id -un; id -gn; sleep 61', user: nobody, directory: /, log: HOME/a.log}}
  b: {stateless: true, run: {command: 'true', user: nobody-has-this-name, log: HOME/b.log}}\n",
    );
    world.runtime.start("a").unwrap();
    until("it told", || {
        world.text("a.log").contains("\nnobody\nnogroup\n")
    });
    let error = world.runtime.start("b").unwrap_err().to_string();
    assert!(error.contains("no user `nobody-has-this-name`"), "{error}");
}

#[test]
fn logs_are_followed_until_the_service_ends() {
    let world = Processes::new(
        "  a: {stateless: true, run: {command: 'for n in 1 2 3 4 5; do echo line $n; sleep 0.05; done', restart: no, log: HOME/a.log}}\n",
    );
    world.runtime.start("a").unwrap();
    let mut out = Vec::new();
    let request = LogRequest {
        follow: true,
        ..LogRequest::default()
    };
    world.runtime.logs("a", &request, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    // The supervisor's own lines may stand between them.
    let its_own = text
        .lines()
        .filter(|line| !line.starts_with("--- rekindle"));
    let its_own: Vec<&str> = its_own.collect();
    assert_eq!(
        its_own,
        ["line 1", "line 2", "line 3", "line 4", "line 5"],
        "{text}"
    );
    let mut out = Vec::new();
    let request = LogRequest {
        tail: Some(2),
        ..LogRequest::default()
    };
    world.runtime.logs("a", &request, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.starts_with("line 5\n") && text.ends_with("ended with exit code 0\n"),
        "{text}"
    );
}

#[test]
fn what_something_else_runs_is_unknown_and_left_alone() {
    let world = Processes::new("  a: {stateless: true}\n");
    let state = world.runtime.state("a").unwrap();
    assert_eq!(
        (state.run, state.health),
        (RunState::Unknown, Health::Unchecked)
    );
    for refused in [world.runtime.start("a"), world.runtime.stop("a", LIMIT)] {
        let error = refused.unwrap_err();
        assert!(error.hint().unwrap().contains("run:"), "{error}");
    }
    // Its name may be that of another machine.
    assert_eq!(world.runtime.address("a", 80).unwrap(), None);
    assert_eq!(world.runtime.state("x").unwrap().run, RunState::Absent);
    assert!(
        world
            .runtime
            .start("x")
            .unwrap_err()
            .to_string()
            .contains("no service `x`")
    );
}

#[test]
fn two_commands_at_once_start_one_process() {
    let world = Processes::new(
        "  a: {stateless: true, run: {command: 'echo born >> births; sleep 61', log: HOME/a.log}}\n",
    );
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| world.again().start("a").unwrap());
        }
    });
    until("it was born", || world.text("births").contains("born"));
    assert_eq!(world.text("births"), "born\n");
}

#[test]
fn a_sandbox_has_no_network_and_leaves_nothing_behind() {
    if !rustix::process::geteuid().is_root() {
        skip::record("a sandbox of a process: that needs root");
        return;
    }
    let world = Processes::new(
        "  a: {stateless: true, run: {command: 'ls /sys/class/net; cat /proc/net/route | wc -l; pwd; cat data/file; sleep 61', log: HOME/a.log}}\n",
    );
    fs::create_dir_all(world.path("other")).unwrap();
    fs::create_dir_all(world.path("data")).unwrap();
    write(&world.path("other/file"), "of the sandbox\n");
    write(&world.path("data/file"), "live\n");
    let request = SandboxRequest {
        command: Some(
            [
                "/bin/sh",
                "-c",
                "cat $DATA/file; cat /proc/net/dev; sleep 61",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        env: vec![("DATA".into(), world.path("data").display().to_string())],
        mounts: vec![(world.path("other"), world.path("data"))],
    };
    let mut sandbox = match world.runtime.sandbox("a", &request) {
        Ok(sandbox) => sandbox,
        Err(error) if error.to_string().contains("unshare") => {
            skip::record(&format!("a sandbox of a process: {error}"));
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(sandbox.state().unwrap().run, RunState::Created);
    sandbox.start().unwrap();
    let text = || {
        let mut out = Vec::new();
        sandbox.logs(&LogRequest::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    until("it told", || text().contains("lo:"));
    assert!(
        text().contains("of the sandbox") && !text().contains("eth0"),
        "{}",
        text()
    );
    let mut out = Vec::new();
    let command = ExecCommand {
        argv: ["/bin/sh", "-c", "pwd; cat $DATA/file; exit 9"]
            .map(str::to_owned)
            .to_vec(),
        ..ExecCommand::default()
    };
    let streams = ExecStreams {
        stdin: None,
        stdout: &mut out,
        stderr: &mut Vec::new(),
    };
    assert_eq!(sandbox.exec(&command, streams).unwrap().exit_code, 9);
    let told = String::from_utf8(out).unwrap();
    let (home, rest) = told.split_once('\n').unwrap();
    assert!(
        home.contains("rekindle-sandbox-") && rest == "of the sandbox\n",
        "{told}"
    );
    let state = sandbox.state().unwrap();
    let pid: i32 = state
        .unit
        .strip_prefix("process ")
        .unwrap()
        .parse()
        .unwrap();
    assert!(alive(pid));
    drop(sandbox);
    assert!(!alive(pid) && !std::path::Path::new(home).exists());
    assert_eq!(world.text("data/file"), "live\n");
}
