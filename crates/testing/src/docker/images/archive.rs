//! An image as `docker load` reads it. The layout is that of `docker save`: `manifest.json`, a configuration, a
//! layer. Source: Docker's image specification, version 1.2.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::recipe::Recipe;
use crate::TestingError;
use crate::process::run;

/// The same files give the same image, wherever and whenever it is made.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// Writes an image with that name and tag to a file.
pub(super) fn write_archive(name: &str, recipe: &Recipe, to: &Path) -> Result<(), TestingError> {
    let work = tempfile::Builder::new()
        .prefix("rk-image-")
        .tempdir_in("/var/tmp")
        .map_err(TestingError::file("create", Path::new("/var/tmp")))?;
    let layer = work.path().join("layer.tar");
    run(tar_of(recipe.root.path(), &layer).arg("."))?;
    let sum = run(Command::new("sha256sum").arg(&layer))?;
    let sum = sum.split_whitespace().next().unwrap_or_default();
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "created": CREATED,
        "config": recipe.config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{sum}")] },
        "history": [{ "created": CREATED, "created_by": "rekindle-testing" }],
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    write(&work.path().join("config.json"), &config)?;
    write(&work.path().join("manifest.json"), &manifest)?;
    run(tar_of(work.path(), to).args(["manifest.json", "config.json", "layer.tar"])).map(drop)
}

fn write(path: &Path, value: &Value) -> Result<(), TestingError> {
    fs::write(path, value.to_string()).map_err(TestingError::file("write", path))
}

fn tar_of(dir: &Path, to: &Path) -> Command {
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--numeric-owner",
        "--owner=0",
        "--group=0",
        "--sort=name",
    ])
    .arg("--mtime=2026-01-01T00:00:00Z")
    .arg("--file")
    .arg(to)
    .arg("--directory")
    .arg(dir);
    tar
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}
