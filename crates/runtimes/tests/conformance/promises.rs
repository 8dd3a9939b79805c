//! The promises.

use std::{path::Path, time::Duration};

use rekindle_runtimes::{
    ExecCommand, ExecStreams, LogRequest, RunState, Runtime, RuntimeError, Sandbox, SandboxRequest,
    order::{Event, Limits, Outcome, Plan, bring_up, take_down},
};

use rekindle_testing::skip;

use crate::{
    World,
    common::{until, write},
};

const LIMIT: Duration = Duration::from_secs(5);

fn run(world: &dyn World, service: &str) -> RunState {
    world.runtime().state(service).unwrap().run
}

fn plan(world: &dyn World) -> Plan {
    Plan::of(world.stack(), &world.runtime().list().unwrap()).unwrap()
}

fn logged(runtime: &dyn Runtime, service: &str, tail: Option<u64>) -> String {
    let mut out = Vec::new();
    let request = LogRequest {
        tail,
        ..LogRequest::default()
    };
    runtime.logs(service, &request, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn sh(line: &str) -> ExecCommand {
    ExecCommand {
        argv: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        ..ExecCommand::default()
    }
}

fn told(runtime: &dyn Runtime, service: &str, command: &ExecCommand) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let streams = ExecStreams {
        stdin: None,
        stdout: &mut out,
        stderr: &mut err,
    };
    runtime.exec(service, command, streams).unwrap();
    String::from_utf8(out).unwrap()
}

pub fn start_stop_and_restart_may_be_asked_for_twice(world: &dyn World) {
    let runtime = world.runtime();
    runtime.stop("web", LIMIT).unwrap();
    for _ in 0..2 {
        runtime.start("web").unwrap();
        assert_eq!(run(world, "web"), RunState::Running);
    }
    for _ in 0..2 {
        runtime.restart("web", LIMIT).unwrap();
        assert_eq!(run(world, "web"), RunState::Running);
    }
    for _ in 0..2 {
        runtime.stop("web", LIMIT).unwrap();
        assert_eq!(run(world, "web"), RunState::Stopped);
    }
    runtime.restart("web", LIMIT).unwrap();
    assert_eq!(run(world, "web"), RunState::Running);
}

pub fn a_list_names_every_service_with_its_state_and_why(world: &dyn World) {
    let runtime = world.runtime();
    runtime.start("broken").unwrap();
    runtime.start("app").unwrap();
    until("it failed", || run(world, "broken") == RunState::Failed);
    let list = runtime.list().unwrap();
    let mut names: Vec<_> = list.iter().map(|state| state.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["app", "broken", "deaf", "loyal", "store", "web"]);
    let find = |name: &str| list.iter().find(|state| state.name == name).unwrap();
    assert_eq!(find("app").run, RunState::Running);
    assert!(find("app").since.is_some() && !find("app").unit.is_empty());
    assert!(matches!(
        find("deaf").run,
        RunState::Created | RunState::Stopped
    ));
    assert!(find("broken").why.is_some());
}

pub fn stop_kills_after_its_limit(world: &dyn World) {
    let runtime = world.runtime();
    runtime.start("deaf").unwrap();
    until("it is deaf", || {
        logged(runtime, "deaf", None).contains("deaf\n")
    });
    runtime.stop("deaf", Duration::from_secs(1)).unwrap();
    assert!(matches!(
        run(world, "deaf"),
        RunState::Stopped | RunState::Failed
    ));
}

pub fn a_failed_service_shows_how_it_ended(world: &dyn World) {
    world.runtime().start("broken").unwrap();
    until("it failed", || run(world, "broken") == RunState::Failed);
    let state = world.runtime().state("broken").unwrap();
    assert_eq!(state.exit_code, Some(3));
    assert!(state.why.unwrap().contains('3'));
}

pub fn a_killed_service_is_started_again_or_shown_as_failed_as_its_policy_says(world: &dyn World) {
    let runtime = world.runtime();
    runtime.start("loyal").unwrap();
    runtime.start("store").unwrap();
    world.kill("loyal");
    world.kill("store");
    until("it is shown as failed", || {
        run(world, "store") == RunState::Failed
    });
    until("it is started again", || {
        let state = runtime.state("loyal").unwrap();
        state.run == RunState::Running && state.restarts == 1
    });
}

pub fn a_paused_service_is_shown_and_goes_on(world: &dyn World) {
    let runtime = world.runtime();
    assert!(runtime.pause("app").is_err(), "it does not run");
    runtime.start("app").unwrap();
    runtime.pause("app").unwrap();
    until("it is paused", || run(world, "app") == RunState::Paused);
    runtime.resume("app").unwrap();
    until("it goes on", || run(world, "app") == RunState::Running);
}

pub fn logs_have_what_was_said_and_end_where_they_should(world: &dyn World) {
    let runtime = world.runtime();
    runtime.start("broken").unwrap();
    // Ends by itself, since the service does.
    let mut out = Vec::new();
    let request = LogRequest {
        follow: true,
        ..LogRequest::default()
    };
    runtime.logs("broken", &request, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("no luck\n"), "{text}");
    assert_eq!(logged(runtime, "broken", Some(1)).lines().count(), 1);
    assert_eq!(logged(runtime, "broken", Some(0)), "");
}

pub fn exec_passes_every_byte_both_ways_and_the_exit_code(world: &dyn World) {
    world.runtime().start("web").unwrap();
    let bytes: Vec<u8> = (0..2_000_003u32).map(|n| (n * 31 % 257) as u8).collect();
    let (mut source, mut out, mut err) = (bytes.as_slice(), Vec::new(), Vec::new());
    let streams = ExecStreams {
        stdin: Some(&mut source),
        stdout: &mut out,
        stderr: &mut err,
    };
    let outcome = world
        .runtime()
        .exec("web", &sh("cat; echo bad >&2; exit 7"), streams)
        .unwrap();
    assert_eq!(outcome.exit_code, 7);
    assert!(out == bytes, "{} of {} bytes", out.len(), bytes.len());
    assert_eq!(err, b"bad\n");
}

pub fn exec_has_the_environment_of_the_service_and_its_own(world: &dyn World) {
    world.runtime().start("web").unwrap();
    let mut command = sh("echo $COLOUR $SIZE; pwd");
    command.env = vec![("SIZE".into(), "large".into())];
    command.directory = Some("/tmp".into());
    assert_eq!(told(world.runtime(), "web", &command), "blue large\n/tmp\n");
}

pub fn a_command_that_takes_too_long_is_ended(world: &dyn World) {
    world.runtime().start("web").unwrap();
    let mut command = sh("sleep 61");
    command.limit = Some(Duration::from_millis(300));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let streams = ExecStreams {
        stdin: None,
        stdout: &mut out,
        stderr: &mut err,
    };
    let error = world.runtime().exec("web", &command, streams).unwrap_err();
    assert!(
        matches!(error, RuntimeError::TookTooLong { .. }),
        "{error:?}"
    );
}

pub fn start_order_is_that_of_the_graph(world: &dyn World) {
    let plan = plan(world).only(&["web".into(), "app".into()]).unwrap();
    for _ in 0..3 {
        let done = std::sync::Mutex::new(Vec::new());
        let note = |event: Event<'_>| match event {
            Event::Starting(service) => done.lock().unwrap().push(format!("{service} starts")),
            Event::Done(report) => done
                .lock()
                .unwrap()
                .push(format!("{} done", report.service)),
            _ => {}
        };
        let report = bring_up(world.runtime(), &plan, &Limits::default(), &note);
        assert!(report.is_fine(), "{report:?}");
        let report = take_down(world.runtime(), &plan, LIMIT, &note);
        assert!(report.is_fine(), "{report:?}");
        let order = [
            "web starts",
            "web done",
            "app starts",
            "app done",
            "app done",
            "web done",
        ];
        assert_eq!(*done.lock().unwrap(), order);
    }
}

