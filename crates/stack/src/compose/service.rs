//! One service.

use std::collections::BTreeMap;

use super::dotenv::parse_dotenv;
use super::item::{Item, Value};
use super::model::{Condition, Dependency, HealthTest, Origin, Service, Variable, Words};
use super::reader::Reader;
use super::{forms, merge, storage};

/// Reads a service whose `extends` is resolved.
pub(super) fn read(name: &str, item: &Item, reader: &mut Reader<'_>) -> Service {
    if !matches!(item.value, Value::Map(_)) {
        reader.note(item.at, format!("service `{name}` must be a mapping"));
    }
    let text = |key: &str| item.get(key).and_then(Item::text);
    let mut service = Service {
        image: text("image").filter(|image| !image.is_empty()),
        is_built: item.get("build").is_some_and(|build| !build.is_null()),
        command: Words(item.get("command").map(forms::words).unwrap_or_default()),
        restart: restart(item),
        container_name: text("container_name"),
        place: Some((reader.file(item.at), item.at.line)),
        ..Service::new(name)
    };
    if let Some(profiles) = item.get("profiles") {
        service.profiles = profiles.items().iter().filter_map(Item::text).collect();
    }
    environment(&mut service, item, reader);
    if let Some(volumes) = item.get("volumes") {
        service.mounts = storage::mounts(volumes, reader);
    }
    if let Some(tmpfs) = item.get("tmpfs") {
        service.mounts.extend(storage::tmpfs(tmpfs));
    }
    if let Some(ports) = item.get("ports") {
        service.ports = forms::ports(ports, reader);
    }
    if let Some(expose) = item.get("expose") {
        forms::expose(expose, &mut service.ports);
    }
    service.depends_on = dependencies(name, item, reader);
    service.health = item.get("healthcheck").and_then(health);
    service.secrets = item.get("secrets").map(secrets).unwrap_or_default();
    service
}

fn restart(item: &Item) -> Option<String> {
    let written = item.get("restart").and_then(Item::text);
    // `restart: no` without quotes is `false` to a YAML 1.1 parser, and the word here.
    let restart = written.or_else(|| {
        let policy = item.get("deploy")?.get("restart_policy")?;
        Some(
            match policy.get("condition").and_then(Item::text).as_deref() {
                None | Some("any") => "always".to_owned(),
                Some("none") => "no".to_owned(),
                Some(other) => other.to_owned(),
            },
        )
    });
    restart.filter(|policy| !policy.is_empty() && policy != "no" && policy != "false")
}

/// `environment` over the files of `env_file`, the later of which counts more.
fn environment(service: &mut Service, item: &Item, reader: &mut Reader<'_>) {
    if let Some(files) = item.get("env_file") {
        let single = std::slice::from_ref(files);
        let list = if files.items().is_empty() {
            single
        } else {
            files.items()
        };
        for file in list {
            env_file(service, file, reader);
        }
    }
    let Some(environment) = item.get("environment") else {
        return;
    };
    let environment = merge::as_mapping(environment.clone());
    if !matches!(environment.value, Value::Map(_) | Value::Null) {
        reader.note(environment.at, "`environment` must be a mapping or a list");
    }
    for (name, item) in environment.entries() {
        let variable = match &item.value {
            Value::Null => inherited(name, reader),
            Value::Text(text) => {
                let reference = text.reference.clone();
                let origin = reference.map_or(Origin::Written, Origin::Variable);
                Variable::new(text.text.as_str(), origin)
            }
            Value::Bool(value) => Variable::new(value.to_string(), Origin::Written),
            Value::List(_) | Value::Map(_) => {
                reader.note(item.at, format!("the value of {name} must be text"));
                continue;
            }
        };
        service.environment.insert(name.clone(), variable);
    }
}

fn inherited(name: &str, reader: &Reader<'_>) -> Variable {
    let origin = Origin::Variable(name.to_owned());
    match (reader.lookup)(name) {
        Some(value) => Variable::new(value, origin),
        None => Variable {
            value: None,
            origin,
        },
    }
}

