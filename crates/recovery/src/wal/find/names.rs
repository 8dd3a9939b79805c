//! What relations are called.

use std::collections::HashMap;

use rekindle_datasets::postgres::BASE;
use rekindle_postgres::{
    Client, Error, Lsn, Mode, identity,
    wal::{
        catalog::{Catalog, Relation, TableEvent},
        scan::Transaction,
    },
};
use rekindle_stack as stack;
use rekindle_vault::{Index, Snapshot, Vault, VaultError};

use super::{FindRequest, Happening, TableHappening, span::Span};
use crate::{RecoveryError, runtime::cluster_at, wal::BasePoint};

/// Names, and why some may be missing.
pub(super) struct Names {
    catalog: Catalog,
    /// From where on the catalog follows what happens.
    from: Lsn,
    learned: Learned,
    problems: Vec<String>,
}

impl Names {
    pub fn of(
        vault: &Vault,
        request: &FindRequest<'_>,
        span: &Span,
    ) -> Result<Self, RecoveryError> {
        let mut names = Self {
            catalog: Catalog::new(),
            from: span.base.start,
            learned: Learned::default(),
            problems: Vec::new(),
        };
        match of_backup(vault, &span.base) {
            Ok(catalog) => names.catalog = catalog,
            Err(error) => names.problems.push(format!(
                "the names in recovery point {} cannot be read: {}",
                span.base.id.short(),
                rekindle_datasets::with_causes(&error)
            )),
        }
        match of_server(request, span.base.system) {
            Ok(catalog) => names.catalog.fill_from(catalog),
            Err(why) => tracing::info!(%why, "the server is not asked for names"),
        }
        Ok(names)
    }

    pub fn problems(&self) -> Vec<String> {
        self.problems.clone()
    }

    /// Says what a transaction did, and follows the tables to where it put them.
    pub fn happening(&mut self, transaction: &Transaction) -> Happening {
        let is_past = transaction.commit.lsn < self.from;
        let mut happening = Happening::of(&self.catalog, transaction, is_past);
        let events = match is_past {
            true => self.catalog.look_back(transaction),
            false => self.catalog.follow(transaction),
        };
        for event in events {
            self.learned.note(&event);
            happening.add(&self.catalog, transaction, event);
        }
        happening
    }

    /// Names what had no name when it happened.
    pub fn fill_in<'a>(&self, tables: impl Iterator<Item = &'a mut TableHappening>) {
        tables.for_each(|table| self.learned.fill_in(table));
    }
}

/// The tables of files, told by what became of them later.
#[derive(Default)]
struct Learned(HashMap<String, (Option<u32>, Option<Relation>)>);

impl Learned {
    fn note(&mut self, event: &TableEvent) {
        if let Some(file) = event.file {
            let known = (event.oid, event.table.clone());
            self.0.insert(file.to_string(), known);
        }
    }

    fn fill_in(&self, table: &mut TableHappening) {
        let learned = table.file.as_ref().and_then(|file| self.0.get(file));
        if let (None, Some((oid, relation))) = (table.oid, learned) {
            table.oid = *oid;
            table.schema = relation.as_ref().map(|relation| relation.schema.clone());
            table.name = relation.as_ref().map(|relation| relation.name.clone());
        }
    }
}

/// Names out of the files of a base backup.
fn of_backup(vault: &Vault, base: &BasePoint) -> Result<Catalog, RecoveryError> {
    let snapshot = vault.find_snapshot(&base.id.to_string())?;
    let (index, _) = vault.load_readable_index()?;
    let root = format!("{}/{BASE}", base.path);
    Catalog::read(|path| read(vault, &index, &snapshot, &root, path)).map_err(|error| match error {
        Reading::Vault(error) => RecoveryError::Vault(error),
        Reading::Postgres(source) => RecoveryError::NotStartable {
            to: format!("recovery point {}", base.id.short()),
            source: Box::new(source),
        },
    })
}

/// Why a file of a base backup did not give names.
enum Reading {
    Vault(VaultError),
    Postgres(Error),
}

impl From<Error> for Reading {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

/// A file of PGDATA; in a recovery point tablespaces lie beside `pg_tblspc`.
fn read(
    vault: &Vault,
    index: &Index,
    snapshot: &Snapshot,
    root: &str,
    path: &str,
) -> Result<Option<Vec<u8>>, Reading> {
    let path = match path.strip_prefix("pg_tblspc/") {
        Some(rest) => format!("tablespaces/{rest}"),
        None => path.to_owned(),
    };
    let node = match vault.find_node(index, snapshot, format!("{root}/{path}")) {
        Ok(node) => node,
        Err(VaultError::NoSuchPath { .. }) => None,
        Err(error) => return Err(Reading::Vault(error)),
    };
    let Some(node) = node else {
        return Ok(None);
    };
    let mut content = Vec::new();
    match vault.copy_file(index, &node, &mut content) {
        Ok(_) => Ok(Some(content)),
        Err(rekindle_vault::CopyError::Vault(error)) => Err(Reading::Vault(error)),
        // Memory takes everything.
        Err(rekindle_vault::CopyError::Write(_)) => Ok(None),
    }
}

/// Names out of the service's server, if it answers and is the same cluster.
fn of_server(request: &FindRequest<'_>, system: u64) -> Result<Catalog, String> {
    let service = request.stack.service(&request.service);
    let settings = service.and_then(|service| {
        service.datasets.iter().find_map(|dataset| match dataset {
            stack::Dataset::Postgres(settings) => Some(settings),
            _ => None,
        })
    });
    let settings = settings.ok_or("it is not in the configuration")?;
    let cluster = cluster_at(request.stack, &request.service, settings)
        .map_err(|error| rekindle_datasets::with_causes(&error))?;
    let asked = || {
        let mut client = Client::connect(cluster.options(), Mode::Sql)?;
        let found = identity(&mut client)?.system_identifier;
        if found != system {
            return Ok(None);
        }
        Catalog::ask(cluster.options()).map(Some)
    };
    let answer: Result<Option<Catalog>, Error> = asked();
    let answer = answer.map_err(|error| rekindle_datasets::with_causes(&error))?;
    answer.ok_or_else(|| "it is another cluster".to_owned())
}
