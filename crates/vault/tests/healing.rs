//! A backup counts on nothing that is lost, and no mistake of ours leaves it waiting.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{fs, sync::Arc};

use common::{Place, assert_restores, back_up, check, options, restore};
use rekindle_testing::{
    data::Random,
    faults::{cut, delete, files_below, tree_digest},
};
use rekindle_vault::{
    BackupError, Chunking, Inspected, LocalFile, Node, Thoroughness, TreePath, WhenMissing,
};

#[test]
fn a_backup_stores_anew_what_lay_in_lost_packs() {
    for how in ["deleted", "cut"] {
        let place = Place::new();
        fs::create_dir_all(place.source()).unwrap();
        fs::write(place.source().join("x"), Random::new(1).bytes(3 << 20)).unwrap();
        let vault = place.create();
        let first = back_up(&vault, &place.source(), None).unwrap();
        for pack in files_below(&place.vault_dir().join("data")).unwrap() {
            let damaged = if how == "cut" {
                cut(&pack, 100)
            } else {
                delete(&pack)
            };
            damaged.unwrap();
        }
        assert!(!check(&vault, Thoroughness::Structure).is_whole());
        let second = back_up(&vault, &place.source(), Some(first.clone())).unwrap();
        let report = check(&vault, Thoroughness::AllData);
        assert!(report.is_whole(), "{:?} {:?}", report.problems, report.hits);
        let expected = tree_digest(&place.source()).unwrap();
        assert_restores(&vault, &second, &expected, &place.path("second"));
        // What is stored again heals the older point as well.
        assert_restores(&vault, &first, &expected, &place.path("first"));
    }
}

#[test]
fn a_pack_that_the_index_names_and_no_point_needs_is_no_loss() {
    let place = Place::new();
    let vault = place.create();
    fs::create_dir_all(place.source()).unwrap();
    let packs = || files_below(&place.vault_dir().join("data")).unwrap_or_default();
    let mut made = Vec::new();
    for seed in [1, 2] {
        let before = packs();
        fs::write(place.source().join("x"), Random::new(seed).bytes(1 << 20)).unwrap();
        let point = back_up(&vault, &place.source(), None).unwrap();
        let new: Vec<_> = packs()
            .into_iter()
            .filter(|p| !before.contains(p))
            .collect();
        made.push((point, new));
    }
    let (forgotten, its_packs) = made.remove(1);
    // As a program leaves it that listed its packs after a prune had removed them.
    vault.forget(&[forgotten.id]).unwrap();
    its_packs.iter().for_each(|pack| delete(pack).unwrap());
    let report = check(&vault, Thoroughness::AllData);
    assert!(report.is_whole(), "{:?}", report.problems);
    assert_eq!(report.problems.len(), its_packs.len());
    let text = &report.problems[0].text;
    assert!(text.contains("no recovery point needs it"), "{text}");
    // Where a point needs something, and where there is none, it is a loss as ever.
    let (kept, packs_of_kept) = made.remove(0);
    delete(&packs_of_kept[0]).unwrap();
    let report = check(&vault, Thoroughness::Structure);
    let losses = report.problems.iter().filter(|problem| problem.is_loss);
    assert_eq!(losses.count(), its_packs.len() + 1);
    assert!(!report.hits.is_empty());
    vault.forget(&[kept.id]).unwrap();
    assert!(!check(&vault, Thoroughness::Structure).is_whole());
}

#[test]
fn a_thread_that_panics_fails_the_backup_and_nobody_waits_for_it() {
    let place = Place::new();
    fs::create_dir_all(place.source()).unwrap();
    let source = place.source().join("x");
    fs::write(&source, Random::new(1).bytes(40 << 20)).unwrap();
    let vault = place.create();
    let backup = vault.start_backup(options(None)).unwrap();
    let file = LocalFile {
        source: source.clone(),
        node: Node::of_metadata(&fs::metadata(&source).unwrap()),
        most_bytes: 40 << 20,
        chunking: Chunking::Fixed { bytes: 65536 },
        when_missing: WhenMissing::Fail,
        inspect: Some(Arc::new(|_: &Inspected<'_>| panic!("on purpose"))),
    };
    backup
        .add_local_file(TreePath::new("x").unwrap(), file)
        .unwrap();
    let error = backup.wait_for_files().unwrap_err();
    assert!(matches!(error, BackupError::Panicked), "{error}");
    drop(backup);
    assert!(vault.snapshots().unwrap().is_empty());
    let point = back_up(&vault, &place.source(), None).unwrap();
    restore(&vault, &point, &place.path("out")).unwrap();
}
