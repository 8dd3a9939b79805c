//! Every bad file in `bad/` gives exactly the report beside it. `UPDATE=1` rewrites the reports.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up should fail"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rekindle_stack::Stack;

fn bad_files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_bad_file_gets_its_whole_report() {
    let mut wrong = String::new();
    let files = bad_files();
    assert!(files.len() > 25, "only {} bad files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let report = match Stack::parse(&text, Path::new("rekindle.yaml")) {
            Ok(loaded) => panic!("{}: accepted: {:?}", file.display(), loaded.stack),
            Err(errors) => format!("{errors}\n"),
        };
        let expected = file.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::File::create(&expected)
                .unwrap()
                .write_all(report.as_bytes())
                .unwrap();
        }
        if fs::read_to_string(&expected).ok().as_deref() != Some(&report) {
            wrong.push_str(&format!("--- {}\n{report}", file.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "these reports are other than the stored ones:\n{wrong}"
    );
}

#[test]
fn no_report_holds_a_secret() {
    for file in bad_files() {
        let text = fs::read_to_string(&file).unwrap();
        let errors = Stack::parse(&text, Path::new("rekindle.yaml")).unwrap_err();
        assert!(
            !format!("{errors} {errors:?}").contains("hunter"),
            "{}: {errors}",
            file.display()
        );
    }
}
