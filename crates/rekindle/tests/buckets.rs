//! Buckets of a recovery point brought back to another server, to another bucket, and to a moment, by the program as a person
//! meets it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use rekindle_stack::{S3Credentials, Secret};
use rekindle_stores::s3::{Attributes, S3Client, S3Settings};
use rekindle_testing::{
    servers::{ACCESS_KEY, Ceph, MadeUpS3, Rclone, Rule, SECRET_KEY},
    skip::unless_available,
};
use serde_json::json;
use support::Home;

fn client(port: u16) -> S3Client {
    let keys = Secret::new(format!("{ACCESS_KEY}:{SECRET_KEY}"));
    let keys = S3Credentials::parse(&keys).unwrap();
    S3Client::new(S3Settings::new(
        Some(format!("http://127.0.0.1:{port}")),
        keys,
    ))
    .unwrap()
}

fn put(client: &S3Client, bucket: &str, key: &str, body: &[u8]) {
    let none = Attributes::default();
    client
        .put(bucket, key, body.to_vec().into(), &none)
        .unwrap();
}

/// A service `media` whose buckets lie on the server at this port.
fn home(port: u16, buckets: &str) -> Home {
    let home = Home::with_vault();
    home.write("keys", &format!("{ACCESS_KEY}:{SECRET_KEY}\n"));
    let text = format!(
        "stack: shop
vault: {{ at: vault, password_file: vault-password }}
services:
  media:
    datasets:
      - kind: s3
        endpoint: \"http://127.0.0.1:{port}\"
        buckets: [{buckets}]
        credentials_file: keys
"
    );
    home.write("rekindle.yaml", &text);
    home
}

const OBJECTS: u64 = 60;

fn fill(client: &S3Client, bucket: &str) {
    client.create_bucket(bucket, false).unwrap();
    for number in 0..OBJECTS {
        put(
            client,
            bucket,
            &format!("o/{number:03}"),
            number.to_string().repeat(100).as_bytes(),
        );
    }
}

/// Keys and contents.
fn contents(client: &S3Client, bucket: &str) -> Vec<(String, Vec<u8>)> {
    let listed = client.list_objects(bucket, "").unwrap();
    let body = |key: &str| {
        client
            .get(bucket, key, None, None, None)
            .unwrap()
            .body
            .to_vec()
    };
    listed
        .iter()
        .map(|listed| (listed.key.clone(), body(&listed.key)))
        .collect()
}

fn url(bucket: &str, port: u16) -> String {
    format!("s3://{bucket}?endpoint=http://127.0.0.1:{port}")
}

#[test]
fn a_bucket_comes_back_on_another_server_and_nothing_there_is_lost_by_it() {
    let (Some(own), Some(other)) = (
        unless_available(Rclone::serve_s3()),
        unless_available(Rclone::serve_s3()),
    ) else {
        return;
    };
    let (source, there) = (client(own.port()), client(other.port()));
    fill(&source, "media");
    let home = home(own.port(), "media");
    home.ok(&["backup"]);
    let to = url("copy", other.port());
    let restore = ["restore", "--service", "media", "--to", &to];
    let refused = home.json_error(&restore, 1);
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("no access keys"),
        "{refused}"
    );
    assert!(
        refused["hint"]
            .as_str()
            .unwrap()
            .contains("--credentials-file"),
        "{refused}"
    );

    let restore = [&restore[..], &["--credentials-file", "keys"]].concat();
    let planned = home.json(&[&restore[..], &["--dry-run"]].concat());
    assert_eq!(
        (&planned["makes_bucket"], &planned["creates"]),
        (&json!(true), &json!(OBJECTS)),
        "{planned:#}"
    );
    assert!(!there.has_bucket("copy").unwrap(), "a plan changes nothing");
    let done = home.json(&restore);
    assert_eq!(done["report"]["written"], OBJECTS, "{done:#}");
    assert_eq!(contents(&there, "copy"), contents(&source, "media"));
    let again = home.json(&restore);
    assert_eq!(
        (&again["plan"]["there"], &again["report"]["written"]),
        (&json!(OBJECTS), &json!(0))
    );

    put(&there, "copy", "o/007", b"somebody's work");
    put(&there, "copy", "extra", b"somebody's, too");
    let before = contents(&there, "copy");
    let refused = home.json_error(&restore, 1);
    let said = refused["error"].as_str().unwrap();
    assert!(
        said.contains("`o/007`") && said.contains("would not keep it"),
        "{said}"
    );
    assert!(
        refused["hint"]
            .as_str()
            .unwrap()
            .contains("s3://BUCKET/PREFIX"),
        "{refused}"
    );
    assert_eq!(contents(&there, "copy"), before);
    let shown = home.run(&[&restore[..], &["--dry-run"]].concat());
    assert!(
        shown.stdout.contains("changed   1 object\n"),
        "{}",
        shown.stdout
    );
    assert!(shown.stderr.contains("cannot be done"), "{}", shown.stderr);
    assert_eq!(shown.code, 1, "as the restore itself would end");

    // Below a prefix there is room for both; without an endpoint it is the service's own server, with its keys.
    let shown = home.ok(&[
        "restore",
        "--to",
        "s3://second/a/b",
        "--path",
        "media/o/007",
    ]);
    assert!(shown.contains("written   1 object"), "{shown}");
    let found = contents(&source, "second");
    assert_eq!(found, [("a/b/o/007".to_owned(), b"7".repeat(100))]);
}

