//! A repository that stock restic wrote is a vault: read, checked, restored and gone on with.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{fs, path::Path, sync::Arc, time::Duration};

use common::{PASSWORD, Place, assert_same, assert_whole, back_up, chain, restore};
use rekindle_testing::{
    data::{Random, file_tree},
    faults::{TreeDigest, tree_digest},
    restic::Restic,
};
use rekindle_vault::{Password, Snapshot, Vault, VaultError, store::LocalStore};

/// Restores a snapshot of restic, whose paths are absolute, and compares.
fn assert_restores(
    vault: &Vault,
    snapshot: &Snapshot,
    source: &Path,
    expected: &TreeDigest,
    target: &Path,
) {
    restore(vault, snapshot, target).unwrap();
    assert_same(expected, &target.join(source.strip_prefix("/").unwrap()));
}

fn restic_backup(restic: &Restic, source: &Path, arguments: &[&str]) {
    let mut all = vec!["backup"];
    all.extend_from_slice(arguments);
    let source = source.to_str().unwrap();
    all.push(source);
    restic.run(all).unwrap();
}

#[test]
fn every_snapshot_of_restic_restores_whatever_its_compression() {
    let place = Place::new();
    let (restic, source) = (place.restic(), place.source());
    restic.init().unwrap();
    file_tree(&source, 21, 300).unwrap();
    let mut states = Vec::new();
    for (round, compression) in ["off", "auto", "max"].into_iter().enumerate() {
        let path = source.join(format!("round {round}"));
        fs::write(&path, Random::new(round as u64).text(6 << 20)).unwrap();
        fs::write(source.join("2100"), format!("round {round}")).unwrap();
        states.push(tree_digest(&source).unwrap());
        restic_backup(
            &restic,
            &source,
            &["--compression", compression, "--tag", compression],
        );
    }
    let vault = place.open();
    assert_whole(&vault);
    let snapshots = vault.snapshots().unwrap();
    assert_eq!(snapshots.len(), 3);
    for (round, (snapshot, state)) in snapshots.iter().zip(&states).enumerate() {
        let target = place.path(&format!("target {round}"));
        assert_restores(&vault, snapshot, &source, state, &target);
    }
    let tags: Vec<_> = snapshots.iter().flat_map(|s| &s.stored.tags).collect();
    assert_eq!(tags, ["off", "auto", "max"]);
    let id = snapshots[1].id.to_string();
    assert_eq!(vault.find_snapshot(&id[..8]).unwrap().id, snapshots[1].id);
    assert_eq!(vault.find_snapshot("latest").unwrap().id, snapshots[2].id);
    let index = vault.load_index().unwrap();
    let changed = vault.diff(&index, &snapshots[0], &snapshots[1]).unwrap();
    let changed: Vec<_> = changed.iter().map(|d| d.path.to_string()).collect();
    let prefix = source.display();
    assert_eq!(
        changed,
        [format!("{prefix}/2100"), format!("{prefix}/round 1")]
    );
}

#[test]
fn we_go_on_where_restic_stopped() {
    let place = Place::new();
    let (restic, source) = (place.restic(), place.source());
    restic.init().unwrap();
    file_tree(&source, 22, 200).unwrap();
    restic_backup(&restic, &source, &[]);
    let vault = place.open();
    fs::write(source.join("new"), Random::new(4).text(1 << 20)).unwrap();
    let state = tree_digest(&source).unwrap();
    let ours = back_up(&vault, &source, None).unwrap();
    common::assert_restores(&vault, &ours, &state, &place.path("ours"));
    let summary = ours.stored.summary.as_ref().unwrap();
    // Short files are one chunk each, whoever cuts; long ones we cut elsewhere.
    assert!(summary.data_blobs < 20, "{summary:?}");
    restic.check(true).unwrap();
    restic_backup(&restic, &source, &["--force"]);
    restic.run(["prune", "--repack-uncompressed"]).unwrap();
    assert_whole(&vault);
    assert_eq!(vault.snapshots().unwrap().len(), 3);
    common::assert_restores(&vault, &ours, &state, &place.path("ours again"));
}

#[test]
fn each_password_opens_and_no_other() {
    let place = Place::new();
    let restic = place.restic();
    restic.init().unwrap();
    let file = place.path("second password");
    fs::write(&file, "second\n").unwrap();
    let file = file.to_str().unwrap();
    restic
        .run(["key", "add", "--new-password-file", file])
        .unwrap();
    let open = |text: &str| {
        let store = Arc::new(LocalStore::new(place.vault_dir()));
        Vault::open(store, &Password::new(text))
    };
    let keys = open(PASSWORD).unwrap().keys().unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys.iter().filter(|key| key.current).count(), 1);
    open("second").unwrap();
    let error = open("third").unwrap_err();
    assert!(
        matches!(error, VaultError::WrongPassword { keys: 2, .. }),
        "{error}"
    );
    let place_shown = place.vault_dir().display().to_string();
    assert!(error.to_string().contains(&place_shown), "{error}");

    open("second")
        .unwrap()
        .add_key(&Password::new("fourth"))
        .unwrap();
    Restic::new(place.vault_dir(), "fourth")
        .snapshots()
        .unwrap();
    assert_eq!(restic.list("keys").unwrap().len(), 3);
}

#[test]
fn a_repository_of_version_1_is_refused_by_name() {
    let place = Place::new();
    place
        .restic()
        .run(["init", "--repository-version", "1"])
        .unwrap();
    let store = Arc::new(LocalStore::new(place.vault_dir()));
    let error = Vault::open(store, &common::password()).unwrap_err();
    assert!(
        matches!(error, VaultError::UnknownVersion { version: 1, .. }),
        "{error}"
    );
    let said = chain(&error);
    assert!(
        said.contains("version 1") && said.contains("version 2"),
        "{said}"
    );
}

#[test]
fn a_place_without_a_vault_is_told_from_one_with_a_wrong_password() {
    let place = Place::new();
    let store = Arc::new(LocalStore::new(place.path("nothing")));
    let error = Vault::open(store, &common::password()).unwrap_err();
    assert!(matches!(error, VaultError::NoVault { .. }), "{error}");
    assert!(error.to_string().contains("nothing"));
}

#[test]
fn our_parent_may_be_a_snapshot_of_restic() {
    let place = Place::new();
    let (restic, source) = (place.restic(), place.source());
    restic.init().unwrap();
    file_tree(&source, 23, 100).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    // Relative, so that restic's tree has the source where ours has it.
    let dir = source.parent().unwrap();
    let status = restic
        .command()
        .args(["backup", "source"])
        .current_dir(dir)
        .status();
    assert!(status.unwrap().success());
    let vault = place.open();
    let parent = vault.find_snapshot("latest").unwrap();
    fs::write(source.join("epoch"), "changed").unwrap();
    let state = tree_digest(&source).unwrap();
    let ours = back_up(&vault, &source, Some(parent)).unwrap();
    let summary = ours.stored.summary.as_ref().unwrap();
    assert!(summary.files_unmodified >= 100, "{summary:?}");
    // The one of the year 2100 too: its time cannot tell whether it changed.
    assert_eq!(summary.files_changed, 2, "{summary:?}");
    common::assert_restores(&vault, &ours, &state, &place.path("target"));
}
