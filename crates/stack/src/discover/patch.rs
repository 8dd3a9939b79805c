//! What Docker should be told besides: restart policies and health checks that are missing.

use super::engine::{Engine, recognise};
use crate::compose::{Condition, Project, Service};
use crate::yaml::Yaml;

/// Something that a service of the project lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recommendation {
    /// Nobody starts it again after a crash or a reboot.
    RestartPolicy {
        /// Whose.
        service: String,
    },
    /// Docker does not know whether it is well, so nobody can wait for it.
    HealthCheck {
        /// Whose.
        service: String,
        /// The check, as `test` is written; `None` if only its author knows one.
        test: Option<Vec<String>>,
    },
}

impl Recommendation {
    /// The service it is about.
    pub fn service(&self) -> &str {
        match self {
            Self::RestartPolicy { service } | Self::HealthCheck { service, .. } => service,
        }
    }

    /// What is missing, for people.
    pub fn text(&self) -> &'static str {
        match self {
            Self::RestartPolicy { .. } => {
                "has no restart policy: after a crash or a reboot it stays down"
            }
            Self::HealthCheck { .. } => {
                "has no health check: whether it is well, and when others may start, nobody can tell"
            }
        }
    }
}

/// What is missing in a project, service by service.
///
/// A service that runs to its end and is done (others wait for that) needs neither.
pub fn recommend(project: &Project) -> Vec<Recommendation> {
    let mut found = Vec::new();
    for service in project
        .services
        .iter()
        .filter(|service| !ends_by_itself(project, service))
    {
        if service.restart.is_none() {
            let service = service.name.clone();
            found.push(Recommendation::RestartPolicy { service });
        }
        // An image may bring a check of its own, which its Compose file does not show; only of servers
        // is it known that theirs do not.
        let test = health_test(service);
        if service.health.is_none()
            && (test.is_some() || is_needed(project, service) && !service.ports.is_empty())
        {
            let service = service.name.clone();
            found.push(Recommendation::HealthCheck { service, test });
        }
    }
    found
}

fn ends_by_itself(project: &Project, service: &Service) -> bool {
    let mut needs = project.services.iter().flat_map(|other| &other.depends_on);
    needs.any(|need| need.service == service.name && need.condition == Condition::Completed)
}

fn is_needed(project: &Project, service: &Service) -> bool {
    let mut needs = project.services.iter().flat_map(|other| &other.depends_on);
    needs.any(|need| need.service == service.name)
}

/// The check that the program's own documentation recommends. None holds a password: each of these
/// programs tells a stranger, too, whether it is there.
fn health_test(service: &Service) -> Option<Vec<String>> {
    let shell = |line: &str| vec!["CMD-SHELL".to_owned(), line.to_owned()];
    let command = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned());
        std::iter::once("CMD".to_owned()).chain(words).collect()
    };
    let component = recognise(service);
    let test = match (component.engine, component.product?) {
        (Engine::Postgres, _) => {
            let value = |names: [&str; 2]| names.iter().find_map(|name| service.value(name));
            let user = value(["POSTGRES_USER", "POSTGRESQL_USERNAME"]).unwrap_or("postgres");
            let database = value(["POSTGRES_DB", "POSTGRESQL_DATABASE"]).unwrap_or(user);
            command(&["pg_isready", "-U", user, "-d", database])
        }
        (_, "Valkey") => shell("valkey-cli ping | grep -qE 'PONG|NOAUTH'"),
        (_, "KeyDB") => shell("keydb-cli ping | grep -qE 'PONG|NOAUTH'"),
        (Engine::Redis, _) => shell("redis-cli ping | grep -qE 'PONG|NOAUTH'"),
        (_, "MinIO") => command(&["mc", "ready", "local"]),
        (Engine::Meilisearch, _) => command(&["curl", "-fsS", "http://localhost:7700/health"]),
        (_, "MySQL") => command(&["mysqladmin", "ping", "-h", "127.0.0.1"]),
        (_, "MariaDB") => command(&["healthcheck.sh", "--connect", "--innodb_initialized"]),
        (_, "MongoDB") => command(&["mongosh", "--quiet", "--eval", "db.adminCommand('ping').ok"]),
        (_, "RabbitMQ") => command(&["rabbitmq-diagnostics", "-q", "ping"]),
        _ => return None,
    };
    Some(test)
}

/// A Compose file that adds what is missing, to be used after the project's own; `None` if there is
/// nothing to add.
pub fn override_file(project: &Project) -> Option<String> {
    let found = recommend(project);
    let mut services: Vec<(String, Yaml)> = Vec::new();
    for service in &project.services {
        let of_it = found.iter().filter(|found| found.service() == service.name);
        let keys: Vec<(String, Yaml)> = of_it.filter_map(keys).collect();
        if !keys.is_empty() {
            services.push((service.name.clone(), Yaml::Map(keys)));
        }
    }
    if services.is_empty() {
        return None;
    }
    let names: Vec<String> = project.files.iter().map(|file| file_name(file)).collect();
    let options: Vec<String> = names.iter().map(|name| format!("-f {name} ")).collect();
    let header = format!(
        "# Restart policies and health checks that {} lacks.\n# docker compose {}-f compose.rekindle.yaml up -d\n",
        names.first().map_or("the project", String::as_str),
        options.concat(),
    );
    let document = Yaml::Map(vec![("services".to_owned(), Yaml::Map(services))]);
    let version = project.compose_version.as_ref();
    let version = version
        .map(|version| format!("version: \"{version}\"\n"))
        .unwrap_or_default();
    Some(header + &version + &document.document())
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn keys(found: &Recommendation) -> Option<(String, Yaml)> {
    match found {
        Recommendation::RestartPolicy { .. } => {
            Some(("restart".to_owned(), Yaml::text("unless-stopped")))
        }
        Recommendation::HealthCheck { test, .. } => {
            // To Compose, a `$` begins a variable.
            let words = test.as_ref()?.iter().map(|word| word.replace('$', "$$"));
            let words: Vec<String> = words.collect();
            let entries = [
                ("test", Yaml::list(&words)),
                ("interval", Yaml::text("30s")),
                ("timeout", Yaml::text("5s")),
                ("retries", Yaml::plain(5)),
                ("start_period", Yaml::text("30s")),
            ];
            let entries = entries.map(|(key, value)| (key.to_owned(), value));
            Some(("healthcheck".to_owned(), Yaml::Map(entries.into())))
        }
    }
}
