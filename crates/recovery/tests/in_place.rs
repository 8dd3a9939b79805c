//! A restored directory takes the place of the live one, and goes back, whatever happens between.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and need not survive a power cut"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use rekindle_postgres::server::processes_on;
use rekindle_recovery::{
    BackupRequest, RecoveryError, backup, create_vault,
    in_place::{
        Event, InPlaceError, InPlaceOutcome, InPlaceRequest, OnStep, Stage, discard_in_place,
        hold_of, plan_discard, plan_in_place, restore_in_place, undo_in_place,
    },
    open_vault,
    wal::{RecoveryTarget, TimelineChoice},
};
use rekindle_stack::Stack;
use rekindle_testing::{
    postgres::{Major, Postgres},
    process::{as_server_owner, run},
    temp_dir,
};
use rekindle_vault::{Progress, Vault, WalEffort, WalFile};

/// A server with 1000 rows in a recovery point and 500 more since.
struct Setting {
    pg: Postgres,
    vault: Vault,
    stack: Stack,
    home: tempfile::TempDir,
}

impl Setting {
    fn new() -> Option<Self> {
        Self::of(Major::V15)
    }

    fn of(major: Major) -> Option<Self> {
        let pg = Postgres::builder(major).start_or_skip()?;
        pg.psql("create table t as select g id from generate_series(1, 1000) g");
        let home = temp_dir().unwrap();
        fs::write(home.path().join("password"), "of the vault").unwrap();
        let text = format!(
            "stack: test\nvault: {{ at: {0}/vault, password_file: {0}/password }}\n\
             services:\n  db: {{ datasets: [ {{ kind: postgres, url: \"{1}\", bin_dir: {2:?}, \
             data_directory: {3:?} }} ] }}\n",
            home.path().display(),
            pg.url(),
            pg.bin_dir(),
            pg.data_dir(),
        );
        fs::write(home.path().join("rekindle.yaml"), &text).unwrap();
        let stack = read_stack(home.path());
        let vault = create_vault(&stack.vault).unwrap();
        let request = BackupRequest {
            stack: &stack,
            services: Vec::new(),
            tags: Vec::new(),
            progress: Arc::new(Progress::default()),
        };
        backup(&vault, &request).unwrap();
        pg.psql("insert into t select generate_series(1001, 1500)");
        Some(Self {
            pg,
            vault,
            stack,
            home,
        })
    }

    fn rows(&self) -> Result<String, String> {
        let counted = self.pg.try_psql("select count(*) from t");
        counted.map_err(|error| error.to_string())
    }

    fn data(&self) -> &Path {
        self.pg.data_dir()
    }

    fn restore(&self) -> Result<InPlaceOutcome, RecoveryError> {
        restore_in_place(&self.vault, &request(&self.stack, None))
    }

    /// Puts all segments that are full into the archive.
    fn archive(&self) {
        let current =
            "select pg_walfile_name(pg_switch_wal()), system_identifier from pg_control_system()";
        let answer = self.pg.psql(current);
        let (last, system) = answer.split_once('|').unwrap();
        let archive = self.vault.wal_archive().unwrap();
        for entry in fs::read_dir(self.data().join("pg_wal")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let Ok(file) = WalFile::named(system.parse().unwrap(), name) else {
                continue;
            };
            if path.is_file() && name.len() == 24 && name <= last {
                let content = fs::read(&path).unwrap();
                archive.put(&file, &content, WalEffort::Fastest).unwrap();
            }
        }
    }

    fn undo(&self) -> Result<rekindle_recovery::in_place::UndoOutcome, RecoveryError> {
        undo_in_place(&self.stack, "db", Some(&self.vault), None)
    }

