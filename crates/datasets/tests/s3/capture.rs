//! Buckets into a point: everything, only what changed, and what is missing by name.

use rekindle_datasets::{
    CaptureError,
    s3::{ATTRIBUTE, VersioningRecord, key_of},
};
use rekindle_stores::s3::BucketSetting;
use rekindle_testing::{
    faults::{Direction, Proxy},
    servers::{Ceph, MadeUpS3, Rclone, Rule},
    skip::unless_available,
};
use rekindle_vault::TreePath;

use crate::world::*;

const MANY: usize = 2000;

/// One gateway for all of it, because it takes long to start.
#[test]
fn buckets_are_captured_whole_and_later_only_what_changed() {
    let Some(ceph) = unless_available(Ceph::start()) else {
        return;
    };
    let client = client(ceph.port());
    fill_versioned(&client, "vers");
    fill_many(&client, "many", MANY);
    let vault = TestVault::new();
    let both = buckets(ceph.port(), &["vers", "many"]);
    let first = vault.capture(&both, None).unwrap();
    assert_eq!(first.captured.partly, [""; 0]);
    assert_eq!(first.captured.warnings, [""; 0]);
    everything_is_in_the_list(&client, &vault, &first);
    files_lie_where_a_stranger_finds_them(&vault, &first);

    let second = nothing_is_read_twice(&ceph, &vault, &first);
    let third = only_what_changed_is_read(&client, &ceph, &vault, &second);
    what_may_not_be_read_is_named(&client, &ceph, &vault, &third);
    what_vanishes_meanwhile_is_named(&ceph, &vault, &third);
    a_listing_that_fails_fails_the_capture(&ceph, &vault);
}

fn everything_is_in_the_list(
    client: &rekindle_stores::s3::S3Client,
    vault: &TestVault,
    point: &Point,
) {
    let list = vault.list(point, "vers");
    let there = whole(client, "vers");
    assert_eq!(list.len(), there.len());
    let mut there: Vec<_> = there.into_iter().collect();
    there.sort_by(|a, b| a.key.cmp(&b.key));
    for (entry, object) in list.iter().zip(&there) {
        assert_eq!(entry.key, object.key);
        assert_eq!(
            (entry.latest, entry.deleted),
            (object.is_latest, object.is_marker),
            "{entry:?}"
        );
        let Some(path) = &entry.path else {
            assert!(entry.deleted);
            continue;
        };
        assert!(vault.read(point, path) == object.body, "{entry:?}");
        assert_eq!(
            Some(&entry.attributes),
            object.attributes.as_ref(),
            "{}",
            entry.key
        );
        if entry.latest {
            let inside = path.strip_prefix("vers/").unwrap();
            assert_eq!(key_of(inside).as_ref(), Some(&entry.key));
        }
    }
    let record = point.bucket("vers");
    assert_eq!(record.versioning, VersioningRecord::On);
    assert_eq!(record.delete_markers, 2);
    assert_eq!(
        record.objects,
        client.list_objects("vers", "").unwrap().len() as u64
    );
    assert_eq!(record.missing, 0);
    let many = point.bucket("many");
    assert_eq!(
        (many.objects, many.fetched, many.versioning),
        (MANY as u64, MANY as u64, VersioningRecord::Off)
    );
}

fn files_lie_where_a_stranger_finds_them(vault: &TestVault, point: &Point) {
    assert_eq!(vault.read(point, "many/many/00007"), b"object 7");
    assert_eq!(vault.read(point, "vers/ü/ß"), "ü/ß".as_bytes());
    assert_eq!(vault.read(point, "vers/%2E%2E/x"), b"../x");
    assert_eq!(vault.read(point, "vers/prefix%"), b"prefix 1");
    assert_eq!(vault.read(point, "vers/prefix/inside"), b"prefix/inside");
    let settings = vault.read(point, ".rekindle/vers/bucket.json");
    assert!(
        String::from_utf8(settings)
            .unwrap()
            .contains("\"versioning\": \"on\"")
    );
    let path = at().append(&TreePath::new("vers/rich").unwrap());
    let node = vault
        .vault
        .find_node(&point.index, &point.snapshot, path.as_bytes());
    let node = node.unwrap().unwrap();
    let attribute = &node.extended_attributes[0];
    assert_eq!(attribute.name, ATTRIBUTE);
    let text = String::from_utf8(attribute.value.clone()).unwrap();
    assert!(
        text.contains("\"key\":\"rich\"") && text.contains("\"owner\":\"zoë\""),
        "{text}"
    );
}

fn nothing_is_read_twice(ceph: &Ceph, vault: &TestVault, first: &Point) -> Point {
    let proxy = Proxy::to(ceph.port()).unwrap();
    let both = buckets(proxy.port(), &["vers", "many"]);
    let second = vault.capture(&both, Some(first)).unwrap();
    for bucket in ["vers", "many"] {
        assert_eq!(second.bucket(bucket).fetched, 0, "{bucket}");
        assert_eq!(vault.list(&second, bucket), vault.list(first, bucket));
    }
    // 2,000 objects in three pages of a listing; their contents alone came in 2,000 answers.
    let (up, down) = (
        proxy.forwarded(Direction::Up),
        proxy.forwarded(Direction::Down),
    );
    assert!(up < 30_000, "requests of {up} bytes");
    assert!(down < 2_000_000, "answers of {down} bytes");
    assert_eq!(vault.read(&second, "many/many/00007"), b"object 7");
    second
}

