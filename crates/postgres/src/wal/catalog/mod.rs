//! Names of relations, out of the files of a base backup: what a table was called when the server
//! that knew it is gone.

mod ask;
mod follow;
mod map;
mod page;
mod read;

use std::collections::HashMap;

use super::RelationId;

pub use follow::{TableEvent, TableFate};

/// What kind of relation, by `pg_class.relkind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// A table with rows of its own.
    Table,
    /// A materialized view.
    MaterializedView,
    /// The part of a table that holds its long values.
    Toast,
    /// An index.
    Index,
    /// A sequence.
    Sequence,
    /// Anything else; it has no rows.
    Other,
}

impl RelationKind {
    /// Reads `relkind`.
    pub const fn of(relkind: u8) -> Self {
        match relkind {
            b'r' => Self::Table,
            b'm' => Self::MaterializedView,
            b't' => Self::Toast,
            b'i' => Self::Index,
            b'S' => Self::Sequence,
            _ => Self::Other,
        }
    }

    /// Whether it holds rows that somebody put there.
    pub const fn has_rows(self) -> bool {
        matches!(self, Self::Table | Self::MaterializedView)
    }
}

/// What is known of a relation.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    /// Its OID, which it keeps when its file changes.
    pub oid: u32,
    /// The schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// How many rows it had when somebody counted last (`reltuples`); `None` if nobody did.
    pub rows: Option<u64>,
}

impl Relation {
    /// Whether it belongs to the server itself.
    pub fn is_systems(&self) -> bool {
        matches!(
            self.schema.as_str(),
            "pg_catalog" | "pg_toast" | "information_schema"
        )
    }
}

/// Names of databases and relations, by the numbers that WAL knows them by.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    databases: HashMap<u32, String>,
    relations: HashMap<RelationId, Relation>,
    /// Where a relation's file is, by database and OID.
    newest: HashMap<(u32, u32), RelationId>,
}

impl Catalog {
    /// Knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of a database.
    pub fn database(&self, oid: u32) -> Option<&str> {
        self.databases.get(&oid).map(String::as_str)
    }

    /// What is known of a relation.
    pub fn relation(&self, id: RelationId) -> Option<&Relation> {
        self.relations.get(&id)
    }

    /// All relations.
    pub fn relations(&self) -> impl Iterator<Item = (RelationId, &Relation)> {
        self.relations.iter().map(|(id, relation)| (*id, relation))
    }

    /// Names a database.
    pub fn add_database(&mut self, oid: u32, name: String) {
        self.databases.insert(oid, name);
    }

    /// Names a relation.
    pub fn add_relation(&mut self, id: RelationId, relation: Relation) {
        self.newest.insert((id.database, relation.oid), id);
        self.relations.insert(id, relation);
    }

    /// Adds what another knows; where both know something, this one stays right.
    pub fn fill_from(&mut self, other: Self) {
        for (oid, name) in other.databases {
            self.databases.entry(oid).or_insert(name);
        }
        for (id, relation) in other.relations {
            self.newest.entry((id.database, relation.oid)).or_insert(id);
            self.relations.entry(id).or_insert(relation);
        }
    }
}
