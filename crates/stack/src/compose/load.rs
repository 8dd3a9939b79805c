//! Finding and reading the files of a project.

use std::io;
use std::path::{Path, PathBuf};

use super::dotenv::parse_dotenv;
use super::item::{Converter, Item, Value};
use super::merge::merge;
use super::model::{Note, Project};
use super::reader::{Reader, project};
use crate::node;
use crate::secret::Secret;

/// Largest Compose or env file read.
pub const MAX_COMPOSE_BYTES: u64 = 4 * 1024 * 1024;

/// Why a project could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// No Compose file where one was looked for.
    #[error("there is no Compose file in {}", directory.display())]
    NotFound {
        /// Where.
        directory: PathBuf,
    },
    /// A file could not be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is no Compose file.
    #[error("{0}")]
    Invalid(Note),
}

/// A Compose file and its text.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// Names of a project's first file, best first. Source: Compose Specification, "Compose file".
const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// The Compose files of a directory as Compose chooses them: those of `COMPOSE_FILE` (of
/// `environment`, else of `.env`), else the first of the usual names, and its override file. Empty if
/// there are none.
pub fn find_files(directory: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let env = read_dotenv(directory, environment).0;
    let variable = |name: &str| environment(name).or_else(|| env.values.get(name).cloned());
    if let Some(files) = variable("COMPOSE_FILE").filter(|files| !files.is_empty()) {
        let separator = variable("COMPOSE_PATH_SEPARATOR").unwrap_or_else(|| ":".to_owned());
        let files = files.split(separator.as_str());
        return files.map(|file| directory.join(file)).collect();
    }
    let is_file = |path: &PathBuf| path.is_file();
    let first = NAMES.iter().map(|name| directory.join(name)).find(is_file);
    let Some(first) = first else {
        return Vec::new();
    };
    let stem = first.file_stem().unwrap_or_default().to_string_lossy();
    let ends = ["override.yml", "override.yaml"];
    let over = ends.map(|end| directory.join(format!("{stem}.{end}")));
    let over = over.into_iter().find(is_file);
    [Some(first), over].into_iter().flatten().collect()
}

/// Whether Compose finds a file of this name by itself, in its directory.
pub fn is_usual_name(file: &Path) -> bool {
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    NAMES.contains(&name.replacen(".override.", ".", 1).as_str())
}

fn read_dotenv(
    directory: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> (super::DotEnv, Option<PathBuf>) {
    let path = directory.join(".env");
    match read_text(&path) {
        Ok(text) => (parse_dotenv(&text, environment), Some(path)),
        Err(_) => (super::DotEnv::default(), None),
    }
}

/// Reads the project in `directory`, or that of `files` if any are given, which then begins at the
/// directory of the first. `environment` tells the variables of the process.
///
/// # Errors
/// [`ComposeError`]. What is wrong in a part of a file is in [`Project::notes`] instead.
pub fn load(
    directory: &Path,
    files: &[PathBuf],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Project, ComposeError> {
    let files = if files.is_empty() {
        find_files(directory, environment)
    } else {
        files.iter().map(|file| directory.join(file)).collect()
    };
    let Some(base) = files.first().and_then(|first| first.parent()) else {
        let directory = directory.to_owned();
        return Err(ComposeError::NotFound { directory });
    };
    let read = |path: &PathBuf| {
        let text = read_text(path).map_err(|source| ComposeError::Read {
            path: path.clone(),
            source,
        })?;
        let path = path.clone();
        Ok(Source { path, text })
    };
    let sources = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let (env, env_file) = read_dotenv(base, environment);
    let lookup = |name: &str| environment(name).or_else(|| env.values.get(name).cloned());
    let mut project = parse(&sources, base, &lookup, &read_text)?;
    for (line, why) in env.wrong {
        let file = base.join(".env");
        let text = why.to_owned();
        project.notes.push(Note { file, line, text });
    }
    project.env_file = env_file;
    let variables = env.values.into_iter();
    project.variables = variables
        .map(|(name, value)| (name, Secret::new(value)))
        .collect();
    Ok(project)
}

fn read_text(path: &Path) -> io::Result<String> {
    let data = path.metadata()?;
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
    if !data.is_file() {
        return refuse("it is not a regular file");
    }
    if data.len() > MAX_COMPOSE_BYTES {
        return refuse("it is larger than 4 MiB");
    }
    std::fs::read_to_string(path)
}

/// Reads a project of texts. `lookup` tells the variables, those of `.env` included; `read_file`
/// reads an `env_file`.
///
/// # Errors
/// [`ComposeError::Invalid`] if one of the texts is no YAML, or they have no services.
pub fn parse(
    sources: &[Source],
    directory: &Path,
    lookup: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Project, ComposeError> {
    let files: Vec<PathBuf> = sources.iter().map(|source| source.path.clone()).collect();
    let mut converter = Converter::new(lookup, &files);
    let mut root = Item::empty_map();
    for (index, source) in sources.iter().enumerate() {
        let text = source.text.strip_prefix('\u{feff}');
        let text = text.unwrap_or(&source.text);
        let tree = node::parse(text).map_err(|wrong| {
            invalid(
                source,
                wrong.place.map_or(1, |place| place.line),
                wrong.message,
            )
        })?;
        let item = converter.convert(tree, index);
        if !matches!(item.value, Value::Map(_)) {
            let why = "a Compose file is a mapping (`services: …`)";
            return Err(invalid(source, 1, why.to_owned()));
        }
        root = merge(root, item);
    }
    let has_services = root
        .get("services")
        .is_some_and(|item| !item.entries().is_empty());
    if let (false, Some(first)) = (has_services, sources.first()) {
        return Err(invalid(first, 1, "there are no `services`".to_owned()));
    }
    let name = project_name(&root, directory, lookup);
    let mut reader = Reader {
        directory,
        files: &files,
        lookup,
        read_file,
        notes: converter.notes,
    };
    let mut project = project(&root, name, &mut reader);
    project.notes = reader.notes;
    Ok(project)
}

fn invalid(source: &Source, line: usize, text: String) -> ComposeError {
    let file = source.path.clone();
    ComposeError::Invalid(Note { file, line, text })
}

/// `COMPOSE_PROJECT_NAME`, else `name`, else that of the directory, in the letters that Compose
/// leaves in it.
fn project_name(root: &Item, directory: &Path, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let given = lookup("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty());
    if let Some(name) = given.or_else(|| root.get("name")?.text()) {
        return name;
    }
    let directory = directory.file_name().unwrap_or_default().to_string_lossy();
    let lower = directory.to_lowercase();
    let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(*c);
    let name: String = lower.chars().filter(allowed).collect();
    let name = name.trim_start_matches(['_', '-']);
    if name.is_empty() { "default" } else { name }.to_owned()
}
