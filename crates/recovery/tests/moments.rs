//! Any moment of the past, on real servers: every kind of target, across timelines, and what is
//! refused. WAL is put into the archive file by file, as the server wrote it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and need not survive a power cut"
)]

use std::{fs, path::Path, sync::Arc};

use rekindle_recovery::{
    BackupRequest, RecoveryError, backup, create_vault,
    wal::{
        RecoveryTarget, RestoreAtOutcome, RestoreAtRequest, TargetAction, TargetError,
        TimelineChoice, WalRetentionPlan, apply_wal_retention_under, plan_restore_at,
        plan_wal_retention, restore_at, windows,
    },
};
use rekindle_stack::Stack;
use rekindle_testing::{
    postgres::{Existing, Major, Postgres},
    temp_dir,
};
use rekindle_vault::{LockMode, Progress, Vault, WalEffort, WalFile};

/// A server that archives into a directory, a vault, and the numbers that were committed.
struct World {
    pg: Postgres,
    stack: Stack,
    vault: Vault,
    directory: tempfile::TempDir,
    ledger: Vec<Entry>,
}

/// Removes WAL that no kept moment needs, while nobody else uses the vault.
fn apply_wal_retention(
    world: &World,
    now: jiff::Timestamp,
) -> Result<(WalRetentionPlan, u64), RecoveryError> {
    let lock = world.vault.lock(LockMode::Exclusive)?;
    let keep = world.stack.retention.wal;
    apply_wal_retention_under(&lock, &world.vault, "db", keep, now)
}

/// A commit that was acknowledged.
#[derive(Clone, Debug)]
struct Entry {
    xid: u32,
    /// Where the log stood before it.
    before: String,
    /// A moment after it and before the next one, by the server's clock.
    after: String,
}

fn world(major: Major) -> Option<World> {
    let directory = temp_dir().unwrap();
    let pg = Postgres::builder(major)
        .checksums(true)
        .wal_segment_size(1)
        .conf("archive_mode", "on")
        .conf("archive_command", "true")
        .start_or_skip()?;
    let pushed = pg.data_dir().join("../pushed");
    fs::create_dir(&pushed).unwrap();
    let command = format!("cp %p {}/%f", pushed.display());
    std::process::Command::new("chown")
        .args(["postgres", pushed.to_str().unwrap()])
        .status()
        .unwrap();
    pg.psql(&format!("alter system set archive_command = '{command}'"));
    pg.reload();
    let text = format!(
        "stack: test\nvault: {{ at: {0}/vault, password_file: {0}/password }}\n\
         services:\n  db: {{ datasets: [ {{ kind: postgres, url: \"{1}\" }} ] }}\n\
         retention: {{ wal: 1h }}\n",
        directory.path().display(),
        pg.url(),
    );
    fs::write(directory.path().join("password"), "of the vault").unwrap();
    let config = directory.path().join("rekindle.yaml");
    fs::write(&config, &text).unwrap();
    let stack = Stack::parse(&text, &config).unwrap().stack;
    let vault = create_vault(&stack.vault).unwrap();
    pg.psql("create table ledger (number int primary key)");
    Some(World {
        pg,
        stack,
        vault,
        directory,
        ledger: Vec::new(),
    })
}

impl World {
    fn backup(&self) {
        let request = BackupRequest {
            stack: &self.stack,
            services: Vec::new(),
            tags: Vec::new(),
            progress: Arc::new(Progress::default()),
        };
        backup(&self.vault, &request).unwrap();
    }

    /// Commits so many numbers, each in a transaction of its own.
    fn commit(&mut self, count: u64) {
        for _ in 0..count {
            let number = self.ledger.len() as u64;
            let before = self.pg.psql("select pg_current_wal_insert_lsn()");
            let xid = self.pg.psql(&format!(
                "insert into ledger values ({number}) returning pg_current_xact_id()"
            ));
            let after = self.pg.psql("select clock_timestamp()");
            self.ledger.push(Entry {
                xid: xid.parse().unwrap(),
                before,
                after,
            });
        }
    }

