//! Buckets come back elsewhere and where they were, to the point or to a moment, and undo goes back.

use std::{env, fs, path::Path, process::Command, sync::Arc, time::Duration};

use jiff::ToSpan as _;
use rekindle_datasets::{
    Aside, Dataset as _, InPlaceError, Journal,
    s3::{
        S3Buckets,
        restore::{BucketInPoint, Choice, S3Target, Scope, plan, plan_directory},
    },
};
use rekindle_stores::s3::{BucketSetting, S3Client};
use rekindle_testing::{
    servers::{Ceph, Rclone},
    skip::unless_available,
};
use rekindle_vault::{Progress, TreePath};

use crate::world::*;

/// A journal in a file, as the program has one.
struct FileJournal(std::path::PathBuf);

impl Journal for FileJournal {
    fn write(&mut self, aside: &Aside) -> Result<(), InPlaceError> {
        let temporary = self.0.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(aside).unwrap()).unwrap();
        fs::rename(&temporary, &self.0).unwrap();
        Ok(())
    }
}

impl FileJournal {
    fn read(&self) -> Option<Aside> {
        let bytes = fs::read(&self.0).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}

fn target(port: u16, bucket: &str, prefix: &str) -> S3Target {
    S3Target {
        client: client(port),
        bucket: bucket.into(),
        prefix: prefix.into(),
    }
}

fn sorted(mut objects: Vec<Whole>) -> Vec<Whole> {
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    objects
}

fn current(client: &S3Client, bucket: &str) -> Vec<Whole> {
    let mut objects = whole(client, bucket);
    objects.retain(|object| {
        object.is_latest && !object.is_marker && !object.key.starts_with(".rekindle-aside/")
    });
    sorted(objects)
}

/// One gateway for all of it, because it takes long to start.
#[test]
fn buckets_come_back_and_undo_goes_back() {
    let Some(ceph) = unless_available(Ceph::start()) else {
        return;
    };
    let client = client(ceph.port());
    fill_versioned(&client, "vers");
    let lifecycle = "<LifecycleConfiguration><Rule><ID>old</ID><Filter><Prefix>tmp/</Prefix></Filter><Status>Enabled</Status>\
        <Expiration><Days>3000</Days></Expiration></Rule></LifecycleConfiguration>";
    client
        .put_setting("vers", BucketSetting::Lifecycle, lifecycle)
        .unwrap();
    let vault = TestVault::new();
    let point = vault
        .capture(&buckets(ceph.port(), &["vers"]), None)
        .unwrap();
    with_history_a_new_bucket_is_the_same(&client, &ceph, &vault, &point);
    to_a_moment_and_in_part(&client, &ceph, &vault, &point);
    to_a_directory_as_of_a_moment(&vault, &point);
    a_poor_server_gets_what_it_can_keep(&vault, &point);
    a_versioned_bucket_in_place(&client, &ceph, &vault, &point);
    for name in ["uno", "due"] {
        fill_unversioned(&client, name);
    }
    a_bucket_without_versions_in_place(&client, &ceph);
    killed_at_any_moment_undo_still_goes_back(&client, &ceph);
}

fn with_history_a_new_bucket_is_the_same(
    client: &S3Client,
    ceph: &Ceph,
    vault: &TestVault,
    point: &Point,
) {
    let progress = Arc::new(Progress::default());
    let source = point.source(&vault.vault, &progress);
    let choice = Choice {
        with_history: true,
        ..Choice::default()
    };
    let restore = plan(
        BucketInPoint::new(&source, "vers"),
        target(ceph.port(), "copy", ""),
        &choice,
    )
    .unwrap();
    assert!(restore.plan.makes_bucket && restore.plan.replaces == 0);
    assert!(restore.plan.history > 0);
    let report = restore.run().unwrap();
    assert_eq!(report.warnings, [""; 0]);
    assert_eq!(report.delete_markers, 2);
    assert_eq!((report.failed, report.failures), (0, vec![]));
    let (before, after) = (sorted(whole(client, "vers")), sorted(whole(client, "copy")));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after, "{} {}", before.key, after.key);
    }
    // Parts are as they were, so the tag is, too.
    let tag = |bucket: &str| client.head(bucket, "parts", None).unwrap().etag;
    assert_eq!(tag("vers"), tag("copy"));
    let found = client
        .setting("copy", BucketSetting::Lifecycle)
        .unwrap()
        .unwrap();
    assert!(found.contains("<Days>3000</Days>"), "{found}");
    // Again: all of it is there.
    let point = BucketInPoint::new(&source, "vers");
    let again = plan(point, target(ceph.port(), "copy", ""), &choice).unwrap();
    let told = &again.plan;
    assert_eq!((told.creates, told.replaces, told.leaves), (0, 0, 0));
    assert_eq!(again.run().unwrap().written, 0);
    assert!(sorted(whole(client, "copy")) == after);
}

