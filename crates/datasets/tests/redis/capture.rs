use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use rekindle_datasets::redis::{
    FileNames, RdbWay, RedisError, ServerVersion, check_rdb, prepare_directory, store_rdb,
};
use rekindle_testing::redis::{FILLED, Flavour, Redis, Value};
use rekindle_testing::skip::unless_available;
use rekindle_testing::temp_dir;
use rekindle_vault::{BackupOptions, SnapshotDraft, TreePath};

use super::common::{Point, capture, described, new_vault, server};

const BOTH: [&str; 2] = ["yes", "no"];

fn version(point: &Point) -> ServerVersion {
    point.redis().server_version()
}

/// Starts a server of this kind on the point's files, and returns what it holds.
fn content_on(point: &Point, flavour: Flavour, append_only: &str) -> Vec<String> {
    let mut other = Redis::builder(flavour)
        .setting("appendonly", append_only)
        // What is restored has no torn end that would have to be cut off.
        .setting("aof-load-truncated", "no")
        .start()
        .unwrap();
    other.kill();
    fs::remove_dir_all(other.data_dir()).unwrap();
    point.restore_to(&other.data_dir());
    let names = FileNames::of(point.redis());
    prepare_directory(
        &other.data_dir(),
        &version(point),
        append_only == "yes",
        &names,
    )
    .unwrap();
    other.start().unwrap();
    let before = other.content().unwrap();
    // It really lives on these files.
    other.stop().unwrap();
    other.start().unwrap();
    assert_eq!(
        other.content().unwrap(),
        before,
        "{flavour}: after a restart"
    );
    before
}

#[test]
fn an_rdb_comes_over_the_wire_and_any_server_of_its_kind_starts_on_it() {
    for flavour in Flavour::available() {
        for source_aof in BOTH {
            let dir = temp_dir().unwrap();
            let vault = new_vault(&dir.path().join("vault"));
            let redis = Redis::builder(flavour)
                .setting("appendonly", source_aof)
                .start()
                .unwrap();
            redis.fill().unwrap();
            let point = capture(&vault, &server(&redis, "", dir.path())).unwrap();
            let rdb = point.redis().rdb.as_ref().unwrap();
            assert_eq!(rdb.way, RdbWay::Replication);
            assert!(rdb.summary.is_counted(), "{flavour}: {:?}", rdb.summary);
            let counted: Vec<_> = rdb
                .summary
                .databases
                .iter()
                .map(|counts| (counts.database as u32, counts.keys as usize))
                .collect();
            assert_eq!(counted, FILLED, "{flavour}");
            assert_eq!(
                rdb.summary.functions,
                u64::from(flavour.has_append_directory())
            );
            assert_eq!(point.captured().warnings, Vec::<String>::new());
            let age = point
                .captured()
                .as_of
                .unwrap()
                .duration_until(jiff::Timestamp::now());
            assert!(age.as_secs() < 60, "{age:?}");
            let expected = redis.content().unwrap();
            for target_aof in BOTH {
                assert_eq!(
                    content_on(&point, flavour, target_aof),
                    expected,
                    "{flavour}: appendonly {source_aof} to {target_aof}"
                );
            }
        }
    }
}

#[test]
fn append_only_files_come_with_all_that_was_written() {
    for flavour in Flavour::available() {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let redis = Redis::builder(flavour)
            .setting("appendonly", "yes")
            .start()
            .unwrap();
        redis.fill().unwrap();
        redis.call("BGREWRITEAOF").unwrap();
        redis.wait_for_info("aof_rewrite_in_progress", "0").unwrap();
        redis.call("SET after-the-rewrite 1").unwrap();
        let point = capture(&vault, &server(&redis, ", include: [rdb, aof]", dir.path())).unwrap();
        let aof = point.redis().aof.as_ref().unwrap();
        assert_eq!(aof.torn_bytes, 0);
        assert!(aof.files.iter().any(|file| file.rdb.is_some()), "{aof:?}");
        assert!(aof.files.last().unwrap().commands > 0, "{aof:?}");
        let expected = redis.content().unwrap();
        for append_only in BOTH {
            assert_eq!(
                content_on(&point, flavour, append_only),
                expected,
                "{flavour}"
            );
        }
    }
}

