//! Snapshots of Redis from elsewhere, as points.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::fs;

use rekindle_testing::{
    redis::{Flavour, Redis},
    skip,
};
use serde_json::json;
use support::Home;

#[test]
fn a_snapshot_becomes_a_point_and_comes_back_as_it_was_and_a_damaged_one_is_refused() {
    let started = Redis::builder(Flavour::Redis7).start();
    let Some(server) = skip::unless_available(started) else {
        return;
    };
    server.call("SET one 1").unwrap();
    server.call("SET two 2").unwrap();
    server.call("SAVE").unwrap();
    let rdb = fs::read(server.data_dir().join("dump.rdb")).unwrap();
    let home = Home::with_vault();
    home.write(
        "rekindle.yaml",
        "stack: shop\nvault: { at: vault, password_file: vault-password }\nservices:\n  cache: { datasets: [ { kind: redis, \
         url: \"redis://127.0.0.1:1\" } ] }\n",
    );
    fs::write(home.join("old.rdb"), &rdb).unwrap();
    for (what, bytes) in [
        ("cut", &rdb[..rdb.len() - 3]),
        ("followed", &[&rdb[..], b"x"].concat()),
    ] {
        fs::write(home.join("bad.rdb"), bytes).unwrap();
        let ran = home.run(&["import", "bad.rdb"]);
        assert_eq!(ran.code, 1, "{what}: {}", ran.stderr);
    }
    let mut changed = rdb.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(home.join("bad.rdb"), changed).unwrap();
    assert_eq!(home.run(&["import", "bad.rdb"]).code, 1);
    home.write("old.rdb.sha256", &"0".repeat(64));
    home.run(&["import", "old.rdb"])
        .fails_with(1, "the file beside it says ID");
    fs::remove_file(home.join("old.rdb.sha256")).unwrap();
    assert_eq!(home.json(&["points"])["points"], json!([]));

    let plan = home.json(&["import", "old.rdb", "--dry-run"]);
    assert_eq!(plan["summary"]["databases"][0]["keys"], 2, "{plan}");
    let done = home.json(&["import", "old.rdb", "--tag", "legacy"]);
    assert_eq!(done["point"]["tags"], json!(["imported", "legacy"]));
    home.ok(&["restore", "legacy", "--path", "cache/redis", "--to", "back"]);
    assert_eq!(fs::read(home.join("back/dump.rdb")).unwrap(), rdb);
    home.ok(&["export", "legacy", "--to", "out"]);
    let names = fs::read_dir(home.join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let exported = names.filter(|path| path.extension().is_some_and(|ending| ending == "rdb"));
    let exported: Vec<_> = exported.collect();
    assert_eq!(fs::read(&exported[0]).unwrap(), rdb, "{exported:?}");
}
