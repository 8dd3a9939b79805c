//! Datasets of units, as they are written down.

use std::path::{Path, PathBuf};

use super::{Unit, settings};
use crate::{
    discover::{
        credentials::{Credential, SecretFile},
        datasets::{Draft, shown_path},
        engine::{Component, Engine},
    },
    name::Name,
    secret::Secret,
    yaml::Yaml,
};

/// What is written of a unit.
#[derive(Default)]
pub(super) struct Drafts {
    pub datasets: Vec<Draft>,
    pub health_url: Option<String>,
    pub health_command: Option<Vec<String>>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Where logs and caches lie, what the machine is made of, and what does not last.
const NOT_KEPT: [&str; 8] = [
    "/var/log",
    "/var/cache",
    "/run",
    "/var/run",
    "/tmp",
    "/usr",
    "/dev",
    "/proc",
];

pub(super) fn of(unit: &Unit, component: &Component, name: &Name, base: &Path) -> Drafts {
    let mut drafts = Drafts::default();
    let mut captured: Vec<PathBuf> = Vec::new();
    match component.engine {
        Engine::Postgres => captured.extend(postgres(unit, base, &mut drafts)),
        Engine::Redis => captured.extend(redis(unit, name, base, &mut drafts)),
        Engine::Meilisearch => captured.extend(meilisearch(unit, name, base, &mut drafts)),
        _ => {}
    }
    let files = files(unit, component, &captured, base, &mut drafts.notes);
    drafts.datasets.extend(files);
    drafts
}

fn postgres(unit: &Unit, base: &Path, drafts: &mut Drafts) -> Vec<PathBuf> {
    let mut draft = Draft::new("postgres");
    let port = settings::quoted(unit, "port").unwrap_or_else(|| "5432".to_owned());
    let sockets = settings::quoted(unit, "unix_socket_directories");
    let socket = sockets
        .as_deref()
        .and_then(|all| all.split(',').next())
        .map(str::trim);
    let socket = socket.filter(|socket| socket.starts_with('/'));
    let url = match socket {
        Some(socket) => format!("postgres://postgres@/postgres?host={socket}&port={port}"),
        None => format!("postgres://postgres@localhost:{port}/postgres"),
    };
    let why = "Whom pg_hba.conf lets in, it says; `peer` means the system's user of that name. Else a role of its own, \
               with `password_file`.";
    draft.key("url", Yaml::text(url), why);
    let whole = "The whole cluster as files: everything comes back at once, to the byte.";
    draft.key("physical", Yaml::plain(true), whole);
    let directory = settings::pgdata(unit);
    if let Some(directory) = &directory {
        let shown = shown_path(directory, base);
        draft.key(
            "data_directory",
            Yaml::text(shown),
            "Read here where this user may (root does).",
        );
    }
    let single = "And a dump of each database: one of them, or one table, comes back alone.";
    draft.key("logical", Yaml::text("all"), single);
    drafts.datasets.push(draft);
    let mut asks = vec!["pg_isready".to_owned(), "--port".to_owned(), port];
    if let Some(socket) = socket {
        asks.extend(["--host".to_owned(), socket.to_owned()]);
    }
    drafts.health_command = Some(asks);
    directory.into_iter().collect()
}

fn redis(unit: &Unit, name: &Name, base: &Path, drafts: &mut Drafts) -> Vec<PathBuf> {
    let mut draft = Draft::new("redis");
    let port = settings::directive(unit, "port").unwrap_or_else(|| "6379".to_owned());
    let socket = settings::directive(unit, "unixsocket").filter(|path| path.starts_with('/'));
    let client = match unit.argv.first() {
        Some(program) if program.ends_with("valkey-server") => "valkey-cli",
        _ => "redis-cli",
    };
    let (url, place) = match socket.filter(|_| port == "0") {
        Some(socket) => (format!("unix://{socket}"), ["-s".to_owned(), socket]),
        None => (format!("redis://localhost:{port}"), ["-p".to_owned(), port]),
    };
    let why = match &unit.configuration {
        Some((path, _)) => format!("As {} says.", path.display()),
        None => "The usual port; its configuration could not be read.".to_owned(),
    };
    draft.key("url", Yaml::text(url), why);
    let password = settings::directive(unit, "requirepass").filter(|word| !word.is_empty());
    draft.secret(
        "password",
        password.map(|word| secret(name, "password", &word)),
        base,
    );
    let directory = settings::directive(unit, "dir").filter(|dir| dir.starts_with('/'));
    let has_aof = settings::directive(unit, "appendonly").as_deref() == Some("yes");
    if let Some(directory) = &directory {
        let shown = shown_path(Path::new(directory), base);
        let why = "Where it keeps its files: a restore needs to know while it does not run.";
        draft.key("data_directory", Yaml::text(shown), why);
    }
    if has_aof {
        let why = "It keeps an append-only file, which holds the last second, too.";
        draft.key("include", Yaml::list(&["rdb", "aof"]), why);
    }
    drafts.datasets.push(draft);
    let [option, place] = place;
    drafts.health_command = Some(vec![client.to_owned(), option, place, "ping".to_owned()]);
    directory.into_iter().map(PathBuf::from).collect()
}

fn meilisearch(unit: &Unit, name: &Name, base: &Path, drafts: &mut Drafts) -> Vec<PathBuf> {
    let mut draft = Draft::new("meilisearch");
    let toml =
        |key: &str| settings::quoted(unit, key).map(|value| value.trim_matches('"').to_owned());
    let told = |option: &str, variable: &str, key: &str| {
        let written = unit.option(option).or_else(|| unit.value(variable));
        let written = written.filter(|value| !value.starts_with('$'));
        written.map(str::to_owned).or_else(|| toml(key))
    };
    let address = told("--http-addr", "MEILI_HTTP_ADDR", "http_addr");
    let port = address
        .as_deref()
        .and_then(|address| address.rsplit_once(':'));
    let port = port.map_or("7700", |(_, port)| port).to_owned();
    let url = format!("http://localhost:{port}");
    draft.key("url", Yaml::text(&url), "");
    let key = told("--master-key", "MEILI_MASTER_KEY", "master_key");
    draft.secret("key", key.map(|key| secret(name, "key", &key)), base);
    drafts.datasets.push(draft);
    drafts.health_url = Some(format!("{url}/health"));
    let data = told("--db-path", "MEILI_DB_PATH", "db_path");
    let data = data.filter(|path| path.starts_with('/'));
    data.into_iter().map(PathBuf::from).collect()
}

fn secret(name: &Name, what: &str, content: &str) -> Credential {
    let file = format!("{}/{name}-{what}", crate::discover::credentials::DIRECTORY);
    Credential::New(SecretFile {
        name: file.into(),
        content: Secret::new(content),
    })
}

/// What it keeps besides, and the file of its settings.
fn files(
    unit: &Unit,
    component: &Component,
    captured: &[PathBuf],
    base: &Path,
    notes: &mut Vec<String>,
) -> Option<Draft> {
    let is_captured = |path: &PathBuf| captured.iter().any(|data| path.starts_with(data));
    let is_above = |path: &PathBuf| captured.iter().any(|data| data.starts_with(path));
    let is_kept = |path: &&PathBuf| !NOT_KEPT.iter().any(|other| path.starts_with(other));
    let own = unit.directories.iter().filter(is_kept);
    let (above, mut paths): (Vec<PathBuf>, Vec<PathBuf>) = own
        .filter(|path| !is_captured(path))
        .cloned()
        .partition(is_above);
    for path in above {
        if !component.data.iter().any(|usual| path == Path::new(usual)) {
            notes.push(format!(
                "{}: {} holds its data, which is captured, and maybe more, which is not: name that as `files`",
                unit.name,
                path.display()
            ));
        }
    }
    if let Some((file, _)) = &unit.configuration
        && !paths
            .iter()
            .chain(captured)
            .any(|path| file.starts_with(path))
    {
        paths.push(file.clone());
    }
    if paths.is_empty() {
        return None;
    }
    let mut draft = Draft::new("files");
    if component.engine == Engine::OtherDatabase {
        let name = component.product.unwrap_or("the database");
        draft.why.push(format!(
            "Files of a running {name} are no backup: it is stopped while they are read (`during_backup`)."
        ));
    }
    let shown: Vec<String> = paths.iter().map(|path| shown_path(path, base)).collect();
    let why = "What its unit says that it keeps, and its settings.";
    draft.key("paths", Yaml::list(&shown), why);
    Some(draft)
}
