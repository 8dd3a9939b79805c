//! Listing, starting, stopping, freezing; logs and addresses.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rekindle_runtimes::{Condition, Health, LogRequest, RunState, Runtime as _};

use crate::project::{at, engine, sh, shop, shop_of, until};

#[test]
fn services_are_listed_with_state_health_image_policy_and_what_they_need() {
    let Some(shop) = shop() else { return };
    shop.project.wait_healthy("app");
    let listed = shop.docker.list().unwrap();
    let names: Vec<_> = listed.iter().map(|state| state.name.as_str()).collect();
    assert_eq!(
        names,
        ["app", "cache"],
        "the profile's service was never made"
    );
    let app = &listed[0];
    assert_eq!(
        (app.run, &app.health),
        (RunState::Running, &Health::Healthy)
    );
    assert_eq!(app.unit, "shop_app_1");
    let image = app.image.as_deref().unwrap();
    assert!(image.ends_with("rekindle-test/app:1"), "{image}");
    assert!(
        app.image_digest.as_ref().unwrap().starts_with("sha256:"),
        "{app:?}"
    );
    assert_eq!(app.restart_policy.as_deref(), Some("unless-stopped"));
    assert!(app.since.is_some() && app.why.is_none());
    let needs: Vec<_> = app
        .depends_on
        .iter()
        .map(|need| (need.service.as_str(), need.condition))
        .collect();
    assert_eq!(needs, [("cache", Condition::Healthy)]);
    assert_eq!(shop.docker.state("worker").unwrap().run, RunState::Absent);
    let described = shop.docker.describe();
    let socket = shop.engine.socket().display().to_string();
    assert!(
        described.ends_with(&format!("{socket}, project shop")),
        "{described}"
    );
}

#[test]
fn an_unhealthy_service_says_why_and_a_failed_one_how_it_ended() {
    let Some(shop) = shop_of(
        "version: '3.8'\nservices:\n  app: { image: 'rekindle-test/app:1' }\n  \
         broken: { image: 'rekindle-test/app:1', command: ['sh', '-c', 'echo oh no; exit 3'] }\n",
    ) else {
        return;
    };
    sh(&shop.docker, "app", "rm /srv/health");
    shop.project.wait_health("app", "unhealthy");
    let app = shop.docker.state("app").unwrap();
    let Health::Unhealthy { why } = &app.health else {
        panic!("{app:?}")
    };
    assert!(why.contains("no health file"), "{why}");
    assert!(app.why.unwrap().contains("no health file"));
    let broken = shop.docker.state("broken").unwrap();
    assert_eq!((broken.run, broken.exit_code), (RunState::Failed, Some(3)));
    assert_eq!(broken.why.as_deref(), Some("it ended with exit code 3"));
}

#[test]
fn what_is_asked_for_twice_is_done_once_and_a_deaf_service_is_killed_after_the_limit() {
    let Some(shop) = shop() else { return };
    let docker = &shop.docker;
    let run = || docker.state("app").unwrap().run;
    for _ in 0..2 {
        docker.pause("app").unwrap();
        assert_eq!(run(), RunState::Paused);
    }
    for _ in 0..2 {
        docker.resume("app").unwrap();
        assert_eq!(run(), RunState::Running);
    }
    docker.pause("cache").unwrap();
    for _ in 0..2 {
        docker.stop("cache", Duration::from_secs(20)).unwrap();
        let state = docker.state("cache").unwrap();
        assert_eq!(
            (state.run, state.exit_code),
            (RunState::Stopped, Some(0)),
            "ended by itself, though it was frozen"
        );
    }
    for _ in 0..2 {
        docker.start("cache").unwrap();
        assert_eq!(docker.state("cache").unwrap().run, RunState::Running);
    }
    // busybox's httpd is the first process, has no handler for SIGTERM, and so never gets it.
    let start = Instant::now();
    docker.stop("app", Duration::from_millis(200)).unwrap();
    assert_eq!(run(), RunState::Stopped);
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "a part of a second is not taken for at once"
    );
    docker.restart("app", Duration::from_secs(1)).unwrap();
    assert_eq!(run(), RunState::Running);
}

