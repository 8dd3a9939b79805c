use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rekindle_datasets::redis::RedisAside;
use rekindle_datasets::{Aside, Dataset, InPlaceError, Journal};
use rekindle_testing::redis::{Flavour, Redis, Value};
use rekindle_testing::skip::unless_available;
use rekindle_testing::temp_dir;
use rekindle_vault::store::LocalStore;
use rekindle_vault::{Progress, Vault};

use super::common::{Point, Remembered, capture, capture_after, new_vault, password, server};

fn start(flavour: Flavour, append_only: &str) -> Redis {
    Redis::builder(flavour)
        .setting("appendonly", append_only)
        // While its disk is busy it would answer before it has written, and be killed then.
        .setting("appendfsync", "always")
        .start()
        .unwrap()
}

/// Other data in the place of what was captured.
fn change(redis: &Redis) -> Vec<String> {
    redis.call("FLUSHALL").unwrap();
    redis.fill().unwrap();
    redis.call("SET only-after 1").unwrap();
    redis.call("DEL large-hash").unwrap();
    if redis.flavour().has_append_directory() {
        redis.call("FUNCTION FLUSH").unwrap();
    }
    redis.content().unwrap()
}

fn restart_after_power_cut(redis: &mut Redis) -> Vec<String> {
    redis.kill();
    redis.start().unwrap();
    redis.content().unwrap()
}

#[test]
fn a_running_server_takes_a_point_keeps_it_and_gives_back_what_it_had() {
    for flavour in Flavour::available() {
        for append_only in ["yes", "no"] {
            let what = format!("{flavour}, appendonly {append_only}");
            let dir = temp_dir().unwrap();
            let state = dir.path().join("state");
            let vault = new_vault(&dir.path().join("vault"));
            let mut redis = start(flavour, append_only);
            redis.fill().unwrap();
            let before = redis.content().unwrap();
            let dataset = server(&redis, "", &state);
            let point = capture(&vault, &dataset).unwrap();
            let changed = change(&redis);
            assert_ne!(before, changed);
            let progress = Arc::new(Progress::default());
            let source = point.source(&progress);
            let plan = dataset.plan_in_place(&source).unwrap();
            assert_eq!(plan.entries, 1021, "{what}: {plan:?}");
            assert_eq!(
                redis.content().unwrap(),
                changed,
                "{what}: a plan changes nothing"
            );

            let mut journal = Remembered::default();
            let done = dataset.restore_in_place(&source, &mut journal).unwrap();
            assert_eq!(done.warnings, Vec::<String>::new(), "{what}");
            assert_eq!(redis.content().unwrap(), before, "{what}: restored");
            assert_eq!(
                redis.info("role").unwrap().as_deref(),
                Some("master"),
                "{what}"
            );
            let masterauth = redis.call("CONFIG GET masterauth").unwrap();
            assert_eq!(
                masterauth.items().get(1).map(Value::text).as_deref(),
                Some("")
            );
            assert_eq!(
                redis.call("SET writable yes").unwrap().text(),
                "OK",
                "{what}"
            );
            redis.call("DEL writable").unwrap();
            assert_eq!(
                restart_after_power_cut(&mut redis),
                before,
                "{what}: after a power cut"
            );

            dataset.undo_in_place(journal.last()).unwrap();
            assert_eq!(redis.content().unwrap(), changed, "{what}: undone");
            assert_eq!(
                restart_after_power_cut(&mut redis),
                changed,
                "{what}: undone, after a power cut"
            );
            // It may be called again, as after a crash.
            dataset.undo_in_place(journal.last()).unwrap();
            assert_eq!(redis.content().unwrap(), changed, "{what}: undone twice");

            let others = state.join("cache-other.rdb");
            fs::write(&others, "not ours to remove").unwrap();
            let removed = dataset.discard_aside(journal.last()).unwrap();
            assert_eq!(removed.len(), 3, "{removed:?}");
            let left: Vec<_> = fs::read_dir(&state).unwrap().collect();
            assert_eq!(left.len(), 1, "{left:?}");
            assert!(others.exists());
        }
    }
}

