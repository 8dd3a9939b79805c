//! Private servers on restored directories.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rekindle_postgres::server::{ControlError, Programs, Scratch, ScratchOptions, processes_on};
use rekindle_testing::{
    postgres::{Major, Postgres},
    process::{as_server_owner, run},
    temp_dir,
};
use tempfile::TempDir;

/// A base backup as a tool of PostgreSQL's takes it.
struct Backup {
    home: TempDir,
    bin_dir: PathBuf,
}

impl Backup {
    fn of(pg: &Postgres) -> Self {
        let home = temp_dir().unwrap();
        fs::set_permissions(
            home.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        let mut tool = pg.tool("pg_basebackup");
        as_server_owner(&mut tool).unwrap();
        run(tool
            .arg("-D")
            .arg(home.path().join("data"))
            .args(["-c", "fast", "-X", "stream"]))
        .unwrap();
        let bin_dir = pg.bin_dir().to_owned();
        Self { home, bin_dir }
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn options(&self) -> ScratchOptions {
        ScratchOptions {
            bin_dir: Some(self.bin_dir.clone()),
            ..ScratchOptions::default()
        }
    }

    fn start(&self) -> Result<Scratch, ControlError> {
        Scratch::start(&self.data(), &self.options())
    }

    fn configure(&self, lines: &str) {
        let path = self.data().join("postgresql.auto.conf");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + lines).unwrap();
    }

    /// Makes it recover, from the WAL of `pg` and to nowhere else.
    fn recover_from(&self, pg: &Postgres, target: &str) {
        pg.psql("select pg_switch_wal()");
        for entry in fs::read_dir(pg.data_dir().join("pg_wal")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let to = self.data().join("pg_wal").join(entry.file_name());
                fs::copy(entry.path(), &to).unwrap();
                hand_over(&to);
            }
        }
        self.configure(&format!("restore_command = 'false'\n{target}\n"));
        let signal = self.data().join("recovery.signal");
        fs::write(&signal, "").unwrap();
        hand_over(&signal);
    }
}

fn hand_over(path: &Path) {
    if let Some(owner) = rekindle_testing::process::server_owner().unwrap() {
        std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid)).unwrap();
    }
}

fn text(scratch: &Scratch, sql: &str) -> String {
    let mut client = scratch.connect("postgres").unwrap();
    client.query(sql).unwrap().single().unwrap()
}

fn assert_nothing_is_left(data: &Path) {
    let clock = Instant::now();
    while !processes_on(data).is_empty() {
        assert!(
            clock.elapsed() < Duration::from_secs(30),
            "{:?}",
            processes_on(data)
        );
        sleep(Duration::from_millis(20));
    }
}

fn is_private_and_harmless(major: Major) {
    let Some(pg) = Postgres::builder(major).start_or_skip() else {
        return;
    };
    pg.psql("create table t as select g from generate_series(1, 1000) g");
    let backup = Backup::of(&pg);
    let marker = backup.home.path().join("archived");
    let tls = match major.installation().unwrap().has_tls() {
        true => "ssl = on\nssl_cert_file = '/nonexistent'\n",
        // Such a build does not take the setting, not even off the disk.
        false => "",
    };
    backup.configure(&format!(
        "listen_addresses = '*'\nport = {}\n{tls}\
         archive_mode = on\narchive_command = 'touch {}'\nsynchronous_standby_names = '*'\n\
         shared_preload_libraries = 'no_such_library, pg_stat_statements'\n\
         default_transaction_read_only = on\n",
        pg.port(),
        marker.display()
    ));
    let scratch = backup.start().unwrap();
    assert_eq!(text(&scratch, "select count(*) from t"), "1000");
    // With a standby to wait for, this would wait for ever.
    scratch
        .connect("postgres")
        .unwrap()
        .query("insert into t values (0); select pg_switch_wal()")
        .unwrap();
    assert_eq!(text(&scratch, "show listen_addresses"), "");
    assert_eq!(text(&scratch, "show archive_mode"), "off");
    assert_eq!(
        text(
            &scratch,
            "select rolsuper::text from pg_roles where rolname = current_user"
        ),
        "true"
    );
    let socket = scratch.options().socket_path().unwrap();
    let mode = fs::metadata(socket.parent().unwrap())
        .unwrap()
        .permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o700
    );
    let warnings = scratch.warnings().join("\n");
    assert!(warnings.contains("`no_such_library`"), "{warnings}");
    drop(scratch);
    assert!(!marker.exists());
    assert!(!socket.parent().unwrap().exists());
    assert_nothing_is_left(&backup.data());
    assert_eq!(
        pg.psql("select count(*) from t"),
        "1000",
        "the original goes on"
    );
}

#[test]
fn a_private_server_of_15_does_no_harm() {
    is_private_and_harmless(Major::V15);
}

#[test]
fn a_private_server_of_16_does_no_harm() {
    is_private_and_harmless(Major::V16);
}

#[test]
fn a_private_server_of_17_does_no_harm() {
    is_private_and_harmless(Major::V17);
}

#[test]
fn a_private_server_of_18_does_no_harm() {
    is_private_and_harmless(Major::V18);
}

