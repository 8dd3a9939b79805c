//! A project as its containers tell it, for when its Compose files are gone or lie elsewhere.
//!
//! Absent on purpose: builds, profiles, and settings that nobody needs for a recovery. The values of variables are
//! the containers' own, those that the image sets included.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bollard::models::{MountPoint, PortBinding};
use rekindle_stack::compose::{
    Condition as Needed, Dependency, HealthTest, Mount, MountKind, Origin, Port, Project, Service,
    Variable, Volume, Words,
};

use super::containers::{Container, labels_of};
use super::labels::{self, WORKING_DIR};
use super::storage::is_hash;
use crate::Condition;

/// Where Compose puts secrets into containers.
const SECRETS: &str = "/run/secrets/";

/// The project of these containers; `None` if there are none.
pub(super) fn project_of(
    name: &str,
    services: &BTreeMap<String, Vec<Container>>,
) -> Option<Project> {
    let mut containers = services.values().flatten();
    let directory = containers.find_map(|container| labels_of(container)?.get(WORKING_DIR));
    let directory = directory.map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let mut project = Project::new(name, directory);
    for (name, containers) in services {
        let service = service(name, containers.first()?, &mut project);
        project.services.push(service);
    }
    (!project.services.is_empty()).then_some(project)
}

fn service(name: &str, container: &Container, project: &mut Project) -> Service {
    let mut service = Service::new(name);
    if let Some(config) = &container.config {
        service.image = config.image.clone().filter(|image| !image.is_empty());
        service.command = Words(config.cmd.clone().unwrap_or_default());
        service.environment = environment(config.env.as_deref().unwrap_or_default());
        let test = config.healthcheck.as_ref().and_then(|it| it.test.clone());
        service.health = test.filter(|test| !test.is_empty()).map(HealthTest::new);
    }
    for mount in container.mounts.iter().flatten() {
        storage(mount, &mut service, project);
    }
    service.ports = ports(container);
    service.restart = restart(container);
    let needs = labels_of(container).and_then(labels::depends_on);
    service.depends_on = needs.unwrap_or_default().iter().map(dependency).collect();
    service
}

fn environment(lines: &[String]) -> BTreeMap<String, Variable> {
    let pairs = lines.iter().filter_map(|line| line.split_once('='));
    let variable = |value: &str| Variable::new(value, Origin::Container);
    pairs
        .map(|(name, value)| (name.to_owned(), variable(value)))
        .collect()
}

/// A volume's key is its name without the project's, which Compose puts before it.
fn storage(mount: &MountPoint, service: &mut Service, project: &mut Project) {
    let Some(target) = mount.destination.clone() else {
        return;
    };
    let source = mount.source.clone().filter(|path| !path.is_empty());
    let kind = match (mount.typ.as_deref(), &mount.name, source) {
        (Some("volume"), Some(name), _) if is_hash(name) => MountKind::Anonymous,
        (Some("volume"), Some(name), _) => MountKind::Volume(volume(name, mount, project)),
        (Some("bind"), _, Some(source)) => match target.strip_prefix(SECRETS) {
            Some(secret) => {
                service.secrets.push((secret.to_owned(), secret.to_owned()));
                project.secrets.insert(secret.to_owned(), source.into());
                return;
            }
            None => MountKind::Bind(source.into()),
        },
        (Some("tmpfs"), ..) => MountKind::Tmpfs,
        (other, ..) => MountKind::Other(other.unwrap_or_default().to_owned()),
    };
    let is_read_only = mount.rw == Some(false);
    service.mounts.push(Mount::new(kind, target, is_read_only));
}

/// Notes a volume, and returns its key.
fn volume(name: &str, mount: &MountPoint, project: &mut Project) -> String {
    let own = name.strip_prefix(&format!("{}_", project.name));
    let key = own.unwrap_or(name).to_owned();
    if project.volume(&key).is_none() {
        let mut volume = Volume::new(&key, name);
        volume.external = own.is_none();
        volume.driver = mount.driver.clone().filter(|driver| driver != "local");
        project.volumes.push(volume);
    }
    key
}

/// The ports that are published, and those that are only exposed; of a stopped container, too.
fn ports(container: &Container) -> Vec<Port> {
    let mut found: BTreeMap<String, Option<PortBinding>> = BTreeMap::new();
    let exposed = container
        .config
        .as_ref()
        .and_then(|config| config.exposed_ports.as_ref());
    found.extend(exposed.into_iter().flatten().map(|it| (it.clone(), None)));
    let asked = container.host_config.as_ref();
    let asked = asked.and_then(|host| host.port_bindings.as_ref());
    // What was chosen by the engine is known while it runs.
    let now = container.network_settings.as_ref();
    let now = now.and_then(|network| network.ports.as_ref());
    for (port, bindings) in asked.into_iter().chain(now).flatten() {
        let first = bindings.as_ref().and_then(|all| all.first()).cloned();
        let known = found.entry(port.clone()).or_default();
        *known = first.or(known.take());
    }
    found
        .iter()
        .filter_map(|(port, binding)| self::port(port, binding.as_ref()))
        .collect()
}

