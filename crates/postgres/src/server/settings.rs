//! The configuration of a private server.

use std::path::Path;
use std::process::Command;

use super::{Owner, Programs};

/// Nobody gets to the socket but the owner of its directory.
pub(super) const HBA: &str = "local all all trust\n";

/// `pg_dump` takes one lock for each table; a lock takes a few hundred bytes of shared memory.
const LOCKS_PER_TRANSACTION: u64 = 1024;

/// What a recovery replays may need as much of these as the primary had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Minimums {
    pub prepared_transactions: u64,
    pub locks_per_transaction: u64,
}

impl Minimums {
    /// Asks `pg_controldata`. Without an answer PostgreSQL's own defaults are assumed.
    pub(super) fn read(programs: &Programs, owner: &Owner, pgdata: &Path) -> Self {
        let mut command = programs.command(programs.path("pg_controldata"));
        command.arg("-D").arg(pgdata);
        let text = match owner.output(&mut command) {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => {
                tracing::debug!(%error, "pg_controldata could not be asked");
                String::new()
            }
        };
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            prepared_transactions: value("max_prepared_xacts setting:"),
            locks_per_transaction: value("max_locks_per_xact setting:"),
        }
    }
}

/// The libraries that the directory's own configuration loads at start.
///
/// # Errors
/// What the server said of a configuration it cannot read.
pub(super) fn preload_libraries(
    programs: &Programs,
    owner: &Owner,
    pgdata: &Path,
) -> Result<Vec<String>, String> {
    let mut command: Command = programs.command(programs.path("postgres"));
    command
        .arg("-D")
        .arg(pgdata)
        .args(["-C", "shared_preload_libraries"]);
    let output = owner
        .output(&mut command)
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.split(',').map(|name| name.trim().trim_matches('"'));
    Ok(names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

/// What a private server is told on its command line, where it wins over every file, those of the
/// restored directory included.
///
/// It must not be reached, write into an archive, take from a publisher what is meant for the
/// original's subscriptions, run jobs of extensions, wait for standbys, or stop for a lack of
/// connections that the primary had. Nothing on it need survive a power cut.
pub(super) fn settings(
    home: &Path,
    major: u32,
    minimums: Minimums,
    libraries: &[String],
) -> Vec<(String, String)> {
    let path = |name: &str| home.join(name).display().to_string();
    let mut settings = vec![
        ("config_file", path("postgresql.conf")),
        ("hba_file", path("pg_hba.conf")),
        ("ident_file", path("pg_ident.conf")),
        ("external_pid_file", String::new()),
        ("listen_addresses", String::new()),
        ("unix_socket_directories", home.display().to_string()),
        ("unix_socket_permissions", "0700".to_owned()),
        ("port", "5432".to_owned()),
        ("cluster_name", "rekindle scratch".to_owned()),
        ("shared_preload_libraries", libraries.join(",")),
        (
            "max_prepared_transactions",
            minimums.prepared_transactions.to_string(),
        ),
        (
            "max_locks_per_transaction",
            minimums
                .locks_per_transaction
                .max(LOCKS_PER_TRANSACTION)
                .to_string(),
        ),
    ];
    settings.extend(FIXED.map(|(name, value)| (name, value.to_owned())));
    let since = |(from, name, value): &(u32, &'static str, &str)| {
        (major >= *from).then(|| (*name, (*value).to_owned()))
    };
    settings.extend(SINCE.iter().filter_map(since));
    settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Settings that every version knows.
const FIXED: [(&str, &str); 41] = [
    ("archive_mode", "off"),
    ("archive_command", ""),
    ("autovacuum", "off"),
    ("bonjour", "off"),
    ("default_tablespace", ""),
    ("default_transaction_read_only", "off"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("hot_standby", "off"),
    ("huge_pages", "off"),
    ("idle_in_transaction_session_timeout", "0"),
    ("jit", "off"),
    ("lc_messages", "C"),
    ("local_preload_libraries", ""),
    ("lock_timeout", "0"),
    ("log_destination", "stderr"),
    ("log_duration", "off"),
    ("log_line_prefix", "%m [%p] "),
    ("log_min_duration_statement", "-1"),
    ("log_min_messages", "warning"),
    ("log_statement", "none"),
    ("logging_collector", "off"),
    ("max_connections", "50"),
    ("max_logical_replication_workers", "0"),
    ("max_wal_senders", "0"),
    ("max_worker_processes", "0"),
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    ("recovery_target_action", "promote"),
    ("restart_after_crash", "off"),
    ("session_preload_libraries", ""),
    ("shared_buffers", "128MB"),
    ("ssl", "off"),
    ("statement_timeout", "0"),
    ("superuser_reserved_connections", "3"),
    ("synchronous_commit", "off"),
    ("synchronous_standby_names", ""),
    ("temp_tablespaces", ""),
    ("track_commit_timestamp", "off"),
    ("update_process_title", "on"),
    ("wal_level", "replica"),
];

/// Settings that came with a version.
const SINCE: [(u32, &str, &str); 5] = [
    (14, "idle_session_timeout", "0"),
    (15, "archive_library", ""),
    (17, "event_triggers", "off"),
    (17, "summarize_wal", "off"),
    (17, "transaction_timeout", "0"),
];

/// The one of `libraries` that the server could not load, by what it said of it.
pub(super) fn unloadable<'a>(log: &str, libraries: &'a [String]) -> Option<&'a String> {
    let stem = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.trim_end_matches(".so").to_owned()
    };
    let complaints = log.lines().filter(|line| {
        line.contains("FATAL:")
            && [
                "could not access file",
                "could not load library",
                "library ",
            ]
            .iter()
            .any(|words| line.contains(words))
    });
    let named: Vec<String> = complaints
        .filter_map(|line| line.split('"').nth(1).map(stem))
        .collect();
    libraries
        .iter()
        .find(|library| named.contains(&stem(library)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_files_minimums_are_read() {
        let text = "max_connections setting:              100\n\
                    max_prepared_xacts setting:           7\n\
                    max_locks_per_xact setting:           64\n";
        let minimums = Minimums::parse(text);
        assert_eq!(minimums.prepared_transactions, 7);
        assert_eq!(minimums.locks_per_transaction, 64);
        assert_eq!(Minimums::parse(""), Minimums::default());
    }

    #[test]
    fn the_library_that_cannot_be_loaded_is_found_in_the_log() {
        let libraries = [
            "pg_stat_statements".to_owned(),
            "$libdir/pg_cron".to_owned(),
        ];
        for log in [
            "2026-01-01 UTC [1] FATAL:  could not access file \"$libdir/pg_cron\": No such file or directory",
            "2026-01-01 UTC [1] FATAL:  could not load library \"/usr/lib/postgresql/15/lib/pg_cron.so\": undefined symbol",
            "x FATAL:  incompatible library \"/usr/lib/pg_cron.so\": version mismatch",
        ] {
            assert_eq!(unloadable(log, &libraries), Some(&libraries[1]), "{log}");
        }
        let other = "x FATAL:  could not access directory \"/y/pg_cron\": Permission denied";
        assert_eq!(unloadable(other, &libraries), None);
        assert_eq!(unloadable("x LOG:  starting", &libraries), None);
    }

    #[test]
    fn settings_of_later_versions_are_not_told_to_earlier_ones() {
        let names = |major| -> Vec<String> {
            let settings = settings(Path::new("/x"), major, Minimums::default(), &[]);
            settings.into_iter().map(|(name, _)| name).collect()
        };
        assert!(!names(13).contains(&"idle_session_timeout".to_owned()));
        assert!(names(17).contains(&"event_triggers".to_owned()));
    }
}
