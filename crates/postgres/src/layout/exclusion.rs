//! What a base backup leaves out.

use super::relation::relation_file;

/// The file that makes a directory startable, and is therefore written after all others.
pub const RECEIVED_LAST: &str = "global/pg_control";

/// Why an entry of a data directory is not part of a base backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// Belongs to the running server, or is made anew at every start.
    Runtime,
    /// Would change how the restored server starts; a restore writes its own.
    Signal,
    /// Left over from a backup or made by one; the backup at hand brings its own.
    BackupFile,
    /// A temporary table's or a query's scratch file.
    Temporary,
}

/// Directories that stay but are emptied; a server fills them again at its start.
///
/// `pg_wal` is here too: the WAL a backup needs is chosen by its LSNs, not by what lies there.
const EMPTIED: [&str; 8] = [
    "pg_wal",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_subtrans",
    "pg_stat_tmp",
];

/// Directories within emptied ones that a server expects to find, or is glad of.
const KEPT_WITHIN_EMPTIED: [&str; 2] = ["pg_wal/archive_status", "pg_wal/summaries"];

/// Whether the directory at `path` is kept but nothing within it, except for directories for which
/// [`exclusion`] says nothing.
pub fn is_contents_excluded(path: &str) -> bool {
    EMPTIED.contains(&path) || KEPT_WITHIN_EMPTIED.contains(&path)
}

/// Says why the entry at `path` stays out of a base backup; `None` if it belongs in.
///
/// `path` is relative to PGDATA with `/` between names, tablespaces as `pg_tblspc/<oid>/…` or
/// `tablespaces/<oid>/…`. Forks of unlogged relations are not decided here, because that needs the
/// neighbours in the directory: a relation is unlogged if it has an `_init` fork.
pub fn exclusion(path: &str) -> Option<Exclusion> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if KEPT_WITHIN_EMPTIED.contains(&path) {
        return None;
    }
    if is_within_emptied(path) {
        return Some(Exclusion::Runtime);
    }
    if parent.is_empty()
        && let Some(why) = exclusion_at_the_top(name)
    {
        return Some(why);
    }
    if name.starts_with("pgsql_tmp") {
        return Some(Exclusion::Temporary);
    }
    if name.starts_with("pg_internal.init") {
        return Some(Exclusion::Runtime);
    }
    match relation_file(path) {
        Some(file) if file.temporary => Some(Exclusion::Temporary),
        _ => None,
    }
}

fn is_within_emptied(path: &str) -> bool {
    EMPTIED.iter().any(|dir| {
        path.strip_prefix(dir)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

fn exclusion_at_the_top(name: &str) -> Option<Exclusion> {
    match name {
        "postmaster.pid" | "postmaster.opts" => Some(Exclusion::Runtime),
        "postgresql.auto.conf.tmp" | "current_logfiles.tmp" => Some(Exclusion::Runtime),
        "recovery.signal" | "standby.signal" | "promote" => Some(Exclusion::Signal),
        "backup_label" | "backup_label.old" | "tablespace_map" | "tablespace_map.old"
        | "backup_manifest" => Some(Exclusion::BackupFile),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_harm_a_restored_server_stays_out() {
        for path in [
            "postmaster.pid",
            "postmaster.opts",
            "standby.signal",
            "recovery.signal",
            "backup_label",
            "backup_label.old",
            "tablespace_map",
            "backup_manifest",
            "postgresql.auto.conf.tmp",
            "current_logfiles.tmp",
            "pg_wal/000000010000001600000003",
            "pg_wal/archive_status/000000010000001600000003.done",
            "pg_replslot/standby/state",
            "pg_stat_tmp/global.stat",
            "base/pgsql_tmp/pgsql_tmp42.0",
            "base/pgsql_tmp",
            "base/5/pg_internal.init",
            "global/pg_internal.init.1234",
            "base/5/t3_16384",
            "pg_tblspc/16500/PG_15_202209061/5/t3_16384_fsm",
        ] {
            assert!(exclusion(path).is_some(), "{path}");
        }
    }

    #[test]
    fn what_a_server_needs_stays_in() {
        for path in [
            "PG_VERSION",
            "global/pg_control",
            "base/5/16384",
            "base/5/16384_init",
            "base/5/pg_filenode.map",
            "pg_wal",
            "pg_wal/archive_status",
            "pg_wal/summaries",
            "pg_replslot",
            "pg_xact/0000",
            "postgresql.auto.conf",
            "current_logfiles",
            "my/backup_label",
            "pg_stat/pgstat.stat",
            "pg_walx/file",
        ] {
            assert_eq!(exclusion(path), None, "{path}");
        }
    }
}