/// `5432/tcp`, and where it is published.
fn port(text: &str, binding: Option<&PortBinding>) -> Option<Port> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let published = binding.and_then(|binding| binding.host_port.as_ref()?.parse().ok());
    let host = binding.and_then(|binding| binding.host_ip.clone());
    let mut port = Port::new(number.parse().ok()?, published.filter(|port| *port != 0));
    port.host = host.filter(|host| !["", "0.0.0.0", "::"].contains(&host.as_str()));
    port.udp = protocol == "udp";
    Some(port)
}

fn restart(container: &Container) -> Option<String> {
    let host = container.host_config.as_ref()?;
    let name = host.restart_policy.as_ref()?.name?.to_string();
    Some(name).filter(|name| !name.is_empty() && name != "no")
}

fn dependency(need: &crate::Dependency) -> Dependency {
    let condition = match need.condition {
        Condition::Healthy => Needed::Healthy,
        Condition::CompletedSuccessfully => Needed::Completed,
        Condition::Started => Needed::Started,
    };
    Dependency::new(&need.service, condition)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::{ContainerConfig, HostConfig, RestartPolicy, RestartPolicyNameEnum};

    use super::*;

    fn mount(typ: &str, name: Option<&str>, source: &str, inside: &str) -> MountPoint {
        MountPoint {
            typ: Some(typ.into()),
            name: name.map(str::to_owned),
            source: Some(source.into()),
            destination: Some(inside.into()),
            driver: Some("local".into()),
            ..MountPoint::default()
        }
    }

    fn container() -> Container {
        let label = (labels::DEPENDS_ON.to_owned(), "cache:service_healthy:true");
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".into()),
            host_port: Some("25432".into()),
        };
        Container {
            config: Some(ContainerConfig {
                image: Some("postgres:17".into()),
                env: Some(vec!["POSTGRES_PASSWORD=geheim=1".into()]),
                exposed_ports: Some(vec!["5432/tcp".into(), "9/udp".into()]),
                labels: Some(HashMap::from(
                    [label].map(|(key, value)| (key, value.into())),
                )),
                ..ContainerConfig::default()
            }),
            host_config: Some(HostConfig {
                port_bindings: Some(HashMap::from([("5432/tcp".into(), Some(vec![binding]))])),
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    ..RestartPolicy::default()
                }),
                ..HostConfig::default()
            }),
            mounts: Some(vec![
                mount("volume", Some("shop_data"), "/v/shop_data/_data", "/data"),
                mount("volume", Some("pool"), "/v/pool/_data", "/pool"),
                mount("volume", Some(&"ab".repeat(32)), "/v/ab/_data", "/cache"),
                mount("bind", None, "/srv/secret", "/run/secrets/db"),
                mount("bind", None, "/srv/conf", "/conf"),
            ]),
            ..Container::default()
        }
    }

    #[test]
    fn a_container_tells_what_a_compose_file_would() {
        let services = BTreeMap::from([("db".to_owned(), vec![container()])]);
        let project = project_of("shop", &services).unwrap();
        let db = project.service("db").unwrap();
        assert_eq!(db.image.as_deref(), Some("postgres:17"));
        assert_eq!(db.value("POSTGRES_PASSWORD"), Some("geheim=1"));
        assert_eq!(db.restart.as_deref(), Some("unless-stopped"));
        assert_eq!(
            db.depends_on,
            [Dependency::new("cache", Needed::Healthy)],
            "by its label"
        );
        let kinds: Vec<&MountKind> = db.mounts.iter().map(|mount| &mount.kind).collect();
        let expected = [
            &MountKind::Volume("data".into()),
            &MountKind::Volume("pool".into()),
            &MountKind::Anonymous,
            &MountKind::Bind("/srv/conf".into()),
        ];
        assert_eq!(kinds, expected, "a secret is none of its storage");
        assert_eq!(project.secrets["db"], PathBuf::from("/srv/secret"));
        let (data, pool) = (project.volume("data"), project.volume("pool"));
        assert_eq!(data.unwrap().name, "shop_data");
        assert!(!data.unwrap().external && pool.unwrap().external);
        let port = db.published(5432).unwrap();
        assert_eq!(
            (port.published, port.host.as_deref()),
            (Some(25432), Some("127.0.0.1"))
        );
        assert!(db.ports.iter().any(|port| port.udp && port.target == 9));
    }

    #[test]
    fn no_container_is_no_project() {
        assert!(project_of("shop", &BTreeMap::new()).is_none());
    }
}
