//! What systemd should be told besides: that a unit is started again after a crash.

use super::{Unit, recognise_unit};

/// Units that nobody starts again after a crash, each with what is missing.
///
/// Debian's own units of PostgreSQL are left out on purpose of their makers: `pg_ctlcluster` could not stop one that systemd starts
/// again. Source: postgresql@.service of postgresql-common.
pub fn recommend_units(units: &[Unit]) -> Vec<(&str, &'static str)> {
    let lacking = units.iter().filter(|unit| lacks_restart(unit));
    lacking.map(|unit| (unit.name.as_str(), MISSING)).collect()
}

const MISSING: &str = "has no restart policy: after a crash it stays down";

fn lacks_restart(unit: &Unit) -> bool {
    let by_debian = recognise_unit(unit).evidence == "program pg_ctlcluster";
    matches!(unit.restart.as_str(), "" | "no") && !by_debian
}

/// A drop-in that adds what is missing, with the places it belongs to; `None` if there is nothing to add.
pub fn drop_in(units: &[Unit]) -> Option<String> {
    let lacking: Vec<&Unit> = units.iter().filter(|unit| lacks_restart(unit)).collect();
    if lacking.is_empty() {
        return None;
    }
    let mut text = "# Starts a unit again after a crash. Save this as each of\n".to_owned();
    for unit in lacking {
        text += &format!("#   /etc/systemd/system/{}.d/50-restart.conf\n", unit.name);
    }
    text += "# and then: systemctl daemon-reload\n[Service]\nRestart=on-failure\nRestartSec=5s\n";
    Some(text)
}