/// A server that keeps objects as files.
fn a_poor_server_gets_what_it_can_keep(vault: &TestVault, point: &Point) {
    let Some(rclone) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    let poor = client(rclone.port());
    let progress = Arc::new(Progress::default());
    let source = point.source(&vault.vault, &progress);
    let plan_it = || {
        let to = target(rclone.port(), "odd", "");
        plan(BucketInPoint::new(&source, "vers"), to, &Choice::default()).unwrap()
    };
    let restore = plan_it();
    let wanted = restore.plan.creates;
    let report = restore.run().unwrap();
    let told = report.warnings.join("\n");
    assert!(told.contains("the server knows none"), "{told}");
    // Each object is there with its own content, or it is named. One that the server did not find when it was asked at once,
    // while it failed to make a file of a directory beside it, is named although it is there.
    let list = vault.list(point, "vers");
    let (mut there, mut kept) = (0, 0);
    for entry in list.iter().filter(|e| e.latest && !e.deleted) {
        let content = vault.read(point, entry.path.as_ref().unwrap());
        let listed = poor.list_objects("odd", &entry.key).unwrap();
        let is_listed = listed.iter().any(|listed| listed.key == entry.key);
        let found = poor.get("odd", &entry.key, None, None, None);
        let is_there = is_listed && found.is_ok_and(|found| found.body == content);
        let shown = format!("/{}`", entry.key.escape_debug());
        let is_named = report.failures.iter().any(|said| said.contains(&shown));
        assert!(is_there || is_named, "{}: {report:#?}", entry.key);
        there += u64::from(is_there);
        kept += u64::from(!is_named);
    }
    assert_eq!(kept + report.failed, wanted);
    let again = plan_it().plan;
    assert_eq!(again.there, there, "{again:#?}");
}

fn to_a_moment_and_in_part(client: &S3Client, ceph: &Ceph, vault: &TestVault, point: &Point) {
    let list = vault.list(point, "vers");
    let second = list.iter().filter(|e| e.key == "often").nth(2).unwrap();
    let progress = Arc::new(Progress::default());
    let source = point.source(&vault.vault, &progress);
    let choice = Choice {
        at: Some(second.modified),
        scope: Scope::Prefix("o".into()),
        with_history: false,
    };
    let to = target(ceph.port(), "moment", "restored/");
    client.create_bucket("moment", false).unwrap();
    put(client, "moment", "restored/often", b"in the way");
    put(client, "moment", "restored/other", b"stays");
    let restore = plan(BucketInPoint::new(&source, "vers"), to, &choice).unwrap();
    let told = &restore.plan;
    assert_eq!(
        (told.creates, told.replaces, told.leaves, told.makes_bucket),
        (0, 1, 1, false)
    );
    let body = |key: &str| client.get("moment", key, None, None, None).unwrap().body;
    let refused = restore.run().unwrap_err();
    assert!(
        refused.to_string().contains("`restored/often`"),
        "{refused}"
    );
    assert!(refused.hint().is_some());
    assert_eq!(&body("restored/often")[..], b"in the way");
    client.set_versioning("moment", true).unwrap();
    let again = |choice: &Choice| {
        let to = target(ceph.port(), "moment", "restored/");
        plan(BucketInPoint::new(&source, "vers"), to, choice)
    };
    let restore = again(&choice).unwrap();
    assert!(restore.plan.has_way_back);
    restore.run().unwrap();
    assert_eq!(&body("restored/often")[..], b"often 1");
    assert_eq!(&body("restored/other")[..], b"stays");
    let told = again(&choice).unwrap().plan;
    assert_eq!((told.there, told.creates, told.replaces), (1, 0, 0));
    let (oldest, newest) = (
        list.iter().map(|e| e.modified).min().unwrap(),
        list.iter().map(|e| e.modified).max().unwrap(),
    );
    for out in [oldest - 1.second(), newest + 1.hour()] {
        let choice = Choice {
            at: Some(out),
            ..Choice::default()
        };
        let refused = again(&choice).err().unwrap().to_string();
        assert!(refused.contains(&format!("from {oldest} to ")), "{refused}");
    }
    client.set_versioning("moment", false).unwrap();

    let no_history = Choice {
        with_history: true,
        ..Choice::default()
    };
    let refused = plan(
        BucketInPoint::new(&source, "vers"),
        target(ceph.port(), "moment", ""),
        &no_history,
    );
    assert!(refused.err().unwrap().hint().is_some());
}

