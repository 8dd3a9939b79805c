//! Types of columns that somebody made, and whether the live server has the same.

use std::collections::BTreeMap;

use rekindle_postgres::{Client, Error};

use super::table::Table;

/// A type that somebody made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MadeType {
    pub schema: String,
    pub name: String,
}

/// Enumerations, domains, composite types and ranges that no extension owns, with what makes two of
/// them the same.
const DEFINITIONS: &str = "\
    SELECT t.oid, n.nspname, t.typname, t.typtype::text || ':' || CASE t.typtype \
      WHEN 'e' THEN coalesce((SELECT string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder) \
                     FROM pg_enum WHERE enumtypid = t.oid), '') \
      WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod) || ' ' || t.typnotnull || ' ' \
          || coalesce(t.typdefault, '') || coalesce((SELECT string_agg(pg_get_constraintdef(k.oid), ',' \
             ORDER BY k.conname) FROM pg_constraint k WHERE k.contypid = t.oid), '') \
      WHEN 'c' THEN coalesce((SELECT string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod), ',' \
             ORDER BY attnum) FROM pg_attribute WHERE attrelid = t.typrelid AND attnum > 0 \
             AND NOT attisdropped), '') \
      ELSE coalesce((SELECT format_type(rngsubtype, NULL) FROM pg_range WHERE rngtypid = t.oid), '') \
      END AS definition \
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
    LEFT JOIN pg_class k ON k.oid = t.typrelid \
    WHERE t.typtype IN ('e', 'd', 'c', 'r') AND coalesce(k.relkind, 'c') = 'c' \
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass \
        AND e.objid = t.oid AND e.deptype = 'e')";

/// The types that a table's columns need, directly or inside of others.
pub(super) fn used_by(
    client: &mut Client,
    table: &Table,
) -> Result<BTreeMap<MadeType, String>, Error> {
    let sql = format!(
        "WITH RECURSIVE used(oid) AS (\
           SELECT atttypid FROM pg_attribute WHERE attrelid IN ({oids}) AND attnum > 0 \
             AND NOT attisdropped \
           UNION SELECT inner_type.oid FROM used u JOIN pg_type t ON t.oid = u.oid CROSS JOIN LATERAL (\
             SELECT t.typelem AS oid WHERE t.typelem <> 0 \
             UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0 \
             UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid \
             UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE t.typrelid <> 0 \
               AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) inner_type) \
         SELECT d.nspname, d.typname, d.definition FROM ({DEFINITIONS}) d JOIN used USING (oid)",
        oids = table.oids()
    );
    read(client, &sql)
}

/// All such types of a database.
pub(super) fn all(client: &mut Client) -> Result<BTreeMap<MadeType, String>, Error> {
    read(client, DEFINITIONS)
}

fn read(client: &mut Client, sql: &str) -> Result<BTreeMap<MadeType, String>, Error> {
    let rows = client.query(sql)?;
    rows.iter()
        .map(|row| {
            let made = MadeType {
                schema: row.get("nspname")?,
                name: row.get("typname")?,
            };
            Ok((made, row.get("definition")?))
        })
        .collect()
}
