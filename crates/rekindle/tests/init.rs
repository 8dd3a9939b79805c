//! `rekindle init`: what it writes, and what it never touches.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use support::Home;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

const MADE: &str = "\
wrote  HOME/rekindle.yaml
made   HOME/vault-password
made   the vault at HOME/vault
";

const ADVICE: &str = "
no Compose file was found: looked in HOME for those of COMPOSE_FILE, compose.yaml, compose.yml,
docker-compose.yaml and docker-compose.yml; `--compose FILE` names another one
Docker at unix:///nonexistent/docker.sock does not answer, so it has no projects to tell of

KEEP THE PASSWORD SOMEWHERE ELSE, TOO: print HOME/vault-password, or put it
into a password manager. Without it, nobody can restore anything from this vault.

next: say in HOME/rekindle.yaml what your services are
      rekindle config check
      rekindle doctor
      rekindle backup
";

#[test]
fn a_stack_begins_with_one_command() {
    let home = Home::new();
    home.run(&["init", "--stack", "shop"]).says(0, MADE, ADVICE);
    assert_eq!(mode(&home.join("vault-password")), 0o600);
    assert_eq!(mode(&home.join("vault")), 0o700);
    let password = fs::read_to_string(home.join("vault-password")).unwrap();
    assert_eq!(password.len(), 36, "35 characters and a line end");
    home.run(&["config", "check"]).says(
        0,
        "HOME/rekindle.yaml is fine: 1 service, 1 dataset\n",
        "",
    );
    assert_eq!(home.json(&["vault", "stats"])["snapshots"], 0);
}

#[test]
fn nothing_is_overwritten() {
    let home = Home::new();
    home.write("rekindle.yaml", "mine");
    let said = "\
error: HOME/rekindle.yaml exists
hint: it is kept as it is; `rekindle config check` reads it
";
    home.run(&["init"]).says(1, "", said);
    assert_eq!(
        fs::read_to_string(home.join("rekindle.yaml")).unwrap(),
        "mine"
    );
    assert!(!home.join("vault-password").exists());
    assert!(!home.join("vault").exists());
}

#[test]
fn a_password_and_a_vault_that_exist_are_used_as_they_are() {
    let home = Home::with_vault();
    let password = fs::read(home.join("vault-password")).unwrap();
    fs::remove_file(home.join("rekindle.yaml")).unwrap();
    let made = home.json(&["init", "--stack", "shop"]);
    assert_eq!(made["new_password"], false);
    assert_eq!(made["new_vault"], false);
    assert_eq!(fs::read(home.join("vault-password")).unwrap(), password);
    assert_eq!(
        home.json(&["vault", "keys"])["keys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_vault_that_the_password_does_not_open_is_left_alone() {
    let home = Home::with_vault();
    fs::remove_file(home.join("rekindle.yaml")).unwrap();
    home.write("vault-password", "another");
    let ran = home.run(&["init", "--stack", "shop"]);
    ran.fails_with(
        1,
        "HOME/rekindle.yaml was written, and the vault was not made: the password",
    );
    assert!(
        ran.stderr.contains("`rekindle vault init`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn access_keys_of_a_store_are_named_at_once() {
    let home = Home::new();
    let args = ["init", "--stack", "shop", "--vault", "s3://bucket/vault"];
    let with_keys = [&args[..], &["--credentials-file", "s3-keys", "--dry-run"]].concat();
    home.run(&with_keys)
        .fails_with(2, "there is no file HOME/s3-keys");
    home.write("s3-keys", "KEY:SECRET");
    let ran = home.run(&with_keys);
    let lines = "at: \"s3://bucket/vault\"\n  # The access keys of the store.\n  credentials_file: HOME/s3-keys\n";
    assert!(ran.stdout.contains(lines), "{}", ran.stdout);
    assert!(!home.join("rekindle.yaml").exists());
}

#[test]
fn a_dry_run_writes_nothing_and_shows_everything() {
    let home = Home::new();
    let ran = home.run(&["init", "place", "--stack", "shop", "--dry-run"]);
    assert!(
        ran.stdout.starts_with("# Rekindle: what is backed up"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("at: HOME/place/vault\n"),
        "{}",
        ran.stdout
    );
    let said = "\
would write HOME/place/rekindle.yaml:


would write a random password to HOME/place/vault-password
would make a vault at HOME/place/vault

no Compose file was found: looked in HOME/place for those of COMPOSE_FILE, compose.yaml, compose.yml,
docker-compose.yaml and docker-compose.yml; `--compose FILE` names another one
Docker at unix:///nonexistent/docker.sock does not answer, so it has no projects to tell of
";
    assert_eq!(ran.stderr, said);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn every_place_can_be_chosen() {
    let home = Home::new();
    let made = home.json(&[
        "init",
        "etc/stack.yaml",
        "--stack",
        "shop",
        "--vault",
        "backups/v",
        "--password-file",
        "secret",
        "--postgres",
        "postgres://backup@db:5433/shop",
    ]);
    for (key, place) in [
        ("config", "etc/stack.yaml"),
        ("password_file", "secret"),
        ("vault", "backups/v"),
    ] {
        assert_eq!(made[key], home.join(place).display().to_string());
        assert!(home.join(place).exists(), "{place}");
    }
    let shown = home.json(&["--config", "etc/stack.yaml", "config", "show"]);
    assert_eq!(shown["stack"], "shop");
    let dataset = &shown["services"]["postgres"]["datasets"][0];
    assert_eq!(dataset["url"], "postgres://backup@db:5433/shop");
}

#[test]
fn a_database_password_is_kept_from_others_and_from_every_output() {
    let home = Home::new();
    let url = "postgres://backup:s3cret@db/shop";
    for dry_run in [true, false] {
        let arguments = ["init", "--stack", "shop", "--postgres", url, "--dry-run"];
        let ran = home.run(&arguments[..if dry_run { 6 } else { 5 }]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!(ran.stdout + &ran.stderr).contains("s3cret"));
    }
    assert_eq!(mode(&home.join("rekindle.yaml")), 0o600);
}

#[test]
fn places_that_cannot_be_a_vault_are_refused_before_anything_is_written() {
    let home = Home::new();
    home.run(&["init", "--vault", "s4://bucket/vault"])
        .fails_with(2, "the URL's scheme is unknown");
    home.run(&["init", "--postgres", "mysql://db/shop"])
        .fails_with(2, "the URL's scheme is `mysql`");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}