fn to_a_directory_as_of_a_moment(vault: &TestVault, point: &Point) {
    let list = vault.list(point, "vers");
    let second = list.iter().filter(|e| e.key == "often").nth(2).unwrap();
    let progress = Arc::new(Progress::default());
    let source = point.source(&vault.vault, &progress);
    let dir = rekindle_testing::temp_dir().unwrap();
    let to = dir.path().join("then");
    let write = |at| {
        let point = BucketInPoint::new(&source, "vers");
        plan_directory(point, &Scope::All, Some(at), &to)
    };
    // What was left by a run that was killed goes.
    fs::create_dir_all(to.join("vers/half")).unwrap();
    fs::write(to.join("REKINDLE-RESTORE-UNFINISHED"), "").unwrap();
    write(second.modified).unwrap().run().unwrap();
    let read = |path: &str| fs::read(to.join("vers").join(path)).ok();
    assert_eq!(read("often").unwrap(), b"often 1");
    assert_eq!(read("before").unwrap(), b"null version");
    assert_eq!(read("%2E%2E/x").unwrap(), b"../x");
    assert_eq!(read("a/%/b").unwrap(), b"a//b");
    assert_eq!(read("folder/%").unwrap(), b"folder/");
    assert_eq!(read("prefix%").unwrap(), b"prefix");
    assert_eq!(read("prefix/inside").unwrap(), b"prefix/inside");
    assert_eq!(read("rich"), None, "it came later");
    assert_eq!(read("half"), None);
    let refused = write(second.modified).unwrap().run().unwrap_err();
    assert!(refused.to_string().contains("is not empty"), "{refused}");
    assert!(!to.join("REKINDLE-RESTORE-UNFINISHED").exists());
}

fn a_versioned_bucket_in_place(client: &S3Client, ceph: &Ceph, vault: &TestVault, point: &Point) {
    let dir = rekindle_testing::temp_dir().unwrap();
    let mut journal = FileJournal(dir.path().join("journal"));
    let dataset = buckets(ceph.port(), &["vers"]);
    let wanted = current(client, "vers");
    put(client, "vers", "often", b"damaged");
    put(client, "vers", "new", b"not in the point");
    client.delete("vers", "rich", None).unwrap();
    let damaged = whole(client, "vers");

    let progress = Arc::new(Progress::default());
    let source = point.source(&vault.vault, &progress);
    let steps = dataset.plan_in_place(&source).unwrap();
    assert_eq!(steps.entries, 2, "{steps:?}");
    let said = steps.steps.join("\n");
    assert!(
        said.contains("`often`") && said.contains("`new`") && said.contains("`rich`"),
        "{said}"
    );
    assert!(whole(client, "vers") == damaged, "a plan changes nothing");

    let restored = dataset.restore_in_place(&source, &mut journal).unwrap();
    assert_eq!(restored.entries, 2);
    assert!(current(client, "vers") == wanted);
    assert_eq!(
        dataset.plan_in_place(&source).unwrap().entries,
        0,
        "nothing is left to do"
    );

    let aside = journal.read().unwrap();
    let said = dataset.undo_in_place(&aside).unwrap();
    assert!(said.join("\n").contains("3 objects"), "{said:?}");
    assert!(whole(client, "vers") == damaged);
    let again = dataset.undo_in_place(&aside).unwrap();
    assert!(whole(client, "vers") == damaged, "{again:?}");

    // As it was when `often` had its second content.
    let list = vault.list(point, "vers");
    let second = list.iter().filter(|e| e.key == "often").nth(2).unwrap();
    let then = Box::new(buckets(ceph.port(), &["vers"]));
    let then = then.at_moment(second.modified).unwrap();
    let mut source = point.source(&vault.vault, &progress);
    source.part = Some(TreePath::new("vers/often").unwrap());
    then.restore_in_place(&source, &mut journal).unwrap();
    let body = client.get("vers", "often", None, None, None).unwrap().body;
    assert_eq!(&body[..], b"often 1");
    then.undo_in_place(&journal.read().unwrap()).unwrap();
    assert!(whole(client, "vers") == damaged);

    // A part of it.
    let restored = dataset.restore_in_place(&source, &mut journal).unwrap();
    assert_eq!(restored.entries, 1);
    assert!(client.head("vers", "rich", None).unwrap_err().is_missing());
    dataset.undo_in_place(&journal.read().unwrap()).unwrap();
    assert!(whole(client, "vers") == damaged);
}

