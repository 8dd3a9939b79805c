//! What a recovery to a moment leaves behind.

use std::collections::BTreeMap;

use rekindle_vault::Vault;
use serde::Serialize;

use super::{FindRequest, Found, Happening, TableHappening, search};
use crate::RecoveryError;

/// What was committed in a span, in all: after a recovery target it is what is lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// The span; its `transactions` are the ones that are lost.
    pub searched: Found,
    /// Rows by table, those with the most first. A table that was changed and dropped is there as
    /// well: its rows were lost before.
    pub tables: Vec<TableHappening>,
    /// Databases that were dropped, and would be there again.
    pub databases_dropped: Vec<String>,
}

/// Sums up what was committed from [`FindRequest::after`] on.
///
/// # Errors
/// As [`find`](super::find).
pub fn loss(vault: &Vault, request: &FindRequest<'_>) -> Result<Loss, RecoveryError> {
    loss_of(vault, request, &mut |_| true)
}

/// Sums up what `is_lost` takes of what was committed in the span.
pub(in crate::wal) fn loss_of(
    vault: &Vault,
    request: &FindRequest<'_>,
    is_lost: &mut dyn FnMut(&Happening) -> bool,
) -> Result<Loss, RecoveryError> {
    let mut transactions = 0;
    let mut sums: BTreeMap<Key, TableHappening> = BTreeMap::new();
    let mut databases_dropped = Vec::new();
    let (mut searched, names) = search(vault, request, &mut |happening: Happening| {
        if !is_lost(&happening) {
            return;
        }
        transactions += 1;
        databases_dropped.extend(happening.databases_dropped);
        for table in happening.tables {
            add(&mut sums, table);
        }
    })?;
    searched.transactions = transactions;
    // A file whose table was learnt late belongs to that table's sum.
    let mut tables: Vec<_> = sums.into_values().collect();
    names.fill_in(tables.iter_mut());
    let mut named = BTreeMap::new();
    for table in tables {
        add(&mut named, table);
    }
    let mut tables: Vec<_> = named.into_values().collect();
    tables.sort_by_key(|table| std::cmp::Reverse(table.inserted + table.updated + table.deleted));
    Ok(Loss {
        searched,
        tables,
        databases_dropped,
    })
}

/// A table keeps its OID; of a stranger only the file is known.
type Key = (String, Option<u32>, Option<String>);

fn add(sums: &mut BTreeMap<Key, TableHappening>, table: TableHappening) {
    let file = table.file.clone().filter(|_| table.oid.is_none());
    let key = (table.database.clone(), table.oid, file);
    match sums.get_mut(&key) {
        None => {
            sums.insert(key, table);
        }
        Some(sum) => {
            sum.inserted += table.inserted;
            sum.updated += table.updated;
            sum.deleted += table.deleted;
            sum.fate = table.fate.or(sum.fate);
        }
    }
}
