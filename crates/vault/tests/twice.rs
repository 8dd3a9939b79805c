//! A blob that is stored twice is read from where it is whole.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::fs;

use common::{AT, Place, assert_same, check, draft, options, restore};
use rekindle_testing::{
    data::Random,
    faults::{cut, delete, files_below, flip_bit, tree_digest},
};
use rekindle_vault::{BlobKind, LocalTree, Snapshot, Thoroughness, TreePath};

/// A vault in which two backups that did not know of each other stored everything twice.
fn stored_twice() -> (Place, Snapshot) {
    let place = Place::in_memory();
    fs::create_dir_all(place.source()).unwrap();
    fs::write(place.source().join("x"), Random::new(3).bytes(700_000)).unwrap();
    fs::write(place.source().join("y"), b"small").unwrap();
    place.create();
    let (vaults, source) = ([place.open(), place.open()], place.source());
    let mut backups = vaults.map(|vault| vault.start_backup(options(None)).unwrap());
    for backup in &mut backups {
        let tree = LocalTree {
            source: source.clone(),
            at: TreePath::new(AT).unwrap(),
            leave_out: &|_| false,
        };
        backup.add_local_tree(&tree).unwrap();
    }
    let mut points = backups.map(|backup| Some(backup.finish(draft()).unwrap()));
    (place, points[0].take().unwrap())
}

#[test]
fn one_whole_copy_of_each_blob_is_enough() {
    for how in ["flip", "cut", "delete"] {
        let (place, point) = stored_twice();
        let expected = tree_digest(&place.source()).unwrap();
        let vault = place.open();
        let index = vault.load_index().unwrap();
        let root = point.stored.tree;
        assert_eq!(index.find_all(BlobKind::Tree, &root).len(), 2);
        // The pack in which each blob is looked for first.
        let node = vault.find_node(&index, &point, format!("{AT}/x"));
        let mut wanted: Vec<_> = node.unwrap().unwrap().content.unwrap();
        wanted.truncate(1);
        let data = index.find(BlobKind::Data, &wanted[0]).unwrap();
        let tree = index.find(BlobKind::Tree, &root).unwrap();
        for at in [data, tree] {
            let pack = files_below(&place.vault_dir().join("data")).unwrap();
            let pack = pack.iter().find(|p| p.ends_with(at.pack.to_string()));
            let (pack, body) = (pack.unwrap(), u64::from(at.blob.offset) + 20);
            match how {
                "flip" => flip_bit(pack, body).unwrap(),
                "cut" => cut(pack, body).unwrap(),
                _ => delete(pack).unwrap(),
            }
        }
        vault.read_blob(&index, BlobKind::Tree, &root).unwrap();
        vault.read_blob(&index, BlobKind::Data, &wanted[0]).unwrap();
        let target = place.path("out");
        restore(&vault, &point, &target).unwrap();
        assert_same(&expected, &target.join(AT));
        let report = check(&vault, Thoroughness::AllData);
        assert!(report.is_whole(), "{how}: {:?}", report.problems);
        assert_eq!(report.whole_snapshots.len(), 2);
        let oddities = report.problems.iter();
        let told = oddities.filter(|problem| problem.text.contains("stored elsewhere too"));
        assert!(told.count() >= 2, "{how}: {:?}", report.problems);
        // With the other copy damaged as well, it is lost, and told.
        for pack in files_below(&place.vault_dir().join("data")).unwrap() {
            cut(&pack, 10).unwrap();
        }
        assert!(!check(&vault, Thoroughness::AllData).is_whole());
    }
}