#[test]
fn a_point_that_is_too_new_is_refused_before_anything_is_touched() {
    let flavours = Flavour::available();
    for (from, to) in [
        (Flavour::Redis7, Flavour::Redis6),
        (Flavour::Valkey9, Flavour::Redis7),
    ] {
        if !(flavours.contains(&from) && flavours.contains(&to)) {
            continue;
        }
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let source = start(from, "no");
        source.call("SET a b").unwrap();
        let point = capture(&vault, &server(&source, "", dir.path())).unwrap();
        let target = start(to, "no");
        target.call("SET mine 1").unwrap();
        let dataset = server(&target, "", &dir.path().join("state"));
        let progress = Arc::new(Progress::default());
        let mut journal = Remembered::default();
        for error in [
            dataset
                .plan_in_place(&point.source(&progress))
                .err()
                .unwrap(),
            dataset
                .restore_in_place(&point.source(&progress), &mut journal)
                .err()
                .unwrap(),
        ] {
            assert!(matches!(error, InPlaceError::Refused { .. }), "{error}");
            assert!(error.to_string().contains("RDB version"), "{error}");
        }
        assert!(journal.0.is_empty());
        assert_eq!(target.call("GET mine").unwrap().text(), "1");
    }
}

#[test]
fn a_replica_is_refused_and_replicas_follow() {
    for flavour in Flavour::available() {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let (redis, replica) = (start(flavour, "no"), start(flavour, "no"));
        redis.call("SET a old").unwrap();
        let point = capture(&vault, &server(&redis, "", dir.path())).unwrap();
        redis.call("SET a new").unwrap();
        let follow = format!("REPLICAOF 127.0.0.1 {}", redis.port());
        replica.call(&follow).unwrap();
        replica.wait_for_info("master_link_status", "up").unwrap();
        let progress = Arc::new(Progress::default());
        let refused = server(&replica, "", dir.path()).plan_in_place(&point.source(&progress));
        let text = refused.err().unwrap().to_string();
        assert!(text.contains("is a replica of 127.0.0.1"), "{text}");
        let dataset = server(&redis, "", &dir.path().join("state"));
        let plan = dataset.plan_in_place(&point.source(&progress)).unwrap();
        assert_eq!(plan.warnings.len(), 1, "{plan:?}");
        let mut journal = Remembered::default();
        dataset
            .restore_in_place(&point.source(&progress), &mut journal)
            .unwrap();
        for _ in 0..500 {
            if replica.call("GET a").unwrap().text() == "old" {
                break;
            }
            sleep(Duration::from_millis(20));
        }
        assert_eq!(replica.call("GET a").unwrap().text(), "old", "{flavour}");
    }
}

#[test]
fn a_failover_since_the_backup_is_told() {
    for flavour in Flavour::available() {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let (old, new) = (start(flavour, "no"), start(flavour, "no"));
        old.call("SET a old").unwrap();
        let dataset = server(&old, "", &dir.path().join("state"));
        let point = capture(&vault, &dataset).unwrap();
        // As Sentinel does: another one is the master now, and this one follows it.
        let follow = format!("REPLICAOF 127.0.0.1 {}", new.port());
        old.call(&follow).unwrap();
        old.wait_for_info("master_link_status", "up").unwrap();
        let progress = Arc::new(Progress::default());
        let refused = dataset.plan_in_place(&point.source(&progress));
        let text = refused.err().unwrap().to_string();
        let master = format!("replica of 127.0.0.1:{}", new.port());
        assert!(text.contains(&master), "{flavour}: {text}");
        assert!(text.contains("there was a failover"), "{flavour}: {text}");
        let later = capture_after(&vault, &dataset, Some(&point.record)).unwrap();
        let warnings = &later.captured().warnings;
        assert!(warnings[0].contains(&master), "{flavour}: {warnings:?}");
        let again = capture_after(&vault, &dataset, Some(&later.record)).unwrap();
        let warnings = &again.captured().warnings;
        assert!(warnings.is_empty(), "told once: {flavour}: {warnings:?}");
        let promoted = server(&new, "", &dir.path().join("state"));
        promoted.plan_in_place(&point.source(&progress)).unwrap();
    }
}

/// Writes what it is told into a file, as the program does.
struct Written<'a>(&'a Path);

impl Journal for Written<'_> {
    fn write(&mut self, aside: &Aside) -> Result<(), InPlaceError> {
        let text = serde_json::to_vec(aside).unwrap();
        fs::write(self.0.with_extension("new"), text).unwrap();
        fs::rename(self.0.with_extension("new"), self.0).unwrap();
        Ok(())
    }
}

const KILLED: &str = "REKINDLE_TEST_REDIS_KILLED";

