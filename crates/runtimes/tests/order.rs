//! Real processes brought up and taken down in order.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up should fail"
)]

mod common;

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::Mutex,
    thread,
    time::Duration,
};

use common::{Processes, until};
use rekindle_runtimes::{
    Health, RunState, Runtime,
    order::{Event, Limits, Outcome, Plan, Report, bring_up, survey, take_down},
};
use rekindle_testing::free_port;

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn supervisor() {
    common::be_supervisor();
}

fn plan(world: &Processes) -> Plan {
    Plan::of(&world.stack, &world.runtime.list().unwrap()).unwrap()
}

fn up(world: &Processes) -> Report {
    bring_up(&world.runtime, &plan(world), &Limits::default(), &|_| {})
}

fn outcome(report: &Report, service: &str) -> Outcome {
    let found = report
        .services
        .iter()
        .find(|report| report.service == service);
    found.unwrap().outcome.clone()
}

/// A service that notes when it begins and when it is well, which it is a moment later.
fn noting(name: &str, needs: &str) -> String {
    format!(
        "  {name}: {{stateless: true, depends_on: [{needs}], run: {{command: 'echo {name} begins >> order; sleep 0.05; echo {name} is well >> order; touch {name}.well; sleep 61', log: HOME/{name}.log}}, health: {{command: [test, -e, HOME/{name}.well]}}}}\n"
    )
}

