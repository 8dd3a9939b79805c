//! `rekindle init` in the directory of a Compose project, and what `doctor` says of it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;
use support::Home;

/// A copy of one of the projects that the reader of Compose files is tested with.
fn home_with(project: &str) -> Home {
    let home = Home::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../stack/tests/projects")
        .join(project);
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("expected-") {
            fs::copy(&path, home.join(&name)).unwrap();
        }
    }
    home
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn texts(findings: &Value, level: &str) -> Vec<String> {
    let findings = findings["findings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings
        .filter(|finding| finding["level"] == level)
        .map(|finding| format!("{}: {}", text(&finding["subject"]), text(&finding["text"])))
        .collect()
}

const MATRIX: &str = "
SERVICE  COMPONENT    STATEFUL  RESTORE  IN A RECOVERY
db       PostgreSQL   yes       yes      restore the cluster, then start what needs it
cache    Redis        yes       no       restore; empty, it costs sessions and cached answers
app      application  yes       yes      restore its files, then start
worker   application  no        no       start again
";

#[test]
fn a_project_is_described_by_one_command_and_the_result_is_right() {
    let home = home_with("shop");
    let compose = fs::read(home.join("compose.yaml")).unwrap();
    let ran = home.run(&["init", "--stack", "shop"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.ends_with(MATRIX), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("`rekindle init --patch` prints them"),
        "{}",
        ran.stderr
    );
    assert!(!(ran.stdout + &ran.stderr).contains("hunter2"));
    let checked = home.run(&["config", "check"]);
    assert_eq!(
        checked.stdout,
        "HOME/rekindle.yaml is fine: 4 services, 3 datasets\n"
    );
    assert_eq!(checked.code, 0);
    let text = fs::read_to_string(home.join("rekindle.yaml")).unwrap();
    assert!(!text.contains("hunter2"), "the password stays out of it");
    let secret = home.join("rekindle-secrets/db-password");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "hunter2-in-the-file");
    assert_eq!(
        (mode(&secret), mode(&home.join("rekindle-secrets"))),
        (0o600, 0o700)
    );
    assert_eq!(
        fs::read(home.join("compose.yaml")).unwrap(),
        compose,
        "the project is as it was"
    );
}

#[test]
fn doctor_names_what_is_unprotected_and_what_is_down() {
    let home = home_with("shop");
    home.ok(&["init", "--stack", "shop"]);
    let config = home.join("rekindle.yaml");
    let text = fs::read_to_string(&config).unwrap();
    // A port that nobody listens at, whatever else runs on this machine.
    let free = rekindle_testing::free_port().unwrap().to_string();
    let text = text.replace("25432", &free);
    fs::write(&config, &text).unwrap();
    let found = home.command(&["doctor", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let problems = texts(&found, "problem");
    assert!(
        problems
            .iter()
            .any(|text| text.starts_with("db: connect to")),
        "{problems:#?}"
    );
    assert!(
        !problems.iter().any(|text| text.contains("unprotected")),
        "{problems:#?}"
    );
    let advice = texts(&found, "advice");
    let restart = "app: has no restart policy: after a crash or a reboot it stays down";
    assert!(advice.iter().any(|text| text == restart), "{advice:#?}");
    assert!(
        advice
            .iter()
            .any(|text| text.starts_with("cache: has no health check")),
        "{advice:#?}"
    );

    // The application's data forgotten, a service of the project and one too many.
    let begin = text.find("  # Image example/app:1.\n  app:").unwrap();
    let end = text[begin..].find("\n\n").unwrap() + begin;
    let without = format!(
        "{}  ghost:\n    stateless: true\n{}",
        &text[..begin],
        &text[end..]
    );
    fs::write(&config, without).unwrap();
    let found = home.command(&["doctor", "--json"]).output().unwrap();
    assert_eq!(found.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let problems = texts(&found, "problem");
    let unprotected = "app: volume appdata (/data) is unprotected: no dataset covers it";
    assert!(
        problems.iter().any(|text| text == unprotected),
        "{problems:#?}"
    );
    let advice = texts(&found, "advice");
    let missing = "app: is in the project and not in rekindle.yaml: it is not brought back";
    assert!(advice.iter().any(|text| text == missing), "{advice:#?}");
    let ghost = "ghost: is in rekindle.yaml, and the project has no such service";
    assert!(advice.iter().any(|text| text == ghost), "{advice:#?}");
}

#[test]
fn a_patch_is_printed_and_nothing_is_written() {
    let home = home_with("shop");
    let before = fs::read_dir(home.path()).unwrap().count();
    let patch = home.ok(&["init", "--patch"]);
    let expected = include_str!("../../stack/tests/projects/shop/expected-patch.yaml");
    assert_eq!(patch, expected);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), before);
    home.write("compose.override.yaml", &patch);
    let said = home.run(&["init", "--patch"]);
    assert_eq!((said.stdout.as_str(), said.code), ("", 0));
    assert!(said.stderr.contains("nothing to add"), "{}", said.stderr);
    Home::new()
        .run(&["init", "--patch"])
        .fails_with(2, "there is no Compose file in HOME");
}

#[test]
fn a_dry_run_shows_all_of_it_without_a_secret_and_writes_nothing() {
    let home = home_with("chat");
    let before = fs::read_dir(home.path()).unwrap().count();
    let ran = home.run(&["init", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("stack: nchat\n"), "{}", ran.stdout);
    assert!(
        ran.stderr
            .contains("would write a secret of the project to rekindle-secrets/minio-keys")
    );
    let json = home.json(&["init", "--dry-run"]);
    assert_eq!(json["project"]["components"][0]["needs_restore"], true);
    for text in [ran.stdout, ran.stderr, json.to_string()] {
        assert!(
            !text.contains("-secret-") && !text.contains("minio-user-15"),
            "{text}"
        );
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), before);
}

#[test]
fn files_elsewhere_are_named_in_the_configuration() {
    let home = home_with("papers");
    let compose = home.join("compose.yaml").display().to_string();
    home.ok(&["init", "etc", "--stack", "papers", "--compose", &compose]);
    let shown = home.json(&["--config", "etc/rekindle.yaml", "config", "show"]);
    assert_eq!(shown["runtime"]["files"], serde_json::json!([compose]));
    let dataset = &shown["services"]["db"]["datasets"][0];
    let password = home.join("db_password.txt").display().to_string();
    assert_eq!(dataset["password_file"], password, "by reference");
}

#[test]
fn a_compose_file_that_is_none_is_refused_before_anything_is_written() {
    let home = Home::new();
    home.write("compose.yaml", "services:\n  a: {\n");
    home.run(&["init"]).fails_with(2, "compose.yaml:");
    home.run(&["init", "--compose", "gone.yaml"])
        .fails_with(2, "gone.yaml cannot be read");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}
