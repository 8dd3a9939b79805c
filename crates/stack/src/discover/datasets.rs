//! Which datasets hold the state of a service, and how they are written down.

use std::path::{Path, PathBuf};

use super::credentials::{self, Credential};
use super::endpoint::{encoded, host_and_port, why};
use super::engine::{Component, Engine, recognise};
use super::image::ImageName;
use super::{buckets, storage};
use crate::compose::{MountKind, Project, Service};
use crate::yaml::Yaml;

/// A dataset as it is written: keys in order, each with the reasons above it.
#[derive(Default)]
pub(super) struct Draft {
    pub kind: &'static str,
    pub why: Vec<String>,
    pub keys: Vec<DraftKey>,
    /// How its secret is found, if it needs one.
    pub credential: Option<Credential>,
}

pub(super) struct DraftKey {
    pub why: Vec<String>,
    pub key: String,
    pub value: Yaml,
}

impl Draft {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    pub(super) fn key(&mut self, key: &str, value: Yaml, why: impl Into<String>) {
        let why = why.into();
        let why = if why.is_empty() {
            Vec::new()
        } else {
            vec![why]
        };
        let key = key.to_owned();
        self.keys.push(DraftKey { why, key, value });
    }

    /// `password_env: …` or `password_file: …`.
    pub(super) fn secret(&mut self, key: &str, credential: Option<Credential>, base: &Path) {
        let Some(credential) = credential else { return };
        match &credential {
            Credential::Variable(name) => {
                self.key(&format!("{key}_env"), Yaml::text(name), "");
            }
            Credential::File(path) => {
                let shown = shown_path(path, base);
                self.key(&format!("{key}_file"), Yaml::text(shown), "");
            }
            Credential::New(file) => {
                let why =
                    "Copied out of the project; whoever changes it there, changes this file, too.";
                self.key(&format!("{key}_file"), Yaml::text(file.name.display()), why);
            }
        }
        self.credential = Some(credential);
    }
}