/// No test of its own: the process that [`kill_while_it_loads`] kills.
#[test]
fn the_process_that_is_killed() {
    let Some(given) = std::env::var_os(KILLED) else {
        return;
    };
    let given = given.into_string().unwrap();
    let (port, dir) = given.split_once(' ').unwrap();
    let dir = Path::new(dir);
    let store = Arc::new(LocalStore::new(dir.join("vault")));
    let vault = Vault::open(store, &password()).unwrap();
    let record = fs::read(dir.join("record")).unwrap();
    let snapshot = vault.snapshots().unwrap().remove(0);
    let record = serde_json::from_slice(&record).unwrap();
    let point = Point::of(vault, snapshot, record);
    let url = format!("redis://127.0.0.1:{port}");
    let dataset = super::common::described(&url, "", &dir.join("state"));
    let progress = Arc::new(Progress::default());
    if dir.join("undo").exists() {
        let journal = fs::read(dir.join("journal")).unwrap();
        let _ = dataset.undo_in_place(&serde_json::from_slice(&journal).unwrap());
        return;
    }
    let mut journal = Written(&dir.join("journal"));
    let _ = dataset.restore_in_place(&point.source(&progress), &mut journal);
}

/// Runs [`the_process_that_is_killed`], and kills it while the server loads: its old data is gone then.
fn kill_while_it_loads(redis: &Redis, dir: &Path) {
    // In microseconds for each key. It answers nobody meanwhile.
    redis.call("CONFIG SET key-load-delay 4000").unwrap();
    for _ in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["in_place::the_process_that_is_killed", "--exact"])
            .env(KILLED, format!("{} {}", redis.port(), dir.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() && answers(redis.port()) {
            sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        redis.wait_for_info("loading", "0").unwrap();
        // A busy machine answers late, too; then it had not begun to load.
        if redis.info("role").unwrap().as_deref() == Some("slave") {
            redis.call("CONFIG SET key-load-delay 0").unwrap();
            return;
        }
    }
    panic!("never killed while it loaded");
}

/// Whether the server answers as it does when it does not load.
fn answers(port: u16) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let patience = Some(Duration::from_millis(300));
    stream.set_read_timeout(patience).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).is_ok() && answer.starts_with(b"+PONG")
}

fn is_free(redis: &Redis) {
    assert_eq!(redis.info("role").unwrap().as_deref(), Some("master"));
    let masterauth = redis.call("CONFIG GET masterauth").unwrap();
    assert_eq!(
        masterauth.items().get(1).map(Value::text).as_deref(),
        Some("")
    );
}

fn killed_restore_and_killed_undo(flavour: Flavour) {
    if unless_available(flavour.program()).is_none() {
        return;
    }
    let dir = temp_dir().unwrap();
    let vault = new_vault(&dir.path().join("vault"));
    let mut redis = start(flavour, "yes");
    redis.fill().unwrap();
    let dataset = server(&redis, "", &dir.path().join("state"));
    let point = capture(&vault, &dataset).unwrap();
    let record = serde_json::to_vec(&point.record).unwrap();
    fs::write(dir.path().join("record"), record).unwrap();
    let changed = change(&redis);
    kill_while_it_loads(&redis, dir.path());
    let journal = fs::read(dir.path().join("journal")).unwrap();
    let aside: Aside = serde_json::from_slice(&journal).unwrap();
    assert!(matches!(aside, Aside::Redis(RedisAside::Live(_))));
    // What undoes is killed as well.
    fs::write(dir.path().join("undo"), "").unwrap();
    dataset.undo_in_place(&aside).unwrap();
    is_free(&redis);
    assert_eq!(redis.content().unwrap(), changed, "{flavour}");
    kill_while_it_loads(&redis, dir.path());
    let done = dataset.undo_in_place(&aside).unwrap();
    assert!(done[0].contains("ended an undo"), "{done:?}");
    is_free(&redis);
    assert_eq!(redis.content().unwrap(), changed, "{flavour}");
    assert_eq!(restart_after_power_cut(&mut redis), changed, "{flavour}");
}

#[test]
fn a_restore_and_an_undo_that_are_killed_leave_a_way_back_on_redis_6() {
    killed_restore_and_killed_undo(Flavour::Redis6);
}

#[test]
fn a_restore_and_an_undo_that_are_killed_leave_a_way_back_on_redis_7() {
    killed_restore_and_killed_undo(Flavour::Redis7);
}

#[test]
fn a_restore_and_an_undo_that_are_killed_leave_a_way_back_on_valkey() {
    killed_restore_and_killed_undo(Flavour::Valkey9);
}