#[test]
fn what_is_captured_while_clients_write_and_rewrite_is_consistent() {
    for flavour in Flavour::available() {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let redis = Redis::builder(flavour)
            .setting("appendonly", "yes")
            .start()
            .unwrap();
        redis.fill().unwrap();
        // The first point may be captured before the first pair is written.
        redis.call("MSET a 0 b 0").unwrap();
        let is_over = AtomicBool::new(false);
        let points = thread::scope(|scope| {
            scope.spawn(|| write_pairs(&redis, &is_over));
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let _ = redis.call("BGREWRITEAOF");
                    thread::sleep(std::time::Duration::from_millis(30));
                }
            });
            let described = server(&redis, ", include: [rdb, aof]", dir.path());
            let points: Vec<_> = (0..3).map(|_| capture(&vault, &described)).collect();
            is_over.store(true, Ordering::Release);
            points
        });
        for point in points {
            let point = point.unwrap();
            for append_only in BOTH {
                let mut other = Redis::builder(flavour)
                    .setting("appendonly", append_only)
                    .setting("aof-load-truncated", "no")
                    .start()
                    .unwrap();
                other.kill();
                fs::remove_dir_all(other.data_dir()).unwrap();
                point.restore_to(&other.data_dir());
                let names = FileNames::of(point.redis());
                let on = append_only == "yes";
                prepare_directory(&other.data_dir(), &version(&point), on, &names).unwrap();
                other.start().unwrap();
                // Both are written in one transaction.
                let (a, b) = (other.call("GET a").unwrap(), other.call("GET b").unwrap());
                assert_eq!(a, b, "{flavour}, appendonly {append_only}");
                assert_ne!(a, Value::Nil, "{flavour}, appendonly {append_only}");
            }
        }
    }
}

fn write_pairs(redis: &Redis, is_over: &AtomicBool) {
    let mut connection = redis.connect().unwrap();
    while !is_over.load(Ordering::Acquire) {
        for command in [
            ["MULTI"].as_slice(),
            &["INCR", "a"],
            &["INCR", "b"],
            &["EXEC"],
        ] {
            let parts: Vec<_> = command.iter().map(|part| part.as_bytes()).collect();
            connection.call(&parts).unwrap();
        }
    }
}

#[test]
fn a_server_that_lets_nobody_replicate_saves_and_its_file_is_read() {
    for flavour in Flavour::available() {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let redis = Redis::builder(flavour).start().unwrap();
        redis.fill().unwrap();
        redis
            .call("ACL SETUSER backup on >geheim +@all -psync -sync ~* &*")
            .unwrap();
        let url = format!("redis://backup:geheim@127.0.0.1:{}", redis.port());
        let point = capture(&vault, &described(&url, "", dir.path())).unwrap();
        let rdb = point.redis().rdb.as_ref().unwrap();
        assert_eq!(rdb.way, RdbWay::Bgsave, "{flavour}");
        assert_eq!(content_on(&point, flavour, "yes"), redis.content().unwrap());
    }
}

#[test]
fn a_unix_socket_a_password_and_tls_are_ways_in() {
    for flavour in Flavour::available() {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let redis = Redis::builder(flavour).password("geheim").start().unwrap();
        redis.call("SET a b").unwrap();
        let url = format!("unix://:geheim@{}", redis.socket().display());
        let point = capture(&vault, &described(&url, "", dir.path())).unwrap();
        assert_eq!(point.redis().rdb.as_ref().unwrap().summary.keys(), 1);
    }
    let Some(_) = unless_available(Flavour::Redis7.program()) else {
        return;
    };
    let dir = temp_dir().unwrap();
    let vault = new_vault(&dir.path().join("vault"));
    let redis = Redis::builder(Flavour::Redis7).tls().start().unwrap();
    redis.call("SET a b").unwrap();
    let url = format!("rediss://localhost:{}", redis.tls_port().unwrap());
    let with_ca = format!(", ca_file: \"{}\"", redis.ca_file().display());
    let point = capture(&vault, &described(&url, &with_ca, dir.path())).unwrap();
    assert_eq!(point.redis().rdb.as_ref().unwrap().summary.keys(), 1);
    let error = capture(&vault, &described(&url, "", dir.path()))
        .err()
        .unwrap();
    assert!(error.hint().unwrap().contains("ca_file"), "{error}");
}

