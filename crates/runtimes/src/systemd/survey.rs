//! What runs on a machine, for somebody who has not said yet what his services are.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use rekindle_stack::{
    Secret,
    compose::Words,
    discover::{ConfigurationFiles, Unit, is_known, read_configuration},
};

use super::{
    Bus,
    bus::Manager,
    change::facts,
    exec,
    facts::Facts,
    failure::{Doing, Failure, not_there},
    storage::storage_of,
};
use crate::RuntimeError;

/// No configuration is longer; what comes after is not looked at.
const LONGEST: u64 = 1 << 20;

/// Units of systemd's own, of sessions, and of ours.
const NO_SERVICES: [&str; 3] = ["systemd-", "user@", "rekindle-"];

/// Looks at units: those that are named, else all that are up and run a program that keeps state and that Rekindle knows. A name
/// without an end is that of a `.service`. Nothing is changed.
///
/// Files that this user may not read are taken not to be there: environment files, and what the programs are configured by.
///
/// # Errors
/// If systemd cannot be asked, or has no unit of a name.
pub fn survey(bus: Bus, named: &[String]) -> Result<Vec<Unit>, RuntimeError> {
    let of_user = bus == Bus::User;
    let manager = Manager::new(bus);
    let look = |name: &str| {
        let found = facts(&manager, name).map_err(|failure| explain(failure, name))?;
        Ok::<_, RuntimeError>(found)
    };
    let mut units = Vec::new();
    for name in named {
        let name = match name.contains('.') {
            true => name.clone(),
            false => format!("{name}.service"),
        };
        let found = look(&name)?;
        if found.is_absent() {
            return Err(RuntimeError::Failed {
                doing: DOING.to_owned(),
                service: name.clone(),
                reason: format!("there is no unit {name}"),
                hint: Some(not_there(&name)),
            });
        }
        units.push(told(&name, &found, of_user));
    }
    if named.is_empty() {
        let loaded = manager.loaded("*.service");
        for (name, _) in loaded.map_err(|failure| explain(failure, "*.service"))? {
            if NO_SERVICES.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let found = look(&name)?;
            let unit = told(&name, &found, of_user);
            if !found.is_absent() && !found.is_down() && is_known(&unit) {
                units.push(unit);
            }
        }
        units.sort_by(|a, b| a.name.cmp(&b.name));
    }
    units.dedup_by(|a, b| a.name == b.name);
    Ok(units)
}

const DOING: &str = "look at";

fn explain(failure: Failure, unit: &str) -> RuntimeError {
    failure.explain(Doing {
        what: DOING,
        service: unit,
        unit,
    })
}

/// What a unit tells; under its own name, should it have been asked for by another.
fn told(name: &str, facts: &Facts, of_user: bool) -> Unit {
    let own_name = Some(facts.text("Id")).filter(|id| !id.is_empty());
    let command = facts.list("ExecStart").first();
    let words = command.and_then(|command| command.get(1)?.as_array());
    let words = words.into_iter().flatten().filter_map(|word| word.as_str());
    // A unit may want one that is ordered after it: only the order has no circles.
    let needs = facts.texts("After");
    let kept = storage_of(facts, &[], of_user);
    let mut unit = Unit {
        name: own_name.unwrap_or(name).to_owned(),
        description: facts.text("Description").to_owned(),
        argv: Words(words.map(str::to_owned).collect()),
        environment: environment(name, facts),
        directories: kept
            .into_iter()
            .filter(|storage| !storage.read_only)
            .filter_map(|storage| storage.here.filter(|here| here.exists()))
            .collect(),
        needs: needs.map(str::to_owned).collect(),
        restart: facts.text("Restart").to_owned(),
        configuration: None,
    };
    read_configuration(&mut unit, &Readable);
    unit
}

fn environment(unit: &str, facts: &Facts) -> std::collections::BTreeMap<String, Secret> {
    let all = exec::environment(facts).unwrap_or_else(|error| {
        tracing::warn!(unit, error = %error, "its variables cannot be read: passwords in them are not found");
        Default::default()
    });
    all.into_iter()
        .map(|(name, value)| (name, Secret::new(value)))
        .collect()
}

/// The files of this machine that this user may read.
struct Readable;

impl ConfigurationFiles for Readable {
    fn text(&self, path: &Path) -> Option<String> {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
        match read {
            Ok(_) => Some(String::from_utf8_lossy(&text).into_owned()),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "a configuration cannot be read");
                None
            }
        }
    }

    fn names(&self, directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).into_iter().flatten().flatten();
        names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_unit_tells_its_program_its_directories_and_what_it_needs() {
        // Not in /tmp, where nothing lasts.
        let home = rekindle_testing::temp_dir().unwrap();
        let (data, settings) = (home.path().join("data"), home.path().join("redis.conf"));
        fs::create_dir(&data).unwrap();
        std::io::Write::write_all(&mut File::create(&settings).unwrap(), b"port 7\n").unwrap();
        let facts = json!({
            "Id": "redis-server.service", "Description": "A store", "Restart": "no",
            "ExecStart": [["/usr/bin/redis-server", ["/usr/bin/redis-server", settings.to_str().unwrap()], false, 0]],
            "ReadWritePaths": [data.to_str().unwrap(), "-/nowhere/at/all"],
            "Wants": ["a.service"], "After": ["b.service"], "Environment": ["A=b"],
        });
        let facts = Facts(serde_json::from_value(facts).unwrap());
        let unit = told("redis.service", &facts, false);
        assert_eq!(unit.name, "redis-server.service");
        assert_eq!(unit.directories, [data]);
        assert_eq!(unit.needs, ["b.service"], "who is wanted may come later");
        assert_eq!(unit.configuration.unwrap().1.expose(), "port 7\n");
        assert_eq!(unit.environment["A"].expose(), "b");
    }
}