pub fn an_unhealthy_service_gates_those_that_need_it(world: &dyn World) {
    let plan = plan(world).with_needs(&["app".into()]).unwrap();
    let limits = Limits {
        start: Some(Duration::from_millis(1)),
    };
    let report = bring_up(world.runtime(), &plan, &limits, &|_| {});
    let outcomes: Vec<_> = report
        .services
        .iter()
        .map(|service| service.outcome.clone())
        .collect();
    assert!(
        matches!(&outcomes[0], Outcome::Failed { .. }),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1], Outcome::Blocked { by: "web".into() });
    assert!(matches!(
        run(world, "app"),
        RunState::Created | RunState::Stopped
    ));
}

pub fn storage_keeps_owner_and_mode_on_the_way_out_and_in(world: &dyn World) {
    let runtime = world.runtime();
    let storage = runtime.storage("store").unwrap();
    assert_eq!(storage.len(), 1, "{storage:?}");
    let mut access = runtime.open_storage("store", &storage[0]).unwrap();
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut access.read(Path::new("")).unwrap(), &mut tar).unwrap();
    access
        .rename(Path::new("kept"), Path::new("aside"))
        .unwrap();
    assert!(
        access
            .copy_file(Path::new("kept"), &mut Vec::new())
            .is_err()
    );
    access.write(Path::new(""), &mut tar.as_slice()).unwrap();
    let mut bytes = Vec::new();
    assert_eq!(access.copy_file(Path::new("kept"), &mut bytes).unwrap(), 11);
    assert_eq!(bytes, b"kept bytes\n");
    drop(access);
    runtime.start("store").unwrap();
    let inside = storage[0].inside.display();
    let look = sh(&format!("stat -c '%u %g %a' {inside}/kept {inside}/aside"));
    let told = told(runtime, "store", &look);
    let (kept, aside) = told.trim().split_once('\n').unwrap();
    assert_eq!(kept, aside);
    assert!(kept.ends_with(" 640"), "{kept}");
    if rustix::process::geteuid().is_root() {
        assert_eq!(kept, "1234 1234 640");
    }
}