    fn beside(&self) -> Vec<String> {
        let parent = self.data().parent().unwrap();
        let names = fs::read_dir(parent)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| name.contains(".rekindle-") && !name.ends_with(".log"))
            .collect();
        names.sort();
        names
    }

    /// Another process of ours restores in place, and is killed at this event.
    fn restore_and_be_killed(&self, at: &Event) {
        let mut helper = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper_that_restores_and_is_killed"])
            .env(HELPER, self.home.path())
            .env("REKINDLE_TEST_EVENT", format!("{at:?}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let status = helper.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "{at:?}: {status}");
    }
}

impl Drop for Setting {
    /// Servers that `pg_ctl` started are nobody's children.
    fn drop(&mut self) {
        let mut command = Command::new(self.pg.bin_dir().join("pg_ctl"));
        as_server_owner(&mut command).unwrap();
        command
            .arg("-D")
            .arg(self.data())
            .args(["-m", "immediate", "-w", "stop"]);
        if !processes_on(self.data()).is_empty() {
            run(&mut command).unwrap();
        }
    }
}

fn read_stack(home: &Path) -> Stack {
    let path = home.join("rekindle.yaml");
    let text = fs::read_to_string(&path).unwrap();
    Stack::parse(&text, &path).unwrap().stack
}

fn request(stack: &Stack, on_step: Option<OnStep>) -> InPlaceRequest<'_> {
    InPlaceRequest {
        stack,
        service: "db".into(),
        point: None,
        target: RecoveryTarget::Consistent,
        timeline: TimelineChoice::Latest,
        inclusive: true,
        progress: Arc::new(Progress::default()),
        on_step,
    }
}

