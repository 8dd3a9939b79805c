//! Configuration for a restored directory whose original lay elsewhere.

use crate::client::Client;
use crate::error::{Doing, Error};
use crate::quote_literal;

/// Settings that belong to the source's machine and not to its data.
///
/// Entries ending in `*` stand for all settings that begin so.
const LEFT_OUT: [&str; 22] = [
    "data_directory",
    "config_file",
    "hba_file",
    "ident_file",
    "external_pid_file",
    "unix_socket_*",
    "ssl*",
    "listen_addresses",
    "port",
    "archive_*",
    "restore_command",
    "recovery_*",
    "primary_*",
    "promote_trigger_file",
    "synchronous_standby_names",
    "log_directory",
    "log_destination",
    "logging_collector",
    "syslog_*",
    "stats_temp_directory",
    "krb_server_keyfile",
    "huge_pages",
];

/// A server in recovery refuses to start with less of these than the primary had.
const RECOVERY_MINIMUMS: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];

const DEFAULT_HBA: &str = "\
# Written by Rekindle: the source's pg_hba.conf could not be read.
# TYPE  DATABASE  USER  ADDRESS        METHOD
local   all       all                  peer
host    all       all   127.0.0.1/32   scram-sha-256
host    all       all   ::1/128        scram-sha-256
";

/// Files a restored directory needs to start, where the source kept its own outside PGDATA, as
/// Debian's packages do. `None` where the file lies in PGDATA and is part of the backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortableConfig {
    /// For `postgresql.conf`.
    pub postgresql_conf: Option<String>,
    /// For `pg_hba.conf`.
    pub pg_hba_conf: Option<String>,
    /// For `pg_ident.conf`.
    pub pg_ident_conf: Option<String>,
}

/// Asks an SQL connection for what a restored directory would lack.
///
/// # Errors
/// If the server refuses: the role must be able to read all settings (`pg_read_all_settings`).
pub fn portable_config(client: &mut Client) -> Result<PortableConfig, Error> {
    read(client).doing(|| "read the server's configuration".to_owned())
}

fn read(client: &mut Client) -> Result<PortableConfig, Error> {
    let outside = |client: &mut Client, setting: &str, name: &str| {
        let data_directory = client.show("data_directory")?;
        let path = client.show(setting)?;
        Ok::<_, Error>(
            (path != format!("{}/{name}", data_directory.trim_end_matches('/'))).then_some(path),
        )
    };
    let mut config = PortableConfig::default();
    if let Some(path) = outside(client, "config_file", "postgresql.conf")? {
        config.postgresql_conf = Some(postgresql_conf(client, &path)?);
    }
    if let Some(path) = outside(client, "hba_file", "pg_hba.conf")? {
        config.pg_hba_conf =
            Some(server_file(client, &path)?.unwrap_or_else(|| DEFAULT_HBA.to_owned()));
    }
    if let Some(path) = outside(client, "ident_file", "pg_ident.conf")? {
        config.pg_ident_conf = Some(server_file(client, &path)?.unwrap_or_default());
    }
    Ok(config)
}

/// The settings in effect. Those of `postgresql.auto.conf` come with PGDATA, and win there too.
fn postgresql_conf(client: &mut Client, path: &str) -> Result<String, Error> {
    let minimums = RECOVERY_MINIMUMS.map(quote_literal).join(", ");
    let rows = client.query(&format!(
        "SELECT name, current_setting(name, true) AS value FROM pg_settings \
         WHERE name IN ({minimums}) OR (source IN ('configuration file', 'command line') \
           AND coalesce(sourcefile, '') NOT LIKE '%/postgresql.auto.conf') ORDER BY name"
    ))?;
    let mut text = format!(
        "# Written by Rekindle from the settings in effect on the source, whose configuration lay\n\
         # outside its data directory, in {}.\n\
         # Left out: addresses, ports, sockets, TLS, archiving, recovery and where logs go.\n",
        path.escape_debug()
    );
    for row in rows.iter() {
        let name: String = row.get("name")?;
        if !is_left_out(&name) {
            text.push_str(&format!(
                "{name} = {}\n",
                conf_value(row.text("value").unwrap_or_default())
            ));
        }
    }
    Ok(text)
}

fn is_left_out(name: &str) -> bool {
    LEFT_OUT
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *pattern,
        })
}

/// Quotes a value for postgresql.conf.
fn conf_value(value: &str) -> String {
    format!(
        "'{}'",
        value
            .replace('\\', "\\\\")
            .replace('\'', "''")
            .replace('\n', "\\n")
    )
}

/// A file as the server reads it; `None` if the role may not.
fn server_file(client: &mut Client, path: &str) -> Result<Option<String>, Error> {
    match client.query(&format!("SELECT pg_read_file({})", quote_literal(path))) {
        Ok(rows) => Ok(rows.first()?.text("pg_read_file").map(str::to_owned)),
        Err(error) if error.server_error().is_some() && !error.is_lost() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_machine_are_left_out() {
        for name in [
            "port",
            "ssl_cert_file",
            "ssl",
            "archive_command",
            "unix_socket_directories",
            "data_directory",
        ] {
            assert!(is_left_out(name), "{name}");
        }
        for name in [
            "shared_preload_libraries",
            "max_connections",
            "wal_level",
            "lc_messages",
        ] {
            assert!(!is_left_out(name), "{name}");
        }
    }

    #[test]
    fn values_are_quoted_for_the_file() {
        assert_eq!(conf_value("it's \\ x"), "'it''s \\\\ x'");
    }
}
