//! Makes a table ready to be dumped by itself. The scratch server is thrown away, so it is changed
//! there, where nothing can be harmed: the table moves to a schema of its own under the names that
//! it will have, and lets go of everything that it has in common with other tables.

use rekindle_postgres::{Client, Error, quote_identifier, quote_literal};

use super::{
    names::{FreeNames, qualified},
    table::{Relation, Table},
    types::MadeType,
};

/// What is prepared, and what was left out of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Prepared {
    /// Members under their new names, parents first.
    pub tables: Vec<String>,
    /// Types that come along, under their new names.
    pub types: Vec<String>,
    /// Definitions of what does not come along.
    pub left_out: Vec<String>,
}

/// How the table is to be called, and where it is prepared.
pub(super) struct Naming<'a> {
    pub staging: &'a str,
    pub new_name: &'a str,
    pub free: &'a mut FreeNames,
}

/// Things that belong to other tables too, each found by a query for its definition and for the
/// statement that drops it. Their restoring would touch what exists.
const SHARED: [&str; 6] = [
    // Foreign keys of others to this table are theirs and nothing to tell of.
    "SELECT '' AS definition, format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS drop \
     FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND confrelid IN (MEMBERS) \
     AND conrelid NOT IN (MEMBERS)",
    "SELECT format('foreign key %I %s', conname, pg_get_constraintdef(oid)) AS definition, \
       format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', conrelid::regclass, conname) AS drop \
     FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND conrelid IN (MEMBERS) \
     AND confrelid NOT IN (MEMBERS)",
    "SELECT pg_get_triggerdef(oid) AS definition, \
       format('DROP TRIGGER IF EXISTS %I ON %s', tgname, tgrelid::regclass) AS drop \
     FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0 AND tgrelid IN (MEMBERS)",
    "SELECT pg_get_ruledef(oid) AS definition, \
       format('DROP RULE IF EXISTS %I ON %s', rulename, ev_class::regclass) AS drop \
     FROM pg_rewrite WHERE rulename <> '_RETURN' AND ev_class IN (MEMBERS)",
    "SELECT format('policy %I on %s', polname, polrelid::regclass) AS definition, \
       format('DROP POLICY IF EXISTS %I ON %s', polname, polrelid::regclass) AS drop \
     FROM pg_policy WHERE polrelid IN (MEMBERS)",
    "SELECT pg_get_statisticsobjdef(s.oid) AS definition, \
       format('DROP STATISTICS %I.%I', n.nspname, stxname) AS drop \
     FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = stxnamespace WHERE stxrelid IN (MEMBERS)",
];

/// Sequences that defaults use and that belong to nobody, or to another table's column.
const LOOSE_SEQUENCES: &str = "\
    SELECT DISTINCT ON (s.oid) format('%I.%I', n.nspname, s.relname) AS sequence, s.relname, a.attname, \
      t.relname AS \"table\", pg_get_userbyid(t.relowner) AS owner \
    FROM pg_attrdef d JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid \
      AND p.refclassid = 'pg_class'::regclass \
    JOIN pg_class s ON s.oid = p.refobjid AND s.relkind = 'S' \
    JOIN pg_namespace n ON n.oid = s.relnamespace \
    JOIN pg_class t ON t.oid = d.adrelid \
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum \
    WHERE d.adrelid IN (MEMBERS) AND NOT EXISTS (SELECT FROM pg_depend o \
      WHERE o.classid = 'pg_class'::regclass AND o.objid = s.oid AND o.deptype IN ('a', 'i') \
        AND o.refclassid = 'pg_class'::regclass AND o.refobjid IN (MEMBERS)) ORDER BY s.oid";

/// Moves the table and what belongs to it alone to the staging schema.
pub(super) fn prepare(
    client: &mut Client,
    table: &Table,
    own_types: &[MadeType],
    mut naming: Naming<'_>,
) -> Result<Prepared, Error> {
    let mut prepared = Prepared::default();
    let staging = naming.staging;
    client.query(&format!("CREATE SCHEMA {}", quote_identifier(staging)))?;
    leave_parents(client, table)?;
    for query in SHARED {
        drop_shared(
            client,
            &query.replace("MEMBERS", &table.oids()),
            &mut prepared,
        )?;
    }
    for member in &table.members {
        let schema = quote_identifier(staging);
        client.query(&format!(
            "ALTER TABLE {} SET SCHEMA {schema}",
            member.qualified()
        ))?;
    }
    take_sequences(client, table, staging)?;
    for made in own_types {
        let (from, schema) = (
            qualified(&made.schema, &made.name),
            quote_identifier(staging),
        );
        client.query(&format!("ALTER TYPE {from} SET SCHEMA {schema}"))?;
        let name = naming
            .free
            .renamed(&made.name, &table.root.name, naming.new_name);
        rename(client, "TYPE", staging, &made.name, &name)?;
        prepared.types.push(name);
    }
    prepared.tables = rename_all(client, table, &mut naming)?;
    Ok(prepared)
}

