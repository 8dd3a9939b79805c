//! What a Compose file says of dependencies, for containers that do not say it themselves (Compose 1).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::labels::{CONFIG_FILES, Labels, WORKING_DIR, condition};
use crate::{Condition, Dependency};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Service {
    depends_on: Option<DependsOn>,
    links: Option<Vec<String>>,
    network_mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DependsOn {
    Names(Vec<String>),
    Conditions(BTreeMap<String, Needed>),
}

#[derive(Deserialize)]
struct Needed {
    #[serde(default)]
    condition: String,
}

/// What each service needs, as the files say that these labels name; nothing if they cannot be read.
pub(super) fn dependencies(labels: &Labels) -> BTreeMap<String, Vec<Dependency>> {
    let Some(files) = labels.get(CONFIG_FILES) else {
        return BTreeMap::new();
    };
    let dir = labels.get(WORKING_DIR).map_or(Path::new("/"), Path::new);
    let mut all: BTreeMap<String, Vec<Dependency>> = BTreeMap::new();
    for name in files.split(',') {
        let path = dir.join(name);
        let read = fs::read_to_string(&path).map_err(|error| error.to_string());
        match read.and_then(|text| dependencies_in(&text)) {
            Ok(found) => {
                for (service, needs) in found {
                    all.entry(service).or_default().extend(needs);
                }
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "dependencies are not known")
            }
        }
    }
    all
}

fn dependencies_in(text: &str) -> Result<BTreeMap<String, Vec<Dependency>>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    Ok(file
        .services
        .into_iter()
        .map(|(name, service)| (name, needs_of(service)))
        .collect())
}

fn needs_of(service: Service) -> Vec<Dependency> {
    let mut needs: Vec<Dependency> = match service.depends_on {
        Some(DependsOn::Names(names)) => names.into_iter().map(started).collect(),
        Some(DependsOn::Conditions(needed)) => needed
            .into_iter()
            .map(|(service, needed)| Dependency {
                service,
                condition: condition(&needed.condition),
            })
            .collect(),
        None => Vec::new(),
    };
    // Compose starts these in order, too: `SERVICE:ALIAS`, `service:SERVICE`.
    let linked = service.links.unwrap_or_default();
    let linked = linked.iter().filter_map(|link| link.split(':').next());
    let shared = service
        .network_mode
        .as_deref()
        .and_then(|mode| mode.strip_prefix("service:"));
    for name in linked.chain(shared) {
        if !needs.iter().any(|need| need.service == name) {
            needs.push(started(name.to_owned()));
        }
    }
    needs
}

fn started(service: String) -> Dependency {
    Dependency {
        service,
        condition: Condition::Started,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
version: '3.8'
x-common: &common { restart: always }
services:
  db: { <<: *common, image: postgres:15 }
  cache: { image: redis:7, depends_on: [db] }
  app:
    image: app:1
    depends_on: { db: { condition: service_healthy, restart: true }, cache: { condition: service_started } }
    links: [ 'search:s', 'db' ]
  side: { image: app:1, network_mode: 'service:app' }
volumes: { data: {} }
";

    #[test]
    fn dependencies_are_read_in_every_form() {
        let found = dependencies_in(TEXT).unwrap();
        let of = |name: &str| {
            let needs = found[name].iter();
            needs
                .map(|need| (need.service.as_str(), need.condition))
                .collect::<Vec<_>>()
        };
        assert_eq!(of("db"), []);
        assert_eq!(of("cache"), [("db", Condition::Started)]);
        assert_eq!(
            of("app"),
            [
                ("cache", Condition::Started),
                ("db", Condition::Healthy),
                ("search", Condition::Started)
            ]
        );
        assert_eq!(of("side"), [("app", Condition::Started)]);
    }

    #[test]
    fn a_file_that_is_none_gives_no_dependencies() {
        assert!(dependencies_in("services: [").is_err());
        let labels = Labels::from([
            (CONFIG_FILES.into(), "nowhere.yml".into()),
            (WORKING_DIR.into(), "/nowhere".into()),
        ]);
        assert!(dependencies(&labels).is_empty());
    }
}
