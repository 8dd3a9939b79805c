//! File names of tables and indexes.

/// Which part of a relation a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fork {
    /// The rows or index entries.
    Main,
    /// The free space map, `_fsm`.
    FreeSpaceMap,
    /// The visibility map, `_vm`.
    VisibilityMap,
    /// What an unlogged relation is reset to after a crash, `_init`.
    Init,
}

/// A file of a table or index, as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelationFile {
    /// The file node number, which is not always the relation's OID.
    pub oid: u32,
    /// Which part it holds.
    pub fork: Fork,
    /// Which of the relation's files it is; each but the last is 1 GiB long.
    pub segment: u32,
    /// Whether the relation is a session's temporary one.
    pub temporary: bool,
}

impl RelationFile {
    /// The number of the file's first page within its fork, for pages of `block_size` bytes.
    ///
    /// Stock builds cut relations at 1 GiB (`RELSEG_SIZE`).
    pub const fn first_block(self, block_size: u32) -> u32 {
        self.segment.wrapping_mul((1 << 30) / block_size)
    }
}

/// Reads a path relative to PGDATA; `None` if it is not a relation's file.
pub fn relation_file(path: &str) -> Option<RelationFile> {
    let (directory, name) = path.rsplit_once('/')?;
    is_relation_directory(directory).then_some(())?;
    let (temporary, name) = match name.strip_prefix('t') {
        Some(rest) => {
            let (backend, rest) = rest.split_once('_')?;
            number(backend)?;
            (true, rest)
        }
        None => (false, name),
    };
    let (name, segment) = match name.split_once('.') {
        Some((name, segment)) => (name, number(segment).filter(|segment| *segment > 0)?),
        None => (name, 0),
    };
    let (oid, fork) = match name.split_once('_') {
        None => (name, Fork::Main),
        Some((oid, "fsm")) => (oid, Fork::FreeSpaceMap),
        Some((oid, "vm")) => (oid, Fork::VisibilityMap),
        Some((oid, "init")) => (oid, Fork::Init),
        Some(_) => return None,
    };
    Some(RelationFile {
        oid: number(oid)?,
        fork,
        segment,
        temporary,
    })
}

/// `global`, `base/<oid>`, `pg_tblspc/<oid>/PG_…/<oid>` and the same under `tablespaces`.
fn is_relation_directory(directory: &str) -> bool {
    let parts: Vec<&str> = directory.split('/').collect();
    match parts.as_slice() {
        ["global"] => true,
        ["base", database] => number(database).is_some(),
        ["pg_tblspc" | "tablespaces", tablespace, version, database] => {
            number(tablespace).is_some() && version.starts_with("PG_") && number(database).is_some()
        }
        _ => false,
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_relation_fork_and_segment() {
        let file = relation_file("base/5/16384_vm.2").unwrap();
        assert_eq!(
            (file.oid, file.fork, file.segment),
            (16384, Fork::VisibilityMap, 2)
        );
        assert_eq!(file.first_block(8192), 262_144);
        assert!(relation_file("base/5/t12_16384.1").unwrap().temporary);
        assert_eq!(relation_file("global/1260").unwrap().fork, Fork::Main);
        assert_eq!(
            relation_file("pg_tblspc/16500/PG_15_202209061/5/16501_init")
                .unwrap()
                .fork,
            Fork::Init
        );
    }

    #[test]
    fn other_files_are_no_relations() {
        for path in [
            "16384",
            "global/pg_control",
            "base/5/pg_filenode.map",
            "base/5/PG_VERSION",
            "base/5/16384_new",
            "base/5/16384.x",
            "base/pgsql_tmp/1",
            "pg_xact/0000",
            "pg_tblspc/16500/other/5/16501",
        ] {
            assert_eq!(relation_file(path), None, "{path}");
        }
    }
}
