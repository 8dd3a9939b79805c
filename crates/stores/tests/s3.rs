//! S3 on real servers: a whole one (Ceph) and a poor one (rclone).

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;
#[path = "../../vault/tests/conformance/mod.rs"]
mod conformance;

use std::{env, fs, process::Command, thread, time::Duration};

use common::{engine_round_trip, s3_location, s3_settings};
use conformance::{keeps_its_promises, keeps_the_promises_to_one_at_a_time, key, kind};
use rekindle_stack::{Secret, VaultLocation};
use rekindle_stores::{Encryption, StoreSettings, hint_of, open, open_bare};
use rekindle_testing::{
    data::Random,
    restic::Restic,
    servers::{ACCESS_KEY, Ceph, Rclone, SECRET_KEY},
    skip::{self, unless_available},
};
use rekindle_vault::store::StoreErrorKind;

/// One gateway for all of it, because it takes long to start.
#[test]
fn ceph_keeps_the_promises_and_vaults_on_it_are_restics_too() {
    let Some(ceph) = unless_available(Ceph::start()) else {
        return;
    };
    ceph.make_bucket("vault").unwrap();
    let location = |prefix: &str| s3_location(ceph.port(), "vault", prefix);

    let bare = open_bare(&s3_settings(location("bare/in/a/folder"))).unwrap();
    keeps_its_promises(&bare);
    assert_eq!(ceph.unfinished_parts("vault").unwrap(), 0);

    prefixes_do_not_mix(&location);
    more_objects_than_a_page_are_listed(&location("pages"));
    what_is_wrong_is_told(ceph.port());

    let store = open(&s3_settings(location("engine"))).unwrap();
    let restic = restic(ceph.port(), "vault/engine");
    engine_round_trip(store, &restic);
}

#[test]
fn ceph_takes_https_classes_encryption_and_buckets_in_the_hosts_name() {
    let Some(ceph) = unless_available(Ceph::start()) else {
        return;
    };
    ceph.make_bucket("vault").unwrap();
    https_needs_the_authority_that_is_named(&ceph);
    packs_have_the_class_that_is_asked_for(&ceph);
    the_store_encrypts_when_told(&ceph);
    a_bucket_may_stand_in_the_hosts_name(&ceph);
}

fn over_https(ceph: &Ceph, prefix: &str) -> StoreSettings {
    let mut settings = s3_settings(VaultLocation::S3 {
        bucket: "vault".into(),
        prefix: prefix.into(),
        endpoint: Some(format!("https://127.0.0.1:{}", ceph.tls_port())),
        region: None,
    });
    settings.ca_file = Some(ceph.ca_file().to_owned());
    settings.retry_for = Duration::from_secs(2);
    settings
}

fn https_needs_the_authority_that_is_named(ceph: &Ceph) {
    let mut settings = over_https(ceph, "https");
    let store = open(&settings).unwrap();
    let content = vec![7; 3 << 20];
    store.create(&key("data/00/one"), &content).unwrap();
    assert!(store.read(&key("data/00/one")).unwrap() == content);

    settings.ca_file = None;
    let error = open(&settings).unwrap().list("data").unwrap_err();
    let said = error.source.to_string();
    assert!(said.contains("certificate"), "{said}");
    assert!(hint_of(&error).is_some_and(|hint| hint.contains("ca_file")));
}

fn packs_have_the_class_that_is_asked_for(ceph: &Ceph) {
    let mut settings = s3_settings(s3_location(ceph.port(), "vault", "class"));
    settings.storage_class = Some(Ceph::COLD.into());
    let store = open(&settings).unwrap();
    let large = vec![7; 33 << 20];
    store.create(&key("data/00/small"), b"x").unwrap();
    store.create(&key("data/00/large"), &large).unwrap();
    store.create(&key("snapshots/one"), b"x").unwrap();
    let is_cold = |name: &str| {
        let stat = ceph.object_stat("vault", &format!("class/{name}"));
        stat.unwrap().contains(Ceph::COLD)
    };
    assert!(is_cold("data/00/small") && is_cold("data/00/large"));
    assert!(!is_cold("snapshots/one"));
    assert!(store.read(&key("data/00/large")).unwrap() == large);

    settings.storage_class = Some("NO_SUCH_CLASS".into());
    let refused = open(&settings).unwrap().create(&key("data/00/other"), b"x");
    // AWS says InvalidStorageClass.
    let said = refused.unwrap_err().source.to_string();
    assert!(said.contains("400 Bad Request: Invalid"), "{said}");
}

fn the_store_encrypts_when_told(ceph: &Ceph) {
    let mut settings = over_https(ceph, "kms");
    settings.encryption = Some(Encryption::Kms(Some(Ceph::KMS_KEY.into())));
    let store = open(&settings).unwrap();
    let large = Random::new(9).bytes(33 << 20);
    store.create(&key("data/00/large"), &large).unwrap();
    store.create(&key("config"), b"x").unwrap();
    for name in ["data/00/large", "config"] {
        let stat = ceph.object_stat("vault", &format!("kms/{name}")).unwrap();
        assert!(
            stat.contains("SSE-KMS") && stat.contains(Ceph::KMS_KEY),
            "{stat}"
        );
    }
    assert!(store.read(&key("data/00/large")).unwrap() == large);
    let mut part = vec![0; 1000];
    store
        .read_range(&key("data/00/large"), 20 << 20, &mut part)
        .unwrap();
    assert!(part == large[20 << 20..][..1000]);

    settings.encryption = Some(Encryption::Kms(Some("no-such-key".into())));
    let refused = open(&settings).unwrap().create(&key("keys/x"), b"x");
    assert!(refused.is_err(), "nothing is stored in the clear instead");
}

