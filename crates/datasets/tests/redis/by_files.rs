//! In place by files, where the server does not run.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rekindle_datasets::redis::{RedisAside, RedisServer};
use rekindle_datasets::{Aside, Dataset, DatasetRecord, InPlaceError};
use rekindle_runtimes::RunState;
use rekindle_testing::redis::{Flavour, Redis};
use rekindle_testing::{skip, temp_dir};
use rekindle_vault::Progress;

use super::common::{self, Point, Remembered, capture, new_vault, server};
use super::keeper::{Keeper, Reach};

fn start(flavour: Flavour, append_only: &str) -> Redis {
    Redis::builder(flavour)
        .setting("appendonly", append_only)
        .start()
        .unwrap()
}

/// Other data in the place of what was captured, on disk, and no server.
fn change_and_stop(redis: &mut Redis) -> Vec<String> {
    redis.call("DEL large").unwrap();
    redis.call("SET only-after 1").unwrap();
    let changed = redis.content().unwrap();
    save(redis);
    redis.stop().unwrap();
    changed
}

/// Saves as soon as the server has ended the process that gave us the data.
fn save(redis: &Redis) {
    while redis.call("SAVE").unwrap().text() != "OK" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn content_after_start(redis: &mut Redis, append_only: &str) -> Vec<String> {
    redis.set_for_next_start("appendonly", append_only).unwrap();
    redis.start().unwrap();
    let content = redis.content().unwrap();
    redis.stop().unwrap();
    content
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.ends_with(".sock"))
        .collect();
    names.sort();
    names
}

/// Who may do what with a file.
fn look(path: &Path) -> (u32, u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.uid(), found.gid(), found.mode() & 0o777)
}

fn restored_whatever_the_settings(flavour: Flavour) {
    if skip::unless_available(flavour.program()).is_none() {
        return;
    }
    for (was, is) in [("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no")] {
        let what = format!("{flavour}, appendonly {was} then {is}");
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let mut redis = start(flavour, was);
        redis.fill().unwrap();
        let before = redis.content().unwrap();
        let dataset = server(&redis, "", &dir.path().join("state"));
        let point = capture(&vault, &dataset).unwrap();
        let changed = change_and_stop(&mut redis);
        let data = redis.data_dir();
        fs::write(data.join("users.acl"), "user default on nopass ~* &* +@all").unwrap();
        fs::set_permissions(data.join("dump.rdb"), Permissions::from_mode(0o640)).unwrap();
        let (there, rdb) = (names(&data), look(&data.join("dump.rdb")));

        let progress = Arc::new(Progress::default());
        let source = point.source(&progress);
        let plan = dataset.plan_in_place(&source).unwrap();
        assert_eq!((plan.entries, plan.stop_after), (1021, Some(1)), "{what}");
        assert_eq!(names(&data), there, "{what}: a plan changes nothing");
        let mut journal = Remembered::default();
        let done = dataset.restore_in_place(&source, &mut journal).unwrap();
        let asides = if was == "yes" { 2 } else { 1 };
        assert_eq!(done.set_aside.len(), asides, "{what}: {done:?}");
        assert_eq!(done.warnings, Vec::<String>::new(), "{what}");
        assert_eq!(look(&data.join("dump.rdb")), rdb, "{what}");
        assert!(data.join("users.acl").exists(), "{what}");
        for name in names(&data).iter().filter(|name| *name != "users.acl") {
            assert_eq!(look(&data.join(name)).0, rdb.0, "{what}: {name}");
        }
        assert_eq!(content_after_start(&mut redis, is), before, "{what}");

        let aside = journal.last();
        assert!(aside.needs_stopped_service() && !aside.is_untouched());
        dataset.undo_in_place(aside).unwrap();
        assert_eq!(content_after_start(&mut redis, was), changed, "{what}");
        dataset.undo_in_place(aside).unwrap();
        dataset.discard_aside(aside).unwrap();
        assert_eq!(names(&data), there, "{what}: nothing is left");
        assert_eq!(content_after_start(&mut redis, was), changed, "{what}");
    }
}

#[test]
fn a_stopped_redis_7_loads_what_was_restored_whatever_its_settings_and_goes_back() {
    restored_whatever_the_settings(Flavour::Redis7);
}

#[test]
fn a_stopped_valkey_loads_what_was_restored_whatever_its_settings_and_goes_back() {
    restored_whatever_the_settings(Flavour::Valkey9);
}

#[test]
fn a_stopped_redis_6_loads_what_was_restored_whatever_its_settings_and_goes_back() {
    restored_whatever_the_settings(Flavour::Redis6);
}

/// A server that was captured with a key `a`, and is stopped.
fn stopped(dir: &Path, more: &str) -> Option<(Redis, RedisServer, Point)> {
    let started = Redis::builder(Flavour::Redis7)
        .setting("appendonly", "yes")
        .start();
    let mut redis = skip::unless_available(started)?;
    redis.call("SET a old").unwrap();
    // Its files are begun anew right after the start.
    redis.call("BGREWRITEAOF").unwrap();
    redis.wait_for_info("aof_rewrite_in_progress", "0").unwrap();
    redis.wait_for_info("aof_rewrite_scheduled", "0").unwrap();
    let more = more.replace("DATA", &redis.data_dir().display().to_string());
    let dataset = server(&redis, &more, &dir.join("state"));
    let point = capture(&new_vault(&dir.join("vault")), &dataset).unwrap();
    redis.call("SET a new").unwrap();
    redis.stop().unwrap();
    Some((redis, dataset, point))
}