fn only_what_changed_is_read(
    client: &rekindle_stores::s3::S3Client,
    ceph: &Ceph,
    vault: &TestVault,
    second: &Point,
) -> Point {
    put(client, "many", "many/00007", b"another");
    put(client, "many", "many/new", b"new");
    client.delete("many", "many/00008", None).unwrap();
    put(client, "vers", "often", b"often again");
    client.delete("vers", "back", None).unwrap();
    put(client, "many", ".rekindle-aside/1/many/00009", b"set aside");
    let both = buckets(ceph.port(), &["vers", "many"]);
    let third = vault.capture(&both, Some(second)).unwrap();
    assert_eq!(
        (third.bucket("many").fetched, third.bucket("vers").fetched),
        (2, 1)
    );
    assert_eq!(
        (third.bucket("many").objects, third.bucket("many").set_aside),
        (MANY as u64, 1)
    );
    assert_eq!(vault.read(&third, "many/many/00007"), b"another");
    // What was current has moved among the older versions, unread.
    let list = vault.list(&third, "vers");
    let older: Vec<_> = list
        .iter()
        .filter(|e| e.key == "often" && !e.latest)
        .collect();
    assert_eq!(older.len(), 4);
    assert_eq!(
        vault.read(&third, older[0].path.as_ref().unwrap()),
        b"often 3"
    );
    client
        .delete("many", ".rekindle-aside/1/many/00009", None)
        .unwrap();
    third
}

fn what_may_not_be_read_is_named(
    client: &rekindle_stores::s3::S3Client,
    ceph: &Ceph,
    vault: &TestVault,
    third: &Point,
) {
    let deny = |what: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Deny","Principal":"*","Action":["s3:GetObject","s3:GetObjectTagging"],"Resource":"arn:aws:s3:::many/{what}"}}]}}"#
        )
    };
    client
        .put_setting("many", BucketSetting::Policy, &deny("many/0001*"))
        .unwrap();
    let many = buckets(ceph.port(), &["many"]);
    let partly = vault.capture(&many, None).unwrap();
    assert_eq!(partly.bucket("many").missing, 10);
    assert_eq!(partly.captured.partly.len(), 10);
    let said = &partly.captured.partly[0];
    assert!(
        said.contains("`many/many/00010`") && said.contains("403"),
        "{said}"
    );
    let list = vault.list(&partly, "many");
    assert_eq!(
        list.iter().filter(|entry| entry.missing.is_some()).count(),
        10
    );
    // What the point before has need not be read.
    let whole = vault.capture(&many, Some(third)).unwrap();
    assert_eq!(
        (whole.bucket("many").missing, whole.bucket("many").fetched),
        (0, 0)
    );

    client
        .put_setting("many", BucketSetting::Policy, &deny("*"))
        .unwrap();
    let refused = vault.capture(&many, None).err().unwrap();
    assert!(
        matches!(
            refused,
            CaptureError::S3NothingReadable { objects: 2000, .. }
        ),
        "{refused:?}"
    );
    assert!(refused.hint().is_some());
    client
        .put_setting("many", BucketSetting::Policy, &deny("nothing"))
        .unwrap();
}

fn what_vanishes_meanwhile_is_named(ceph: &Ceph, vault: &TestVault, third: &Point) {
    let client = client(ceph.port());
    put(&client, "many", "many/fleeting", b"x");
    let made_up = MadeUpS3::before(ceph.port()).unwrap();
    made_up.set(Some(Rule {
        method: "GET",
        path: "/many/many/fleeting",
        after: 0,
        times: 9,
        status: "404 Not Found",
        code: "NoSuchKey",
    }));
    let point = vault
        .capture(&buckets(made_up.port(), &["many"]), Some(third))
        .unwrap();
    assert_eq!(point.captured.partly.len(), 1);
    let said = &point.captured.partly[0];
    assert!(
        said.contains("many/fleeting") && said.contains("deleted while"),
        "{said}"
    );
    client.delete("many", "many/fleeting", None).unwrap();
}

fn a_listing_that_fails_fails_the_capture(ceph: &Ceph, vault: &TestVault) {
    let made_up = MadeUpS3::before(ceph.port()).unwrap();
    let points = vault.vault.snapshots().unwrap().len();
    for (bucket, path, after) in [("many", "list-type=2", 1), ("vers", "versions=", 0)] {
        for (status, code) in [
            ("403 Forbidden", "AccessDenied"),
            ("500 Oops", "InternalError"),
        ] {
            made_up.set(Some(Rule {
                method: "GET",
                path,
                after,
                times: 1000,
                status,
                code,
            }));
            let error = vault
                .capture(&buckets(made_up.port(), &[bucket]), None)
                .err()
                .unwrap();
            assert!(matches!(error, CaptureError::S3(_)), "{error:?}");
        }
    }
    assert_eq!(vault.vault.snapshots().unwrap().len(), points);
}

#[test]
fn a_poor_server_is_captured_and_what_it_has_not_is_said() {
    let Some(rclone) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    let client = client(rclone.port());
    client.create_bucket("bkt", false).unwrap();
    for number in 0..30 {
        put(&client, "bkt", &format!("dir/{number}/x"), b"content");
    }
    put(&client, "bkt", "large", &vec![7; 17 << 20]);
    let vault = TestVault::new();
    let b = buckets(rclone.port(), &["bkt"]);
    let first = vault.capture(&b, None).unwrap();
    assert_eq!(first.captured.partly, [""; 0]);
    assert_eq!(first.bucket("bkt").objects, 31);
    assert!(vault.read(&first, "bkt/large") == vec![7; 17 << 20]);
    let said = first.captured.warnings.join("\n");
    assert!(
        said.contains("versions") || first.bucket("bkt").versioning == VersioningRecord::Off,
        "{said}"
    );
    let second = vault.capture(&b, Some(&first)).unwrap();
    assert_eq!(second.bucket("bkt").fetched, 0);
}
