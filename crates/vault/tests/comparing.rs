//! A running backup in figures: what it added, and how it differs from an earlier snapshot.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::fs;

use common::{AT, Place, back_up, draft, options};
use rekindle_testing::data::Random;
use rekindle_vault::{AddedBytes, LocalTree, Snapshot, TreeChange, TreePath, Vault};

/// Lines of text of about so many bytes, other ones for each seed.
fn text(seed: u64, bytes: usize) -> Vec<u8> {
    let lines = (0u64..).map(|line| format!("{seed} wrote line {line}\n").into_bytes());
    lines.flatten().take(bytes).collect()
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    Random::new(seed).bytes(bytes)
}

/// A vault with one point of forty files of text, in two directories.
fn with_files() -> (Place, Vault, Snapshot) {
    let place = Place::new();
    let vault = place.create();
    for number in 0..40 {
        let folder = place.source().join(if number < 20 { "a" } else { "b" });
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{number}.txt")), text(number, 40_000)).unwrap();
    }
    let first = back_up(&vault, &place.source(), None).unwrap();
    (place, vault, first)
}

/// Backs up the source once more; what is told of it before the end, with and without a parent.
fn compared(place: &Place, vault: &Vault, before: &Snapshot) -> (AddedBytes, TreeChange) {
    let at = TreePath::new(AT).unwrap();
    let backup = vault.start_backup(options(Some(before.clone()))).unwrap();
    backup
        .add_local_tree(&LocalTree {
            source: place.source(),
            at: at.clone(),
            leave_out: &|_| false,
        })
        .unwrap();
    backup.wait_for_files().unwrap();
    let change = backup.change_since(before, &at, &[]).unwrap().unwrap();
    let (files, bytes) = backup.files_below(&at, &[]);
    assert_eq!(
        (files, bytes > 0),
        (
            change.files_before + change.files_new - change.files_gone,
            true
        )
    );
    let added = backup.added();
    backup.finish(draft()).unwrap();
    (added, change)
}

#[test]
fn what_is_the_same_did_not_change_and_nothing_is_added() {
    let (place, vault, first) = with_files();
    let (added, change) = compared(&place, &vault, &first);
    assert_eq!(added, AddedBytes::default());
    let expected = TreeChange {
        files_before: 40,
        bytes_before: 40 * 40_000,
        ..TreeChange::default()
    };
    assert_eq!(change, expected);
}

#[test]
fn encrypted_files_are_replaced_by_what_does_not_compress() {
    let (place, vault, first) = with_files();
    for number in 0..20 {
        let path = place.source().join(format!("a/{number}.txt"));
        fs::remove_file(&path).unwrap();
        fs::write(path.with_extension("txt.locked"), noise(number, 40_000)).unwrap();
    }
    fs::write(place.source().join("b/20.txt"), noise(99, 40_000)).unwrap();
    let (added, change) = compared(&place, &vault, &first);
    assert_eq!((change.files_new, change.files_gone), (20, 20));
    assert_eq!(change.files_changed, 1);
    assert_eq!(change.replaced_bytes, 21 * 40_000);
    let ending = change.new_extension.unwrap();
    assert_eq!((ending.extension.as_str(), ending.files), ("locked", 20));
    assert_eq!(added.plain_bytes, 21 * 40_000);
    assert!(added.stored_bytes >= added.plain_bytes, "{added:?}");
}

#[test]
fn what_grows_moves_or_is_copied_is_not_replaced() {
    let (place, vault, first) = with_files();
    let source = place.source();
    fs::rename(source.join("a"), source.join("c")).unwrap();
    fs::copy(source.join("b/20.txt"), source.join("b/again.txt")).unwrap();
    fs::write(source.join("b/new.txt"), text(77, 30_000)).unwrap();
    // A long file, whose first pieces stay as they are.
    let long = noise(7, 8 << 20);
    fs::write(source.join("b/long"), &long).unwrap();
    let second = back_up(&vault, &source, Some(first.clone())).unwrap();
    let (_, change) = compared(&place, &vault, &first);
    assert_eq!((change.files_gone, change.replaced_bytes), (20, 0));
    assert_eq!(change.new_extension, None);
    fs::write(source.join("b/long"), [long, noise(8, 1 << 20)].concat()).unwrap();
    let (_, change) = compared(&place, &vault, &second);
    assert_eq!(change.files_changed, 1);
    // The piece that ended with the file ends elsewhere now.
    assert!(change.replaced_bytes <= 4 << 20, "{change:?}");
}

#[test]
fn deleted_files_are_gone_and_what_is_left_out_is_not_counted() {
    let (place, vault, first) = with_files();
    fs::remove_dir_all(place.source().join("a")).unwrap();
    fs::remove_file(place.source().join("b/20.txt")).unwrap();
    let at = TreePath::new(AT).unwrap();
    let without = [TreePath::new(format!("{AT}/a")).unwrap()];
    let backup = vault.start_backup(options(None)).unwrap();
    backup
        .add_local_tree(&LocalTree {
            source: place.source(),
            at: at.clone(),
            leave_out: &|_| false,
        })
        .unwrap();
    backup.wait_for_files().unwrap();
    let all = backup.change_since(&first, &at, &[]).unwrap().unwrap();
    assert_eq!((all.files_gone, all.replaced_bytes), (21, 21 * 40_000));
    let some = backup.change_since(&first, &at, &without).unwrap().unwrap();
    assert_eq!((some.files_before, some.files_gone), (20, 1));
    let nowhere = TreePath::new("elsewhere").unwrap();
    assert_eq!(backup.change_since(&first, &nowhere, &[]).unwrap(), None);
}
