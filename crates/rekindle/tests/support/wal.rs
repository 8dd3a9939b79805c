//! Clusters whose WAL goes into the archive, and what PostgreSQL would do about it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "helpers of tests may panic, write files that need not survive, and serve some only"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread::sleep,
    time::{Duration, Instant},
};

use rekindle_testing::{
    faults::files_below,
    postgres::{Major, Mode, Postgres},
    process,
};

use super::Home;

/// A configuration that archives by `wal: push`, and its vault, which servers may use.
pub struct Archive {
    pub home: Home,
}

impl Archive {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With these keys of the vault besides its place and password.
    pub fn with(vault_keys: &str) -> Self {
        let home = Home::with_vault();
        let yaml = format!(
            "stack: shop\n\
             vault: {{ at: vault, password_file: vault-password{vault_keys} }}\n\
             services:\n  \
               db:\n    \
                 datasets: [ {{ kind: postgres, url: \"postgres://localhost/x\", wal: push }} ]\n"
        );
        home.write("rekindle.yaml", &yaml);
        let archive = Self { home };
        archive.give_to_servers();
        archive
    }

    pub fn give_to_servers(&self) {
        if process::server_owner().unwrap().is_some() {
            process::run(
                Command::new("chown")
                    .args(["-R", "postgres:"])
                    .arg(self.home.path()),
            )
            .unwrap();
        }
    }

    /// A command line for `archive_command` or `restore_command`.
    pub fn line(&self, arguments: &str) -> String {
        let (program, home) = (env!("CARGO_BIN_EXE_rekindle"), self.home.path().display());
        format!("{program} --config {home}/rekindle.yaml {arguments}")
    }

    /// Runs the program as a server does: in its data directory, as its user.
    pub fn run(&self, pgdata: &Path, arguments: &[&str]) -> Ran {
        Ran::of(self.command(pgdata, arguments).output().unwrap())
    }

    pub fn command(&self, pgdata: &Path, arguments: &[&str]) -> Command {
        let config = self.home.join("rekindle.yaml");
        let config = config.to_str().unwrap();
        let mut command = self
            .home
            .command(&[&["--config", config], arguments].concat());
        process::as_server_owner(&mut command).unwrap();
        command.current_dir(pgdata);
        command
    }

    /// What the archiver does: one call for each file that is ready, oldest first.
    #[track_caller]
    pub fn archive_all(&self, pgdata: &Path) {
        for name in ready(pgdata) {
            self.push(pgdata, &name).succeeds();
            set_done(pgdata, &name);
        }
    }

    pub fn push(&self, pgdata: &Path, name: &str) -> Ran {
        self.run(pgdata, &["wal", "push", &format!("pg_wal/{name}")])
    }

    pub fn get(&self, pgdata: &Path, name: &str) -> Ran {
        self.run(pgdata, &["wal", "get", name, "pg_wal/RECOVERYXLOG"])
    }

    /// The objects of the archive, by the names of what is in them.
    pub fn names(&self) -> Vec<String> {
        self.names_in("vault")
    }

    pub fn names_in(&self, vault: &str) -> Vec<String> {
        let wal = self.home.join(vault).join("rekindle/wal");
        let mut names: Vec<String> = match wal.exists() {
            true => files_below(&wal).unwrap(),
            false => Vec::new(),
        }
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .map(|name| {
            name.strip_suffix(".zst.age")
                .expect("nothing half-written")
                .to_owned()
        })
        .collect();
        names.sort();
        names
    }

    /// Where the archive keeps a file.
    pub fn object(&self, name: &str) -> PathBuf {
        let all = files_below(&self.home.join("vault/rekindle/wal")).unwrap();
        let is_it = |path: &PathBuf| path.ends_with(format!("{name}.zst.age"));
        all.into_iter().find(is_it).unwrap()
    }
}

pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub fn succeeds(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
    }

    #[track_caller]
    pub fn fails(&self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert!(
            self.stderr.contains(part),
            "no `{part}` in:\n{}",
            self.stderr
        );
    }
}

/// A stopped cluster with real segments that wait to be archived.
pub struct Waiting {
    pub pg: Postgres,
    /// Their names, oldest first.
    pub names: Vec<String>,
}

impl Waiting {
    /// With `count` segments of 1 MiB.
    pub fn new(count: usize) -> Option<Self> {
        let mut pg = Postgres::builder(Major::V15)
            .wal_segment_size(1)
            .conf("wal_keep_size", "1GB")
            .start_or_skip()?;
        pg.psql("create table t (id int, filler text)");
        let mut names = Vec::new();
        while names.len() < count {
            names.push(pg.psql("select pg_walfile_name(pg_current_wal_lsn())"));
            pg.psql(
                "insert into t select g, md5(random()::text) from generate_series(1, 2000) g;
                 select pg_switch_wal();",
            );
            names.dedup();
        }
        pg.stop(Mode::Fast).unwrap();
        let waiting = Self { pg, names };
        waiting
            .names
            .iter()
            .for_each(|name| waiting.set_ready(name));
        Some(waiting)
    }

    pub fn pgdata(&self) -> &Path {
        self.pg.data_dir()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.pgdata().join("pg_wal").join(name)
    }

    pub fn set_ready(&self, name: &str) {
        let status = self.path("archive_status").join(format!("{name}.ready"));
        fs::write(&status, "").unwrap();
        give_to_server(&status);
    }

    pub fn set_done(&self, name: &str) {
        set_done(self.pgdata(), name);
    }

    /// Replaces a file of `pg_wal`.
    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, content).unwrap();
        give_to_server(&path);
    }
}

pub fn give_to_server(path: &Path) {
    if process::server_owner().unwrap().is_some() {
        process::run(Command::new("chown").arg("postgres:").arg(path)).unwrap();
    }
}

fn set_done(pgdata: &Path, name: &str) {
    let status = pgdata.join("pg_wal/archive_status");
    let (ready, done) = (format!("{name}.ready"), format!("{name}.done"));
    fs::rename(status.join(ready), status.join(done)).unwrap();
}

/// What waits to be archived, oldest first.
pub fn ready(pgdata: &Path) -> Vec<String> {
    let entries = fs::read_dir(pgdata.join("pg_wal/archive_status")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut ready: Vec<String> = names
        .filter_map(|name| Some(name.strip_suffix(".ready")?.to_owned()))
        .collect();
    ready.sort();
    ready
}

/// Waits until it is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come");
        sleep(Duration::from_millis(50));
    }
}
