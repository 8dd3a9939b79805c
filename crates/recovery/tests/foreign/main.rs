//! Dumps from elsewhere come back beside live databases, take their place, go into the vault; and
//! what stands in the way is named before anything is touched.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod beside;
mod imported;
mod refused;
mod swapped;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rekindle_recovery::{
    DatabaseRestoreRequest, RecoveryError, create_vault,
    foreign::{
        ForeignRestoreOutcome, ForeignRestoreRequest, ImportRequest, SwapBack, import,
        plan_foreign_restore, restore_foreign, undo_swap,
    },
    guard::{Guard, GuardOptions},
    points, restore_database, status,
};
use rekindle_stack::Stack;
use rekindle_testing::{
    hard,
    postgres::{Major, Postgres},
    temp_dir,
};
use rekindle_vault::{Progress, Vault};

struct Setting {
    stack: Stack,
    directory: tempfile::TempDir,
}

fn setting(server: &Postgres) -> Setting {
    setting_with(server, server.bin_dir())
}

/// A configuration with the service `db`, whose tools are in `bin_dir`.
fn setting_with(server: &Postgres, bin_dir: &Path) -> Setting {
    let directory = temp_dir().unwrap();
    let at = directory.path().display();
    fs::write(directory.path().join("password"), "of the vault").unwrap();
    let text = format!(
        "stack: test\nvault: {{ at: {at}/vault, password_file: {at}/password }}\nservices:\n  \
         db: {{ datasets: [ {{ kind: postgres, url: \"{}\", bin_dir: {:?} }} ], rpo: 1h }}\n",
        server.socket_url(),
        bin_dir
    );
    let config = directory.path().join("rekindle.yaml");
    fs::write(&config, &text).unwrap();
    let stack = Stack::parse(&text, &config).unwrap().stack;
    Setting { stack, directory }
}

impl Setting {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn vault(&self) -> Vault {
        create_vault(&self.stack.vault).unwrap()
    }

    fn request(&self, from: &Path) -> ForeignRestoreRequest<'_> {
        ForeignRestoreRequest {
            stack: &self.stack,
            service: "db".to_owned(),
            from: from.to_owned(),
            database: None,
            new_name: None,
            swap: false,
            guards: GuardOptions::default(),
            progress: Arc::new(Progress::default()),
        }
    }

    fn restore(&self, from: &Path, new_name: &str) -> Result<ForeignRestoreOutcome, RecoveryError> {
        let new_name = Some(new_name.to_owned());
        restore_foreign(&ForeignRestoreRequest {
            new_name,
            ..self.request(from)
        })
    }

    /// Restores with these guards overridden.
    fn force(
        &self,
        from: &Path,
        new_name: &str,
        force: &[Guard],
    ) -> Result<ForeignRestoreOutcome, RecoveryError> {
        let guards = GuardOptions {
            force: force.iter().copied().collect(),
            create_missing: false,
        };
        let new_name = Some(new_name.to_owned());
        restore_foreign(&ForeignRestoreRequest {
            new_name,
            guards,
            ..self.request(from)
        })
    }

    fn dump(&self, server: &Postgres, name: &str, arguments: &[&str], database: &str) -> PathBuf {
        let path = self.path(name);
        run(server
            .tool("pg_dump")
            .args(arguments)
            .arg("--file")
            .arg(&path)
            .arg(database));
        path
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    output.stdout
}

/// Everything in a database as `pg_dump` tells it, without what differs from run to run.
fn content(server: &Postgres, database: &str) -> String {
    // What `ALTER DATABASE … SET` says is the database's, not its content's.
    let settings = "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres";
    let text = run(server
        .tool("pg_dump")
        .env("PGOPTIONS", settings)
        .arg(database));
    let is_kept =
        |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    let text = String::from_utf8(text).unwrap();
    text.lines().filter(is_kept).collect::<Vec<_>>().join("\n")
}

/// Compares, and shows where the first difference is.
#[track_caller]
fn assert_same(found: &str, expected: &str, what: &str) {
    let mut lines = found.lines().zip(expected.lines());
    if let Some((found, expected)) = lines.find(|(found, expected)| found != expected) {
        panic!("{what}: `{found}` is not `{expected}`");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn databases(server: &Postgres) -> Vec<String> {
    let names = server.psql("select datname from pg_database order by 1");
    names.lines().map(str::to_owned).collect()
}

fn refusals(error: &RecoveryError) -> Vec<Guard> {
    let RecoveryError::Refused { findings, .. } = error else {
        panic!("{error}")
    };
    findings
        .iter()
        .filter(|f| rekindle_recovery::guard::is_refusal(f))
        .map(|f| f.guard)
        .collect()
}

/// A small database with an owner of its own, and a dump of it.
fn small(server: &Postgres) {
    server.psql("create role owner_of_shop; create database shop");
    server.psql_db(
        "shop",
        "create table item as select g as id, md5(g::text) as name from generate_series(1, 500) g;
         alter table item owner to owner_of_shop; create table empty (id int)",
    );
}