#[test]
fn the_order_is_that_of_the_graph_each_time() {
    let graph = [
        ("db", ""),
        ("cache", ""),
        ("api", "db, cache"),
        ("page", "api"),
        ("mail", "cache"),
    ];
    let services: String = graph
        .iter()
        .map(|(name, needs)| noting(name, needs))
        .collect();
    let world = Processes::new(&services);
    for round in 0..20 {
        let report = up(&world);
        assert!(report.is_fine(), "{report:?}");
        let order = world.text("order");
        let at = |line: String| order.lines().position(|seen| seen == line).unwrap();
        for (name, needs) in graph {
            for need in needs.split(", ").filter(|need| !need.is_empty()) {
                let (well, begins) = (at(format!("{need} is well")), at(format!("{name} begins")));
                assert!(well < begins, "round {round}: {order}");
            }
        }
        let stopped = Mutex::new(Vec::new());
        let report = take_down(&world.runtime, &plan(&world), LIMIT, &|event| {
            if let Event::Done(report) = event {
                stopped.lock().unwrap().push(report.service.clone());
            }
        });
        assert!(report.is_fine(), "{report:?}");
        let stopped = stopped.into_inner().unwrap();
        let at = |name: &str| stopped.iter().position(|seen| seen == name).unwrap();
        for (name, needs) in graph {
            for need in needs.split(", ").filter(|need| !need.is_empty()) {
                assert!(at(name) < at(need), "round {round}: {stopped:?}");
            }
        }
        for entry in std::fs::read_dir(world.home.path()).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "well")
                || path.ends_with("order")
            {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}

#[test]
fn one_that_is_not_well_keeps_those_from_starting_that_need_it_and_nobody_else() {
    let world = Processes::new(
        "  sick: {stateless: true, start_limit: 1s, run: {command: 'echo I am ill; sleep 61', log: HOME/1.log}, health: {command: 'echo no pulse >&2; exit 3'}}
  needs: {stateless: true, depends_on: [sick], run: {command: 'sleep 61', log: HOME/2.log}}
  more: {stateless: true, depends_on: [needs], run: {command: 'sleep 61', log: HOME/3.log}}
  other: {stateless: true, run: {command: 'sleep 61', log: HOME/4.log}}
",
    );
    let report = up(&world);
    assert!(!report.is_fine());
    let Outcome::Failed { why, log } = outcome(&report, "sick") else {
        panic!("{report:?}");
    };
    assert_eq!(why, "not well after 1 s: /bin/sh ended with 3: no pulse");
    assert!(log.contains(&"I am ill".to_owned()), "{log:?}");
    assert_eq!(
        outcome(&report, "needs"),
        Outcome::Blocked { by: "sick".into() }
    );
    assert_eq!(
        outcome(&report, "more"),
        Outcome::Blocked { by: "needs".into() }
    );
    assert_eq!(outcome(&report, "other"), Outcome::Up);
    for name in ["needs", "more"] {
        assert_eq!(
            world.runtime.state(name).unwrap().run,
            RunState::Created,
            "{name}"
        );
    }
}

#[test]
fn one_that_ends_at_once_was_never_up_and_an_optional_one_hinders_nobody() {
    let world = Processes::new(
        "  brief: {stateless: true, optional: true, run: {command: 'echo out of memory; exit 9', restart: no, log: HOME/1.log}}
  gone: {stateless: true, optional: true, run: {command: [/nonexistent], log: HOME/2.log}}
  needs: {stateless: true, depends_on: [brief, gone], run: {command: 'sleep 61', log: HOME/3.log}}
  foreign: {stateless: true}
  asked: {stateless: true, health: {command: [test, -d, /]}}
",
    );
    let report = up(&world);
    assert!(report.is_fine(), "{report:?}");
    let Outcome::Failed { why, log } = outcome(&report, "brief") else {
        panic!("{report:?}");
    };
    assert_eq!(why, "ended with exit code 9");
    assert!(log.contains(&"out of memory".to_owned()), "{log:?}");
    assert!(
        matches!(outcome(&report, "gone"), Outcome::Failed { why, .. } if why.contains("/nonexistent"))
    );
    assert_eq!(outcome(&report, "needs"), Outcome::Up);
    assert_eq!(outcome(&report, "foreign"), Outcome::Unknown);
    // Something else runs it, but it can be asked.
    assert_eq!(outcome(&report, "asked"), Outcome::AlreadyUp);
}

#[test]
fn what_is_up_stays_and_what_is_paused_goes_on() {
    let world = Processes::new(&(noting("db", "") + &noting("api", "db")));
    assert!(up(&world).is_fine());
    world.runtime.pause("api").unwrap();
    until("it is paused", || {
        world.runtime.state("api").unwrap().run == RunState::Paused
    });
    let report = up(&world);
    assert_eq!(outcome(&report, "db"), Outcome::AlreadyUp);
    assert_eq!(outcome(&report, "api"), Outcome::Up);
    assert_eq!(world.text("order").matches("api begins").count(), 1);
}

#[test]
fn a_stop_that_cannot_be_done_leaves_what_it_needs() {
    let world = Processes::new(&(noting("db", "") + &noting("api", "db")));
    assert!(up(&world).is_fine());
    // Its state cannot be read, so nobody can say that it stopped.
    let state = world.path("run/s/api/state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::remove_file(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    let report = take_down(&world.runtime, &plan_of_stack(&world), LIMIT, &|_| {});
    assert!(
        matches!(outcome(&report, "api"), Outcome::Failed { .. }),
        "{report:?}"
    );
    assert_eq!(
        outcome(&report, "db"),
        Outcome::Blocked { by: "api".into() }
    );
    assert_eq!(world.runtime.state("db").unwrap().run, RunState::Running);
    std::fs::remove_dir(&state).unwrap();
    common::write(&state, &text);
}

fn plan_of_stack(world: &Processes) -> Plan {
    Plan::of(&world.stack, &[]).unwrap()
}

#[test]
fn health_by_http_and_by_port_is_asked_of_a_real_server() {
    let (port, closed) = (free_port().unwrap(), free_port().unwrap());
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let answers = Mutex::new(0);
    let world = Processes::new(&format!(
        "  web: {{stateless: true, run: {{command: 'sleep 61', log: HOME/1.log}}, health: {{http: 'http://u:p@localhost:{port}/healthz?x', expect: {{status: ok}}}}}}
  port: {{stateless: true, run: {{command: 'sleep 61', log: HOME/2.log}}, health: {{tcp: 'port:{port}'}}}}
  closed: {{stateless: true, start_limit: 1s, run: {{command: 'sleep 61', log: HOME/3.log}}, health: {{tcp: '127.0.0.1:{closed}'}}}}
"
    ));
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                if request.starts_with("END") {
                    return;
                }
                if !request.starts_with("GET /healthz?x HTTP/1.1\r\n") {
                    continue;
                }
                assert!(
                    request.contains("Authorization: Basic dTpw\r\n"),
                    "{request}"
                );
                let mut answered = answers.lock().unwrap();
                *answered += 1;
                let status = if *answered < 3 { "starting" } else { "ok" };
                let body = format!("{{\"status\":\"{status}\"}}");
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        let report = up(&world);
        let states = survey(&world.runtime, &world.stack).unwrap();
        std::net::TcpStream::connect(("127.0.0.1", port))
            .unwrap()
            .write_all(b"END")
            .unwrap();
        assert_eq!(outcome(&report, "web"), Outcome::Up);
        assert_eq!(outcome(&report, "port"), Outcome::Up);
        let Outcome::Failed { why, .. } = outcome(&report, "closed") else {
            panic!("{report:?}");
        };
        assert!(why.contains("Connection refused"), "{why}");
        let health = |name: &str| {
            states
                .iter()
                .find(|state| state.name == name)
                .unwrap()
                .health
                .clone()
        };
        assert_eq!(health("web"), Health::Healthy);
        assert!(matches!(health("closed"), Health::Unhealthy { .. }));
    });
    assert!(*answers.lock().unwrap() >= 3);
}
