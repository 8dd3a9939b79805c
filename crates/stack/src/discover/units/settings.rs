//! What a program's own configuration says of its data and its address.

use std::path::{Path, PathBuf};

use super::{Unit, recognise_unit};
use crate::discover::engine::Engine;

/// The configuration file of a program, of those that are understood here. It need not exist.
pub(super) fn configuration_file(unit: &Unit) -> Option<PathBuf> {
    match recognise_unit(unit).engine {
        Engine::Redis => {
            // Source: redis.io, "Redis configuration": the first argument.
            let first = unit.argv.get(1)?;
            first.starts_with('/').then(|| first.into())
        }
        Engine::Postgres => {
            if let Some(file) = unit
                .option("-c")
                .and_then(|it| it.strip_prefix("config_file="))
            {
                return Some(file.into());
            }
            match debian_cluster(unit) {
                Some((version, cluster)) => {
                    let file = format!("/etc/postgresql/{version}/{cluster}/postgresql.conf");
                    Some(file.into())
                }
                None => Some(data_argument(unit)?.join("postgresql.conf")),
            }
        }
        Engine::Meilisearch => unit
            .option("--config-file-path")
            .or_else(|| unit.value("MEILI_CONFIG_FILE_PATH"))
            .map(Into::into),
        _ => None,
    }
}

/// Version and name of a cluster of Debian's, as `pg_ctlcluster` is given them: `15-main`, or `15 main`.
/// Source: pg_ctlcluster(1).
fn debian_cluster(unit: &Unit) -> Option<(&str, &str)> {
    if !unit.argv.first()?.ends_with("/pg_ctlcluster") {
        return None;
    }
    let is_version = |word: &&String| word.starts_with(|c: char| c.is_ascii_digit());
    let mut words = unit.argv[1..].iter().skip_while(|word| !is_version(word));
    let first = words.next()?;
    match first.split_once('-') {
        Some(pair) => Some(pair),
        None => Some((first, words.next()?)),
    }
}

/// PGDATA of the command line, or of the environment.
fn data_argument(unit: &Unit) -> Option<PathBuf> {
    let written = unit.option("-D").or_else(|| unit.option("--pgdata"));
    let is_variable = |word: &&str| !word.starts_with('$');
    let written = written.filter(is_variable).or_else(|| unit.value("PGDATA"));
    written.map(Into::into)
}

/// The cluster's data directory.
pub(super) fn pgdata(unit: &Unit) -> Option<PathBuf> {
    if let Some(written) = quoted(unit, "data_directory") {
        return Some(written.into());
    }
    match debian_cluster(unit) {
        Some((version, cluster)) => {
            Some(Path::new("/var/lib/postgresql").join(version).join(cluster))
        }
        None => data_argument(unit),
    }
}

/// The value of a setting of postgresql.conf. The last one counts.
pub(super) fn quoted(unit: &Unit, name: &str) -> Option<String> {
    lines(unit)
        .filter_map(|line| quoted_value(line, name))
        .last()
}

/// The value, if this is the line of this setting: `name = 'value' # comment`.
pub(super) fn quoted_value(line: &str, name: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix(name)?;
    // `port_x = 1` is no `port`.
    if !rest.starts_with([' ', '\t', '=']) {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim();
    let value = match rest.strip_prefix('\'') {
        Some(quoted) => quoted.split('\'').next()?,
        None => rest.split(['#', ' ', '\t']).next()?,
    };
    (!value.is_empty()).then(|| value.to_owned())
}

/// The value of a directive of redis.conf, or of the command line. The last one counts.
/// Source: redis.io, "Redis configuration".
pub(super) fn directive(unit: &Unit, name: &str) -> Option<String> {
    let on_line = unit.option(&format!("--{name}")).map(str::to_owned);
    let in_file = || {
        lines(unit)
            .filter_map(|line| directive_value(line, name))
            .last()
    };
    on_line.or_else(in_file)
}

/// The value, if this is the line of this directive: `name value`.
pub(super) fn directive_value(line: &str, name: &str) -> Option<String> {
    let (word, value) = line.trim().split_once([' ', '\t'])?;
    let value = value.trim().trim_matches('"');
    word.eq_ignore_ascii_case(name).then(|| value.to_owned())
}

fn lines(unit: &Unit) -> impl Iterator<Item = &str> {
    let text = unit
        .configuration
        .as_ref()
        .map_or("", |(_, text)| text.expose());
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
}