/// Nobody resolves the bucket's name, so a process is started that has a file of hosts of its own.
fn a_bucket_may_stand_in_the_hosts_name(ceph: &Ceph) {
    let own_mounts = Command::new("unshare").args(["--mount", "true"]).output();
    if !own_mounts.is_ok_and(|ran| ran.status.success()) {
        return skip::record(
            "a bucket in the host's name: this user may not make a mount namespace",
        );
    }
    let hosts = ceph.dir().join("hosts");
    let line = format!("127.0.0.1 vault.{}\n", Ceph::DOMAIN);
    fs::write(&hosts, line).unwrap();
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"")
        .arg(hosts)
        .arg(env::current_exe().unwrap())
        .args(["--exact", "child_with_hosts_of_its_own", "--nocapture"])
        .env("REKINDLE_S3_PORT", ceph.port().to_string())
        .status();
    assert!(ran.unwrap().success());
    let path_style = open(&s3_settings(s3_location(ceph.port(), "vault", "host"))).unwrap();
    assert_eq!(path_style.read(&key("data/00/x")).unwrap(), b"by host");
}

/// Not a test of its own: what that process does.
#[test]
fn child_with_hosts_of_its_own() {
    let Ok(port) = env::var("REKINDLE_S3_PORT") else {
        return;
    };
    let mut settings = s3_settings(VaultLocation::S3 {
        bucket: "vault".into(),
        prefix: "host".into(),
        endpoint: Some(format!("http://{}:{port}", Ceph::DOMAIN)),
        region: None,
    });
    settings.path_style = Some(false);
    let store = open(&settings).unwrap();
    store.create(&key("data/00/x"), b"by host").unwrap();
    assert_eq!(store.list("data").unwrap().len(), 1);
}

fn prefixes_do_not_mix(location: &dyn Fn(&str) -> VaultLocation) {
    let (short, long) = (location("mix"), location("mix-2"));
    let (short, long) = (s3_settings(short), s3_settings(long));
    let (short, long) = (open(&short).unwrap(), open(&long).unwrap());
    long.create(&key("keys/x"), b"").unwrap();
    assert_eq!(short.list("keys").unwrap(), []);
    assert_eq!(kind(short.read(&key("keys/x"))), StoreErrorKind::NotFound);
}

/// S3 lists a thousand objects at a time.
fn more_objects_than_a_page_are_listed(location: &VaultLocation) {
    let store = open(&s3_settings(location.clone())).unwrap();
    thread::scope(|scope| {
        for part in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..140 {
                    store
                        .create(&key(&format!("index/{part}-{number}")), b"x")
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(store.list("index").unwrap().len(), 8 * 140);
}

fn what_is_wrong_is_told(port: u16) {
    let error_of = |settings: &StoreSettings| open(settings).unwrap().list("keys").unwrap_err();

    let no_bucket = error_of(&s3_settings(s3_location(port, "no-such-bucket", "")));
    assert_eq!(no_bucket.kind, StoreErrorKind::Other, "{no_bucket:?}");
    assert!(hint_of(&no_bucket).is_some_and(|hint| hint.contains("bucket")));

    let mut wrong = s3_settings(s3_location(port, "vault", ""));
    wrong.credentials = Some(Secret::new(format!("{ACCESS_KEY}:not the secret")));
    let denied = error_of(&wrong);
    assert_eq!(denied.kind, StoreErrorKind::Denied);
    let said = denied.source.to_string();
    assert!(said.contains("SignatureDoesNotMatch"), "{said}");
    assert!(hint_of(&denied).is_some_and(|hint| hint.contains("secret key is wrong")));
    assert!(!format!("{denied:?}").contains("not the secret"));

    wrong.credentials = Some(Secret::new("UNKNOWN:x"));
    let denied = error_of(&wrong);
    assert!(hint_of(&denied).is_some_and(|hint| hint.contains("access key")));
}

#[test]
fn a_poor_s3_is_noticed_and_keeps_all_promises_to_one_at_a_time() {
    let Some(rclone) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    rclone.make_bucket("vault").unwrap();
    let location = |prefix: &str| s3_location(rclone.port(), "vault", prefix);
    let bare = open_bare(&s3_settings(location("bare"))).unwrap();
    keeps_the_promises_to_one_at_a_time(&bare);

    let store = open(&s3_settings(location("engine"))).unwrap();
    engine_round_trip(store, &restic(rclone.port(), "vault/engine"));
}

#[test]
fn a_store_that_nobody_listens_at_is_given_up_and_named() {
    let port = rekindle_testing::free_port().unwrap();
    let mut settings = s3_settings(s3_location(port, "vault", ""));
    settings.retry_for = Duration::from_millis(300);
    let error = open(&settings).unwrap().list("keys").unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Other);
    assert_eq!(error.source.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[test]
fn credentials_without_a_secret_and_a_ca_file_without_certificates_are_refused_at_once() {
    let mut settings = s3_settings(s3_location(1, "vault", ""));
    settings.credentials = Some(Secret::new("AWS_ACCESS_KEY_ID=AKIA"));
    let error = open(&settings).err().unwrap();
    assert!(error.hint().is_some(), "{error:?}");

    let dir = rekindle_testing::temp_dir().unwrap();
    let file = dir.path().join("ca.pem");
    fs::write(&file, "no certificate").unwrap();
    let mut settings = s3_settings(s3_location(1, "vault", ""));
    settings.ca_file = Some(file);
    let error = open(&settings).err().unwrap();
    assert!(error.to_string().contains("ca.pem"), "{error}");
}

fn restic(port: u16, path: &str) -> Restic {
    Restic::new(
        format!("s3:http://127.0.0.1:{port}/{path}"),
        common::PASSWORD,
    )
    .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
}