    /// Ends the current segment and puts everything that the server has pushed into the archive.
    fn archive(&self) {
        let name = self
            .pg
            .psql("select pg_walfile_name(pg_current_wal_insert_lsn())");
        self.pg.psql("select pg_switch_wal()");
        let pushed = self.pushed();
        for _ in 0..200 {
            // A server copies under the final name, so the next one tells that this one is whole.
            let archived = self.pg.psql(
                "select last_archived_wal >= '{}' from pg_stat_archiver"
                    .replace("{}", &name)
                    .as_str(),
            );
            if archived == "t" {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        for entry in fs::read_dir(pushed).unwrap() {
            self.put(&entry.unwrap().path());
        }
    }

    fn pushed(&self) -> std::path::PathBuf {
        self.pg.data_dir().join("../pushed")
    }

    fn put(&self, path: &Path) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let archive = self.vault.wal_archive().unwrap();
        let file = WalFile::named(self.system(), name).unwrap();
        archive
            .put(&file, &fs::read(path).unwrap(), WalEffort::Fast)
            .unwrap();
    }

    fn system(&self) -> u64 {
        let sql = "select system_identifier from pg_control_system()";
        self.pg.psql(sql).parse().unwrap()
    }

    fn request(&self, target: &str, to: &str) -> RestoreAtRequest {
        RestoreAtRequest {
            service: "db".into(),
            point: None,
            target: target.parse().unwrap_or_else(|error| panic!("{error}")),
            timeline: TimelineChoice::Latest,
            inclusive: true,
            action: TargetAction::Promote,
            keeps_archiving: false,
            to: self.directory.path().join(to),
            ownership: None,
            progress: Arc::new(Progress::default()),
        }
    }

    fn restore(&self, request: &RestoreAtRequest) -> Result<RestoreAtOutcome, RecoveryError> {
        restore_at(&self.vault, request)
    }

    /// Restores, starts the server, and returns the numbers that it has.
    fn numbers(&self, request: &RestoreAtRequest) -> Vec<u64> {
        self.restore(request)
            .unwrap_or_else(|error| panic!("{:?}: {error}", request.target));
        let restored = Existing::new(self.pg.bin_dir(), &request.to)
            .start()
            .unwrap();
        let found = restored.psql("select number from ledger order by 1");
        drop(restored);
        fs::remove_dir_all(&request.to).unwrap();
        found.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn refused(&self, target: &str) -> TargetError {
        match plan_restore_at(&self.vault, &self.request(target, "nowhere")) {
            Err(RecoveryError::Target(error)) => error,
            other => panic!("{target}: {other:?}"),
        }
    }
}

fn up_to(number: u64) -> Vec<u64> {
    (0..=number).collect()
}

fn every_kind_of_target_is_reached_exactly(major: Major) {
    let Some(mut world) = world(major) else {
        return;
    };
    world.commit(3);
    world.backup();
    world.commit(10);
    world
        .pg
        .psql("select pg_create_restore_point('before the import')");
    world.commit(10);
    world.archive();
    world.commit(5);
    world.archive();
    let entry = |number: usize| world.ledger[number].clone();

    let at = |target: &str| world.numbers(&world.request(target, "restored"));
    assert_eq!(at(&entry(7).after), up_to(7));
    assert_eq!(at("name:before the import"), up_to(12));
    assert_eq!(at(&format!("xid:{}", entry(17).xid)), up_to(17));
    assert_eq!(at("latest"), up_to(27));
    assert_eq!(at("consistent"), up_to(2));
    let mut before = world.request(&format!("xid:{}", entry(17).xid), "restored");
    before.inclusive = false;
    assert_eq!(world.numbers(&before), up_to(16));
    let mut before = world.request(&entry(20).before, "restored");
    before.inclusive = false;
    assert_eq!(world.numbers(&before), up_to(19));

    let found = windows(&world.vault, "db").unwrap();
    assert_eq!(
        (found.windows.len(), found.problems.len()),
        (1, 0),
        "{found:?}"
    );
    let last = found.windows[0].to.time.unwrap().to_string();
    assert_eq!(
        at(&last),
        up_to(27),
        "the end that is shown can be asked for"
    );
}

#[test]
fn every_kind_of_target_is_reached_exactly_on_15() {
    every_kind_of_target_is_reached_exactly(Major::V15);
}

#[test]
fn every_kind_of_target_is_reached_exactly_on_18() {
    every_kind_of_target_is_reached_exactly(Major::V18);
}

#[test]
fn a_restored_server_recovers_alone_and_leaves_the_archive_alone() {
    let Some(mut world) = world(Major::V15) else {
        return;
    };
    world.backup();
    world.commit(5);
    world.archive();
    let mut request = world.request("latest", "alone");
    request.action = TargetAction::Pause;
    world.restore(&request).unwrap();
    // Without the vault nothing but the directory is left.
    let (vault, away) = (
        world.directory.path().join("vault"),
        world.directory.path().join("away"),
    );
    fs::rename(&vault, &away).unwrap();
    let restored = Existing::new(world.pg.bin_dir(), &request.to)
        .start()
        .unwrap();
    assert_eq!(restored.psql("select count(*) from ledger"), "5");
    let settings = restored.psql("select timeline_id from pg_control_checkpoint()");
    assert_eq!(settings, "2", "a recovery begins a timeline");
    let conf = fs::read_to_string(request.to.join("postgresql.auto.conf")).unwrap();
    assert!(conf.contains("archive_mode = 'off'"), "{conf}");
}

#[test]
fn what_lies_outside_or_in_a_hole_is_refused_and_nothing_is_written() {
    let Some(mut world) = world(Major::V15) else {
        return;
    };
    let long_ago = world
        .pg
        .psql("select clock_timestamp() - interval '1 hour'");
    assert!(matches!(
        world.refused(&long_ago),
        TargetError::NoBase { .. }
    ));
    world.backup();
    assert!(matches!(
        world.refused(&long_ago),
        TargetError::TooEarly { .. }
    ));
    world.commit(2);
    world.archive();
    world.commit(2);
    let lost = world.ledger[2].clone();
    let in_hole = world
        .pg
        .psql("select pg_walfile_name(pg_current_wal_insert_lsn())");
    world.archive();
    world.commit(2);
    world.archive();
    let soon = world
        .pg
        .psql("select clock_timestamp() + interval '1 hour'");
    assert!(matches!(world.refused(&soon), TargetError::TooLate { .. }));
    assert!(matches!(
        world.refused("xid:999999"),
        TargetError::NotFound { .. }
    ));
    assert!(matches!(
        world.refused("name:nobody"),
        TargetError::NotFound { .. }
    ));

    let archive = world.vault.wal_archive().unwrap();
    archive
        .delete(&WalFile::named(world.system(), in_hole.as_str()).unwrap())
        .unwrap();
    let error = world.refused(&lost.after);
    assert!(
        matches!(&error, TargetError::InHole { hole, .. } if hole.first_missing == in_hole),
        "{error}"
    );
    let shown = windows(&world.vault, "db").unwrap();
    assert_eq!(
        shown.windows[0].hole.as_ref().unwrap().first_missing,
        in_hole
    );
    let request = world.request("latest", "restored");
    assert!(!world.restore(&request).unwrap().notes.is_empty());
    fs::remove_dir_all(&request.to).unwrap();
    assert_eq!(
        world.numbers(&request),
        up_to(1),
        "what lies before the hole"
    );
    assert!(!world.directory.path().join("nowhere").exists());
}

#[test]
fn a_damaged_segment_stops_the_restore_and_no_server_starts_on_what_is_there() {
    let Some(mut world) = world(Major::V15) else {
        return;
    };
    world.backup();
    world.commit(3);
    let name = world
        .pg
        .psql("select pg_walfile_name(pg_current_wal_insert_lsn())");
    world.archive();
    let stored = world.directory.path().join(format!(
        "vault/rekindle/wal/{}/00000001/{name}.zst.age",
        world.system()
    ));
    rekindle_testing::faults::flip_bit(&stored, 2000).unwrap();
    let request = world.request("latest", "restored");
    let error = world.restore(&request).unwrap_err();
    assert!(
        rekindle_datasets::with_causes(&error).contains(&name),
        "{error}"
    );
    if request.to.exists() {
        assert!(!request.to.join("global/pg_control").exists());
    }
}

#[test]
fn three_timelines_are_followed_to_every_end() {
    let Some(mut world) = world(Major::V15) else {
        return;
    };
    world.commit(2);
    world.backup();
    world.commit(4);
    world.archive();
    let on_first = world.ledger.clone();

    // The second timeline begins after number 3 and goes its own way; its server archives too.
    let mut request = world.request(&on_first[3].after, "second");
    request.keeps_archiving = true;
    let second = diverge(&mut world, &request, 100);
    let mut request = world.request(&second, "third");
    request.keeps_archiving = true;
    let third = diverge(&mut world, &request, 200);

    let at = |target: &str, timeline: Option<u32>| {
        let mut request = world.request(target, "restored");
        if let Some(number) = timeline {
            request.timeline = TimelineChoice::Number(rekindle_postgres::Timeline::new(number));
        }
        world.numbers(&request)
    };
    assert_eq!(at("latest", Some(1)), up_to(5));
    assert_eq!(at("latest", Some(2)), [up_to(3), vec![100, 101]].concat());
    assert_eq!(at("latest", None), [up_to(3), vec![100, 200, 201]].concat());
    assert_eq!(at(&third, None), [up_to(3), vec![100, 200]].concat());
    let windows = windows(&world.vault, "db").unwrap();
    let timelines: Vec<u32> = windows
        .windows
        .iter()
        .map(|w| w.timeline.number())
        .collect();
    assert_eq!(timelines, [3, 2, 1], "{windows:?}");

    // The newest history is lost: nobody is led to an older one in silence.
    let archive = world.vault.wal_archive().unwrap();
    let history = WalFile::named(world.system(), "00000003.history").unwrap();
    archive.delete(&history).unwrap();
    assert!(matches!(
        world.refused("latest"),
        TargetError::NoHistory { .. }
    ));
}

/// Restores, starts, commits two numbers, and archives what that server wrote. Returns a moment
/// between the two.
fn diverge(world: &mut World, request: &RestoreAtRequest, number: u64) -> String {
    world.restore(request).unwrap();
    let pushed = world.pushed();
    let command = format!("cp %p {}/%f", pushed.display());
    let server = Existing::new(world.pg.bin_dir(), &request.to)
        .conf("archive_mode", "on")
        .conf("archive_command", &command)
        .start()
        .unwrap();
    server.psql(&format!("insert into ledger values ({number})"));
    let between = server.psql("select clock_timestamp()");
    server.psql(&format!("insert into ledger values ({})", number + 1));
    let name = server.psql("select pg_walfile_name(pg_current_wal_insert_lsn())");
    server.psql("select pg_switch_wal()");
    while server.psql(&format!(
        "select last_archived_wal >= '{name}' from pg_stat_archiver"
    )) != "t"
    {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for entry in fs::read_dir(&pushed).unwrap() {
        world.put(&entry.unwrap().path());
    }
    between
}

#[test]
fn retention_keeps_what_every_kept_moment_needs() {
    let Some(mut world) = world(Major::V15) else {
        return;
    };
    world.commit(1);
    world.backup();
    world.commit(2);
    world.archive();
    world.backup();
    world.commit(2);
    world.archive();
    let now = jiff::Timestamp::now();
    let (plan, _) = apply_wal_retention(&world, now).unwrap();
    for entry in &world.ledger[1..] {
        let request = world.request(&format!("xid:{}", entry.xid), "nowhere");
        let planned = plan_restore_at(&world.vault, &request);
        assert!(planned.is_ok(), "an hour is kept: {entry:?}, {plan:?}");
    }
    let later = now + jiff::SignedDuration::from_hours(2);
    let keep = world.stack.retention.wal;
    let plan = plan_wal_retention(&world.vault, "db", keep, later).unwrap();
    assert!(
        plan.removals.iter().map(|r| r.segments).sum::<u64>() >= 1,
        "{plan:?}"
    );
    let somebody = world.vault.lock(LockMode::Shared).unwrap();
    let in_the_way = apply_wal_retention(&world, later);
    assert!(in_the_way.is_err(), "a restore runs");
    drop(somebody);
    let (_, removed) = apply_wal_retention(&world, later).unwrap();
    assert_eq!(
        removed,
        plan.removals.iter().map(|r| r.segments).sum::<u64>()
    );
    assert_eq!(
        world.numbers(&world.request("latest", "restored")),
        up_to(4)
    );
    let first = world.ledger[2].clone();
    let mut request = world.request(&first.after, "restored");
    request.target = RecoveryTarget::Transaction(first.xid);
    assert!(
        plan_restore_at(&world.vault, &request).is_err(),
        "its WAL is gone"
    );
}

/// A server may push to elsewhere with success while our archive gets nothing.
#[test]
fn what_was_archived_elsewhere_is_no_comfort() {
    let Some(mut world) = world(Major::V15) else {
        return;
    };
    world.backup();
    world.commit(1);
    world.archive();
    let text = fs::read_to_string(world.directory.path().join("rekindle.yaml")).unwrap();
    let text = text.replace("kind: postgres,", "kind: postgres, wal: push,");
    let config = world.directory.path().join("rekindle.yaml");
    let stack = Stack::parse(&text, &config).unwrap().stack;
    std::thread::sleep(std::time::Duration::from_secs(3));
    world.commit(1);
    let name = world
        .pg
        .psql("select pg_walfile_name(pg_current_wal_insert_lsn())");
    world.pg.psql("select pg_switch_wal()");
    let archived = format!("select last_archived_wal >= '{name}' from pg_stat_archiver");
    while world.pg.psql(&archived) != "t" {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let status = rekindle_recovery::status(&stack, Ok(&world.vault));
    let exposed = status.services[0].rpo.current_seconds.unwrap();
    assert!(
        exposed >= 3,
        "since the last commit that we have: {exposed}"
    );
}
