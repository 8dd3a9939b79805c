//! A project out of its merged files.

use std::io;
use std::path::{Path, PathBuf};

use super::item::{At, Item, Value};
use super::model::{Note, Project, Volume};
use super::{merge, service};

/// What reading needs besides the tree.
pub(super) struct Reader<'a> {
    pub directory: &'a Path,
    pub files: &'a [PathBuf],
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    pub notes: Vec<Note>,
}

impl Reader<'_> {
    pub fn note(&mut self, at: At, text: impl Into<String>) {
        let note = Note {
            file: self.file(at),
            line: at.line,
            text: text.into(),
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub fn file(&self, at: At) -> PathBuf {
        self.files.get(at.file).cloned().unwrap_or_default()
    }

    /// A path of the file, which is absolute afterwards if the project's directory is.
    pub fn path(&self, text: &str) -> PathBuf {
        let home = || (self.lookup)("HOME").map(PathBuf::from);
        match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => match home() {
                Some(home) => home.join(rest.trim_start_matches('/')),
                None => self.directory.join(text),
            },
            _ => tidy(&self.directory.join(text)),
        }
    }
}

/// Without `.` in it, and without `x/..`: what it looks like to people. Links are not followed.
fn tidy(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if tidy.file_name().is_some() => {
                tidy.pop();
            }
            other => tidy.push(other),
        }
    }
    tidy
}

/// Reads all that there is; what cannot be read is noted.
pub(super) fn project(root: &Item, name: String, reader: &mut Reader<'_>) -> Project {
    let mut project = Project::new(name, reader.directory);
    project.files = reader.files.to_vec();
    project.volumes = volumes(root, &project.name, reader);
    project.compose_version = root.get("version").and_then(Item::text);
    project.networks = keys(root, "networks");
    for (key, secret) in root.get("secrets").map(Item::entries).unwrap_or_default() {
        if let Some(file) = secret.get("file").and_then(Item::text) {
            project.secrets.insert(key.clone(), reader.path(&file));
        }
    }
    if let Some(include) = root.get("include") {
        reader.note(
            include.at,
            "`include` is not followed: name those files, too",
        );
    }
    let Some(services) = root.get("services") else {
        return project;
    };
    for (name, item) in services.entries() {
        match merge::extended(services, name) {
            Ok(whole) => project.services.push(service::read(name, &whole, reader)),
            Err(why) => {
                reader.note(item.at, why);
                project.services.push(service::read(name, item, reader));
            }
        }
    }
    declare_volumes(&mut project, reader);
    project
}

fn keys(root: &Item, section: &str) -> Vec<String> {
    let entries = root.get(section).map(Item::entries).unwrap_or_default();
    entries.iter().map(|(key, _)| key.clone()).collect()
}

fn volumes(root: &Item, project: &str, reader: &mut Reader<'_>) -> Vec<Volume> {
    let Some(section) = root.get("volumes") else {
        return Vec::new();
    };
    if !matches!(section.value, Value::Map(_) | Value::Null) {
        reader.note(section.at, "`volumes` must be a mapping");
    }
    let volume = |(key, item): &(String, Item)| {
        let external = item.get("external").is_some_and(is_true_or_mapping);
        let given = item.get("name").and_then(Item::text);
        // `external: { name: x }` is how files before version 3.4 said it.
        let given = given.or_else(|| item.get("external")?.get("name")?.text());
        let name = match given {
            Some(name) => name,
            None if external => key.clone(),
            None => format!("{project}_{key}"),
        };
        let driver = item.get("driver").and_then(Item::text);
        Volume {
            external,
            driver: driver.filter(|driver| driver != "local"),
            ..Volume::new(key, name)
        }
    };
    section.entries().iter().map(volume).collect()
}

fn is_true_or_mapping(item: &Item) -> bool {
    match &item.value {
        Value::Bool(value) => *value,
        Value::Map(_) => true,
        Value::Text(text) => text.text == "true",
        Value::Null | Value::List(_) => false,
    }
}

/// A volume that a service uses and nobody declared is refused by Compose; here it is noted.
fn declare_volumes(project: &mut Project, reader: &mut Reader<'_>) {
    let used = project.services.iter().flat_map(|service| {
        let keys = service.mounts.iter().filter_map(|mount| match &mount.kind {
            super::MountKind::Volume(key) => Some(key.clone()),
            _ => None,
        });
        let line = service.place.as_ref().map_or(1, |(_, line)| *line);
        let file = service.place.as_ref().map(|(file, _)| file.clone());
        keys.map(move |key| (key, file.clone().unwrap_or_default(), line))
    });
    let mut missing: Vec<(String, std::path::PathBuf, usize)> = Vec::new();
    for (key, file, line) in used {
        let is_known = project.volume(&key).is_some();
        if !is_known && !missing.iter().any(|(known, ..)| *known == key) {
            missing.push((key, file, line));
        }
    }
    for (key, file, line) in missing {
        let text = format!("the volume `{key}` is not declared below `volumes`");
        reader.notes.push(Note { file, line, text });
        let name = format!("{}_{key}", project.name);
        project.volumes.push(Volume::new(key, name));
    }
}
