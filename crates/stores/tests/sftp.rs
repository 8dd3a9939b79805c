//! SFTP on OpenSSH's own server, through the system's own client.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;
#[path = "../../vault/tests/conformance/mod.rs"]
mod conformance;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, SystemTime},
};

use common::engine_round_trip;
use conformance::{keeps_its_promises, key};
use rekindle_stack::VaultLocation;
use rekindle_stores::{StoreSettings, hint_of, open, open_bare};
use rekindle_testing::{
    faults::{Direction, Fault, Proxy},
    restic::Restic,
    servers::Sshd,
    skip::unless_available,
};
use rekindle_vault::store::StoreErrorKind;

fn settings(sshd: &Sshd, folder: &str) -> StoreSettings {
    let mut settings = StoreSettings::new(VaultLocation::Sftp {
        user: None,
        host: "vault-host".into(),
        port: None,
        path: sshd.dir().join(folder).display().to_string(),
    });
    settings.ssh_config = Some(sshd.client_config());
    settings.retry_for = Duration::from_secs(20);
    settings.stall = Duration::from_secs(10);
    settings
}

#[test]
fn openssh_keeps_the_promises_and_vaults_on_it_are_restics_too() {
    let Some(sshd) = unless_available(Sshd::start()) else {
        return;
    };
    // A root that is not there is no empty store: the first write makes it.
    let bare = open_bare(&settings(&sshd, "bare/deep")).unwrap();
    let missing = bare.list("snapshots").unwrap_err();
    assert_eq!(missing.kind, StoreErrorKind::NotFound);
    bare.create(&key("first"), b"").unwrap();
    keeps_its_promises(&bare);
    let left = fs::read_dir(sshd.dir().join("bare/deep/rekindle/tmp")).unwrap();
    assert_eq!(left.count(), 0, "no unfinished files");
    let mode = |path: &str| {
        let metadata = fs::metadata(sshd.dir().join("bare/deep").join(path)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("race"), mode("first")), (0o700, 0o400));

    let store = open(&settings(&sshd, "engine")).unwrap();
    let config = sshd.client_config();
    let repository = sshd.dir().join("engine");
    let restic = Restic::new(
        format!("sftp:vault-host:{}", repository.display()),
        common::PASSWORD,
    )
    .option(&format!(
        "sftp.command=ssh -F {} vault-host -s sftp",
        config.display()
    ));
    engine_round_trip(store, &restic);
}

#[test]
fn a_connection_that_breaks_is_made_again_and_nothing_half_written_is_seen() {
    let Some(sshd) = unless_available(Sshd::start()) else {
        return;
    };
    let proxy = Proxy::to(sshd.port()).unwrap();
    sshd.lead_client_to(proxy.port()).unwrap();
    let store = open(&settings(&sshd, "vault")).unwrap();
    let content = vec![7; 3 << 20];
    store.create(&key("data/00/first"), &content).unwrap();

    proxy.close_all();
    assert!(store.read(&key("data/00/first")).unwrap() == content);

    // Cut in the middle of an upload, again and again until the line is better.
    proxy.set(Fault::Cut {
        direction: Direction::Up,
        after: 1 << 20,
        reset: true,
    });
    proxy.close_all();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| store.create(&key("data/00/second"), &content));
        while proxy.connections() < 4 {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!sshd.dir().join("vault/data/00/second").exists());
        proxy.set(Fault::None);
        writer.join().unwrap().unwrap();
    });
    assert!(store.read(&key("data/00/second")).unwrap() == content);
    assert_eq!(store.list("data").unwrap().len(), 2);
}

#[test]
fn what_a_crash_left_unfinished_goes_when_it_is_a_day_old() {
    let Some(sshd) = unless_available(Sshd::start()) else {
        return;
    };
    let unfinished = sshd.dir().join("vault/rekindle/tmp");
    fs::create_dir_all(&unfinished).unwrap();
    let now = SystemTime::now();
    for (name, hours) in [("old", 25), ("young", 23), ("of a clock ahead", -48)] {
        let file = fs::File::create(unfinished.join(name)).unwrap();
        let age = Duration::from_secs(3600 * i64::unsigned_abs(hours));
        let time = if hours > 0 { now - age } else { now + age };
        file.set_modified(time).unwrap();
    }
    let store = open(&settings(&sshd, "vault")).unwrap();
    store.create(&key("data/00/first"), b"x").unwrap();
    let left = fs::read_dir(&unfinished).unwrap();
    let left: BTreeSet<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["of a clock ahead", "young"].map(Into::into).into());
}

#[test]
fn what_the_ssh_client_says_is_told_with_a_hint() {
    let Some(sshd) = unless_available(Sshd::start()) else {
        return;
    };
    let said = |settings: &StoreSettings| {
        let error = open(settings).unwrap().list("keys").unwrap_err();
        (error.source.to_string(), hint_of(&error))
    };
    fs::write(sshd.dir().join("known_hosts"), "").unwrap();
    let (text, hint) = said(&settings(&sshd, "vault"));
    assert!(text.contains("Host key verification failed"), "{text}");
    assert!(hint.is_some_and(|hint| hint.contains("compare the key")));

    let host_key = fs::read_to_string(sshd.dir().join("host_key.pub")).unwrap();
    fs::write(
        sshd.dir().join("known_hosts"),
        format!("vault-host {host_key}"),
    )
    .unwrap();
    fs::copy(sshd.dir().join("host_key"), sshd.dir().join("user_key")).unwrap();
    let (text, hint) = said(&settings(&sshd, "vault"));
    assert!(text.contains("Permission denied"), "{text}");
    assert!(hint.is_some_and(|hint| hint.contains("SSH keys")));
}
