//! The configuration: found, checked, shown.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use serde_json::json;
use support::Home;

const GOOD: &str = "\
stack: shop
vault: { at: vault, password_env: VAULT_PASSWORD }
services:
  db:
    datasets: [ { kind: postgres, url: \"postgres://backup:s3cret@localhost/shop\" } ]
  api: { stateless: true }
";

const BAD: &str = "\
stack: shop
vault:
  at: vault
  pasword_file: hunter2
services:
  api: { stateless: true, rpo: soon }
";

const BAD_REPORT: &str = "\
error: HOME/rekindle.yaml:4:3: unknown key `pasword_file` in vault
  |
4 |   pasword_file: ***
  |   ^^^^^^^^^^^^
  = help: did you mean `password_file`?

error: HOME/rekindle.yaml:6:32: `soon` is no length of time: a number is missing before the unit
  |
6 |   api: { stateless: true, rpo: soon }
  |                                ^^^^
  = help: for example `30m`, `1h30m`, `7d`; units are w, d, h, m, s

";

const WARNING: &str = "\
warning: HOME/rekindle.yaml:5:40: a password stands in the URL
  |
5 |     datasets: [ { kind: postgres, url: postgres://backup:***@localhost/shop } ]
  |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: masked in every output; a file or variable of its own is safer

";

#[test]
fn without_a_configuration_every_place_is_named() {
    let said = "\
error: no rekindle.yaml found; looked at
  HOME/rekindle.yaml (current directory)
  /etc/rekindle/rekindle.yaml (system)
hint: `rekindle init` writes one; `--config FILE` names another
";
    for command in ["status", "doctor", "backup", "points"] {
        Home::new().run(&[command]).says(2, "", said);
    }
}

#[test]
fn a_file_that_was_named_must_exist() {
    let home = Home::new();
    home.write("rekindle.yaml", GOOD);
    let said = "\
error: no rekindle.yaml found; looked at
  HOME/other.yaml (--config)
hint: `rekindle init` writes one; `--config FILE` names another
";
    home.run(&["--config", "other.yaml", "status"])
        .says(2, "", said);
    let mut command = home.command(&["status"]);
    let output = command
        .env("REKINDLE_CONFIG", "gone.yaml")
        .output()
        .unwrap();
    home.ran(&output)
        .fails_with(2, "HOME/gone.yaml ($REKINDLE_CONFIG)");
}

#[test]
fn all_errors_are_reported_at_once_with_line_and_help_and_without_secrets() {
    let home = Home::new();
    home.write("rekindle.yaml", BAD);
    let report = format!("{BAD_REPORT}HOME/rekindle.yaml has 2 errors\n");
    home.run(&["config", "check"]).says(2, &report, "");
}

#[test]
fn no_command_works_from_a_configuration_with_errors() {
    let home = Home::new();
    home.write("rekindle.yaml", BAD);
    let report =
        format!("{BAD_REPORT}hint: `rekindle config check` reads it again once it is mended\n");
    for command in ["status", "doctor", "backup", "points"] {
        home.run(&[command]).says(2, "", &report);
    }
    home.run(&["config", "show"]).says(2, "", &report);
}

#[test]
fn errors_are_json_on_request() {
    let home = Home::new();
    home.write("rekindle.yaml", BAD);
    let output = home
        .command(&["config", "check", "--json"])
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(said["ok"], false);
    let problem = json!({
        "file": home.join("rekindle.yaml"),
        "line": 4,
        "column": 3,
        "message": "unknown key `pasword_file` in vault",
        "help": "did you mean `password_file`?",
    });
    assert_eq!(said["problems"][0], problem);
    let error = home.json_error(&["backup"], 2);
    assert_eq!(error["problems"][0], problem);
}

#[test]
fn an_unreadable_secret_is_an_error_of_the_check_alone() {
    let home = Home::new();
    home.write("rekindle.yaml", GOOD);
    let missing = "\
error: HOME/rekindle.yaml:2:35: environment variable VAULT_PASSWORD is not set
  |
2 | vault: { at: vault, password_env: VAULT_PASSWORD }
  |                                   ^^^^^^^^^^^^^^

HOME/rekindle.yaml has 1 error, 1 warning
";
    home.run(&["config", "check"])
        .says(2, &format!("{WARNING}{missing}"), "");
    assert!(
        home.ok(&["config", "show"])
            .contains("password_env: VAULT_PASSWORD")
    );
    let said = "\
error: read the vault's password: environment variable VAULT_PASSWORD is not set
hint: `vault.password_file` names a file with the vault's password; without it nothing can be read
";
    home.run(&["points"]).says(1, "", said);
}

#[test]
fn a_right_configuration_is_fine_and_its_warnings_are_shown() {
    let home = Home::new();
    home.write("rekindle.yaml", GOOD);
    let mut command = home.command(&["config", "check"]);
    let output = command.env("VAULT_PASSWORD", "x").output().unwrap();
    let report = format!("{WARNING}HOME/rekindle.yaml is fine: 2 services, 1 dataset, 1 warning\n");
    home.ran(&output).says(0, &report, "");
}

#[test]
fn what_is_in_effect_is_shown_alike_as_yaml_and_as_json() {
    let home = Home::new();
    home.write("rekindle.yaml", GOOD);
    let shown = home.ok(&["config", "show"]);
    let json = home.json(&["config", "show"]);
    assert_eq!(json["services"]["db"]["datasets"][0]["physical"], true);
    assert_eq!(
        json["vault"]["at"],
        home.join("vault").display().to_string()
    );
    assert!(!shown.contains("s3cret") && !json.to_string().contains("s3cret"));
    let again = home.write("again.yaml", &shown);
    let again = again.display().to_string();
    assert_eq!(home.ok(&["--config", &again, "config", "show"]), shown);
}

#[test]
fn the_schema_is_that_of_the_documentation() {
    let documented = include_str!("../../../docs/rekindle.schema.json");
    let documented: serde_json::Value = serde_json::from_str(documented).unwrap();
    assert_eq!(Home::new().json(&["config", "schema"]), documented);
}
