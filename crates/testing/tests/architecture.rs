//! The folder tree is the architecture: dependencies point up the list, never down.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::process::Command;

use serde_json::{Value, json};

/// The crates of the workspace; each may depend on those before it.
const ORDER: [&str; 9] = [
    "rekindle-stack",
    "rekindle-vault",
    "rekindle-stores",
    "rekindle-postgres",
    "rekindle-runtimes",
    "rekindle-datasets",
    "rekindle-recovery",
    "rekindle-service",
    "rekindle",
];

/// The fixtures; they know no other crate, and only tests know them.
const TESTING: &str = "rekindle-testing";

/// Says what is wrong with each edge that points the wrong way, and what to do about it.
fn wrong_edges(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().flat_map(wrong_edges_of).collect()
}

fn wrong_edges_of(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap();
    if name != TESTING && place(name).is_none() {
        return vec![format!(
            "{name} has no place: put it into ORDER of this test and of the docs"
        )];
    }
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    // Only a path makes a dependency one of the workspace.
    let ours = dependencies.filter(|dependency| dependency["path"].is_string());
    ours.filter_map(|dependency| {
        let kind = dependency["kind"].as_str().unwrap_or("normal");
        wrong(name, dependency["name"].as_str().unwrap(), kind)
    })
    .collect()
}

fn wrong(from: &str, to: &str, kind: &str) -> Option<String> {
    let edge = format!("{from} → {to} ({kind} dependency)");
    if from == TESTING {
        return Some(format!(
            "{edge}: fixtures know no other crate; move the code to its tests"
        ));
    }
    if to == TESTING {
        let advice = "fixtures are for tests; move it to [dev-dependencies]";
        return (kind != "dev").then(|| format!("{edge}: {advice}"));
    }
    let up = place(to) < place(from) && place(to).is_some();
    let advice = "dependencies point up the list; move what both need to the upper crate, \
                  or let the lower one hand it in through a trait of the upper";
    (!up).then(|| format!("{edge}: {advice}"))
}

fn place(name: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == name)
}

#[test]
fn dependencies_point_up_the_list() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        metadata["packages"].as_array().unwrap().len() > 1,
        "that is not our workspace"
    );
    let wrong = wrong_edges(&metadata);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn workspace_with(from: &str, to: &str, kind: Option<&str>) -> Value {
    let dependency = json!({ "name": to, "kind": kind, "path": "/somewhere" });
    json!({ "packages": [{ "name": from, "dependencies": [dependency] }] })
}

#[test]
fn an_edge_that_points_down_is_found_and_named() {
    for kind in [None, Some("dev"), Some("build")] {
        let wrong = wrong_edges(&workspace_with("rekindle-vault", "rekindle-postgres", kind));
        assert_eq!(wrong.len(), 1);
        assert!(
            wrong[0].starts_with("rekindle-vault → rekindle-postgres"),
            "{wrong:?}"
        );
    }
    assert!(wrong_edges(&workspace_with("rekindle", "rekindle-vault", None)).is_empty());
}

#[test]
fn fixtures_in_the_product_or_the_product_in_fixtures_are_found() {
    assert_eq!(
        wrong_edges(&workspace_with("rekindle", TESTING, None)).len(),
        1
    );
    assert_eq!(
        wrong_edges(&workspace_with(TESTING, "rekindle-stack", Some("dev"))).len(),
        1
    );
    assert!(wrong_edges(&workspace_with("rekindle-vault", TESTING, Some("dev"))).is_empty());
}

#[test]
fn a_crate_without_a_place_is_found() {
    assert_eq!(
        wrong_edges(&workspace_with("rekindle-odds-and-ends", "rekindle", None)).len(),
        1
    );
    assert_eq!(
        wrong_edges(&workspace_with("rekindle", "rekindle-odds-and-ends", None)).len(),
        1
    );
}