const OBJECTS: usize = 120;

fn fill_unversioned(client: &S3Client, bucket: &str) {
    fill_many(client, bucket, OBJECTS);
    let attributes = rich_attributes();
    client
        .put(bucket, "rich", (&b"rich"[..]).into(), &attributes)
        .unwrap();
    put(client, bucket, "../odd", b"odd");
}

/// Replaces many, deletes some, adds some.
fn damage(client: &S3Client, bucket: &str) {
    for number in 0..OBJECTS / 2 {
        put(
            client,
            bucket,
            &format!("many/{number:05}"),
            format!("damaged {number}").as_bytes(),
        );
    }
    for number in OBJECTS / 2..OBJECTS / 2 + 20 {
        client
            .delete(bucket, &format!("many/{number:05}"), None)
            .unwrap();
        put(client, bucket, &format!("new/{number}"), b"new");
    }
    client.delete(bucket, "../odd", None).unwrap();
    let mut attributes = rich_attributes();
    attributes.metadata.insert("owner".into(), "another".into());
    client
        .put(bucket, "rich", (&b"rich"[..]).into(), &attributes)
        .unwrap();
}

fn a_bucket_without_versions_in_place(client: &S3Client, ceph: &Ceph) {
    let vault = TestVault::new();
    let dataset = buckets(ceph.port(), &["uno"]);
    let wanted = current(client, "uno");
    let point = vault.capture(&dataset, None).unwrap();
    damage(client, "uno");
    let damaged = current(client, "uno");
    let dir = rekindle_testing::temp_dir().unwrap();
    let mut journal = FileJournal(dir.path().join("journal"));
    let progress = Arc::new(Progress::default());
    let source = point.source(&vault.vault, &progress);
    let restored = dataset.restore_in_place(&source, &mut journal).unwrap();
    assert_eq!(restored.entries, (OBJECTS / 2 + 20 + 2) as u64);
    assert!(
        restored.set_aside[0].contains(".rekindle-aside/"),
        "{restored:?}"
    );
    assert!(current(client, "uno") == wanted);
    // What is set aside is in no later point.
    let later = vault.capture(&dataset, Some(&point)).unwrap();
    assert_eq!(later.bucket("uno").objects, wanted.len() as u64);
    assert_eq!(later.bucket("uno").set_aside, (OBJECTS / 2 + 1 + 20) as u64);

    put(client, "uno", "many/00001", b"written after the restore");
    let said = dataset.undo_in_place(&journal.read().unwrap()).unwrap();
    assert!(
        said.iter()
            .any(|line| line.contains("many/00001") && line.contains("stays")),
        "{said:?}"
    );
    let mut expected = damaged;
    let changed = expected
        .iter_mut()
        .find(|object| object.key == "many/00001");
    changed.unwrap().body = b"written after the restore".to_vec();
    assert!(current(client, "uno") == expected);
    let left = client.list_objects("uno", ".rekindle-aside/").unwrap();
    assert_eq!(left.len(), 1, "what was not brought back stays: {left:?}");
    dataset.discard_aside(&journal.read().unwrap()).unwrap();
    assert_eq!(client.list_objects("uno", ".rekindle-aside/").unwrap(), []);
    assert!(current(client, "uno") == expected);
}

const CHILD_PORT: &str = "REKINDLE_TEST_S3_PORT";
const CHILD_DIR: &str = "REKINDLE_TEST_S3_DIR";

