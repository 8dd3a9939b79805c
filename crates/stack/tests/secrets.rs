//! No secret is ever printed, and no text makes the reader panic.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up should fail"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use rekindle_stack::*;

const EXAMPLE: &str = include_str!("example.yaml");

/// Every place where a secret may stand, with one in it.
const SECRETS: &str = r#"stack: shop
vault:
  at: /backups/vault
  password: hunter2
  credentials: "AKIA:hunter2"
  copies: [ { name: offsite, at: "s3://bucket/vault", credentials: "AKIA:hunter2" } ]
services:
  db: { datasets: [ { kind: postgres, url: "postgres://me:hunter2@localhost/db?sslmode=require", logical: all } ] }
  db2: { datasets: [ { kind: postgres, url: "postgres://localhost/db?user=me&password=hunter2", wal: stream } ] }
  db3:
    datasets:
      - kind: postgres
        url: postgres://me@localhost
        password: 'hunter2'
  cache: { datasets: [ { kind: redis, url: "redis://:hunter2@localhost" } ] }
  cache2: { datasets: [ { kind: redis, url: "redis://localhost", password: hunter2 } ] }
  files: { datasets: [ { kind: s3, endpoint: "http://localhost:9000", buckets: [a], credentials: "AKIA:hunter2" } ] }
  search: { datasets: [ { kind: meilisearch, url: "http://localhost:7700", key: hunter2 } ] }
notify: [ { webhook: "https://hooks.example.org/hunter2" } ]
"#;

fn everything_printed(text: &str) -> String {
    match Stack::parse(text, Path::new("rekindle.yaml")) {
        Ok(loaded) => {
            let warnings: String = loaded.warnings.iter().map(ToString::to_string).collect();
            format!(
                "{loaded:?}\n{loaded:#?}\n{}\n{warnings}",
                show(&loaded.stack)
            )
        }
        Err(errors) => format!("{errors}\n{errors:?}"),
    }
}

#[test]
fn a_right_file_with_secrets_prints_none_of_them() {
    let loaded = Stack::parse(SECRETS, Path::new("rekindle.yaml")).unwrap();
    assert_eq!(loaded.warnings.len(), 4, "{:?}", loaded.warnings);
    let printed = everything_printed(SECRETS);
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(
        printed.contains("postgres://me:***@localhost/db?sslmode=require"),
        "{printed}"
    );
}

/// One character deleted, doubled or replaced anywhere but in a secret: typing errors.
#[test]
fn no_slip_of_the_finger_prints_a_secret() {
    for (at, letter) in SECRETS.char_indices() {
        let before = &SECRETS[..at];
        let secret_start = before.rfind("hunter2");
        let in_secret = SECRETS[at..].starts_with("hunter2")
            || secret_start.is_some_and(|start| at < start + "hunter2".len());
        let after = &SECRETS[at + letter.len_utf8()..];
        // Without its colon the password of a URL is a user name to everyone.
        let parts_user_and_password = letter == ':' && after.starts_with("hunter2@");
        if in_secret || parts_user_and_password {
            continue;
        }
        for replacement in [
            "".to_owned(),
            format!("{letter}{letter}"),
            " ".into(),
            "x".into(),
            "\n".into(),
        ] {
            let text = format!("{before}{replacement}{after}");
            let printed = everything_printed(&text);
            assert!(
                !printed.contains("hunter2"),
                "{letter:?} at {at} → {replacement:?}:\n{printed}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_of_the_example_panics(
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0usize..12, "[-\\[\\]{}:,&*!|>'\"%@`# \\n\\ta-z0-9ä]{0,4}"),
            1..8,
        )
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (at, removed, inserted) in edits {
            let at = at.index(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        everything_printed(&text.into_iter().collect::<String>());
    }

    #[test]
    fn no_text_at_all_panics(text in "\\PC{0,200}|[-\\[\\]{}:,&*!|> \\n\\ta-z]{0,80}") {
        everything_printed(&text);
    }
}

fn file(dir: &Path, name: &str, content: &str, mode: u32) {
    let path = dir.join(name);
    fs::File::create(&path)
        .unwrap()
        .write_all(content.as_bytes())
        .unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn load(dir: &Path, vault: &str) -> Loaded {
    let text = format!(
        "stack: s\nvault: {{ at: vault, {vault} }}\nservices: {{ a: {{ stateless: true }} }}\n"
    );
    file(dir, "rekindle.yaml", &text, 0o644);
    Stack::load(&dir.join("rekindle.yaml")).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_secret_file_beside_the_configuration_is_found_and_read() {
    let dir = tempfile::tempdir().unwrap();
    file(dir.path(), "password", "hunter2\n", 0o600);
    let loaded = load(dir.path(), "password_file: password");
    assert!(
        loaded.warnings.is_empty() && loaded.unreadable_secrets.is_empty(),
        "{loaded:?}"
    );
    assert_eq!(
        loaded.stack.vault.password.read().unwrap().expose(),
        "hunter2"
    );
    assert_eq!(
        loaded.stack.vault.at,
        VaultLocation::Local(dir.path().join("vault"))
    );
}

#[test]
fn a_secret_that_others_can_read_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    file(dir.path(), "password", "hunter2\n", 0o644);
    let loaded = load(dir.path(), "password_file: password");
    let [warning] = loaded.warnings.as_slice() else {
        panic!("{loaded:?}")
    };
    assert!(
        warning.message.contains("every user of this machine"),
        "{warning}"
    );
    assert_eq!((warning.line, warning.column), (2, 36));
    let inline = load(dir.path(), "password: hunter2");
    assert_eq!(inline.warnings.len(), 2, "{inline:?}");
}

#[test]
fn a_missing_or_empty_secret_does_not_stop_the_loading_but_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    file(dir.path(), "empty", "\n", 0o600);
    for (vault, said) in [
        ("password_file: nowhere", "cannot be read: No such file"),
        ("password_file: empty", "is empty"),
        (
            "password_env: REKINDLE_TEST_NOT_SET",
            "REKINDLE_TEST_NOT_SET is not set",
        ),
    ] {
        let loaded = load(dir.path(), vault);
        let [problem] = loaded.unreadable_secrets.as_slice() else {
            panic!("{loaded:?}")
        };
        assert!(problem.message.contains(said), "{problem}");
        assert_eq!(problem.line, 2);
        loaded.stack.vault.password.read().unwrap_err();
    }
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Stack::load(&dir.path().join("rekindle.yaml"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("rekindle.yaml: cannot be read: No such file"),
        "{missing}"
    );
    let directory = Stack::load(dir.path()).unwrap_err().to_string();
    assert!(
        directory.contains("it is not a regular file"),
        "{directory}"
    );
}

#[test]
fn the_password_of_a_database_comes_from_its_key_or_from_its_url() {
    let stack = Stack::parse(SECRETS, Path::new("rekindle.yaml"))
        .unwrap()
        .stack;
    for name in ["db", "db2", "db3"] {
        let Dataset::Postgres(postgres) = &stack.service(name).unwrap().datasets[0] else {
            panic!()
        };
        assert_eq!(
            postgres.read_password().unwrap().unwrap().expose(),
            "hunter2",
            "{name}"
        );
    }
    for name in ["cache", "cache2"] {
        let Dataset::Redis(redis) = &stack.service(name).unwrap().datasets[0] else {
            panic!()
        };
        assert_eq!(
            redis.read_password().unwrap().unwrap().expose(),
            "hunter2",
            "{name}"
        );
    }
}