/// A partition, or a table that inherits, is let go by its parents.
fn leave_parents(client: &mut Client, table: &Table) -> Result<(), Error> {
    let sql = format!(
        "SELECT format('%I.%I', n.nspname, p.relname) AS parent, k.relispartition AS partition \
         FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent \
         JOIN pg_namespace n ON n.oid = p.relnamespace JOIN pg_class k ON k.oid = i.inhrelid \
         WHERE i.inhrelid = {}",
        table.root.oid
    );
    let own = table.root.qualified();
    for row in client.query(&sql)?.iter() {
        let parent: String = row.get("parent")?;
        let sql = match row.truth("partition")? {
            true => format!("ALTER TABLE {parent} DETACH PARTITION {own}"),
            false => format!("ALTER TABLE {own} NO INHERIT {parent}"),
        };
        client.query(&sql)?;
    }
    Ok(())
}

fn drop_shared(client: &mut Client, query: &str, prepared: &mut Prepared) -> Result<(), Error> {
    for row in client.query(query)?.iter() {
        let definition: String = row.get("definition")?;
        client.query(&row.get::<String>("drop")?)?;
        if !definition.is_empty() {
            prepared.left_out.push(definition);
        }
    }
    Ok(())
}

/// A default that counts on a sequence of somebody else's would go on counting on it, and a value
/// taken for the restored table would be missing in the live one.
fn take_sequences(client: &mut Client, table: &Table, staging: &str) -> Result<(), Error> {
    let sql = LOOSE_SEQUENCES.replace("MEMBERS", &table.oids());
    for row in client.query(&sql)?.iter() {
        let sequence: String = row.get("sequence")?;
        let name: String = row.get("relname")?;
        let (column, owner): (String, String) = (row.get("attname")?, row.get("owner")?);
        let of = qualified(staging, &row.get::<String>("table")?);
        let moved = qualified(staging, &name);
        let schema = quote_identifier(staging);
        client.query(&format!("ALTER SEQUENCE {sequence} OWNED BY NONE"))?;
        client.query(&format!("ALTER SEQUENCE {sequence} SET SCHEMA {schema}"))?;
        client.query(&format!(
            "ALTER SEQUENCE {moved} OWNER TO {}",
            quote_identifier(&owner)
        ))?;
        let column = quote_identifier(&column);
        client.query(&format!("ALTER SEQUENCE {moved} OWNED BY {of}.{column}"))?;
    }
    Ok(())
}

/// Gives everything in the staging schema a name that is free in the live one. Returns the tables'.
fn rename_all(
    client: &mut Client,
    table: &Table,
    naming: &mut Naming<'_>,
) -> Result<Vec<String>, Error> {
    let (staging, new_name) = (naming.staging, naming.new_name);
    let sql = format!(
        "SELECT c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relkind IN ('r', 'p', 'S', 'i', 'I') ORDER BY 1",
        quote_literal(staging)
    );
    let rows = client.query(&sql)?;
    let mut found = Vec::new();
    for row in rows.iter() {
        found.push((row.get::<String>("relname")?, row.get::<String>("relkind")?));
    }
    // Nothing may get a name that something not yet renamed still has.
    for (name, _) in found.iter().filter(|(name, _)| name != new_name) {
        naming.free.take(name);
    }
    naming.free.take(new_name);
    let mut new_names = std::collections::BTreeMap::new();
    for (name, kind) in &found {
        let new = match *name == table.root.name {
            true => new_name.to_owned(),
            false => naming.free.renamed(name, &table.root.name, new_name),
        };
        let what = match &**kind {
            "S" => "SEQUENCE",
            "i" | "I" => "INDEX",
            _ => "TABLE",
        };
        rename(client, what, staging, name, &new)?;
        new_names.insert(name.clone(), new);
    }
    let of = |member: &Relation| new_names.get(&member.name).cloned();
    Ok(table.members.iter().filter_map(of).collect())
}

fn rename(
    client: &mut Client,
    what: &str,
    schema: &str,
    from: &str,
    to: &str,
) -> Result<(), Error> {
    if from == to {
        return Ok(());
    }
    let (from, to) = (qualified(schema, from), quote_identifier(to));
    client
        .query(&format!("ALTER {what} {from} RENAME TO {to}"))
        .map(drop)
}
