//! Reading catalogs as they lie in PGDATA.

use std::collections::{BTreeSet, HashMap};

use super::page::{Fates, Row, Standing, rows, undecided};
use super::{Catalog, Relation, RelationKind, map};
use crate::control_file::ControlFile;
use crate::error::Error;
use crate::wal::{Numbers, RelationId};

const PG_CLASS: u32 = 1259;
const PG_DATABASE: u32 = 1262;
const PG_NAMESPACE: u32 = 2615;
const PG_DEFAULT: u32 = 1663;
const PG_GLOBAL: u32 = 1664;
/// `NAMEDATALEN`, the zero at the end included.
const NAME_BYTES: usize = 64;

impl Catalog {
    /// Reads the names out of the files of a data directory, or of a base backup of one. `read`
    /// gives a file's content by its path within PGDATA, `None` if it is not there.
    ///
    /// A backup that was taken while the server worked holds some rows twice and some half; of each
    /// name the version most likely in force is taken, and what cannot be read is left out. Sources:
    /// PostgreSQL's `catalog/pg_class.h`, `pg_database.h`, `pg_namespace.h`, versions 13 to 18.
    ///
    /// # Errors
    /// What `read` fails with, and [`Error::Damaged`] if the list of databases cannot be found.
    pub fn read<E: From<Error>>(
        read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let mut files = Files::new(read)?;
        let mut catalog = Self::new();
        let global = files.map("global")?;
        let node = global.get(&PG_DATABASE).copied().unwrap_or(PG_DATABASE);
        let content = files.relation(&format!("global/{node}"))?;
        for (database, (name, tablespace)) in files.best(&content, database)? {
            files.database(&mut catalog, database, tablespace, &global)?;
            catalog.add_database(database, name);
        }
        Ok(catalog)
    }
}

struct Files<R> {
    read: R,
    major: u32,
    page_bytes: usize,
    /// The folder of this version within a tablespace.
    version_folder: String,
    fates: Fates,
    fates_asked: BTreeSet<u32>,
}

impl<R, E> Files<R>
where
    R: FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    E: From<Error>,
{
    fn new(mut read: R) -> Result<Self, E> {
        let damaged = |what: &str, reason: &str| Error::Damaged {
            what: what.to_owned(),
            reason: reason.to_owned(),
        };
        let control = read("global/pg_control")?
            .ok_or_else(|| damaged("global/pg_control", "it is not there"))?;
        let control = ControlFile::parse(control)?;
        let version =
            read("PG_VERSION")?.ok_or_else(|| damaged("PG_VERSION", "it is not there"))?;
        let major = String::from_utf8_lossy(&version).trim().parse();
        let major = major.map_err(|_| damaged("PG_VERSION", "it holds no number"))?;
        Ok(Self {
            read,
            major,
            page_bytes: control.block_size as usize,
            version_folder: format!("PG_{major}_{}", control.catalog_version),
            fates: Fates::default(),
            fates_asked: BTreeSet::new(),
        })
    }

    fn map(&mut self, directory: &str) -> Result<HashMap<u32, u32>, E> {
        let content = (self.read)(&format!("{directory}/pg_filenode.map"))?;
        Ok(content
            .and_then(|content| map::parse(&content))
            .unwrap_or_default())
    }

    /// All of a relation's main fork, whose files are cut at 1 GiB.
    fn relation(&mut self, path: &str) -> Result<Vec<u8>, E> {
        let mut content = (self.read)(path)?.unwrap_or_default();
        for segment in 1.. {
            match (self.read)(&format!("{path}.{segment}"))? {
                Some(more) => content.extend_from_slice(&more),
                None => break,
            }
        }
        Ok(content)
    }

    /// Of each key the value of the row that stands best; of equals the last.
    fn best<K: Eq + std::hash::Hash, V>(
        &mut self,
        content: &[u8],
        entry: impl Fn(&[u8], u32) -> Option<(K, V)>,
    ) -> Result<HashMap<K, V>, E> {
        self.learn_fates(content)?;
        let mut best: HashMap<K, (Standing, V)> = HashMap::new();
        for Row { fields, standing } in rows(content, self.page_bytes, &self.fates) {
            let Some((key, value)) = entry(fields, self.major) else {
                continue;
            };
            let is_better = best.get(&key).is_none_or(|(known, _)| *known <= standing);
            if standing > Standing::Aborted && is_better {
                best.insert(key, (standing, value));
            }
        }
        Ok(best
            .into_iter()
            .map(|(key, (_, value))| (key, value))
            .collect())
    }

    fn learn_fates(&mut self, content: &[u8]) -> Result<(), E> {
        let wanted: BTreeSet<u32> = undecided(content, self.page_bytes)
            .map(Fates::file_of)
            .collect();
        for file in wanted {
            if self.fates_asked.insert(file)
                && let Some(content) = (self.read)(&format!("pg_xact/{file:04X}"))?
            {
                self.fates.add(file, content);
            }
        }
        Ok(())
    }

    /// Adds the relations of one database.
    fn database(
        &mut self,
        catalog: &mut Catalog,
        database: u32,
        tablespace: u32,
        global: &HashMap<u32, u32>,
    ) -> Result<(), E> {
        let folder = match tablespace {
            PG_DEFAULT => format!("base/{database}"),
            other => format!("pg_tblspc/{other}/{}/{database}", self.version_folder),
        };
        let map = self.map(&folder)?;
        let mut load = |oid: u32| {
            let node = map.get(&oid).copied().unwrap_or(oid);
            self.relation(&format!("{folder}/{node}"))
        };
        let (namespaces, classes) = (load(PG_NAMESPACE)?, load(PG_CLASS)?);
        let namespaces = self.best(&namespaces, named)?;
        for (key, class) in self.best(&classes, class)? {
            let maps = if class.is_shared { global } else { &map };
            let Some(node) = key.node.or_else(|| maps.get(&class.oid).copied()) else {
                continue;
            };
            let id = RelationId {
                tablespace: match (class.is_shared, class.tablespace) {
                    (true, _) => PG_GLOBAL,
                    (false, 0) => tablespace,
                    (false, own) => own,
                },
                database: if class.is_shared { 0 } else { database },
                node,
            };
            let schema = namespaces.get(&class.namespace);
            let relation = Relation {
                oid: class.oid,
                schema: schema
                    .cloned()
                    .unwrap_or_else(|| class.namespace.to_string()),
                name: class.name,
                kind: class.kind,
                rows: class.rows,
            };
            catalog.add_relation(id, relation);
        }
        Ok(())
    }
}

