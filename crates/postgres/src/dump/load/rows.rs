//! Whether a restored database holds the rows of its dump.

use std::collections::BTreeSet;

use crate::client::{Client, quote_identifier};
use crate::dump::foreign::DatabaseDump;
use crate::dump::{TableCount, row_counts};
use crate::error::Error;

/// Counts the rows of a restored database, and compares them with those that were counted in its
/// dump. Returns the counts, and where they differ.
///
/// # Errors
/// If a table may not be read, or the server goes away.
pub fn row_differences(
    client: &mut Client,
    dump: &DatabaseDump,
) -> Result<(Vec<TableCount>, Vec<String>), Error> {
    let counts = row_counts(client)?;
    let of_extensions = tables_of_extensions(client)?;
    let mut differences = Vec::new();
    for table in &dump.tables {
        let (schema, name) = (&table.schema, &table.table);
        let same = |count: &&TableCount| count.schema == *schema && count.table == *name;
        let found = match counts.iter().find(same) {
            Some(count) => Some(count.rows),
            None => count_partitions(client, schema, name)?,
        };
        // An extension may bring rows of its own.
        let may_have_more = of_extensions.contains(&format!("{schema}.{name}"));
        let is_fine = match (found, table.rows) {
            (Some(found), Some(wanted)) => found == wanted || may_have_more && found > wanted,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if !is_fine {
            let words = |rows: Option<u64>| rows.map_or("no".to_owned(), |rows| rows.to_string());
            differences.push(format!(
                "{schema}.{name} has {} of {} rows",
                words(found),
                table.rows.map_or("its".to_owned(), |rows| rows.to_string())
            ));
        }
    }
    Ok((counts, differences))
}

/// A partitioned table, whose rows are in its partitions; `None` if there is none of that name.
fn count_partitions(client: &mut Client, schema: &str, table: &str) -> Result<Option<u64>, Error> {
    let name = format!("{}.{}", quote_identifier(schema), quote_identifier(table));
    let literal = crate::client::quote_literal(&name);
    let known = client.query(&format!(
        "SELECT to_regclass({literal}) IS NOT NULL AS known"
    ))?;
    if !known.first()?.truth("known")? {
        return Ok(None);
    }
    let day = std::time::Duration::from_secs(24 * 3600);
    let rows = client.query_within(&format!("SELECT count(*) FROM {name}"), day)?;
    rows.single().map(Some)
}

fn tables_of_extensions(client: &mut Client) -> Result<BTreeSet<String>, Error> {
    let rows = client.query(
        "SELECT n.nspname || '.' || c.relname AS name FROM pg_depend d \
         JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass \
           AND d.deptype = 'e'",
    )?;
    rows.iter().map(|row| row.get("name")).collect()
}