#[test]
fn an_rdb_of_somebody_else_is_read_to_its_end_also_within_gzip() {
    let flavours = Flavour::available();
    let dir = temp_dir().unwrap();
    for flavour in flavours {
        let mut redis = Redis::builder(flavour)
            .setting("save", "3600 1")
            .start()
            .unwrap();
        redis.fill().unwrap();
        redis.stop().unwrap();
        let rdb = redis.data_dir().join("dump.rdb");
        let keys: usize = FILLED.iter().map(|(_, keys)| keys).sum();
        assert_eq!(check_rdb(&rdb).unwrap().keys(), keys as u64, "{flavour}");
        let packed = dir.path().join(format!("{flavour}.rdb.gz"));
        pack(&rdb, &packed);
        assert_eq!(check_rdb(&packed).unwrap().keys(), keys as u64, "{flavour}");
        import(&packed, keys as u64);
        let bytes = fs::read(&rdb).unwrap();
        let other = dir.path().join("damaged.rdb");
        for place in [100, bytes.len() / 2, bytes.len() - 3] {
            let mut damaged = bytes.clone();
            damaged[place] ^= 4;
            fs::write(&other, &damaged).unwrap();
            let error = check_rdb(&other).unwrap_err();
            assert!(matches!(error, RedisError::Files { .. }), "{error}");
            fs::write(&other, &bytes[..place]).unwrap();
            check_rdb(&other).unwrap_err();
        }
    }
}

fn import(packed: &Path, keys: u64) {
    let dir = temp_dir().unwrap();
    let vault = new_vault(dir.path());
    let backup = vault.start_backup(BackupOptions::default()).unwrap();
    let record = store_rdb(&backup, &TreePath::new("cache/redis").unwrap(), packed).unwrap();
    backup.finish(SnapshotDraft::default()).unwrap();
    let rdb = record.rdb.unwrap();
    assert_eq!(rdb.way, RdbWay::Imported);
    assert_eq!(rdb.summary.keys(), keys);
    assert!(record.imported.unwrap().ends_with(".rdb.gz"));
}

fn pack(from: &Path, to: &Path) {
    let out = fs::File::create(to).unwrap();
    let status = std::process::Command::new("gzip")
        .arg("-c")
        .arg(from)
        .stdout(out)
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_failing_bgsave_is_an_error_and_no_old_file_is_taken() {
    for flavour in Flavour::available() {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let redis = Redis::builder(flavour).start().unwrap();
        redis.call("SET a old").unwrap();
        redis.call("BGSAVE").unwrap();
        redis.wait_for_info("rdb_bgsave_in_progress", "0").unwrap();
        redis.call("SET a new").unwrap();
        redis
            .call("ACL SETUSER backup on >geheim +@all -psync -sync ~* &*")
            .unwrap();
        let data = redis.data_dir();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o500)).unwrap();
        let url = format!("redis://backup:geheim@127.0.0.1:{}", redis.port());
        let error = capture(&vault, &described(&url, "", dir.path()))
            .err()
            .unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        let text = rekindle_datasets::with_causes(&error);
        assert!(text.contains("BGSAVE failed"), "{flavour}: {text}");
        assert!(error.hint().unwrap().contains("disk full"), "{flavour}");
        assert!(!text.contains("geheim"));
        assert!(vault.snapshots().unwrap().is_empty());
    }
}
