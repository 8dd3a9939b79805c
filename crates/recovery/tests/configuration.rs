//! The configuration travels with the data, and what opens the vault stays outside.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and need not survive a power cut"
)]

use std::{fs, path::Path, sync::Arc};

use rekindle_recovery::{
    BackupOutcome, BackupRequest, RestoreRequest, backup, create_vault, restore,
};
use rekindle_stack::Stack;
use rekindle_testing::{
    postgres::{Major, Postgres},
    skip::unless_available,
    temp_dir,
};
use rekindle_vault::{Progress, Vault};

const COMPOSE: &str = "\
services:
  stack:
    image: postgres:15
    environment: { POSTGRES_PASSWORD: \"${DB_PASSWORD}\" }
    env_file: [db.env]
    secrets: [copy_password]
secrets:
  copy_password: { file: ./copy-password }
";

struct Setting {
    directory: tempfile::TempDir,
    stack: Stack,
    vault: Vault,
}

/// A project whose only service is called `stack`, and a vault whose `password` is given as told.
fn setting(server: &Postgres, password: &str) -> Setting {
    let directory = temp_dir().unwrap();
    let here = directory.path();
    let write = |name: &str, text: &str| fs::write(here.join(name), text).unwrap();
    write("compose.yaml", COMPOSE);
    write(
        ".env",
        "DB_PASSWORD=of-the-database\nREKINDLE_TEST_VAULT='of the vault'\n",
    );
    write("db.env", "LOG_LEVEL=debug\n");
    write("copy-password", "of the copy\n");
    write(
        "keys",
        "AWS_ACCESS_KEY_ID=AKIA123\nAWS_SECRET_ACCESS_KEY=of-the-bucket\n",
    );
    let text = format!(
        "# By hand.\nstack: test\nruntime: {{ kind: compose }}\nvault:\n  at: {0}/vault\n  {password}\n  copies:\n    \
         - {{ name: far, at: \"s3://bucket/x\", password_file: copy-password, credentials_file: keys }}\n\
         services:\n  stack: {{ datasets: [ {{ kind: postgres, url: \"{1}\", physical: false, logical: [postgres] }} ] }}\n\
         env: {{ file: .env }}\n",
        here.display(),
        server.socket_url(),
    );
    write("rekindle.yaml", &text);
    let stack = Stack::load(&here.join("rekindle.yaml")).unwrap().stack;
    let vault = create_vault(&stack.vault).unwrap();
    Setting {
        directory,
        stack,
        vault,
    }
}

impl Setting {
    fn backup(&self) -> BackupOutcome {
        let request = BackupRequest {
            stack: &self.stack,
            services: Vec::new(),
            tags: Vec::new(),
            progress: Arc::new(Progress::default()),
        };
        backup(&self.vault, &request).unwrap()
    }

    fn bring_out(&self, path: &str) -> tempfile::TempDir {
        let to = temp_dir().unwrap();
        let request = RestoreRequest {
            point: "latest".to_owned(),
            service: None,
            path: Some(path.to_owned()),
            to: to.path().join("out"),
            ownership: None,
            progress: Arc::new(Progress::default()),
        };
        restore(&self.vault, &request).unwrap();
        to
    }
}

/// Every file below a directory, as text.
fn all_text(directory: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &all_text(&path);
        } else {
            all += &String::from_utf8_lossy(&fs::read(&path).unwrap());
        }
    }
    all
}

fn server() -> Option<Postgres> {
    unless_available(Postgres::builder(Major::V15).start())
}

#[test]
fn what_the_services_were_run_with_comes_out_of_the_point_even_if_a_service_is_called_stack() {
    let Some(server) = server() else { return };
    let setting = setting(&server, "password_env: REKINDLE_TEST_VAULT");
    let outcome = setting.backup();
    let out = setting.bring_out("stack");
    let root = out.path().join("out");
    assert!(
        root.join("postgres/dump/postgres.dump").exists(),
        "the service's own data"
    );
    let configuration = root.join("configuration");
    let read = |name: &str| fs::read_to_string(configuration.join(name)).unwrap();
    let own = fs::read_to_string(setting.directory.path().join("rekindle.yaml")).unwrap();
    assert_eq!(read("rekindle.yaml"), own);
    let there = |name: &str| {
        let path = setting.directory.path().join(name);
        format!("files{}", path.display())
    };
    assert_eq!(read(&there("compose.yaml")), COMPOSE);
    assert_eq!(read(&there("db.env")), "LOG_LEVEL=debug\n");
    assert_eq!(
        read(&there(".env")),
        "DB_PASSWORD=of-the-database\nREKINDLE_TEST_VAULT='***'\n"
    );
    let record = outcome.manifest.configuration.unwrap();
    assert_eq!(record.path, "stack/configuration");
    assert_eq!(record.files.len(), 4, "{record:#?}");
    let redacted: Vec<_> = record.files.iter().filter(|file| file.redacted).collect();
    assert!(
        matches!(redacted[..], [file] if file.source.ends_with(".env")),
        "{redacted:?}"
    );
    assert!(
        matches!(&record.left_out[..], [one] if one.contains("copy-password: it opens the vault"))
    );
    assert_eq!(record.images[0].image.as_deref(), Some("postgres:15"));
}

#[test]
fn nothing_that_opens_the_vault_or_its_copies_lies_in_the_vault() {
    let Some(server) = server() else { return };
    for password in [
        "password_env: REKINDLE_TEST_VAULT",
        "password: of the vault",
    ] {
        let setting = setting(&server, password);
        // Under another name, too: a link, and as a part of another file.
        let here = setting.directory.path();
        fs::write(
            here.join("db.env"),
            "BACKUP=of the vault\nS3=of-the-bucket\nCOPY=of the copy\n",
        )
        .unwrap();
        let outcome = setting.backup();
        let all = all_text(&setting.bring_out("").path().join("out"));
        for secret in ["of the vault", "of the copy", "of-the-bucket"] {
            assert!(!all.contains(secret), "{password}: {secret}");
        }
        assert!(
            all.contains("of-the-database"),
            "what the services need is there"
        );
        let record = outcome.manifest.configuration.unwrap();
        let own = record
            .files
            .iter()
            .find(|file| file.path.ends_with("/rekindle.yaml"))
            .unwrap();
        assert_eq!(own.redacted, password.starts_with("password:"));
    }
}