#[test]
fn recovery_ends_at_the_target_whatever_the_primary_was_configured_with() {
    let Some(pg) = Postgres::builder(Major::V15)
        .conf("max_connections", 300)
        .conf("max_prepared_transactions", 9)
        .start_or_skip()
    else {
        return;
    };
    pg.psql("create table t (id int)");
    let backup = Backup::of(&pg);
    pg.psql("insert into t values (1); begin; insert into t values (2); prepare transaction 'p'");
    pg.psql("select pg_create_restore_point('before the accident')");
    pg.psql("delete from t");
    backup.recover_from(&pg, "recovery_target_name = 'before the accident'");
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (teller, mut options) = (told.clone(), backup.options());
    options.report = Some(std::sync::Arc::new(move |doing: &str| {
        teller.lock().unwrap().push(doing.to_owned());
    }));
    let scratch = Scratch::start(&backup.data(), &options).unwrap();
    assert_eq!(
        text(&scratch, "select string_agg(id::text, ',') from t"),
        "1"
    );
    assert_eq!(text(&scratch, "select gid from pg_prepared_xacts"), "p");
    assert_eq!(text(&scratch, "select pg_is_in_recovery()::text"), "false");
    scratch.stop(Duration::from_secs(60)).unwrap();
    assert_nothing_is_left(&backup.data());
    assert!(
        !backup.data().join("postmaster.pid").exists(),
        "stopped in good order"
    );
}

#[test]
fn a_target_that_is_not_reached_is_told_with_the_log() {
    let Some(pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    let backup = Backup::of(&pg);
    backup.recover_from(&pg, "recovery_target_name = 'never made'");
    let error = backup.start().err().unwrap();
    assert!(error.is_target_not_reached(), "{error}");
    assert!(error.hint().unwrap().contains("wal windows"));
    assert_nothing_is_left(&backup.data());
}

#[test]
fn a_superuser_of_any_name_is_found_through_a_small_role() {
    let builder = Postgres::builder(Major::V15).superuser("the boss");
    let Some(pg) = builder.start_or_skip() else {
        return;
    };
    pg.psql("create role small login; drop database if exists nothing");
    let backup = Backup::of(&pg);
    let ControlError::NoSuperuser { tried } = backup.start().err().unwrap() else {
        panic!("nobody here has the name of a role");
    };
    assert!(tried.contains(&"postgres".to_owned()), "{tried:?}");
    let mut options = backup.options();
    options.users = vec!["gone".to_owned(), "small".to_owned()];
    let scratch = Scratch::start(&backup.data(), &options).unwrap();
    assert_eq!(scratch.options().user, "the boss");
}

#[test]
fn a_directory_that_cannot_serve_is_refused_before_anything_runs() {
    let Some(pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    let error = Scratch::start(pg.data_dir(), &ScratchOptions::default())
        .err()
        .unwrap();
    assert!(matches!(error, ControlError::Busy { .. }), "{error}");
    let backup = Backup::of(&pg);
    fs::write(backup.data().join("PG_VERSION"), "7\n").unwrap();
    let error = backup.start().err().unwrap();
    assert!(
        matches!(error, ControlError::NoPrograms { wanted: 7, .. }),
        "{error}"
    );
    assert_eq!(
        Programs::find(Some(pg.bin_dir()), 15).unwrap().bin_dir(),
        pg.bin_dir()
    );
}

const HELPER: &str = "REKINDLE_TEST_SCRATCH_HELPER";

/// Not a test by itself: the process that is killed below.
#[test]
fn helper_that_holds_a_private_server() {
    let Some(home) = std::env::var_os(HELPER).map(PathBuf::from) else {
        return;
    };
    let bin_dir = fs::read_to_string(home.join("bin_dir")).unwrap().into();
    let options = ScratchOptions {
        bin_dir: Some(bin_dir),
        ..ScratchOptions::default()
    };
    let scratch = Scratch::start(&home.join("data"), &options).unwrap();
    let socket = scratch.options().socket_path().unwrap();
    fs::write(
        home.join("socket"),
        socket.parent().unwrap().to_str().unwrap(),
    )
    .unwrap();
    fs::write(home.join("ready"), "").unwrap();
    sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_process_takes_its_server_along() {
    let Some(pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    let backup = Backup::of(&pg);
    fs::write(
        backup.home.path().join("bin_dir"),
        pg.bin_dir().as_os_str().as_encoded_bytes(),
    )
    .unwrap();
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_holds_a_private_server"])
        .env(HELPER, backup.home.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let clock = Instant::now();
    while !backup.home.path().join("ready").exists() {
        assert!(
            clock.elapsed() < Duration::from_secs(60),
            "the helper does not get ready"
        );
        sleep(Duration::from_millis(20));
    }
    assert!(!processes_on(&backup.data()).is_empty());
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert_nothing_is_left(&backup.data());
    let private = fs::read_to_string(backup.home.path().join("socket")).unwrap();
    let clock = Instant::now();
    while Path::new(&private).exists() {
        assert!(clock.elapsed() < Duration::from_secs(30), "{private}");
        sleep(Duration::from_millis(20));
    }
}
