//! Telling whether two servers hold the same data.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::Postgres;
use super::client::{Client, forget_settings};
use crate::TestingError;
use crate::process::{as_server_owner, output_with_input, run, succeeded};

/// Rows of one table, told by their number and a hash of all their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSum {
    /// How many rows.
    pub rows: u64,
    /// MD5 over the sorted MD5s of the rows, so that their order on disk does not count.
    pub md5: String,
    /// False for an unlogged table, which a physical restore leaves empty.
    pub logged: bool,
}

/// Every table and materialized view of every database, and the large objects of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableChecksums(pub BTreeMap<String, TableSum>);

impl TableChecksums {
    /// Without unlogged tables, for a comparison across a physical restore.
    #[must_use]
    pub fn logged_only(mut self) -> Self {
        self.0.retain(|_, table| table.logged);
        self
    }

    /// Says what differs, one line a table; empty if nothing does.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let names = self
            .0
            .keys()
            .chain(other.0.keys().filter(|name| !self.0.contains_key(*name)));
        let told = |table: Option<&TableSum>| {
            table.map_or("missing".into(), |t| format!("{} rows, {}", t.rows, t.md5))
        };
        names
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .map(|name| {
                format!(
                    "{name}: {} / {}",
                    told(self.0.get(name)),
                    told(other.0.get(name))
                )
            })
            .collect()
    }
}

impl Postgres {
    /// Returns what `pg_dumpall` prints, without what differs between two runs on the same data:
    /// versions and times in comments, the random word of `\restrict`, tablespaces' locations.
    ///
    /// # Panics
    /// If `pg_dumpall` fails.
    #[track_caller]
    pub fn dump_all(&self) -> String {
        let mut command = self.tool("pg_dumpall");
        let dump = run(&mut command).unwrap_or_else(|error| panic!("{error:?}"));
        let lines = dump
            .lines()
            .filter(|line| !is_incidental(line))
            .map(without_location);
        lines.fold(String::new(), |text, line| text + &line + "\n")
    }

    /// Counts and hashes all rows of all databases that accept connections.
    ///
    /// # Panics
    /// If a query fails.
    #[track_caller]
    pub fn table_checksums(&self) -> TableChecksums {
        checksums(self.client()).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Checks every table and B-tree index with `pg_amcheck`, installing `amcheck` where missing.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] without the extension; [`TestingError::Failed`] with what
    /// `pg_amcheck` found.
    pub fn amcheck(&self) -> Result<(), TestingError> {
        let found = "select 1 from pg_available_extensions where name = 'amcheck'";
        if self.try_psql(found)?.is_empty() {
            let what = format!(
                "extension amcheck of the server in {}",
                self.bin_dir().display()
            );
            let why = "this build is without contrib".into();
            return Err(TestingError::Unavailable { what, why });
        }
        let mut command = self.tool("pg_amcheck");
        command.args(["--all", "--install-missing", "--heapallindexed"]);
        run(&mut command).map(drop)
    }
}

/// Verifies all page checksums of a stopped cluster that has them.
///
/// # Errors
/// [`TestingError::Failed`] with the pages that are wrong, or if it runs or has no checksums.
pub fn checksums_ok(bin_dir: &Path, data_dir: &Path) -> Result<(), TestingError> {
    let mut command = Command::new(bin_dir.join("pg_checksums"));
    forget_settings(&mut command);
    as_server_owner(&mut command)?;
    command.arg("--check").arg("-D").arg(data_dir);
    let output = output_with_input(&mut command, &[])?;
    succeeded(&command, &output)
}

fn is_incidental(line: &str) -> bool {
    let starts = [
        "\\restrict ",
        "\\unrestrict ",
        "-- Dumped ",
        "-- Started on",
        "-- Completed on",
    ];
    starts.iter().any(|start| line.starts_with(start))
}

fn without_location(line: &str) -> String {
    match line.split_once(" LOCATION '") {
        Some((before, _)) if line.starts_with("CREATE TABLESPACE ") => format!("{before};"),
        _ => line.to_owned(),
    }
}

/// One line a table: its name for people, its name for SQL, and whether it is logged. The last
/// two come first because only a name may hold the separator.
const TABLES: &str = "select c.relpersistence <> 'u', format('%I.%I', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'm') and c.relpersistence <> 't'
      and (c.oid = 'pg_largeobject'::regclass
           or n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast'))
      and (c.relkind <> 'm' or c.relispopulated)
    order by 2";

fn checksums(client: &Client) -> Result<TableChecksums, TestingError> {
    let databases = "select datname from pg_database where datallowconn order by 1";
    let mut sums = BTreeMap::new();
    for database in client.try_psql("postgres", databases)?.lines() {
        for line in client.try_psql(database, TABLES)?.lines() {
            let (logged, table) = split(line)?;
            let sum = checksum(client, database, table, logged == "t")?;
            sums.insert(format!("{database}: {table}"), sum);
        }
    }
    Ok(TableChecksums(sums))
}

fn checksum(
    client: &Client,
    database: &str,
    table: &str,
    logged: bool,
) -> Result<TableSum, TestingError> {
    // The alias must not be the name of a column, or it would mean that column.
    let answer = client.try_psql(
        database,
        &format!(
            "select count(*), coalesce(md5(string_agg(h, '' order by h)), '-') from
             (select md5((\"the whole row\".*)::text) h from {table} \"the whole row\") rows"
        ),
    )?;
    let (rows, md5) = split(&answer)?;
    let rows = rows.parse().map_err(|_| unexpected(&answer))?;
    Ok(TableSum {
        rows,
        md5: md5.into(),
        logged,
    })
}

fn split(line: &str) -> Result<(&str, &str), TestingError> {
    line.split_once('|').ok_or_else(|| unexpected(line))
}

fn unexpected(line: &str) -> TestingError {
    TestingError::Unexpected {
        what: "two columns from psql",
        found: line.into(),
    }
}