/// A path as it is written: relative to `base` if it is below it.
pub(super) fn shown_path(path: &Path, base: &Path) -> String {
    match path.strip_prefix(base) {
        Ok(relative) if relative.as_os_str().is_empty() => ".".to_owned(),
        Ok(relative) => relative.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

/// Whether the state of a service is captured through its own server, and not as files.
pub(super) fn is_captured(project: &Project, service: &Service) -> bool {
    match recognise(service).engine {
        Engine::Postgres | Engine::Meilisearch => true,
        Engine::Redis => keeps_something(service),
        Engine::S3 => !buckets::of(project, service).is_empty() && s3_keys(service).is_some(),
        Engine::OtherDatabase | Engine::Other => false,
    }
}

/// Whether anything of a service outlives its container.
pub(super) fn keeps_something(service: &Service) -> bool {
    service
        .mounts
        .iter()
        .any(|mount| storage::role(mount) == storage::Role::State)
}

/// The datasets of a service; none if it is stateless.
pub(super) fn of(project: &Project, service: &Service, base: &Path) -> Vec<Draft> {
    let component = recognise(service);
    let mut drafts = Vec::new();
    if is_captured(project, service) {
        drafts.push(match component.engine {
            Engine::Postgres => postgres(project, service, base),
            Engine::Redis => redis(project, service, base),
            Engine::S3 => s3(project, service, base),
            _ => meilisearch(project, service, base),
        });
    }
    drafts.extend(files(project, service, &component, base));
    drafts
}

fn postgres(project: &Project, service: &Service, base: &Path) -> Draft {
    let mut draft = Draft::new("postgres");
    let value = |names: [&str; 2]| names.iter().find_map(|name| service.value(name));
    let user = value(["POSTGRES_USER", "POSTGRESQL_USERNAME"]).unwrap_or("postgres");
    let database = value(["POSTGRES_DB", "POSTGRESQL_DATABASE"]).unwrap_or(user);
    let (host, port) = host_and_port(service, 5432);
    let url = format!(
        "postgres://{}@{host}:{port}/{}",
        encoded(user),
        encoded(database)
    );
    draft.key("url", Yaml::text(url), why(service, 5432));
    if service.value("POSTGRES_HOST_AUTH_METHOD") != Some("trust") {
        let variables = ["POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD", "PGPASSWORD"];
        let password = credentials::of_variables(project, service, &variables, "password");
        draft.secret("password", password, base);
    }
    let whole = "The whole cluster as files: everything comes back at once, to the byte.";
    draft.key("physical", Yaml::plain(true), whole);
    if let Some(directory) = data_directory(project, service) {
        let why = "Read here where this machine may (root does); else over a replication connection, for which \
                   pg_hba.conf needs a line `host replication …`.";
        draft.key(
            "data_directory",
            Yaml::text(shown_path(&directory, base)),
            why,
        );
    }
    let single = "And a dump of each database: one of them, or one table, comes back alone.";
    draft.key("logical", Yaml::text("all"), single);
    draft
}

/// PGDATA as this machine sees it. Source: the documentation of the official image, `PGDATA`.
fn data_directory(project: &Project, service: &Service) -> Option<PathBuf> {
    let major = service
        .image
        .as_deref()
        .and_then(|image| ImageName::parse(image).major());
    let default = match major {
        Some(major) if major >= 18 => format!("/var/lib/postgresql/{major}/docker"),
        _ => "/var/lib/postgresql/data".to_owned(),
    };
    let inside = service.value("PGDATA").map_or(default, str::to_owned);
    let mount = service.mount_of(&inside)?;
    if let MountKind::Volume(key) = &mount.kind
        && project
            .volume(key)
            .is_some_and(|volume| volume.driver.is_some())
    {
        return None;
    }
    let below = Path::new(&inside).strip_prefix(&mount.target).ok()?;
    let directory = storage::directory(project, mount)?;
    Some(if below.as_os_str().is_empty() {
        directory
    } else {
        directory.join(below)
    })
}

fn redis(project: &Project, service: &Service, base: &Path) -> Draft {
    let mut draft = Draft::new("redis");
    let (host, port) = host_and_port(service, 6379);
    draft.key(
        "url",
        Yaml::text(format!("redis://{host}:{port}")),
        why(service, 6379),
    );
    draft.secret("password", redis_password(project, service), base);
    let has_aof = option(service, "--appendonly").as_deref() == Some("yes")
        || service.value("REDIS_AOF_ENABLED") == Some("yes");
    if has_aof {
        let why = "It keeps an append-only file, which holds the last second, too.";
        draft.key("include", Yaml::list(&["rdb", "aof"]), why);
    }
    draft
}

fn redis_password(project: &Project, service: &Service) -> Option<Credential> {
    let variables = ["REDIS_PASSWORD", "VALKEY_PASSWORD", "KEYDB_PASSWORD"];
    match option(service, "--requirepass") {
        Some(value) => {
            // `sh -c 'redis-server --requirepass "$PASSWORD"'`: the shell of the container fills it in.
            let name = value
                .strip_prefix('$')
                .map(|name| name.trim_matches(['{', '}']));
            match name {
                Some(name) => credentials::of_variables(project, service, &[name], "password"),
                None => Some(credentials::of_value(project, service, &value, "password")),
            }
        }
        None if service
            .image
            .as_deref()
            .is_some_and(|image| image.contains("bitnami")) =>
        {
            credentials::of_variables(project, service, &variables, "password")
        }
        None => None,
    }
}

/// The value of an option in the command line.
fn option(service: &Service, name: &str) -> Option<String> {
    let mut words = service
        .command
        .iter()
        .flat_map(|word| word.split_whitespace());
    let unquoted = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    while let Some(word) = words.next() {
        if word == name {
            return words.next().map(unquoted);
        }
        if let Some(value) = word
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='))
        {
            return Some(unquoted(value));
        }
    }
    None
}

/// The variables of the two keys of a store, that are both set.
fn s3_keys(service: &Service) -> Option<(&'static str, &'static str)> {
    const PAIRS: [(&str, &str); 4] = [
        ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
        ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"),
        ("RUSTFS_ACCESS_KEY", "RUSTFS_SECRET_KEY"),
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ];
    let is_set = |(user, password): &(&str, &str)| {
        service.value(user).is_some() && service.value(password).is_some()
    };
    PAIRS.into_iter().find(is_set)
}

fn s3(project: &Project, service: &Service, base: &Path) -> Draft {
    let mut draft = Draft::new("s3");
    let port = match recognise(service).product {
        Some("Garage") => 3900,
        Some("SeaweedFS") => 8333,
        Some("Ceph") => 8080,
        _ => 9000,
    };
    let (host, published) = host_and_port(service, port);
    draft.key(
        "endpoint",
        Yaml::text(format!("http://{host}:{published}")),
        why(service, port),
    );
    let buckets = buckets::of(project, service);
    let why = "The buckets that the project names; add those that it does not.";
    draft.key("buckets", Yaml::list(&buckets), why);
    let keys = s3_keys(service).and_then(|(user, password)| {
        let (access, secret) = (service.value(user)?, service.value(password)?);
        let lines = format!("AWS_ACCESS_KEY_ID={access}\nAWS_SECRET_ACCESS_KEY={secret}\n");
        Some(Credential::new(service, "keys", &lines))
    });
    draft.secret("credentials", keys, base);
    draft
}

fn meilisearch(project: &Project, service: &Service, base: &Path) -> Draft {
    let mut draft = Draft::new("meilisearch");
    let (host, port) = host_and_port(service, 7700);
    draft.key(
        "url",
        Yaml::text(format!("http://{host}:{port}")),
        why(service, 7700),
    );
    let key = credentials::of_variables(project, service, &["MEILI_MASTER_KEY"], "key");
    draft.secret("key", key, base);
    draft
}

fn files(
    project: &Project,
    service: &Service,
    component: &Component,
    base: &Path,
) -> Option<Draft> {
    let own = storage::own_files(project, service);
    if own.is_empty() {
        return None;
    }
    let mut draft = Draft::new("files");
    for (mount, directory) in &own {
        let what = match (&mount.kind, storage::role(mount)) {
            (MountKind::Volume(key), _) => format!("volume {key}"),
            (_, storage::Role::Configuration) => "configuration".to_owned(),
            _ => "directory".to_owned(),
        };
        let line = format!(
            "{}: {what}, {} in the service",
            shown_path(directory, base),
            mount.target
        );
        draft.why.push(line);
    }
    if component.engine == Engine::OtherDatabase {
        let name = component.product.unwrap_or("the database");
        draft.why.push(format!(
            "Files of a running {name} are no backup: it is stopped while they are read (`during_backup`)."
        ));
    }
    if component.engine == Engine::S3 {
        draft.why.push(
            "Which buckets it has is not known here, so its files are taken while it is stopped. Better: a dataset of \
             kind `s3` with `endpoint`, `buckets` and `credentials_file`."
                .to_owned(),
        );
    }
    let paths: Vec<String> = own
        .iter()
        .map(|(_, directory)| shown_path(directory, base))
        .collect();
    draft.key("paths", Yaml::list(&paths), "");
    Some(draft)
}
