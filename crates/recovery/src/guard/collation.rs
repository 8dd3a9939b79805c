//! Whether a restored cluster sorts as it did where its indexes were built.

use rekindle_postgres::{Client, Error};

use super::{Guard, GuardFinding};

/// Asks a server that runs on a restored data directory whether the libraries behind its
/// collations are those that its indexes were built with: of the databases, and of the collations
/// in the database that `client` is connected to. Before version 15 a database does not know.
///
/// # Errors
/// If the server refuses or goes away.
pub fn collation_findings(client: &mut Client) -> Result<Vec<GuardFinding>, Error> {
    let mut findings = Vec::new();
    if client.major() >= 15 {
        let rows = client.query(
            "SELECT quote_ident(datname) AS name, datcollversion AS then, \
               pg_database_collation_actual_version(oid) AS now FROM pg_database \
             WHERE datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) \
               AND datcollversion IS NOT NULL AND datallowconn ORDER BY 1",
        )?;
        for row in rows.iter() {
            let name = row.text("name").unwrap_or_default();
            findings.push(GuardFinding::warn(
                Guard::CollationVersion,
                format!(
                    "database {name} was sorted by version {} of its collation library, and this \
                     machine has {}",
                    row.text("then").unwrap_or("?"),
                    row.text("now").unwrap_or("none")
                ),
                format!(
                    "its text indexes may miss rows: in it, `REINDEX DATABASE {name};`, then \
                     `ALTER DATABASE {name} REFRESH COLLATION VERSION;`"
                ),
            ));
        }
    }
    let rows = client.query(
        "SELECT format('%I.%I', n.nspname, c.collname) AS name, c.collversion AS then, \
           pg_collation_actual_version(c.oid) AS now \
         FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace \
         WHERE c.collprovider IN ('i', 'c') AND c.collversion IS NOT NULL \
           AND c.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database())) \
           AND EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_collation'::regclass AND d.refobjid = c.oid) \
           AND c.collversion IS DISTINCT FROM pg_collation_actual_version(c.oid) ORDER BY 1",
    )?;
    for row in rows.iter() {
        let name = row.text("name").unwrap_or_default();
        findings.push(GuardFinding::warn(
            Guard::CollationVersion,
            format!(
                "collation {name} had version {}, and this machine has {}",
                row.text("then").unwrap_or("?"),
                row.text("now").unwrap_or("none")
            ),
            format!(
                "indexes that use it may miss rows: REINDEX them, then `ALTER COLLATION {name} \
                 REFRESH VERSION;`"
            ),
        ));
    }
    Ok(findings)
}
