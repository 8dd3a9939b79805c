//! Bad lines and refusing servers between the engine and its store.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{error::Error, fs, path::Path, thread, time::Duration};

use common::{
    assert_restores, assert_whole, back_up, make_source, password, s3_location, s3_settings,
};
use rekindle_stores::{StoreSettings, hint_of, open};
use rekindle_testing::{
    data::Random,
    faults::{Direction, Fault, Proxy},
    servers::{MadeUpS3, Rclone, Rule},
    skip::unless_available,
    temp_dir,
};
use rekindle_vault::{BackupError, Vault, VaultError, store::StoreError};

fn impatient(port: u16) -> StoreSettings {
    let mut settings = s3_settings(s3_location(port, "vault", ""));
    settings.retry_for = Duration::from_secs(1);
    settings.stall = Duration::from_secs(1);
    settings
}

fn patient(port: u16) -> StoreSettings {
    let mut settings = impatient(port);
    settings.retry_for = Duration::from_secs(60);
    settings
}

fn store_error<'a>(error: &'a (dyn Error + 'static)) -> &'a StoreError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<StoreError>() {
            return found;
        }
        if let Some(BackupError::Vault(VaultError::Store(found))) = error.downcast_ref() {
            return found;
        }
        if let Some(VaultError::Store(found)) = error.downcast_ref() {
            return found;
        }
        cause = error.source();
    }
    panic!("no error of a store in {error:?}");
}

fn change(source: &Path, seed: u64) {
    fs::write(source.join("large/0"), Random::new(seed).bytes(1_500_000)).unwrap();
}

#[test]
fn a_line_that_cuts_and_stalls_is_outlasted_and_a_dead_one_loses_nothing() {
    let Some(rclone) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    rclone.make_bucket("vault").unwrap();
    let proxy = Proxy::to(rclone.port()).unwrap();
    let dir = temp_dir().unwrap();
    let source = dir.path().join("source");
    make_source(&source);
    let vault = Vault::create(open(&patient(proxy.port())).unwrap(), &password()).unwrap();
    let first = back_up(&vault, &source).unwrap();

    let (up, down) = (Direction::Up, Direction::Down);
    let faults = [
        Fault::Cut {
            direction: up,
            after: 100_000,
            reset: true,
        },
        Fault::Cut {
            direction: down,
            after: 100,
            reset: false,
        },
        Fault::Stall {
            direction: up,
            after: 200_000,
        },
        Fault::Stall {
            direction: down,
            after: 0,
        },
        Fault::Refuse,
    ];
    for (seed, fault) in (20..).zip(faults) {
        change(&source, seed);
        proxy.set(fault);
        proxy.close_all();
        let before = proxy.connections();
        let snapshot = thread::scope(|scope| {
            let backup = scope.spawn(|| back_up(&vault, &source));
            while proxy.connections() < before + 3 && !backup.is_finished() {
                thread::sleep(Duration::from_millis(20));
            }
            proxy.set(Fault::None);
            proxy.close_all();
            backup.join().unwrap()
        });
        let snapshot = snapshot.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_restores(&vault, &snapshot, &source);
    }
    drop(vault);

    // A line that stays dead ends the backup with an error, and the next one works.
    let vault = Vault::open(open(&impatient(proxy.port())).unwrap(), &password()).unwrap();
    let before = vault.snapshots().unwrap().len();
    change(&source, 30);
    proxy.set(Fault::Cut {
        direction: up,
        after: 100_000,
        reset: false,
    });
    proxy.close_all();
    let error = back_up(&vault, &source).unwrap_err();
    assert!(
        store_error(&error).to_string().contains("data/"),
        "{error:?}"
    );
    proxy.set(Fault::None);
    proxy.close_all();
    assert_eq!(vault.snapshots().unwrap().len(), before);
    let last = back_up(&vault, &source).unwrap();
    assert_restores(&vault, &last, &source);
    assert_whole(&vault);
    assert!(vault.find_snapshot(&first.id.to_string()).is_ok());
}

#[test]
fn a_server_that_is_too_busy_is_waited_for_and_expired_credentials_are_told() {
    let Some(rclone) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    rclone.make_bucket("vault").unwrap();
    let made_up = MadeUpS3::before(rclone.port()).unwrap();
    let dir = temp_dir().unwrap();
    let source = dir.path().join("source");
    make_source(&source);
    let vault = Vault::create(open(&patient(made_up.port())).unwrap(), &password()).unwrap();

    let busy = Rule {
        method: "PUT",
        path: "/data/",
        after: 2,
        times: 4,
        status: "503 Service Unavailable",
        code: "SlowDown",
    };
    made_up.set(Some(busy.clone()));
    let first = back_up(&vault, &source).unwrap();
    assert_eq!(made_up.refused(), 4);
    assert_restores(&vault, &first, &source);

    change(&source, 40);
    made_up.set(Some(Rule {
        after: 1,
        times: u64::MAX,
        status: "403 Forbidden",
        code: "ExpiredToken",
        ..busy
    }));
    let error = back_up(&vault, &source).unwrap_err();
    let told = store_error(&error);
    assert!(told.source.to_string().contains("ExpiredToken"), "{told:?}");
    assert!(hint_of(told).is_some_and(|hint| hint.contains("expired")));
    assert_eq!(vault.snapshots().unwrap().len(), 1);

    made_up.set(None);
    let second = back_up(&vault, &source).unwrap();
    assert_restores(&vault, &second, &source);
    assert_whole(&vault);
}
