//! What of a machine's units must survive.
//!
//! Start at [`propose_units`]: of [`Unit`]s, which a runtime has looked at, it makes the [`Proposal`] that a Compose project
//! gets from [`propose`](super::propose). Which unit is which program: `program.rs`; what its own configuration says: `configuration.rs` reads it, `settings.rs`
//! understands it; what is written down: `drafts.rs`; what units lack: `patch.rs`.

mod configuration;
mod drafts;
mod patch;
mod program;
mod settings;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use configuration::{ConfigurationFiles, read_configuration};
pub use patch::{drop_in, recommend_units};
pub use program::{is_known, recognise_unit};

use super::{
    engine::{Component, Engine},
    propose::{Found, Proposal, ProposedService, priority},
};
use crate::{compose::Words, name::Name, secret::Secret};

/// A unit, as far as it tells what must survive. `Debug` shows no value of any variable.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// Its full name: `postgresql@15-main.service`.
    pub name: String,
    /// What it says of itself.
    pub description: String,
    /// Its program and arguments.
    pub argv: Words,
    /// Its environment.
    pub environment: BTreeMap<String, Secret>,
    /// Directories that it keeps files in.
    pub directories: Vec<PathBuf>,
    /// Units that it needs, or comes after.
    pub needs: Vec<String>,
    /// When it is started again by itself, in systemd's words: `no`, `on-failure`.
    pub restart: String,
    /// What its program's own configuration says, if that could be read: its file, and the lines of it and of all it includes.
    pub configuration: Option<(PathBuf, Secret)>,
}

impl Unit {
    /// The value of a variable, if it has one that is not empty.
    pub(super) fn value(&self, variable: &str) -> Option<&str> {
        let value = self.environment.get(variable)?.expose();
        Some(value).filter(|text| !text.is_empty())
    }

    /// The value of an option of its command line: `--name value` or `--name=value`.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        let mut words = self.argv.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if word == name {
                return words.next();
            }
            let value = word
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='));
            if value.is_some() {
                return value;
            }
        }
        None
    }
}

/// Proposes what to back up. `base` is the directory that the `rekindle.yaml` will lie in.
pub fn propose_units(units: &[Unit], base: &Path) -> Proposal {
    let mut proposal = Proposal::new(Found::Units, base);
    let names = names(units);
    for (unit, name) in units.iter().zip(&names) {
        match name.parse::<Name>() {
            Ok(parsed) => {
                let (mut service, notes) = of_unit(unit, parsed, base);
                proposal.notes.extend(notes);
                let needs = units.iter().zip(&names);
                let needs = needs.filter(|(other, _)| unit.needs.contains(&other.name));
                service.depends_on = needs.map(|(_, name)| name.clone()).collect();
                service.depends_on.retain(|other| other != name);
                proposal.add(service);
            }
            Err(error) => {
                let note = format!("{} is left out: {error}", unit.name);
                proposal.notes.push(note);
            }
        }
    }
    proposal
}

fn of_unit(unit: &Unit, name: Name, base: &Path) -> (ProposedService, Vec<String>) {
    let component = recognise_unit(unit);
    let drafts = drafts::of(unit, &component, &name, base);
    let is_server = matches!(component.engine, Engine::OtherDatabase | Engine::S3);
    let service = ProposedService {
        unit: Some(unit.name.clone()).filter(|unit| *unit != format!("{name}.service")),
        depends_on: Vec::new(),
        priority: priority(&component, &drafts.datasets),
        optional: false,
        stops: is_server && !drafts.datasets.is_empty(),
        health: drafts.health_url,
        health_command: drafts.health_command,
        why: reasons(unit, &component, drafts.datasets.is_empty()),
        is_built: false,
        name,
        component,
        datasets: drafts.datasets,
    };
    (service, drafts.notes)
}

fn reasons(unit: &Unit, component: &Component, keeps_nothing: bool) -> Vec<String> {
    let mut why = Vec::new();
    if !unit.description.is_empty() && unit.description != unit.name {
        why.push(format!("{}.", unit.description.trim_end_matches('.')));
    }
    why.extend(component.remark.map(|remark| format!("{remark}.")));
    if keeps_nothing {
        why.push("Its unit names no directory that it keeps: it is started again.".to_owned());
    }
    why
}

/// A name for each: that of the unit, without its instance where no other one has it.
fn names(units: &[Unit]) -> Vec<String> {
    let stem = |unit: &Unit| {
        let name = unit.name.strip_suffix(".service").unwrap_or(&unit.name);
        name.replace(
            |c: char| !(c.is_ascii_alphanumeric() || "._-@".contains(c)),
            "-",
        )
    };
    let stems: Vec<String> = units.iter().map(stem).collect();
    let short = |stem: &str| stem.split('@').next().unwrap_or_default().to_owned();
    let named = |name: &String| {
        let is_taken = stems
            .iter()
            .filter(|other| short(other) == short(name))
            .count()
            > 1;
        match is_taken {
            true => name.replace('@', "-"),
            false => short(name),
        }
    };
    stems.iter().map(named).collect()
}
