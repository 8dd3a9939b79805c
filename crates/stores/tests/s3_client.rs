//! The client for buckets, against real servers: Ceph's gateway, and rclone as the poor one.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::{collections::BTreeMap, time::Duration};

use rekindle_stack::{S3Credentials, Secret};
use rekindle_stores::s3::{
    Attributes, BucketSetting, ETag, S3Client, S3Settings, Versioning, part_bytes_of,
};
use rekindle_testing::{
    data::Random,
    faults::{Direction, Fault, Proxy},
    servers::{ACCESS_KEY, Ceph, MadeUpS3, Rclone, Rule, SECRET_KEY},
    skip::unless_available,
};

fn settings(port: u16) -> S3Settings {
    let keys = Secret::new(format!("{ACCESS_KEY}:{SECRET_KEY}"));
    let credentials = S3Credentials::parse(&keys).unwrap();
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut settings = S3Settings::new(Some(endpoint), credentials);
    settings.retry_for = Duration::from_secs(10);
    settings.stall = Duration::from_secs(2);
    settings
}

fn client(port: u16) -> S3Client {
    S3Client::new(settings(port)).unwrap()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

fn put(client: &S3Client, key: &str, body: &'static [u8]) -> rekindle_stores::s3::Written {
    client
        .put("bkt", key, body.into(), &Attributes::default())
        .unwrap()
}

/// One gateway for all of it, because it takes long to start.
#[test]
fn ceph_gives_back_what_it_was_given() {
    let Some(ceph) = unless_available(Ceph::start()) else {
        return;
    };
    let client = client(ceph.port());
    client.create_bucket("bkt", false).unwrap();
    client.create_bucket("bkt", false).unwrap();
    assert_eq!(client.buckets().unwrap(), ["bkt"]);
    assert!(client.has_bucket("bkt").unwrap() && !client.has_bucket("none").unwrap());

    every_key_is_written_listed_and_read(&client);
    what_belongs_to_an_object_comes_back(&client);
    parts_become_one_object(&client);
    ranges_and_changes_are_told(&client);
    what_is_not_there_is_told(&client);
    settings_of_a_bucket_come_back(&client);
    versions_and_markers_are_listed(&client);
    https_needs_the_authority_that_is_named(&ceph);
    passing_failures_are_tried_again(ceph.port());
    cut_and_stalled_answers_are_tried_again(ceph.port());
}

fn every_key_is_written_listed_and_read(client: &S3Client) {
    let long = "l".repeat(900);
    let mut keys = vec![
        "../x",
        "a//b",
        "a/",
        "a",
        "a/b/../c",
        "a/.",
        "/abs",
        "sp ace+plus",
        "ü/ß",
        "%41",
        "q?x=1&y#z",
        "c\u{1}\n\u{7f}",
        "<&>\"'",
        &long,
    ];
    for key in &keys {
        put(client, key, b"x");
        assert_eq!(
            &client.get("bkt", key, None, None, None).unwrap().body[..],
            b"x"
        );
    }
    keys.sort_unstable();
    let listed = client.list_objects("bkt", "").unwrap();
    let found: Vec<_> = listed.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(found, keys);
    let versions = client.list_versions("bkt", "").unwrap();
    let found: Vec<_> = versions.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(found, keys);
    for key in keys {
        client.delete("bkt", key, None).unwrap();
    }
    assert_eq!(client.list_objects("bkt", "").unwrap(), []);
    let error = client.get("bkt", "..", None, None, None).unwrap_err();
    assert!(error.source.to_string().contains("no URL"), "{error:?}");
}

fn what_belongs_to_an_object_comes_back(client: &S3Client) {
    let attributes = Attributes {
        headers: map(&[
            ("content-type", "text/x; charset=utf-8"),
            ("cache-control", "max-age=5"),
            ("content-disposition", "attachment"),
            ("content-encoding", "gzip"),
            ("content-language", "de"),
        ]),
        metadata: map(&[("owner", "me"), ("n", "1")]),
        storage_class: Some(Ceph::COLD.into()),
        tags: Some(map(&[("k", "v w"), ("ü", "&")])),
    };
    client
        .put("bkt", "all", (&b"content"[..]).into(), &attributes)
        .unwrap();
    let fetched = client.get("bkt", "all", None, None, None).unwrap();
    assert_eq!(fetched.is_as_tagged(), Some(true));
    let mut found = fetched.head.attributes.clone();
    assert_eq!(fetched.head, client.head("bkt", "all", None).unwrap());
    found.tags = Some(client.tags("bkt", "all", None).unwrap());
    assert_eq!(found, attributes);

    client
        .copy(("bkt", "all", None), ("bkt", "cöpy/ of"), Some(Ceph::COLD))
        .unwrap();
    let mut copied = client.head("bkt", "cöpy/ of", None).unwrap().attributes;
    copied.tags = Some(client.tags("bkt", "cöpy/ of", None).unwrap());
    assert_eq!(copied, attributes);

    client
        .put_tags("bkt", "all", None, &map(&[("new", "<1>")]))
        .unwrap();
    assert_eq!(
        client.tags("bkt", "all", None).unwrap(),
        map(&[("new", "<1>")])
    );
    put(client, "plain", b"");
    assert_eq!(client.tags("bkt", "plain", None).unwrap(), BTreeMap::new());
}

fn parts_become_one_object(client: &S3Client) {
    let content = Random::new(5).bytes(12 << 20);
    let attributes = Attributes {
        metadata: map(&[("parts", "3")]),
        tags: Some(map(&[("t", "1")])),
        ..Attributes::default()
    };
    let upload = client.begin_parts("bkt", "parts", &attributes).unwrap();
    for (number, part) in (1..).zip(content.chunks(5 << 20)) {
        upload.put(number, part.to_vec().into()).unwrap();
    }
    let (written, expected) = upload.finish().unwrap();
    assert_eq!(written.etag, expected);
    assert_eq!(written.etag.parts(), Some(3));
    assert_eq!(part_bytes_of(12 << 20, &written.etag), 5 << 20);
    let head = client.head("bkt", "parts", None).unwrap();
    assert_eq!((head.size, &head.etag), (12 << 20, &expected));
    assert_eq!(head.attributes.metadata, attributes.metadata);
    assert_eq!(
        client.tags("bkt", "parts", None).unwrap(),
        map(&[("t", "1")])
    );
    let part = client.get(
        "bkt",
        "parts",
        None,
        Some(&expected),
        Some(6 << 20..7 << 20),
    );
    assert!(part.unwrap().body[..] == content[6 << 20..7 << 20]);

    drop(client.begin_parts("bkt", "never", &attributes).unwrap());
}

fn ranges_and_changes_are_told(client: &S3Client) {
    let first = put(client, "r", b"0123456789");
    let part = client
        .get("bkt", "r", None, Some(&first.etag), Some(3..5))
        .unwrap();
    assert_eq!((&part.body[..], part.head.size), (&b"34"[..], 10));
    assert!(client.get("bkt", "r", None, None, Some(8..12)).is_err());
    put(client, "r", b"another");
    let error = client
        .get("bkt", "r", None, Some(&first.etag), None)
        .unwrap_err();
    assert!(error.is_changed(), "{error:?}");
}

fn what_is_not_there_is_told(client: &S3Client) {
    let error = client.get("bkt", "no such", None, None, None).unwrap_err();
    assert!(error.is_missing(), "{error:?}");
    assert!(
        client
            .head("bkt", "no such", None)
            .unwrap_err()
            .is_missing()
    );
    let error = client.list_objects("no-bucket", "").unwrap_err();
    assert!(
        error.is_no_bucket() && !error.is_missing() && error.hint().is_some(),
        "{error:?}"
    );
    client.delete("bkt", "no such", None).unwrap();
}

fn settings_of_a_bucket_come_back(client: &S3Client) {
    for setting in BucketSetting::ALL {
        assert_eq!(client.setting("bkt", setting).unwrap(), None, "{setting:?}");
    }
    let lifecycle = "<LifecycleConfiguration><Rule><ID>old</ID><Filter><Prefix>tmp/</Prefix></Filter><Status>Enabled</Status>\
        <Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";
    let cors = "<CORSConfiguration><CORSRule><AllowedOrigin>https://a.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
        </CORSRule></CORSConfiguration>";
    let tagging = "<Tagging><TagSet><Tag><Key>team</Key><Value>x</Value></Tag></TagSet></Tagging>";
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/secret/*"}]}"#;
    for (setting, document, part) in [
        (BucketSetting::Lifecycle, lifecycle, "<Days>30</Days>"),
        (BucketSetting::Cors, cors, "https://a.example"),
        (BucketSetting::Tagging, tagging, "<Key>team</Key>"),
        (BucketSetting::Policy, policy, "bkt/secret/*"),
    ] {
        client.put_setting("bkt", setting, document).unwrap();
        let found = client.setting("bkt", setting).unwrap().unwrap();
        assert!(found.contains(part), "{found}");
        // What the server gives, it takes.
        client.put_setting("bkt", setting, &found).unwrap();
    }
    put(client, "secret/x", b"x");
    let error = client.get("bkt", "secret/x", None, None, None).unwrap_err();
    assert!(error.is_denied() && error.hint().is_some(), "{error:?}");
}

fn versions_and_markers_are_listed(client: &S3Client) {
    client.create_bucket("ver", false).unwrap();
    assert_eq!(client.versioning("ver").unwrap(), Versioning::Off);
    client.set_versioning("ver", true).unwrap();
    assert_eq!(client.versioning("ver").unwrap(), Versioning::On);
    let none = Attributes::default();
    let mut ids = Vec::new();
    for body in ["1", "2"] {
        let written = client
            .put("ver", "x/ü +", body.to_owned().into(), &none)
            .unwrap();
        ids.push(written.version.unwrap());
    }
    let marker = client
        .delete("ver", "x/ü +", None)
        .unwrap()
        .version
        .unwrap();
    let listed = client.list_versions("ver", "x/").unwrap();
    let found: Vec<_> = listed
        .iter()
        .map(|v| (v.version.as_deref().unwrap(), v.is_marker, v.is_latest))
        .collect();
    assert_eq!(
        found,
        [
            (&*marker, true, true),
            (&*ids[1], false, false),
            (&*ids[0], false, false)
        ]
    );
    assert_eq!(client.list_objects("ver", "").unwrap(), []);
    let old = client
        .get("ver", "x/ü +", Some(&ids[0]), None, None)
        .unwrap();
    assert_eq!(&old.body[..], b"1");

    // More than a page, with keys that need escapes where the list goes on.
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let none = &none;
            scope.spawn(move || {
                for number in 0..130 {
                    let key = format!("many/{thread} +%41&{number}");
                    client.put("ver", &key, "x".into(), none).unwrap();
                }
            });
        }
    });
    assert_eq!(client.list_versions("ver", "many/").unwrap().len(), 8 * 130);
    assert_eq!(client.list_objects("ver", "many/").unwrap().len(), 8 * 130);

    client.delete("ver", "x/ü +", Some(&marker)).unwrap();
    assert_eq!(client.list_objects("ver", "x").unwrap().len(), 1);
    client.set_versioning("ver", false).unwrap();
    assert_eq!(client.versioning("ver").unwrap(), Versioning::Suspended);
}

fn https_needs_the_authority_that_is_named(ceph: &Ceph) {
    let mut over_tls = settings(ceph.port());
    over_tls.endpoint = Some(format!("https://127.0.0.1:{}", ceph.tls_port()));
    over_tls.ca_file = Some(ceph.ca_file().to_owned());
    over_tls.retry_for = Duration::from_secs(1);
    assert!(
        !S3Client::new(over_tls.clone())
            .unwrap()
            .buckets()
            .unwrap()
            .is_empty()
    );
    over_tls.ca_file = None;
    let error = S3Client::new(over_tls).unwrap().buckets().unwrap_err();
    assert!(
        error.hint().is_some_and(|hint| hint.contains("ca_file")),
        "{error:?}"
    );
}

fn passing_failures_are_tried_again(port: u16) {
    let made_up = MadeUpS3::before(port).unwrap();
    let client = client(made_up.port());
    let rule = |status, code| Rule {
        method: "",
        path: "/bkt",
        after: 0,
        times: 2,
        status,
        code,
    };
    made_up.set(Some(rule("503 Slow Down", "SlowDown")));
    put(&client, "again", b"x");
    assert_eq!(made_up.refused(), 2);
    made_up.set(Some(rule("500 Oops", "InternalError")));
    assert!(!client.list_objects("bkt", "").unwrap().is_empty());
    assert_eq!(made_up.refused(), 2);
    made_up.set(Some(rule("403 Forbidden", "SignatureDoesNotMatch")));
    let error = client.list_objects("bkt", "").unwrap_err();
    assert_eq!((made_up.refused(), error.status()), (1, Some(403)));
}

fn cut_and_stalled_answers_are_tried_again(port: u16) {
    let plain = client(port);
    let content = Random::new(6).bytes(3 << 20);
    plain
        .put("bkt", "cut", content.clone().into(), &Attributes::default())
        .unwrap();
    let proxy = Proxy::to(port).unwrap();
    let through = client(proxy.port());
    let direction = Direction::Down;
    for fault in [
        Fault::Cut {
            direction,
            after: 1 << 20,
            reset: false,
        },
        Fault::Cut {
            direction,
            after: 2 << 20,
            reset: true,
        },
        Fault::Stall {
            direction,
            after: 1 << 20,
        },
    ] {
        proxy.set(fault);
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| through.get("bkt", "cut", None, None, None));
            std::thread::sleep(Duration::from_millis(900));
            proxy.set(Fault::None);
            assert!(
                reading.join().unwrap().unwrap().body[..] == content[..],
                "{fault:?}"
            );
        });
        proxy.close_all();
    }
}

#[test]
fn a_poor_server_says_what_it_has_not_or_is_found_out() {
    let Some(rclone) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    let client = client(rclone.port());
    client.create_bucket("bkt", false).unwrap();
    assert!(client.has_bucket("bkt").unwrap());
    put(&client, "dir/x", b"<Tagging>");
    let fetched = client.get("bkt", "dir/x", None, None, None).unwrap();
    assert_eq!(&fetched.body[..], b"<Tagging>");
    put(&client, "dir/a+b c%41", b"odd");
    let listed = client.list_objects("bkt", "").unwrap();
    let keys: Vec<_> = listed.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["dir/a+b c%41", "dir/x"]);
    match client.versioning("bkt") {
        Ok(versioning) => assert_eq!(versioning, Versioning::Off),
        Err(error) => assert!(error.is_unsupported(), "{error:?}"),
    }
    put(&client, "dir/plain", b"plain");
    let tags = client.tags("bkt", "dir/plain", None);
    assert!(
        tags.as_ref()
            .map_or_else(|error| error.is_unsupported(), BTreeMap::is_empty),
        "{tags:?}"
    );
    for setting in BucketSetting::ALL {
        let found = client.setting("bkt", setting);
        let none = found
            .as_ref()
            .map_or_else(|error| error.is_unsupported(), Option::is_none);
        assert!(none, "{setting:?}: {found:?}");
    }
    let part = client.get("bkt", "dir/plain", None, Some(&ETag("other".into())), None);
    assert!(part.unwrap_err().is_changed());
    assert_eq!(
        &client
            .get("bkt", "dir/plain", None, None, Some(1..3))
            .unwrap()
            .body[..],
        b"la"
    );
}
