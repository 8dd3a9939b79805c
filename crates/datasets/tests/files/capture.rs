//! What goes into a point, what is left out, and what is told.

use std::fs;

use rekindle_datasets::files::PathKind;
use rekindle_testing::{
    faults::tree_digest,
    hard::{attributes_of, populate_files},
    temp_dir,
};
use rekindle_vault::{RestoreOptions, TreePath};

use crate::stand::{AT, Stand, record};

#[test]
fn paths_lie_in_the_point_as_they_were_declared_and_stock_restic_restores_them() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    populate_files(&stand.app("vector_db"), 3).unwrap();
    fs::remove_file(stand.app("vector_db").join(rekindle_testing::hard::SOCKET)).unwrap();
    stand.write(".env", "SECRET=1");
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("x"), "x").unwrap();
    let settings = format!("paths: [vector_db/, .env, {}]", elsewhere.display());
    let (point, captured) = stand.back_up(&settings).unwrap();
    assert_eq!(captured.partly, Vec::<String>::new());
    assert!(captured.as_of.is_some());
    let restic = stand.restic();
    restic.check(true).unwrap();
    restic
        .restore(&point.id.to_string(), &dir.path().join("by restic"))
        .unwrap();
    let at = TreePath::new(AT).unwrap();
    let ours = dir.path().join("by us").join(AT);
    stand
        .vault()
        .restore(&point, &at, &ours, &RestoreOptions::default())
        .unwrap();
    let before = tree_digest(&stand.app("vector_db")).unwrap();
    for restored in [ours, dir.path().join("by restic").join(AT)] {
        let vectors = restored.join("vector_db");
        let differences = before.differences(&tree_digest(&vectors).unwrap());
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        let attributes = attributes_of(&stand.app("vector_db")).unwrap();
        assert_eq!(attributes_of(&vectors).unwrap(), attributes);
        assert_eq!(
            fs::read_to_string(restored.join(".env")).unwrap(),
            "SECRET=1"
        );
        let absolute = restored.join(elsewhere.strip_prefix("/").unwrap());
        assert_eq!(fs::read_to_string(absolute.join("x")).unwrap(), "x");
    }
    let record = record(&captured);
    let kinds: Vec<_> = record.paths.iter().map(|path| path.kind).collect();
    assert_eq!(
        kinds,
        [PathKind::Directory, PathKind::File, PathKind::Directory]
    );
    assert_eq!(record.paths[0].place, "vector_db");
    assert!(record.files() > 300 && record.bytes() > 8 << 20);
    let json = serde_json::to_string(&captured.record).unwrap();
    assert!(json.contains(r#""kind":"files""#), "{json}");
    let again: rekindle_datasets::DatasetRecord = serde_json::from_str(&json).unwrap();
    assert_eq!(again.kind(), "files");
}

#[test]
fn what_is_excluded_is_counted_and_does_not_come_back() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    for name in [
        "db/a",
        "db/a.tmp",
        "db/cache/x",
        "db/cache/y",
        "db/deep/b.tmp",
        "config/cache",
    ] {
        stand.write(name, name);
    }
    let settings = r#"paths: [db, config], exclude: ["*.tmp", "/db/cache/"]"#;
    let (point, captured) = stand.back_up(settings).unwrap();
    let target = dir.path().join("restored");
    let options = RestoreOptions::default();
    stand
        .vault()
        .restore(&point, &TreePath::new(AT).unwrap(), &target, &options)
        .unwrap();
    let files = tree_digest(&target).unwrap();
    let files: Vec<_> = files
        .0
        .iter()
        .filter(|(_, entry)| entry.kind == "file")
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_eq!(files, ["config/cache", "db/a"]);
    let record = record(&captured);
    let left_out: Vec<_> = record.paths.iter().map(|path| path.left_out).collect();
    assert_eq!(left_out, [3, 0]);
}

#[test]
fn a_declared_path_that_is_not_there_is_an_error_unless_it_is_optional() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    stand.write("db/a", "a");
    let error = stand.back_up("paths: [db, gone]").map(drop).unwrap_err();
    assert!(
        error.to_string().contains("app/gone is not there"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("optional_paths"));
    let (_, captured) = stand
        .back_up("paths: [db], optional_paths: [gone]")
        .unwrap();
    assert_eq!(record(&captured).paths[1].kind, PathKind::Missing);
    assert_eq!(captured.partly, Vec::<String>::new());
}

#[test]
fn paths_that_meet_and_patterns_that_are_none_are_refused_before_anything_is_read() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    for (settings, named) in [
        ("paths: [a, a/b]", "`a` and `a/b`"),
        ("paths: [../a]", "`../a`"),
        (r#"paths: [a], exclude: ["a\\"]"#, "`a\\`"),
    ] {
        let Err(error) = stand.dataset(settings) else {
            panic!("{settings}");
        };
        assert!(error.to_string().contains(named), "{settings}: {error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_file_that_vanishes_makes_the_point_partial_and_is_named() {
    let dir = temp_dir().unwrap();
    let stand = Stand::new(dir.path());
    for number in 0..400 {
        stand.write(&format!("db/{number}"), "x");
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut partly = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                number += 1;
                let path = stand.app(&format!("db/{number} comes and goes"));
                fs::write(&path, "x").unwrap();
                fs::remove_file(&path).unwrap();
            }
        });
        // One of a few listings meets a name that is gone when it is looked at.
        for _ in 0..50 {
            let (_, captured) = stand.back_up("paths: [db]").unwrap();
            if !captured.partly.is_empty() {
                let named = &record(&captured).troubles[0];
                assert_eq!(named.what, "vanished");
                partly = captured.partly;
                break;
            }
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert!(partly[0].contains("comes and goes` vanished"), "{partly:?}");
}