/// The restore runs in a process of its own, which is killed.
fn killed_at_any_moment_undo_still_goes_back(client: &S3Client, ceph: &Ceph) {
    for (bucket, with_versions) in [("due", false), ("due", true)] {
        if with_versions {
            client.set_versioning(bucket, true).unwrap();
        }
        let dataset = buckets(ceph.port(), &[bucket]);
        for (round, millis) in [60, 300].into_iter().enumerate() {
            let dir = rekindle_testing::temp_dir().unwrap();
            let mut child = Command::new(env::current_exe().unwrap())
                .args([
                    "--exact",
                    "restore::child_that_restores_in_place",
                    "--nocapture",
                ])
                .env(CHILD_PORT, ceph.port().to_string())
                .env(CHILD_DIR, dir.path())
                .spawn()
                .unwrap();
            // It says when everything is damaged and the restore begins.
            let begun = dir.path().join("begun");
            while !begun.exists() {
                assert!(child.try_wait().unwrap().is_none(), "the child ended early");
                std::thread::sleep(Duration::from_millis(5));
            }
            let damaged = current(client, bucket);
            fs::write(dir.path().join("go"), "").unwrap();
            std::thread::sleep(Duration::from_millis(millis));
            child.kill().unwrap();
            child.wait().unwrap();
            // What it had sent, the server may still be doing.
            std::thread::sleep(Duration::from_millis(500));
            if let Some(aside) = FileJournal(dir.path().join("journal")).read() {
                // Twice: an undo may be killed as well.
                dataset.undo_in_place(&aside).unwrap();
                dataset.undo_in_place(&aside).unwrap();
            }
            assert!(
                current(client, bucket) == damaged,
                "round {round}, versions: {with_versions}"
            );
            assert_eq!(client.list_objects(bucket, ".rekindle-aside/").unwrap(), []);
        }
    }
}

/// Not a test of its own: what that process does.
#[test]
fn child_that_restores_in_place() {
    let (Ok(port), Ok(dir)) = (env::var(CHILD_PORT), env::var(CHILD_DIR)) else {
        return;
    };
    let (port, dir) = (port.parse().unwrap(), Path::new(&dir));
    let client = client(port);
    let dataset: S3Buckets = buckets(port, &["due"]);
    let vault = TestVault::new();
    let point = vault.capture(&dataset, None).unwrap();
    damage(&client, "due");
    fs::write(dir.join("begun"), "").unwrap();
    while !dir.join("go").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let progress = Arc::new(Progress::default());
    let source = point.source(&vault.vault, &progress);
    let mut journal = FileJournal(dir.join("journal"));
    dataset.restore_in_place(&source, &mut journal).unwrap();
    // Killed here at the latest.
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_poor_server_gets_the_objects_and_what_it_loses_is_told() {
    let Some(rclone) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    let client = client(rclone.port());
    client.create_bucket("bkt", false).unwrap();
    for number in 0..20 {
        put(
            &client,
            "bkt",
            &format!("dir/{number}"),
            format!("{number}").as_bytes(),
        );
    }
    let vault = TestVault::new();
    let dataset = buckets(rclone.port(), &["bkt"]);
    let point = vault.capture(&dataset, None).unwrap();
    put(&client, "bkt", "dir/1", b"damaged");
    put(&client, "bkt", "dir/new", b"new");
    client.delete("bkt", "dir/2", None).unwrap();
    let bodies = || {
        let listed = client.list_objects("bkt", "dir/").unwrap();
        let body = |key: &str| client.get("bkt", key, None, None, None).unwrap().body;
        listed
            .iter()
            .map(|l| (l.key.clone(), body(&l.key)))
            .collect::<Vec<_>>()
    };
    let damaged = bodies();
    let dir = rekindle_testing::temp_dir().unwrap();
    let mut journal = FileJournal(dir.path().join("journal"));
    let progress = Arc::new(Progress::default());
    let source = point.source(&vault.vault, &progress);
    dataset.restore_in_place(&source, &mut journal).unwrap();
    let found = bodies();
    assert_eq!(found.len(), 20);
    assert!(
        found
            .iter()
            .all(|(key, body)| key.strip_prefix("dir/").unwrap().as_bytes() == &body[..])
    );
    dataset.undo_in_place(&journal.read().unwrap()).unwrap();
    assert_eq!(bodies(), damaged);

    let restore = plan(
        BucketInPoint::new(&source, "bkt"),
        target(rclone.port(), "other", ""),
        &Choice::default(),
    );
    let report = restore.unwrap().run().unwrap();
    assert_eq!((report.written, report.failed), (20, 0));
}
