//! `rekindle init` from units of systemd that run.

use std::{io::Write, path::Path};

use rekindle_runtimes::systemd::{Bus, survey};
use rekindle_stack::discover::{self, Unit};
use serde_json::{Value, json};

use super::project::{Found, Source};
use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{quoted, write_json},
};

/// Looks at the units that are named, else at those of known databases and stores.
pub(super) fn find(named: &[String], folder: &Path) -> Result<Found, CliError> {
    let units = survey(Bus::System, named)?;
    if units.is_empty() {
        return Err(CliError::wrong_use(
            "no unit that runs is a database or store that is known here".to_owned(),
            "name them: `rekindle init --unit NAME`; `systemctl list-units --type=service` tells what runs",
        ));
    }
    let proposal = discover::propose_units(&units, folder);
    let source = Source::Units(units);
    Ok(Found { source, proposal })
}

/// Prints what units lack, as a drop-in; changes nothing.
pub(super) fn patch(app: &App, units: &[Unit], out: &mut dyn Write) -> Result<Exit, CliError> {
    let patch = discover::drop_in(units);
    if app.is_json() {
        let recommendations = recommendations(units);
        write_json(
            out,
            &json!({ "patch": patch, "recommendations": recommendations }),
        )?;
        return Ok(Exit::Done);
    }
    match patch {
        Some(patch) => out.write_all(patch.as_bytes())?,
        None => app.note("nothing to add: restart policies are there"),
    }
    Ok(Exit::Done)
}

pub(super) fn recommendations(units: &[Unit]) -> Vec<Value> {
    let found = discover::recommend_units(units);
    let value = |(unit, text): &(&str, &str)| json!({ "service": unit, "text": text });
    found.iter().map(value).collect()
}

/// The command that prints what these lack.
pub(super) fn patch_command(units: &[Unit]) -> String {
    let named = units
        .iter()
        .map(|unit| format!(" --unit {}", quoted(Path::new(&unit.name))));
    format!("rekindle init --patch{}", named.collect::<String>())
}
