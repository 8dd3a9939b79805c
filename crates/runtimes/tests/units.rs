//! What is particular about units, on a systemd in a container. What every runtime promises is in `conformance/`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up should fail"
)]

mod common;
#[path = "units/sandbox.rs"]
mod sandbox;
#[path = "units/stranger.rs"]
mod stranger;

use std::{thread, time::Duration};

use common::{claims, until};
use rekindle_runtimes::{
    Condition, Dependency, Health, LogRequest, RunState, Runtime, RuntimeError,
    systemd::{Bus, Systemd},
};
use rekindle_stack::Stack;
use rekindle_testing::docker;

const LIMIT: Duration = Duration::from_secs(20);

/// As long as a test may take, and longer.
const STAYS: &str = "ExecStart=/bin/sleep 600";

fn runtime_of(bus: Bus, services: &[&str]) -> Systemd {
    let services: Vec<String> = services
        .iter()
        .map(|it| format!("  {it}: {{stateless: true}}\n"))
        .collect();
    let text = format!(
        "stack: s\nvault: {{at: v, password_env: P}}\nruntime: {{kind: systemd}}\nservices:\n{}",
        services.concat()
    );
    let loaded =
        Stack::parse(&text, "/x/rekindle.yaml".as_ref()).unwrap_or_else(|error| panic!("{error}"));
    Systemd::at(&loaded.stack, bus, vec!["/nowhere/journalctl".into()])
}

/// Units by name with what is in them, and a runtime that knows them as services.
fn with(machine: &docker::Systemd, units: &[(&str, &str)]) -> Systemd {
    for (name, text) in units {
        machine.unit(&format!("{name}.service"), text);
    }
    machine.reload();
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    runtime_of(Bus::At(machine.bus()), &names)
}

fn service(lines: &str) -> String {
    format!("[Service]\n{lines}\n")
}

fn run(runtime: &Systemd, service: &str) -> RunState {
    runtime.state(service).unwrap().run
}

fn a_masked_unit_is_shown_and_refused_with_the_way_out(machine: &docker::Systemd) {
    machine.run(&["systemctl", "mask", "--runtime", "mask-a.service"]);
    let runtime = runtime_of(Bus::At(machine.bus()), &["mask-a"]);
    let why = runtime.state("mask-a").unwrap().why.unwrap();
    assert!(why.contains("mask-a.service is masked"), "{why}");
    let error = runtime.start("mask-a").unwrap_err();
    assert!(
        error
            .hint()
            .unwrap()
            .contains("systemctl unmask mask-a.service"),
        "{error:?}"
    );
}

fn a_unit_that_is_not_there_is_absent_and_named(machine: &docker::Systemd) {
    let runtime = runtime_of(Bus::At(machine.bus()), &["nobody"]);
    assert_eq!(run(&runtime, "nobody"), RunState::Absent);
    for error in [
        runtime.start("nobody"),
        runtime.stop("nobody", LIMIT),
        runtime.pause("nobody"),
    ] {
        let error = error.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("there is no unit nobody.service"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("unit:"), "{error:?}");
    }
}

fn a_wrong_unit_says_what_is_wrong(machine: &docker::Systemd) {
    let runtime = with(machine, &[("wrong", "[Service]\nType=simple\n")]);
    let why = runtime.state("wrong").unwrap().why.unwrap();
    assert!(why.contains("systemd cannot use wrong.service"), "{why}");
    assert!(runtime.start("wrong").is_err());
}

fn stopping_a_unit_leaves_those_that_require_it_running(machine: &docker::Systemd) {
    let api = format!(
        "[Unit]\nRequires=req-db.service\nAfter=req-db.service\n{}",
        service(STAYS)
    );
    let runtime = with(machine, &[("req-db", &service(STAYS)), ("req-api", &api)]);
    runtime.start("req-api").unwrap();
    assert_eq!(
        run(&runtime, "req-db"),
        RunState::Running,
        "systemd starts what is required"
    );
    let need = Dependency {
        service: "req-db".into(),
        condition: Condition::Started,
    };
    assert_eq!(runtime.state("req-api").unwrap().depends_on, [need]);
    runtime.stop("req-db", LIMIT).unwrap();
    assert_eq!(run(&runtime, "req-db"), RunState::Stopped);
    assert_eq!(run(&runtime, "req-api"), RunState::Running);
    runtime.restart("req-db", LIMIT).unwrap();
    assert_eq!(run(&runtime, "req-db"), RunState::Running);
}