#[test]
fn what_is_meant_must_be_said() {
    let Some(own) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    let source = client(own.port());
    for bucket in ["uno", "due"] {
        source.create_bucket(bucket, false).unwrap();
        put(&source, bucket, "k", bucket.as_bytes());
    }
    let home = home(own.port(), "uno, due");
    home.ok(&["backup"]);
    let many = home.json_error(&["restore", "--to", "s3://copy"], 1);
    assert!(
        many["error"].as_str().unwrap().contains("`uno`, `due`"),
        "{many}"
    );
    let none = home.json_error(&["restore", "--to", "s3://copy", "--path", "tre"], 1);
    assert!(
        none["error"].as_str().unwrap().contains("no bucket `tre`"),
        "{none}"
    );
    home.ok(&["restore", "--to", "s3://copy", "--path", "due"]);
    assert_eq!(
        contents(&source, "copy"),
        [("k".to_owned(), b"due".to_vec())]
    );
    let refused = |more: &[&str]| home.json_error(&[&["restore"], more].concat(), 2);
    refused(&["--to", "s3://copy", "--path", "due", "--owner", "root"]);
    refused(&["--to", "s3://copy", "--path", "due", "--at", "16/B374D848"]);
    refused(&["--to", "s3://key:secret@copy"]);
    refused(&["--to", "somewhere", "--with-history"]);
    // Of a bucket without versions nothing is known between two points.
    let to = [
        "--to",
        "s3://copy",
        "--path",
        "due",
        "--at",
        "2026-01-01 12:00:00Z",
    ];
    let between = home.json_error(&[&["restore"][..], &to].concat(), 1);
    assert!(
        between["error"]
            .as_str()
            .unwrap()
            .contains("are not kept by it"),
        "{between}"
    );
    assert!(
        between["hint"].as_str().unwrap().contains("@TIME"),
        "{between}"
    );
}

