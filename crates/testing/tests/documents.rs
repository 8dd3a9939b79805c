//! Files that the documents name are there.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use rekindle_testing::faults::files_below;

const CRATES: [&str; 9] = [
    "stack", "vault", "stores", "postgres", "runtimes", "datasets", "recovery", "rekindle",
    "testing",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn documents() -> Vec<PathBuf> {
    let mut files = vec![root().join("README.md")];
    let below = files_below(&root().join("docs")).unwrap();
    files.extend(
        below
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "md")),
    );
    files
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let sources: HashSet<String> = files_below(&root().join("crates"))
        .unwrap()
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let is_there = |name: &str| {
        let first = name.split('/').next().unwrap();
        if CRATES.contains(&first) && name.contains('/') {
            return root().join("crates").join(name).exists();
        }
        let file = name.rsplit('/').next().unwrap();
        !file.ends_with(".rs") || sources.contains(file)
    };
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    assert!(named.iter().filter(|name| name.ends_with(".rs")).count() > 100);
    let gone: Vec<_> = named.iter().filter(|name| !is_there(name)).collect();
    assert!(gone.is_empty(), "docs/architecture.md names {gone:?}");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1) {
            let target = target.split([')', '#', ' ']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !document.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
