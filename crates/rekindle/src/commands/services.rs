//! Which services a command is about.

use rekindle_recovery::services_with_postgres;
use rekindle_stack::{Dataset, Stack, WalMode};

use crate::errors::CliError;

/// The one meant: the one named, else the only one with a dataset of this kind.
///
/// # Errors
/// If none is named and there is not exactly one.
pub fn the_one_of(stack: &Stack, kind: &str, named: Option<&str>) -> Result<String, CliError> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let has = |dataset: &Dataset| dataset.kind() == kind;
    let mut services = stack
        .services
        .iter()
        .filter(|one| one.datasets.iter().any(has));
    match (services.next(), services.next()) {
        (Some(only), None) => Ok(only.name.to_string()),
        (None, _) => Err(CliError::wrong_use(
            format!("no service of the stack has a dataset of kind `{kind}`"),
            "`rekindle config show` prints the services",
        )),
        (Some(_), Some(_)) => Err(CliError::wrong_use(
            format!("several services have a dataset of kind `{kind}`"),
            "say which is meant with `--service`",
        )),
    }
}

/// The services whose WAL is archived.
pub fn with_archive(stack: &Stack) -> Vec<String> {
    let archives = |dataset: &Dataset| match dataset {
        Dataset::Postgres(settings) => settings.wal != WalMode::Off,
        _ => false,
    };
    let services = stack.services.iter();
    services
        .filter(|service| service.datasets.iter().any(archives))
        .map(|service| service.name.to_string())
        .collect()
}

/// The one meant: the one named, else the only one with PostgreSQL.
///
/// # Errors
/// If none is named and there is not exactly one.
pub fn the_postgres(stack: &Stack, named: Option<&str>) -> Result<String, CliError> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let mut services = services_with_postgres(stack);
    match (services.pop(), services.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(CliError::wrong_use(
            "no service of the stack has a PostgreSQL dataset",
            "`rekindle config show` prints the services",
        )),
        (Some(_), false) => Err(CliError::wrong_use(
            "several services have a PostgreSQL dataset",
            "say which is meant with `--service`",
        )),
    }
}