fn a_unit_is_not_stopped_while_another_one_is_bound_to_it(machine: &docker::Systemd) {
    let api = format!(
        "[Unit]\nBindsTo=bind-db.service\nAfter=bind-db.service\n{}",
        service(STAYS)
    );
    let runtime = with(machine, &[("bind-db", &service(STAYS)), ("bind-api", &api)]);
    runtime.start("bind-api").unwrap();
    let error = runtime.stop("bind-db", LIMIT).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("bind-api.service is bound to it"),
        "{error}"
    );
    assert_eq!(run(&runtime, "bind-db"), RunState::Running);
    runtime.stop("bind-api", LIMIT).unwrap();
    runtime.stop("bind-db", LIMIT).unwrap();
}

fn a_start_does_not_wait_for_readiness(machine: &docker::Systemd) {
    let never = "Type=notify\nTimeoutStartSec=infinity\nExecStart=/bin/sleep 600";
    let runtime = with(machine, &[("slow", &service(never))]);
    runtime.start("slow").unwrap();
    let state = runtime.state("slow").unwrap();
    assert_eq!(
        (state.run, state.health),
        (RunState::Running, Health::Starting)
    );
    runtime.stop("slow", LIMIT).unwrap();
    assert!(matches!(
        run(&runtime, "slow"),
        RunState::Stopped | RunState::Failed
    ));
}

fn a_start_that_fails_says_why(machine: &docker::Systemd) {
    let once = "Type=oneshot\nExecStart=/bin/sh -c 'exit 3'";
    let unit = |lines: &str, service: &str| format!("[Unit]\n{lines}\n[Service]\n{service}\n");
    let needs = unit("Requires=fails.service\nAfter=fails.service", STAYS);
    let skipped = unit("ConditionPathExists=/nowhere", STAYS);
    let units = [
        ("fails", &*service(once)),
        ("needs", &needs),
        ("skipped", &skipped),
    ];
    let runtime = with(machine, &units);
    for (service, words) in [
        ("fails", "ended with exit code 3"),
        ("needs", "requires could not be started"),
        ("skipped", "a condition of its unit is not met"),
    ] {
        // One that ends at once may be seen while it runs.
        match runtime.start(service) {
            Err(error) => {
                assert!(error.to_string().contains(words), "{error}");
                assert!(error.hint().unwrap().contains(service), "{error:?}");
            }
            Ok(()) => assert_eq!(service, "fails"),
        }
    }
    until("it failed", || run(&runtime, "fails") == RunState::Failed);
    let why = runtime.state("fails").unwrap().why.unwrap();
    assert_eq!(why, "ended with exit code 3");
}

fn a_unit_that_was_started_too_often_is_started_all_the_same(machine: &docker::Systemd) {
    let text = format!(
        "[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=1h\n{}",
        service(STAYS)
    );
    let runtime = with(machine, &[("often", &text)]);
    for _ in 0..3 {
        runtime.start("often").unwrap();
        runtime.stop("often", LIMIT).unwrap();
    }
}

fn a_paused_unit_can_be_stopped(machine: &docker::Systemd) {
    let runtime = with(machine, &[("frozen", &service(STAYS))]);
    runtime.start("frozen").unwrap();
    runtime.pause("frozen").unwrap();
    runtime.pause("frozen").unwrap();
    assert_eq!(run(&runtime, "frozen"), RunState::Paused);
    runtime.stop("frozen", LIMIT).unwrap();
    assert_eq!(run(&runtime, "frozen"), RunState::Stopped);
}

fn configuration_is_the_unit_with_its_drop_ins_and_variables(machine: &docker::Systemd) {
    let unit = machine.unit("conf.service", &service(STAYS));
    let drop_in = machine.unit(
        "conf.service.d/10-more.conf",
        "[Service]\nEnvironmentFile=-/nowhere/env\n",
    );
    machine.reload();
    let runtime = runtime_of(Bus::At(machine.bus()), &["conf"]);
    let expected = [unit, drop_in, "/nowhere/env".into()];
    assert_eq!(runtime.configuration("conf").unwrap(), expected);
}

