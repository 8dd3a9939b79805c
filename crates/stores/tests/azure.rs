//! Azure's protocol, on Microsoft's own stand-in Azurite. No test here has met Azure itself.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;
#[path = "../../vault/tests/conformance/mod.rs"]
mod conformance;

use std::{env, process::Command, time::Duration};

use common::{assert_restores, assert_whole, back_up, make_source, password};
use conformance::{keeps_its_promises, key, kind};
use rekindle_stack::{Secret, VaultLocation};
use rekindle_stores::{StoreSettings, hint_of, open, open_bare};
use rekindle_testing::{servers::Azurite, skip::unless_available, temp_dir};
use rekindle_vault::{Vault, store::StoreErrorKind};

fn settings(prefix: &str) -> StoreSettings {
    let mut settings = StoreSettings::new(VaultLocation::Azure {
        container: "vault".into(),
        prefix: prefix.into(),
    });
    let (account, key) = (Azurite::ACCOUNT, Azurite::KEY);
    settings.credentials = Some(Secret::new(format!("{account}:{key}")));
    settings.retry_for = Duration::from_secs(20);
    settings.stall = Duration::from_secs(20);
    settings
}

/// The address of another than the public cloud comes from the environment, so that a process of its own
/// has it.
#[test]
fn azurite_keeps_the_promises_and_holds_a_vault() {
    let Some(azurite) = unless_available(Azurite::start()) else {
        return;
    };
    azurite.make_container("vault").unwrap();
    let ran = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_with_an_endpoint", "--nocapture"])
        .env("AZURE_STORAGE_ENDPOINT", azurite.endpoint())
        .status();
    assert!(ran.unwrap().success());
}

/// Not a test of its own: what that process does.
#[test]
fn child_with_an_endpoint() {
    if env::var_os("AZURE_STORAGE_ENDPOINT").is_none() {
        return;
    }
    keeps_its_promises(&open_bare(&settings("bare/in/a/folder")).unwrap());
    what_is_wrong_is_told();

    let dir = temp_dir().unwrap();
    let source = dir.path().join("source");
    make_source(&source);
    let vault = Vault::create(open(&settings("engine")).unwrap(), &password()).unwrap();
    let snapshot = back_up(&vault, &source).unwrap();
    let vault = Vault::open(open(&settings("engine")).unwrap(), &password()).unwrap();
    assert_restores(&vault, &snapshot, &source);
    assert_whole(&vault);
    assert_eq!(vault.locks().unwrap().len(), 0);
}

fn what_is_wrong_is_told() {
    let error_of = |settings: &StoreSettings| open(settings).unwrap().list("keys").unwrap_err();
    let mut wrong = settings("");
    wrong.location = VaultLocation::Azure {
        container: "no-such-container".into(),
        prefix: String::new(),
    };
    let error = error_of(&wrong);
    assert_eq!(error.kind, StoreErrorKind::Other, "{error:?}");
    assert!(hint_of(&error).is_some_and(|hint| hint.contains("bucket")));

    let mut wrong = settings("");
    let account = Azurite::ACCOUNT;
    wrong.credentials = Some(Secret::new(format!("{account}:bm90IHRoZSBrZXk=")));
    assert_eq!(error_of(&wrong).kind, StoreErrorKind::Denied);

    let store = open(&settings("told")).unwrap();
    assert_eq!(kind(store.read(&key("missing"))), StoreErrorKind::NotFound);
}
