//! What a dataset takes over from the parent without reading it, and files that are given up while they are written.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::{io::Read as _, sync::Arc};

use rekindle_testing::temp_dir;
use rekindle_vault::{
    Backup, BackupOptions, Chunking, Node, Password, RestoreOptions, Snapshot, SnapshotDraft,
    Thoroughness, TreePath, Vault, store::LocalStore,
};

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn start(vault: &Vault, parent: Option<Snapshot>) -> Backup {
    let options = BackupOptions {
        parent,
        ..BackupOptions::default()
    };
    vault.start_backup(options).unwrap()
}

#[test]
fn contents_are_taken_over_and_files_given_up_are_in_no_point() {
    let dir = temp_dir().unwrap();
    let store = Arc::new(LocalStore::new(dir.path().join("vault")));
    let vault = Vault::create(store, &Password::new("p")).unwrap();
    let first = start(&vault, None);
    first
        .add_bytes(&path("a/list"), Node::default(), b"one\ntwo\n")
        .unwrap();
    assert!(
        !first
            .add_from_parent(&path("x"), Node::default(), &path("a/list"))
            .unwrap()
    );
    assert!(first.parent_file(&path("a/list")).is_none());
    let first = first.finish(SnapshotDraft::default()).unwrap();

    let second = start(&vault, Some(first));
    let mut text = String::new();
    second
        .parent_file(&path("a/list"))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "one\ntwo\n");
    assert!(
        second.parent_file(&path("a")).is_none(),
        "a directory is no file"
    );
    let node = Node {
        size: 8,
        ..Node::default()
    };
    assert!(
        second
            .add_from_parent(&path("b/moved"), node.clone(), &path("a/list"))
            .unwrap()
    );
    assert!(
        !second
            .add_from_parent(&path("b/none"), node, &path("a/none"))
            .unwrap()
    );
    let mut half = second.file_writer(path("half"), Node::default(), Chunking::ContentDefined);
    half.write(&vec![7; 20 << 20]).unwrap();
    half.abandon().unwrap();
    second.wait_for_files().unwrap();
    second
        .add_bytes(&path("half"), Node::default(), b"whole")
        .unwrap();
    let second = second.finish(SnapshotDraft::default()).unwrap();

    let target = dir.path().join("restored");
    let root = TreePath::root();
    vault
        .restore(&second, &root, &target, &RestoreOptions::default())
        .unwrap();
    assert_eq!(
        std::fs::read(target.join("b/moved")).unwrap(),
        b"one\ntwo\n"
    );
    assert_eq!(std::fs::read(target.join("half")).unwrap(), b"whole");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 2);
    let report = vault.check(Thoroughness::AllData, &Arc::default()).unwrap();
    assert!(report.is_whole(), "{report:?}");
}