#[test]
fn projects_with_similar_names_are_never_mixed() {
    let Some(engine) = engine() else { return };
    let compose = "version: '3.8'\nservices: { app: { image: 'rekindle-test/app:1' } }\n";
    for name in ["shop", "shop2", "shop-app"] {
        let Some(project) = rekindle_testing::skip::unless_available(engine.project(name, compose))
        else {
            return;
        };
        project.up().unwrap();
    }
    let shop = at(&engine, "shop");
    shop.stop("app", Duration::from_secs(1)).unwrap();
    assert_eq!(shop.list().unwrap().len(), 1);
    assert_eq!(
        shop.state("app").unwrap().exit_code,
        Some(137),
        "it is deaf"
    );
    for other in ["shop2", "shop-app"] {
        assert_eq!(
            at(&engine, other).state("app").unwrap().run,
            RunState::Running,
            "{other}"
        );
    }
    assert!(at(&engine, "sho").list().unwrap().is_empty());
    let error = at(&engine, "sho").start("app").unwrap_err().to_string();
    assert!(error.contains("no service `app`"), "{error}");
}

#[test]
fn all_containers_of_a_service_are_one_service() {
    let Some(engine) = engine() else { return };
    let compose = "version: '3.8'\nservices: { app: { image: 'rekindle-test/app:1' } }\n";
    let Some(project) = rekindle_testing::skip::unless_available(engine.project("shop", compose))
    else {
        return;
    };
    project
        .compose(["up", "--detach", "--scale", "app=3"])
        .unwrap();
    let docker = at(&engine, "shop");
    let state = docker.state("app").unwrap();
    assert_eq!(
        (state.run, state.unit.as_str()),
        (RunState::Running, "shop_app_1, shop_app_2, shop_app_3")
    );
    engine.run(["kill", "shop_app_2"]);
    let state = docker.state("app").unwrap();
    assert_eq!(state.run, RunState::Failed);
    assert_eq!(
        state.why.unwrap(),
        "1 of 3 containers: it ended with exit code 137"
    );
    engine.run(["kill", "shop_app_1"]);
    assert_eq!(
        sh(&docker, "app", "hostname").0,
        0,
        "the one that runs is asked"
    );
    docker.start("app").unwrap();
    assert_eq!(docker.state("app").unwrap().run, RunState::Running);
    docker.stop("app", Duration::from_secs(1)).unwrap();
    assert_eq!(engine.run(["ps", "--quiet"]), "");
}

#[test]
fn logs_are_given_whole_in_part_and_as_they_come() {
    let Some(shop) = shop_of(
        "version: '3.8'\nservices:\n  app:\n    image: 'rekindle-test/app:1'\n    \
         command: ['sh', '-c', 'seq 1 2000; echo complaint >&2; while :; do sleep 0.1; echo tick; done']\n  \
         tty: { image: 'rekindle-test/app:1', tty: true, command: ['sh', '-c', 'echo on a terminal; sleep 1000'] }\n",
    ) else {
        return;
    };
    let log = |service: &str, request: &LogRequest| {
        let mut out = Vec::new();
        shop.docker.logs(service, request, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    until("the log", || {
        log("app", &LogRequest::default()).contains("tick\ntick\ntick\n")
    });
    let whole = log("app", &LogRequest::default());
    // Engines note which part of a line they have read when the other stream has something, too.
    let digits: String = whole.chars().filter(char::is_ascii_digit).collect();
    let expected: String = (1..=2000).map(|number| number.to_string()).collect();
    assert!(digits == expected && whole.contains("complaint"), "{whole}");
    let tail = LogRequest {
        tail: Some(3),
        ..LogRequest::default()
    };
    assert_eq!(log("app", &tail), "tick\n".repeat(3));
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    assert_eq!(
        log(
            "app",
            &LogRequest {
                since: Some(tomorrow),
                ..LogRequest::default()
            }
        ),
        ""
    );
    until("the terminal's log", || {
        log("tty", &LogRequest::default()).contains("on a terminal")
    });

    /// Refuses after so many ticks.
    struct Until(u32);
    impl Write for Until {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.starts_with(b"tick") {
                self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let follow = LogRequest {
        tail: Some(0),
        follow: true,
        ..LogRequest::default()
    };
    let error = shop.docker.logs("app", &follow, &mut Until(5)).unwrap_err();
    assert!(error.to_string().contains("pass on the log"), "{error}");
}
