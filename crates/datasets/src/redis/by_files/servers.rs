//! Which servers run in a directory. A server that listens elsewhere than we think would write over what was restored.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// How the programs' names begin.
const PROGRAMS: [&str; 3] = ["redis", "valkey", "keydb"];

/// A server whose working directory this is, in words: a server makes its `dir` that (`CONFIG GET dir`). The directory is
/// known by its numbers, so that a container's view of it is the same. Whoever may not look sees none.
pub(super) fn in_directory(directory: &Path) -> Option<String> {
    let wanted = fs::metadata(directory).ok()?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|process| {
            let place = process.path();
            let works_in = fs::metadata(place.join("cwd")).ok()?;
            let is_there = (works_in.dev(), works_in.ino()) == (wanted.dev(), wanted.ino());
            let name = fs::read_to_string(place.join("comm")).ok()?;
            let name = name.trim_end();
            let is_server = PROGRAMS.iter().any(|program| name.starts_with(program));
            let id = process.file_name();
            (is_there && is_server).then(|| format!("{name} (process {})", id.to_string_lossy()))
        })
        .next()
}