fn a_unit_without_the_machines_network_has_no_address(machine: &docker::Systemd) {
    let apart = service(&format!("PrivateNetwork=yes\n{STAYS}"));
    let runtime = with(machine, &[("net", &service(STAYS)), ("apart", &apart)]);
    assert_eq!(
        runtime.address("net", 80).unwrap(),
        "127.0.0.1:80".parse().ok()
    );
    assert_eq!(runtime.address("apart", 80).unwrap(), None);
}

fn a_log_without_journalctl_is_a_clear_error(machine: &docker::Systemd) {
    let runtime = with(machine, &[("unread", &service(STAYS))]);
    let request = LogRequest::default();
    let error = runtime
        .logs("unread", &request, &mut Vec::new())
        .unwrap_err();
    assert!(
        error.hint().unwrap().contains("`journalctl` was not found"),
        "{error:?}"
    );
}

/// The last one: nothing runs afterwards.
fn a_bus_that_goes_away_while_a_stop_is_waited_for_is_an_error(machine: &docker::Systemd) {
    let deaf = "TimeoutStopSec=infinity\nExecStart=/bin/sh -c \"trap '' TERM; touch /tmp/deaf; while :; do sleep 0.1; done\"";
    let runtime = with(machine, &[("deaf", &service(deaf))]);
    runtime.start("deaf").unwrap();
    until("it is deaf", || {
        machine.run(&["ls", "/tmp"]).contains("deaf")
    });
    let stopped = thread::scope(|scope| {
        let stop = scope.spawn(|| runtime.stop("deaf", Duration::from_secs(600)));
        until("it is asked to end", || {
            let ask = ["systemctl", "show", "--property=SubState", "deaf"];
            machine.run(&ask).contains("stop-sigterm")
        });
        machine.cut_power();
        stop.join().unwrap()
    });
    let is_unreachable = |error: &RuntimeError| matches!(error, RuntimeError::Unreachable { .. });
    let error = stopped.unwrap_err();
    assert!(
        is_unreachable(&error) && error.hint().is_some(),
        "{error:?}"
    );
    let error = runtime.list().unwrap_err();
    assert!(is_unreachable(&error), "{error:?}");
}

#[test]
fn units_of_a_real_systemd() {
    let Some(machine) = docker::Systemd::start_or_skip() else {
        return;
    };
    macro_rules! named {
        ($($claim:path)+) => { [$((stringify!($claim), $claim as fn(&docker::Systemd)),)+] };
    }
    let all = named! {
        a_masked_unit_is_shown_and_refused_with_the_way_out
        a_unit_that_is_not_there_is_absent_and_named
        a_wrong_unit_says_what_is_wrong
        stopping_a_unit_leaves_those_that_require_it_running
        a_unit_is_not_stopped_while_another_one_is_bound_to_it
        a_start_does_not_wait_for_readiness
        a_start_that_fails_says_why
        a_unit_that_was_started_too_often_is_started_all_the_same
        a_paused_unit_can_be_stopped
        configuration_is_the_unit_with_its_drop_ins_and_variables
        a_unit_without_the_machines_network_has_no_address
        a_log_without_journalctl_is_a_clear_error
        sandbox::own_program_runs_as_its_user_on_directories_of_its_own
        sandbox::a_sandbox_has_a_network_of_its_own_and_sees_no_socket_of_a_live_service
        sandbox::a_command_that_takes_too_long_is_ended
        sandbox::what_cannot_be_held_is_refused_with_the_reason
        sandbox::what_a_killed_process_left_is_ended_by_the_next_and_what_a_living_one_has_is_not
        stranger::a_user_without_rights_may_look_and_is_told_what_is_missing
        a_bus_that_goes_away_while_a_stop_is_waited_for_is_an_error
    };
    let machine = &machine;
    claims(
        all.into_iter()
            .map(|(name, claim)| (name, move || claim(machine))),
    );
}

#[test]
fn a_machine_without_a_bus_is_a_clear_error() {
    let runtime = runtime_of(Bus::At("unix:path=/nowhere/bus".into()), &["web"]);
    let error = runtime.list().unwrap_err();
    assert!(
        matches!(error, RuntimeError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(
        error.hint().unwrap().contains("DBUS_SYSTEM_BUS_ADDRESS"),
        "{error:?}"
    );
}

#[test]
fn an_address_that_is_none_is_a_clear_error() {
    let runtime = runtime_of(Bus::At("nonsense".into()), &["web"]);
    assert!(matches!(
        runtime.list(),
        Err(RuntimeError::Unreachable { .. })
    ));
}