pub fn an_unknown_service_is_absent_and_cannot_be_started(world: &dyn World) {
    let runtime = world.runtime();
    assert_eq!(run(world, "nobody"), RunState::Absent);
    let error = runtime.start("nobody").unwrap_err();
    assert!(matches!(error, RuntimeError::NoService { .. }), "{error:?}");
}

/// What a sandbox's program says of where it is.
fn said(sandbox: &dyn Sandbox, script: &str, env: &[(&str, &str)]) -> (i64, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let streams = ExecStreams {
        stdin: None,
        stdout: &mut out,
        stderr: &mut err,
    };
    let mut command = sh(script);
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    command.env = env.iter().map(own).collect();
    let outcome = sandbox.exec(&command, streams).unwrap();
    (outcome.exit_code, String::from_utf8(out).unwrap())
}

pub fn a_sandbox_has_what_it_was_given_and_no_network_and_the_live_files_stay(world: &dyn World) {
    if !rustix::process::geteuid().is_root() {
        skip::record("sandboxes: these need root");
        return;
    }
    let runtime = world.runtime();
    let storage = runtime.storage("store").unwrap().remove(0);
    let given = tempfile::tempdir_in(world.shared()).unwrap();
    write(&given.path().join("given"), "from outside\n");
    let request = SandboxRequest {
        env: vec![("SIZE".into(), "large $x \"y\"".into())],
        mounts: vec![(given.path().into(), storage.inside.clone())],
        ..SandboxRequest::default()
    };
    let mut sandbox = runtime.sandbox("store", &request).unwrap();
    assert_eq!(sandbox.state().unwrap().run, RunState::Created);
    sandbox.start().unwrap();
    assert_eq!(sandbox.state().unwrap().run, RunState::Running);
    assert_ne!(run(world, "store"), RunState::Running, "it is no service");
    let inside = storage.inside.display();
    let look = format!("cat {inside}/*; echo mine > {inside}/new; echo $SIZE $COLOUR; exit 4");
    let expected = "from outside\nlarge $x \"y\" red $y\n";
    let found = said(sandbox.as_ref(), &look, &[("COLOUR", "red $y")]);
    assert_eq!(found, (4, expected.to_owned()));
    let new = std::fs::read_to_string(given.path().join("new")).unwrap();
    assert_eq!(new, "mine\n");
    let (_, ways) = said(sandbox.as_ref(), "grep -vc Iface /proc/net/route", &[]);
    assert_eq!(ways, "0\n", "a heading at most, and no way to anywhere");
    drop(sandbox);
    let mut access = runtime.open_storage("store", &storage).unwrap();
    assert!(access.copy_file(Path::new("new"), &mut Vec::new()).is_err());
    let mut kept = Vec::new();
    access.copy_file(Path::new("kept"), &mut kept).unwrap();
    assert_eq!(kept, b"kept bytes\n");
}

pub fn a_sandbox_shows_how_another_program_ended(world: &dyn World) {
    if !rustix::process::geteuid().is_root() {
        skip::record("sandboxes: these need root");
        return;
    }
    let runtime = world.runtime();
    let request = SandboxRequest {
        command: Some(sh("echo instead; exit 5").argv),
        ..SandboxRequest::default()
    };
    let mut sandbox = runtime.sandbox("web", &request).unwrap();
    sandbox.start().unwrap();
    until("it ended", || {
        sandbox.state().unwrap().run == RunState::Failed
    });
    assert_eq!(sandbox.state().unwrap().exit_code, Some(5));
    until("its log is there", || {
        let mut log = Vec::new();
        sandbox.logs(&LogRequest::default(), &mut log).unwrap();
        String::from_utf8(log).unwrap().contains("instead\n")
    });
}