/// What `pg_class` says of a relation.
struct Class {
    oid: u32,
    name: String,
    namespace: u32,
    tablespace: u32,
    rows: Option<u64>,
    kind: RelationKind,
    is_shared: bool,
}

fn name(fields: &[u8], at: usize) -> Option<String> {
    let bytes = fields.get(at..at + NAME_BYTES)?;
    let length = bytes.iter().position(|byte| *byte == 0)?;
    (length > 0).then(|| String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// OID and name, with which `pg_namespace` and others begin.
fn named(fields: &[u8], _: u32) -> Option<(u32, String)> {
    Some((fields.u32_at(0)?, name(fields, 4)?))
}

/// A database's name and default tablespace. 15 moved the locale's names behind it.
fn database(fields: &[u8], major: u32) -> Option<(u32, (String, u32))> {
    let tablespace = if major < 15 { 224 } else { 92 };
    Some((
        fields.u32_at(0)?,
        (name(fields, 4)?, fields.u32_at(tablespace)?),
    ))
}

/// By what versions of the same row are told from others: the file, or for a relation that has none
/// of its own (the map leads to it, or it is a view) the OID.
#[derive(PartialEq, Eq, Hash)]
struct ClassKey {
    tablespace: u32,
    node: Option<u32>,
    oid: Option<u32>,
}

/// A relation. 18 put `relallfrozen` before what follows the numbers of pages.
fn class(fields: &[u8], major: u32) -> Option<(ClassKey, Class)> {
    let after_pages = if major < 18 { 108 } else { 112 };
    let node = fields.u32_at(88)?;
    let counted = f32::from_bits(fields.u32_at(100)?);
    // Until 14 nobody's count was 0.
    let is_counted = counted > 0.0 || (counted == 0.0 && major >= 14);
    let class = Class {
        oid: fields.u32_at(0)?,
        name: name(fields, 4)?,
        namespace: fields.u32_at(68)?,
        tablespace: fields.u32_at(92)?,
        rows: is_counted.then_some(counted as u64),
        is_shared: fields.u8_at(after_pages + 5)? != 0,
        kind: RelationKind::of(fields.u8_at(after_pages + 7)?),
    };
    let key = ClassKey {
        tablespace: class.tablespace,
        node: (node != 0).then_some(node),
        oid: (node == 0).then_some(class.oid),
    };
    Some((key, class))
}
