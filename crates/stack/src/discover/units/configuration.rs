//! The configuration of a unit's program, with all that it includes.

use std::path::{Path, PathBuf};

use super::{Unit, recognise_unit, settings};
use crate::{discover::engine::Engine, secret::Secret};

/// Includes within includes are followed so far. Source: PostgreSQL's `CONF_FILE_MAX_DEPTH`.
const DEEPEST: usize = 10;

/// So many files make up a configuration at most.
const MOST_FILES: usize = 200;

/// The files of a machine.
pub trait ConfigurationFiles {
    /// The text of a file; `None` if it is not there or cannot be read.
    fn text(&self, path: &Path) -> Option<String>;

    /// The names of the files in a directory, in any order; none if it is not there or cannot be read.
    fn names(&self, directory: &Path) -> Vec<String>;
}

/// Reads what the unit's program is configured by into [`Unit::configuration`]: its file, what that includes in its place, and
/// what `ALTER SYSTEM` has set. Where a setting is written twice, the later one counts.
pub fn read_configuration(unit: &mut Unit, files: &dyn ConfigurationFiles) {
    let Some(path) = settings::configuration_file(unit) else {
        return;
    };
    let engine = recognise_unit(unit).engine;
    let mut reader = Reader {
        engine,
        files,
        text: String::new(),
        read: 0,
    };
    if !reader.file(&path, 0) {
        return;
    }
    unit.configuration = Some((path.clone(), Secret::new(reader.text.clone())));
    if engine == Engine::Postgres
        && let Some(directory) = settings::pgdata(unit)
    {
        // Source: PostgreSQL's manual, "Parameter Interaction via the Configuration File".
        reader.file(&directory.join("postgresql.auto.conf"), 0);
        unit.configuration = Some((path, Secret::new(reader.text)));
    }
}

/// Puts lines one after another.
struct Reader<'a> {
    engine: Engine,
    files: &'a dyn ConfigurationFiles,
    text: String,
    read: usize,
}

impl Reader<'_> {
    /// Whether there is such a file.
    fn file(&mut self, path: &Path, depth: usize) -> bool {
        if self.read == MOST_FILES || depth > DEEPEST {
            return false;
        }
        let Some(text) = self.files.text(path) else {
            return false;
        };
        self.read += 1;
        for line in text.lines() {
            for included in self.included(line, path) {
                self.file(&included, depth + 1);
            }
            self.text.push_str(line);
            self.text.push('\n');
        }
        true
    }

    /// The files that a line includes, in the order in which they count.
    fn included(&self, line: &str, by: &Path) -> Vec<PathBuf> {
        match self.engine {
            Engine::Postgres => self.included_by_postgres(line, by),
            Engine::Redis => self.included_by_redis(line),
            _ => Vec::new(),
        }
    }

    /// Source: PostgreSQL's manual, "Managing Configuration File Contents".
    fn included_by_postgres(&self, line: &str, by: &Path) -> Vec<PathBuf> {
        let folder = by.parent().unwrap_or(Path::new("/"));
        let named = |name| settings::quoted_value(line, name).map(|value| folder.join(value));
        if let Some(directory) = named("include_dir") {
            let is_one = |name: &str| name.ends_with(".conf") && !name.starts_with('.');
            return self.those_in(&directory, is_one);
        }
        named("include")
            .or_else(|| named("include_if_exists"))
            .into_iter()
            .collect()
    }

    /// From Redis 7 on the last part may be a pattern. Source: its redis.conf, "INCLUDES".
    fn included_by_redis(&self, line: &str) -> Vec<PathBuf> {
        let Some(written) = settings::directive_value(line, "include") else {
            return Vec::new();
        };
        let path = Path::new(&written);
        // Any other is found from the directory that the server stands in, and that may change.
        if !path.is_absolute() {
            return Vec::new();
        }
        let name = path.file_name().and_then(|name| name.to_str());
        match name.and_then(|name| name.split_once('*')) {
            Some((start, end)) => {
                let least = start.len() + end.len();
                let is_one = |name: &str| {
                    name.len() >= least && name.starts_with(start) && name.ends_with(end)
                };
                self.those_in(path.parent().unwrap_or(Path::new("/")), is_one)
            }
            None => vec![path.to_owned()],
        }
    }

    fn those_in(&self, directory: &Path, is_one: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let mut names = self.files.names(directory);
        names.retain(|name| is_one(name));
        names.sort_unstable();
        names.iter().map(|name| directory.join(name)).collect()
    }
}