#[test]
fn append_only_files_alone_come_back_and_so_does_a_lost_directory() {
    let dir = temp_dir().unwrap();
    let Some((mut redis, dataset, point)) =
        stopped(dir.path(), ", include: [aof], data_directory: DATA")
    else {
        return;
    };
    let data = redis.data_dir();
    for name in names(&data) {
        let _ = fs::remove_file(data.join(&name)).or_else(|_| fs::remove_dir_all(data.join(&name)));
    }
    let progress = Arc::new(Progress::default());
    let mut journal = Remembered::default();
    let restored = dataset.restore_in_place(&point.source(&progress), &mut journal);
    let warnings = restored.unwrap().warnings;
    assert!(warnings[0].contains("`appendonly no`"), "{warnings:?}");
    redis.start().unwrap();
    assert_eq!(redis.call("GET a").unwrap().text(), "old");
    // What the server wrote since then goes with it, though nothing was there before.
    save(&redis);
    let error = dataset.undo_in_place(journal.last()).unwrap_err();
    assert!(error.to_string().contains("the server runs"), "{error}");
    redis.stop().unwrap();
    dataset.undo_in_place(journal.last()).unwrap();
    let left = names(&data);
    let is_aside = |name: &String| name.contains(".rekindle-restored-");
    assert!(left.iter().all(is_aside) && left.len() == 2, "{left:?}");
    dataset.discard_aside(journal.last()).unwrap();
    assert_eq!(names(&data), Vec::<String>::new());
}

#[test]
fn a_server_that_came_up_meanwhile_keeps_its_files() {
    let dir = temp_dir().unwrap();
    let Some((mut redis, dataset, point)) = stopped(dir.path(), "") else {
        return;
    };
    let progress = Arc::new(Progress::default());
    let mut journal = Remembered::default();
    let source = point.source(&progress);
    let candidate = dataset.prepare_in_place(&source, &mut journal).unwrap();
    assert!(journal.last().is_untouched());
    redis.start().unwrap();
    let mut swap = |candidate: Box<dyn rekindle_datasets::Candidate>| {
        candidate
            .swap(&mut journal)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    let said = swap(candidate.unwrap());
    assert!(said.contains("the server runs"), "{said}");
    assert_eq!(redis.call("GET a").unwrap().text(), "new");
    assert_eq!(names(&redis.data_dir()), ["appendonlydir"]);
    // One that listens elsewhere than we think is found by where it works.
    redis.stop().unwrap();
    let candidate = dataset.prepare_in_place(&source, &mut Remembered::default());
    let port = rekindle_testing::process::free_port().unwrap();
    let mut elsewhere = std::process::Command::new(Flavour::Redis7.program().unwrap())
        .args(["--port", &port.to_string(), "--appendonly", "no"])
        .arg("--dir")
        .arg(redis.data_dir())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(elsewhere.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let said = swap(candidate.unwrap().unwrap());
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();
    assert!(said.contains("redis-server (process "), "{said}");
}

#[test]
fn a_directory_that_nobody_knows_is_refused_and_one_that_the_runtime_knows_is_found() {
    let dir = temp_dir().unwrap();
    let Some((redis, _, mut point)) = stopped(dir.path(), "") else {
        return;
    };
    let url = format!("redis://127.0.0.1:{}", redis.port());
    let DatasetRecord::Redis(record) = &mut point.record else {
        panic!("no redis");
    };
    record.settings.insert("dir".into(), "/data".into());
    let progress = Arc::new(Progress::default());
    let plan = |url: &str, keeper: Option<Keeper>| {
        let dataset = common::surrounded(url, "", dir.path(), keeper);
        dataset.plan_in_place(&point.source(&progress))
    };
    let volume = |reach| Some(("/data", reach));
    let stopped = |volume| Keeper {
        service: "cache",
        run: RunState::Stopped,
        image: Some("redis:7"),
        volume,
    };
    let gone = Keeper {
        service: "cache",
        run: RunState::Absent,
        image: None,
        volume: None,
    };
    for (url, keeper, why) in [
        (url.as_str(), None, "is no directory of this machine"),
        (&url, Some(stopped(None)), "within its container"),
        (
            &url,
            Some(stopped(volume(Reach::Not))),
            "cannot be seen from here",
        ),
        // Its name is known in its own network only.
        ("redis://cache:6379", Some(gone), "its runtime does not say"),
    ] {
        let error = plan(url, keeper).unwrap_err();
        assert!(matches!(error, InPlaceError::Refused { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.hint().unwrap().contains("`data_directory`"));
    }
    let found = plan(
        "redis://cache:6379",
        Some(stopped(volume(Reach::Path(redis.data_dir())))),
    );
    let place = redis.data_dir().join("appendonlydir");
    assert_eq!(found.unwrap().set_aside, [place.display().to_string()]);
}

#[test]
fn a_newer_servers_directory_is_not_given_an_older_ones_layout() {
    let dir = temp_dir().unwrap();
    let Some((mut redis, dataset, mut point)) = stopped(dir.path(), "") else {
        return;
    };
    let DatasetRecord::Redis(record) = &mut point.record else {
        panic!("no redis");
    };
    // As if it had been captured before the server was upgraded; its RDB can be read by both.
    record.version = "6.2.5".to_owned();
    let progress = Arc::new(Progress::default());
    let source = point.source(&progress);
    let mut journal = Remembered::default();
    dataset.restore_in_place(&source, &mut journal).unwrap();
    assert!(matches!(journal.last(), Aside::Redis(RedisAside::Files(_))));
    redis.start().unwrap();
    assert_eq!(redis.call("GET a").unwrap().text(), "old");
}