fn in_place(error: RecoveryError) -> InPlaceError {
    match error {
        RecoveryError::InPlace(error) => *error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_restored_server_of_15_takes_over_and_undo_and_discard_end_it() {
    takes_over(Major::V15);
}

#[test]
fn the_restored_server_of_18_takes_over_and_undo_and_discard_end_it() {
    takes_over(Major::V18);
}

fn takes_over(major: Major) {
    let Some(s) = Setting::of(major) else { return };
    s.pg.psql("select pg_create_physical_replication_slot('somebodys')");
    let plan = plan_in_place(&s.vault, &request(&s.stack, None)).unwrap();
    assert_eq!(plan.refusals, [], "{:?}", plan.refusals);
    assert!(
        plan.notes.iter().any(|note| note.contains("`somebodys`")),
        "{:?}",
        plan.notes
    );
    assert_eq!((s.rows().unwrap().as_str(), s.beside()), ("1500", vec![]));

    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = seen.clone();
    let while_building = s.pg.client().clone();
    let on_step: OnStep = Arc::new(move |event| {
        if event == Event::Ended(Stage::Building) {
            let rows = while_building
                .try_psql("postgres", "select count(*) from t")
                .unwrap();
            assert_eq!(rows, "1500", "the live server goes on");
        }
        if !matches!(event, Event::Recovers(_)) {
            events.lock().unwrap().push(event);
        }
    });
    let outcome = restore_in_place(&s.vault, &request(&s.stack, Some(on_step))).unwrap();
    assert_eq!(s.rows().unwrap(), "1000");
    assert_eq!(
        outcome.check.timeline,
        Some(2),
        "archives of both stay apart"
    );
    assert_eq!((outcome.check.databases, outcome.was_resumed), (1, false));
    assert_eq!(seen.lock().unwrap().len(), 12);
    let auto = fs::read_to_string(s.data().join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("recovery_target"), "{auto}");
    assert!(!s.data().join("recovery.signal").exists());
    let hold = hold_of(s.data()).unwrap().unwrap();
    assert_eq!((hold.stage, hold.is_interrupted), (Stage::Held, false));
    assert_eq!(hold.directories, std::slice::from_ref(&outcome.set_aside));

    let InPlaceError::Refused { refusals } = in_place(s.restore().unwrap_err()) else {
        panic!("one hold at a time")
    };
    assert!(refusals[0].hint.contains("--undo"), "{refusals:?}");

    s.pg.psql("insert into t values (-1)");
    let undone = s.undo().unwrap();
    assert_eq!(s.rows().unwrap(), "1500");
    assert!(
        undone.restored_aside.unwrap().join("PG_VERSION").exists(),
        "nothing is deleted"
    );
    // The flushed control file follows at the next checkpoint.
    let segment = s.pg.psql("select pg_walfile_name(pg_current_wal_lsn())");
    assert!(
        segment.starts_with("00000003"),
        "`latest` shall lead to the server that came back: {segment}"
    );
    let auto = fs::read_to_string(s.data().join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("restore_command"), "{auto}");
    assert!(matches!(
        in_place(s.undo().unwrap_err()),
        InPlaceError::NothingHeld { .. }
    ));

    // Again, after an undo: what stands aside from before is still known.
    s.restore().unwrap();
    assert_eq!(s.rows().unwrap(), "1000");
    let plan = plan_discard(&s.stack, "db", None).unwrap();
    assert_eq!((plan.directories.len(), plan.ends_undo), (2, true));
    assert!(plan.bytes > 10 << 20);
    discard_in_place(&s.stack, "db", None).unwrap();
    assert_eq!((s.rows().unwrap().as_str(), s.beside()), ("1000", vec![]));
    let nothing = discard_in_place(&s.stack, "db", None).unwrap_err();
    assert!(matches!(
        in_place(nothing),
        InPlaceError::NothingHeld { .. }
    ));
}

#[test]
fn a_moment_is_restored_in_place_and_no_timeline_is_used_twice() {
    let Some(s) = Setting::new() else { return };
    s.pg.psql("select pg_create_restore_point('before the accident')");
    s.pg.psql("delete from t");
    s.archive();
    let to_moment = || InPlaceRequest {
        target: RecoveryTarget::RestorePoint("before the accident".into()),
        ..request(&s.stack, None)
    };
    let plan = plan_in_place(&s.vault, &to_moment()).unwrap();
    assert_eq!(plan.target, "restore point `before the accident`");
    for timeline in [2, 3] {
        // The archive knows nothing of timeline 2; the directory that is replaced does.
        let outcome = restore_in_place(&s.vault, &to_moment()).unwrap();
        assert_eq!(outcome.check.timeline, Some(timeline));
        assert!(outcome.check.last_commit.is_some());
        assert_eq!(s.rows().unwrap(), "1500");
        discard_in_place(&s.stack, "db", None).unwrap();
        s.pg.psql("delete from t");
    }
}

#[test]
fn the_commands_of_the_configuration_stop_and_start_the_server() {
    let Some(mut s) = Setting::new() else {
        return;
    };
    let (bin, log) = (
        s.pg.bin_dir().display().to_string(),
        s.home.path().join("commands"),
    );
    let as_postgres = match rekindle_testing::process::server_owner().unwrap() {
        Some(_) => "setpriv --reuid=postgres --regid=postgres --clear-groups ",
        None => "",
    };
    let opts = fs::read_to_string(s.data().join("postmaster.opts")).unwrap();
    let opts = opts.trim().split_once(" \"").unwrap().1.replace('"', "");
    let stop = format!(
        "echo stop >> {}; {as_postgres}{bin}/pg_ctl -D \"$REKINDLE_DATA_DIRECTORY\" -w stop",
        log.display()
    );
    let start = format!(
        "echo start >> {}; {as_postgres}{bin}/pg_ctl -D \"$REKINDLE_DATA_DIRECTORY\" -l /dev/null -W -o '{}' start",
        log.display(),
        opts.replace("-D", "-D ").trim()
    );
    let yaml = s.home.path().join("rekindle.yaml");
    let text = fs::read_to_string(&yaml).unwrap();
    let keys = format!(", stop_command: {stop:?}, start_command: {start:?} }} ] }}");
    fs::write(&yaml, text.replace(" } ] }", &keys)).unwrap();
    s.stack = read_stack(s.home.path());
    s.restore().unwrap();
    assert_eq!(s.rows().unwrap(), "1000");
    assert_eq!(fs::read_to_string(&log).unwrap(), "stop\nstart\n");
}

#[test]
fn a_server_that_does_not_start_gives_way_to_the_old_one() {
    let Some(s) = Setting::new() else { return };
    let candidate = s.data().with_file_name("data.rekindle-new");
    let on_step: OnStep = Arc::new(move |event| {
        if event == Event::Ended(Stage::Building) {
            fs::write(candidate.join("postgresql.conf"), "no_such_setting = 1\n").unwrap();
        }
    });
    let error = restore_in_place(&s.vault, &request(&s.stack, Some(on_step))).unwrap_err();
    let text = words(&error);
    assert!(text.contains("the old server serves again"), "{text}");
    assert!(text.contains("no_such_setting"), "the log is told: {text}");
    assert_eq!(s.rows().unwrap(), "1500");
    let failed: Vec<_> = s
        .beside()
        .into_iter()
        .filter(|n| n.contains("rekindle-failed-"))
        .collect();
    assert_eq!(failed.len(), 1, "{:?}", s.beside());
    // And it can be tried again.
    s.restore().unwrap();
    assert_eq!(s.rows().unwrap(), "1000");
}

fn words(error: &RecoveryError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_server_that_does_not_stop_is_left_as_it_is() {
    let Some(mut s) = Setting::new() else {
        return;
    };
    let yaml = s.home.path().join("rekindle.yaml");
    let text = fs::read_to_string(&yaml).unwrap();
    let keys = ", stop_command: \"echo cannot now; false\" } ] }";
    fs::write(&yaml, text.replace(" } ] }", keys)).unwrap();
    s.stack = read_stack(s.home.path());
    let text = words(&s.restore().unwrap_err());
    assert!(text.contains("cannot now"), "{text}");
    assert_eq!(s.rows().unwrap(), "1500");
}

#[test]
fn what_cannot_be_swapped_is_refused_before_anything_is_touched() {
    let Some(mut s) = Setting::new() else {
        return;
    };
    let mut refused = |change: &dyn Fn(&Setting)| {
        change(&s);
        s.stack = read_stack(s.home.path());
        let before = s.beside();
        let error = in_place(s.restore().unwrap_err());
        assert_eq!((s.rows().unwrap().as_str(), s.beside()), ("1500", before));
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    };
    let other = Postgres::builder(Major::V15).start_or_skip().unwrap();
    let yaml = |s: &Setting| s.home.path().join("rekindle.yaml");
    let change = |s: &Setting, from: &str, to: &str| {
        let text = fs::read_to_string(yaml(s)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(yaml(s), text.replace(from, to)).unwrap();
    };
    let own = s_data(&other);
    let error = refused(&|s| change(s, &s_data(&s.pg), &own));
    assert!(error.contains("another cluster"), "{error}");
    let error = refused(&|s| change(s, &own, "/nonexistent/data"));
    assert!(error.contains("/nonexistent"), "{error}");
}

fn s_data(pg: &Postgres) -> String {
    pg.data_dir().display().to_string()
}

const HELPER: &str = "REKINDLE_TEST_IN_PLACE_HELPER";

/// Not a test by itself: the process that is killed below.
#[test]
fn helper_that_restores_and_is_killed() {
    let Some(home) = std::env::var_os(HELPER).map(PathBuf::from) else {
        return;
    };
    let at = std::env::var("REKINDLE_TEST_EVENT").unwrap();
    let stack = read_stack(&home);
    let vault = open_vault(&stack.vault).unwrap();
    let on_step: OnStep = Arc::new(move |event| {
        if format!("{event:?}") == at {
            let us = rustix::process::getpid();
            rustix::process::kill_process(us, rustix::process::Signal::KILL).unwrap();
        }
    });
    restore_in_place(&vault, &request(&stack, Some(on_step))).unwrap();
}

const STAGES: [Stage; 6] = [
    Stage::Building,
    Stage::Stopping,
    Stage::SettingAside,
    Stage::Promoting,
    Stage::Starting,
    Stage::Checking,
];

#[test]
fn killed_before_any_step_it_can_be_undone_by_one_command() {
    let Some(s) = Setting::new() else { return };
    for stage in STAGES {
        s.restore_and_be_killed(&Event::Begins(stage));
        let hold = hold_of(s.data()).unwrap().unwrap();
        assert_eq!((hold.stage, hold.is_interrupted), (stage, true));
        s.undo()
            .unwrap_or_else(|error| panic!("{stage:?}: {error:?}"));
        assert_eq!(s.rows().unwrap(), "1500", "{stage:?}");
        discard_in_place(&s.stack, "db", None).unwrap();
        assert_eq!(s.beside(), [""; 0], "{stage:?}");
    }
}

#[test]
fn killed_after_any_step_it_is_finished_by_running_it_again() {
    let Some(s) = Setting::new() else { return };
    for stage in STAGES.into_iter().skip(1) {
        s.restore_and_be_killed(&Event::Ended(stage));
        let outcome = s
            .restore()
            .unwrap_or_else(|error| panic!("{stage:?}: {error:?}"));
        assert!(outcome.was_resumed, "{stage:?}");
        assert_eq!(s.rows().unwrap(), "1000", "{stage:?}");
        s.undo()
            .unwrap_or_else(|error| panic!("{stage:?}: {error:?}"));
        assert_eq!(s.rows().unwrap(), "1500", "{stage:?}");
        discard_in_place(&s.stack, "db", None).unwrap();
    }
}