fn env_file(service: &mut Service, item: &Item, reader: &mut Reader<'_>) {
    let Some(name) = item.text().or_else(|| item.get("path")?.text()) else {
        return;
    };
    let required = item.get("required").and_then(Item::text);
    let path = reader.path(&name);
    let text = match (reader.read_file)(&path) {
        Ok(text) => text,
        Err(error) => {
            if required.as_deref() != Some("false") {
                reader.note(item.at, format!("{name} cannot be read: {error}"));
            }
            return;
        }
    };
    let read = parse_dotenv(&text, reader.lookup);
    for (line, why) in read.wrong {
        reader.notes.push(super::Note {
            file: path.clone(),
            line,
            text: why.to_owned(),
        });
    }
    for (name, value) in read.values {
        let variable = Variable::new(value, Origin::File(path.clone()));
        service.environment.insert(name, variable);
    }
    for name in read.inherited {
        let variable = inherited(&name, reader);
        service.environment.insert(name, variable);
    }
    service.env_files.push(path);
}

/// `depends_on`, and what `links` and shared namespaces imply.
fn dependencies(name: &str, item: &Item, reader: &mut Reader<'_>) -> Vec<Dependency> {
    let mut found: BTreeMap<String, Dependency> = BTreeMap::new();
    let text = |key: &str| item.get(key).and_then(Item::text);
    let shared = ["network_mode", "pid", "ipc"].into_iter().filter_map(text);
    let shared = shared.filter_map(|mode| Some(mode.strip_prefix("service:")?.to_owned()));
    let list = |key: &str| item.get(key).map(Item::items).unwrap_or_default();
    let links = list("links").iter().chain(list("volumes_from"));
    let links = links.filter_map(|link| Some(link.text()?.split(':').next()?.to_owned()));
    for service in shared.chain(links) {
        let dependency = Dependency::new(service, Condition::Started);
        found.insert(dependency.service.clone(), dependency);
    }
    let depends_on = item.get("depends_on").cloned().map(merge::as_conditions);
    for (service, how) in depends_on.iter().flat_map(Item::entries) {
        let condition = how.get("condition").and_then(Item::text);
        let condition = match condition.as_deref() {
            None | Some("service_started") => Condition::Started,
            Some("service_healthy") => Condition::Healthy,
            Some("service_completed_successfully") => Condition::Completed,
            Some(_) => {
                reader.note(how.at, format!("the condition for `{service}` is unknown"));
                Condition::Started
            }
        };
        let required = how.get("required").and_then(Item::text);
        let dependency = Dependency {
            required: required.as_deref() != Some("false"),
            ..Dependency::new(service, condition)
        };
        found.insert(service.clone(), dependency);
    }
    found.remove(name);
    found.into_values().collect()
}

fn health(item: &Item) -> Option<HealthTest> {
    let disabled = item.get("disable").and_then(Item::text);
    let test = match item.get("test") {
        None => Vec::new(),
        Some(test) => match test.text() {
            Some(command) => vec!["CMD-SHELL".to_owned(), command],
            None => test.items().iter().filter_map(Item::text).collect(),
        },
    };
    let is_off = disabled.as_deref() == Some("true");
    let health = HealthTest::new(test);
    Some(HealthTest {
        disabled: is_off || health.disabled,
        ..health
    })
}

/// Secrets of a service and the names of their files below `/run/secrets`.
fn secrets(item: &Item) -> Vec<(String, String)> {
    let secret = |item: &Item| {
        if let Some(key) = item.text() {
            return Some((key.clone(), key));
        }
        let key = item.get("source")?.text()?;
        let target = item.get("target").and_then(Item::text);
        let target = target.unwrap_or_else(|| key.clone());
        let name = target.rsplit('/').next().unwrap_or_default().to_owned();
        Some((key, name))
    };
    item.items().iter().filter_map(secret).collect()
}