#[test]
fn a_restore_that_was_killed_is_completed_by_the_same_command() {
    let Some(own) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    let source = client(own.port());
    fill(&source, "media");
    let home = home(own.port(), "media");
    home.ok(&["backup"]);
    let slow = MadeUpS3::before(own.port()).unwrap();
    // From some object on, the server is busy, and stays so.
    slow.set(Some(Rule {
        method: "PUT",
        path: "/copy/o/",
        after: 20,
        times: u64::MAX,
        status: "503 Slow Down",
        code: "SlowDown",
    }));
    let to = url("copy", slow.port());
    let restore = ["restore", "--to", &to, "--credentials-file", "keys"];
    let mut command = home.command(&restore);
    let mut killed = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Counted on the way: this server lists an object while it still writes it, and goes on to name the tag of
    // that half.
    while slow.passed() < 20 || slow.refused() == 0 {
        assert!(killed.try_wait().unwrap().is_none(), "it ended early");
        sleep(Duration::from_millis(20));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let whole = BTreeSet::from_iter(contents(&source, "media"));
    let written = BTreeSet::from_iter(contents(&source, "copy"));
    // Mostly twenty: it fails some that come at once, and when they come again all is refused.
    let there = whole.intersection(&written).count() as u64;
    assert!((1..=20).contains(&there), "{there}");
    // Past the busy one, which may still have a request of the one that was killed.
    let to = url("copy", own.port());
    let restore = ["restore", "--to", &to, "--credentials-file", "keys"];
    let planned = home.json(&[&restore[..], &["--dry-run"]].concat());
    assert_eq!(
        (&planned["goes_on"], &planned["there"], &planned["creates"]),
        (&json!(true), &json!(there), &json!(OBJECTS - there)),
        "{planned:#}"
    );
    let done = home.json(&restore);
    assert_eq!(done["report"]["written"], OBJECTS - there, "{done:#}");
    assert_eq!(contents(&source, "copy"), contents(&source, "media"));
    assert_eq!(home.json(&restore)["plan"]["goes_on"], false);
}

#[test]
fn what_is_only_the_beginning_of_an_object_is_written_again_and_anything_else_is_refused() {
    let Some(own) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    let source = client(own.port());
    fill(&source, "media");
    let home = home(own.port(), "media");
    home.ok(&["backup"]);
    source.create_bucket("copy", false).unwrap();
    let whole: Vec<_> = contents(&source, "media");
    let half = |number: usize| {
        let (key, content) = &whole[number];
        (key.as_str(), &content[..content.len() / 2])
    };
    // What a killed restore leaves on a server that shows what it still writes.
    for number in [7, 33] {
        let (key, half) = half(number);
        put(&source, "copy", key, half);
    }
    put(&source, "copy", "o/050", b"");
    let to = url("copy", own.port());
    let restore = ["restore", "--to", &to, "--credentials-file", "keys"];
    let planned = home.json(&[&restore[..], &["--dry-run"]].concat());
    assert_eq!(
        (&planned["creates"], &planned["replaces"]),
        (&json!(OBJECTS), &json!(0)),
        "{planned:#}"
    );
    let mut other = half(21).1.to_vec();
    *other.last_mut().unwrap() ^= 1;
    put(&source, "copy", half(21).0, &other);
    let before = contents(&source, "copy");
    let refused = home.json_error(&restore, 1);
    let text = refused["error"].as_str().unwrap();
    assert!(
        text.contains("1 objects of") && text.contains("`o/021`"),
        "{refused}"
    );
    assert_eq!(contents(&source, "copy"), before, "nothing was written");
    source.delete("copy", half(21).0, None).unwrap();
    let done = home.json(&restore);
    assert_eq!(done["report"]["written"], OBJECTS, "{done:#}");
    assert_eq!(contents(&source, "copy"), whole);
}

#[test]
fn objects_that_the_server_refuses_are_named_and_the_others_come_back() {
    let Some(own) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    let source = client(own.port());
    fill(&source, "media");
    let home = home(own.port(), "media");
    home.ok(&["backup"]);
    let strict = MadeUpS3::before(own.port()).unwrap();
    let refuse = |path| {
        strict.set(Some(Rule {
            method: "PUT",
            path,
            after: 0,
            times: u64::MAX,
            status: "403 Forbidden",
            code: "AccessDenied",
        }));
    };
    let to = url("copy", strict.port());
    let restore = ["restore", "--to", &to, "--credentials-file", "keys"];
    refuse("/copy/o/01");
    let ran = home.run(&restore);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("not restored: `media/o/017`"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        source.list_objects("copy", "o/").unwrap().len() as u64,
        OBJECTS - 10
    );
    refuse("/another");
    let to = url("another", strict.port());
    let all = home.run(&["restore", "--to", &to, "--credentials-file", "keys"]);
    all.fails_with(1, "403");
    strict.set(None);
    home.ok(&restore);
    assert_eq!(contents(&source, "copy"), contents(&source, "media"));
}

/// What a bucket held when.
struct Moments {
    early: String,
    late: String,
}

fn now() -> String {
    let said = Command::new("date")
        .args(["-u", "+%F %T.%NZ"])
        .output()
        .unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// Times of objects are whole milliseconds: what comes after a moment must not have the same one.
fn a_moment() -> String {
    sleep(Duration::from_millis(50));
    let now = now();
    sleep(Duration::from_millis(50));
    now
}

fn changed_in_between(client: &S3Client) -> Moments {
    client.create_bucket("media", false).unwrap();
    client.set_versioning("media", true).unwrap();
    for key in ["kept", "changed", "deleted"] {
        put(client, "media", key, format!("{key}, early").as_bytes());
    }
    let early = a_moment();
    put(client, "media", "changed", b"changed, late");
    client.delete("media", "deleted", None).unwrap();
    put(client, "media", "new", b"new, late");
    let late = a_moment();
    client.delete("media", "kept", None).unwrap();
    put(client, "media", "deleted", b"deleted, back");
    Moments { early, late }
}

fn expected(keys: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let pairs = keys.iter();
    pairs
        .map(|(key, body)| ((*key).to_owned(), body.as_bytes().to_vec()))
        .collect()
}

#[test]
fn a_bucket_that_keeps_versions_comes_back_as_it_was_between_two_points() {
    let Some(ceph) = unless_available(Ceph::start()) else {
        return;
    };
    let client = client(ceph.port());
    let home = home(ceph.port(), "media");
    let moments = changed_in_between(&client);
    home.ok(&["backup"]);
    put(&client, "media", "changed", b"changed after the point");
    home.ok(&["backup"]);
    let early = expected(&[
        ("changed", "changed, early"),
        ("deleted", "deleted, early"),
        ("kept", "kept, early"),
    ]);
    let late = expected(&[
        ("changed", "changed, late"),
        ("kept", "kept, early"),
        ("new", "new, late"),
    ]);

    for (bucket, at, expected) in [
        ("early", &moments.early, &early),
        ("late", &moments.late, &late),
    ] {
        let to = format!("s3://{bucket}");
        let done = home.json(&["restore", "--service", "media", "--at", at, "--to", &to]);
        assert_eq!(done["report"]["failed"], 0, "{done:#}");
        assert_eq!(&contents(&client, bucket), expected, "{done:#}");
    }
    home.ok(&[
        "restore",
        "--service",
        "media",
        "--at",
        &moments.late,
        "--to",
        "files",
    ]);
    let read =
        |name: &str| fs::read(PathBuf::from(home.path()).join("files/media").join(name)).ok();
    for (key, body) in &late {
        assert_eq!(read(key).as_ref(), Some(body));
    }
    assert_eq!(read("deleted"), None);
    outside_of_what_is_known(&home);
    in_place(&client, &home, &moments, &early);
    over_other_versions(&client, &home, &moments);
}

fn outside_of_what_is_known(home: &Home) {
    for at in ["2026-01-01 12:00:00Z", "2099-01-01 12:00:00Z"] {
        let error = home.json_error(&["restore", "--at", at, "--to", "s3://never"], 1);
        let said = error["error"].as_str().unwrap();
        assert!(
            said.contains("the point has bucket `media` as it was from "),
            "{said}"
        );
    }
}

fn in_place(client: &S3Client, home: &Home, moments: &Moments, early: &[(String, Vec<u8>)]) {
    let before = contents(client, "media");
    let there = [
        "restore",
        "--service",
        "media",
        "--at",
        &moments.early,
        "--in-place",
    ];
    let plan = home.run(&there);
    assert_eq!(plan.code, 7, "{}", plan.stderr);
    assert!(plan.stderr.contains("--at '"), "{}", plan.stderr);
    assert_eq!(contents(client, "media"), before);
    home.ok(&[&there[..], &["--yes"]].concat());
    assert_eq!(contents(client, "media"), early);
    home.ok(&["restore", "--undo", "--service", "media"]);
    assert_eq!(contents(client, "media"), before);
}

fn over_other_versions(client: &S3Client, home: &Home, moments: &Moments) {
    // The bucket `early` keeps versions as its source does, so what is replaced there is not lost.
    let restore = [
        "restore",
        "--service",
        "media",
        "--at",
        &moments.late,
        "--to",
        "s3://early",
    ];
    let shown = home.run(&restore);
    assert_eq!(shown.code, 7, "{}{}", shown.stdout, shown.stderr);
    assert!(
        shown.stdout.contains("replaces  changed\n"),
        "{}",
        shown.stdout
    );
    home.ok(&[&restore[..], &["--yes"]].concat());
    let versions = client.list_versions("early", "changed").unwrap();
    assert_eq!(versions.len(), 2, "{versions:?}");
    let found = contents(client, "early");
    assert_eq!(
        found.len(),
        4,
        "what the moment did not have stays: {found:?}"
    );
}
