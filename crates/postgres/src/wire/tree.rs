//! Turns the server's archives into one tree that starts wherever it is restored.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::BackupError;
use super::manifest::Changes;
use super::origin::{Origin, is_within_base, tablespace_of};
use super::tar::{Entries, Entry, Kind};
use crate::error::Error;
use crate::layout::{TABLESPACES_DIR, TablespaceMap, exclusion, tablespace_link_target};
use crate::sink::{EntryMeta, PgdataSink, private_directory, private_file, put_file};

/// Label and map are a few hundred bytes; a server that sends more is not sane.
const MAX_SMALL_FILE: u64 = 16 << 20;

const BACKUP_LABEL: &str = "backup_label";
const TABLESPACE_MAP: &str = "tablespace_map";

/// Where a data directory has its links to tablespaces.
const LINKS_DIR: &str = "pg_tblspc";

/// Which archive is being taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Archive {
    Base,
    Tablespace(u32),
}

/// Where the bytes of the present file go.
enum Current {
    Sink,
    Nowhere,
    /// Held back until it is whole, because it is changed or looked into.
    Held {
        path: String,
        meta: EntryMeta,
        content: Vec<u8>,
    },
}

/// Writes a [`PgdataSink`] out of archive entries.
pub(super) struct Tree<'a, S> {
    sink: &'a mut S,
    archive: Archive,
    tablespaces: BTreeMap<u32, Origin>,
    current: Current,
    has_tablespaces_dir: bool,
    pub(super) backup_label: Option<String>,
    pub(super) tablespace_map: Option<String>,
    /// In what the tree differs from what the server's manifest lists.
    pub(super) changes: Changes,
}

impl<'a, S: PgdataSink> Tree<'a, S> {
    pub(super) fn new(sink: &'a mut S) -> Self {
        Self {
            sink,
            archive: Archive::Base,
            tablespaces: BTreeMap::new(),
            current: Current::Nowhere,
            has_tablespaces_dir: false,
            backup_label: None,
            tablespace_map: None,
            changes: Changes::default(),
        }
    }

    /// Says which tablespaces there are, by OID and location.
    ///
    /// # Errors
    /// If one lies where the server cannot send it from.
    pub(super) fn expect_tablespaces(&mut self, announced: &[(u32, String)]) -> Result<(), Error> {
        for (oid, location) in announced {
            let is_within_base = is_within_base(*oid, location)?;
            match is_within_base {
                true => self.changes.within_base.insert(*oid),
                false => self.changes.separate.insert(*oid),
            };
            let origin = Origin {
                is_within_base,
                has_come: false,
                bytes: 0,
            };
            self.tablespaces.insert(*oid, origin);
        }
        Ok(())
    }

    /// Begins an archive.
    pub(super) fn begin(&mut self, archive: Archive) -> Result<(), BackupError<S::Error>> {
        self.archive = archive;
        match archive {
            Archive::Tablespace(oid) if !self.comes_with_base(oid) => {
                self.tablespace_directory(oid)
            }
            _ => Ok(()),
        }
    }

    fn tablespace_directory(&mut self, oid: u32) -> Result<(), BackupError<S::Error>> {
        let meta = private_directory();
        if !self.has_tablespaces_dir {
            self.has_tablespaces_dir = true;
            self.sink
                .directory(TABLESPACES_DIR, &meta)
                .map_err(BackupError::Sink)?;
        }
        self.sink
            .directory(&format!("{TABLESPACES_DIR}/{oid}"), &meta)
            .map_err(BackupError::Sink)
    }

    fn comes_with_base(&self, oid: u32) -> bool {
        self.tablespaces
            .get(&oid)
            .is_some_and(|origin| origin.is_within_base)
    }

    /// Bytes of the files of a tablespace, once everything has come.
    ///
    /// # Errors
    /// If a tablespace that was to come with the base archive did not.
    pub(super) fn tablespace_bytes(&self, oid: u32) -> Result<u64, Error> {
        match self.tablespaces.get(&oid) {
            Some(origin) if origin.has_come || !origin.is_within_base => Ok(origin.bytes),
            _ => Err(Error::protocol(format!(
                "tablespace {oid} did not come with the data directory"
            ))),
        }
    }

    /// Adds a file that no archive holds.
    pub(super) fn add_file(
        &mut self,
        path: &str,
        content: Vec<u8>,
    ) -> Result<(), BackupError<S::Error>> {
        put_file(self.sink, path, content, &private_file()).map_err(BackupError::Sink)
    }

    /// Where an entry lies in the tree; `None` if it does not belong there.
    fn tree_path(&mut self, entry: &Entry) -> Option<String> {
        let path = match self.archive {
            // Not this tablespace: the server looked for a relative location from a wrong place.
            Archive::Tablespace(oid) if self.comes_with_base(oid) => return None,
            Archive::Tablespace(_) if entry.path.is_empty() => return None,
            Archive::Tablespace(oid) => format!("{TABLESPACES_DIR}/{oid}/{}", entry.path),
            Archive::Base if entry.path.is_empty() => return None,
            Archive::Base => entry.path.clone(),
        };
        if let Some(tablespace) =
            tablespace_of(&path).and_then(|oid| self.tablespaces.get_mut(&oid))
        {
            tablespace.has_come = true;
        }
        let is_kept = matches!(path.as_str(), BACKUP_LABEL | TABLESPACE_MAP);
        if is_kept || (exclusion(&path).is_none() && !self.is_sent_separately(&path)) {
            return Some(path);
        }
        if let Kind::File { .. } = entry.kind {
            self.changes.removed.insert(path);
        }
        None
    }

    /// A tablespace within PGDATA that also has an archive of its own must not come twice.
    fn is_sent_separately(&self, path: &str) -> bool {
        if self.archive != Archive::Base {
            return false;
        }
        match tablespace_of(path).and_then(|oid| self.tablespaces.get(&oid)) {
            Some(origin) => !origin.is_within_base,
            // The directory itself was announced with the first tablespace.
            None => path == TABLESPACES_DIR && self.has_tablespaces_dir,
        }
    }

    /// Links to where the tablespaces lie in the tree. A server that sends a map leaves them out.
    fn links(&mut self) -> Result<(), BackupError<S::Error>> {
        let meta = EntryMeta {
            mode: 0o777,
            ..private_file()
        };
        for oid in self.tablespaces.keys() {
            let (path, target) = (format!("{LINKS_DIR}/{oid}"), tablespace_link_target(*oid));
            self.sink
                .symlink(&path, &target, &meta)
                .map_err(BackupError::Sink)?;
        }
        Ok(())
    }

    fn directory(&mut self, path: &str, meta: &EntryMeta) -> Result<(), BackupError<S::Error>> {
        if self.is_tablespace_link(path) {
            return Ok(());
        }
        self.sink.directory(path, meta).map_err(BackupError::Sink)?;
        match path {
            LINKS_DIR => self.links(),
            _ => Ok(()),
        }
    }

    fn is_tablespace_link(&self, path: &str) -> bool {
        let oid = path
            .strip_prefix(LINKS_DIR)
            .and_then(|rest| rest.strip_prefix('/')?.parse().ok());
        oid.is_some_and(|oid| self.tablespaces.contains_key(&oid))
    }

    /// The links of tablespaces are our own; others no server sends.
    fn link(&self, path: &str) -> Result<(), Error> {
        match self.is_tablespace_link(path) {
            true => Ok(()),
            false => Err(Error::protocol(format!(
                "a symbolic link `{path}` that is no tablespace's"
            ))),
        }
    }

    fn begin_file(
        &mut self,
        path: String,
        size: u64,
        meta: EntryMeta,
    ) -> Result<(), BackupError<S::Error>> {
        if matches!(path.as_str(), BACKUP_LABEL | TABLESPACE_MAP) {
            if size > MAX_SMALL_FILE {
                return Err(Error::protocol(format!("`{path}` of {size} bytes")).into());
            }
            self.current = Current::Held {
                path,
                meta,
                content: Vec::new(),
            };
            return Ok(());
        }
        self.current = Current::Sink;
        if let Some(tablespace) =
            tablespace_of(&path).and_then(|oid| self.tablespaces.get_mut(&oid))
        {
            tablespace.bytes += size;
        }
        self.sink
            .begin_file(&path, size, &meta)
            .map_err(BackupError::Sink)
    }

    fn finish_held(
        &mut self,
        path: &str,
        meta: EntryMeta,
        content: Vec<u8>,
    ) -> Result<(), BackupError<S::Error>> {
        let text = String::from_utf8(content)
            .map_err(|_| Error::protocol(format!("`{path}` is not UTF-8")))?;
        let text = match path {
            TABLESPACE_MAP => {
                let map = TablespaceMap::parse(&text)
                    .map_err(Error::from)?
                    .within_tree()
                    .to_text();
                self.changes.tablespace_map = (map != text).then(|| map.clone());
                self.tablespace_map = (!map.is_empty()).then(|| map.clone());
                map
            }
            _ => {
                self.backup_label = Some(text.clone());
                text
            }
        };
        put_file(self.sink, path, text.into_bytes(), &meta).map_err(BackupError::Sink)
    }
}

impl<S: PgdataSink> Entries for Tree<'_, S> {
    type Error = BackupError<S::Error>;

    fn entry(&mut self, entry: Entry) -> Result<(), Self::Error> {
        self.current = Current::Nowhere;
        let Some(path) = self.tree_path(&entry) else {
            return Ok(());
        };
        match entry.kind {
            Kind::Directory => self.directory(&path, &entry.meta),
            Kind::Symlink { .. } => Ok(self.link(&path)?),
            Kind::File { size } => self.begin_file(path, size, entry.meta),
        }
    }

    fn data(&mut self, bytes: Bytes) -> Result<(), Self::Error> {
        match &mut self.current {
            Current::Sink => self.sink.data(bytes).map_err(BackupError::Sink),
            Current::Nowhere => Ok(()),
            Current::Held { content, .. } => {
                content.extend_from_slice(&bytes);
                Ok(())
            }
        }
    }

    fn end_of_file(&mut self) -> Result<(), Self::Error> {
        match std::mem::replace(&mut self.current, Current::Nowhere) {
            Current::Sink => self.sink.end_file().map_err(BackupError::Sink),
            Current::Nowhere => Ok(()),
            Current::Held {
                path,
                meta,
                content,
            } => self.finish_held(&path, meta, content),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tar::TarReader;
    use super::super::tar::tests::header;
    use super::*;

    #[derive(Default)]
    struct Log(Vec<String>);

    impl PgdataSink for Log {
        type Error = std::convert::Infallible;

        fn directory(&mut self, path: &str, _: &EntryMeta) -> Result<(), Self::Error> {
            self.0.push(format!("{path}/"));
            Ok(())
        }

        fn symlink(&mut self, path: &str, target: &str, _: &EntryMeta) -> Result<(), Self::Error> {
            self.0.push(format!("{path} -> {target}"));
            Ok(())
        }

        fn begin_file(&mut self, path: &str, size: u64, _: &EntryMeta) -> Result<(), Self::Error> {
            self.0.push(format!("{path} {size}"));
            Ok(())
        }

        fn data(&mut self, bytes: Bytes) -> Result<(), Self::Error> {
            self.0.push(String::from_utf8_lossy(&bytes).into_owned());
            Ok(())
        }

        fn end_file(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    fn block(content: &str) -> Vec<u8> {
        let mut block = content.as_bytes().to_vec();
        block.resize(512, 0);
        block
    }

    fn feed(tree: &mut Tree<'_, Log>, archive: &[Vec<u8>]) {
        let mut reader = TarReader::new();
        reader.feed(archive.concat().into(), tree).unwrap();
        reader.finish().unwrap();
    }

    #[test]
    fn tablespaces_end_up_beside_relative_links() {
        let mut log = Log::default();
        let mut tree = Tree::new(&mut log);
        tree.expect_tablespaces(&[(16384, "/srv/fast".to_owned())])
            .unwrap();
        tree.begin(Archive::Tablespace(16384)).unwrap();
        feed(&mut tree, &[header("PG_15_202209061/", b'5', 0, "")]);
        tree.begin(Archive::Base).unwrap();
        let map = "16384 /srv/fast\n";
        feed(
            &mut tree,
            &[
                header("tablespace_map", b'0', map.len() as u64, ""),
                block(map),
                header("pg_tblspc/", b'5', 0, ""),
            ],
        );
        assert!(tree.changes.separate.contains(&16384));
        assert_eq!(
            tree.tablespace_map.as_deref(),
            Some("16384 ../tablespaces/16384\n")
        );
        let wanted = [
            "tablespaces/",
            "tablespaces/16384/",
            "tablespaces/16384/PG_15_202209061/",
            "tablespace_map 27",
            "16384 ../tablespaces/16384\n",
            "pg_tblspc/",
            "pg_tblspc/16384 -> ../tablespaces/16384",
        ];
        assert_eq!(log.0, wanted);
    }

    #[test]
    fn a_source_restored_this_way_sends_nothing_twice() {
        let mut log = Log::default();
        let mut tree = Tree::new(&mut log);
        tree.expect_tablespaces(&[(16384, "/srv/fast".to_owned())])
            .unwrap();
        tree.begin(Archive::Tablespace(16384)).unwrap();
        tree.begin(Archive::Base).unwrap();
        feed(
            &mut tree,
            &[
                header("tablespaces/", b'5', 0, ""),
                header("tablespaces/16384/", b'5', 0, ""),
                header("tablespaces/16384/PG_15_202209061/5/16385", b'0', 3, ""),
                block("abc"),
                header("standby.signal", b'0', 0, ""),
                header("PG_VERSION", b'0', 3, ""),
                block("15\n"),
            ],
        );
        assert_eq!(
            log.0,
            ["tablespaces/", "tablespaces/16384/", "PG_VERSION 3", "15\n"]
        );
    }

    #[test]
    fn a_tablespace_behind_a_relative_link_is_taken_from_the_base_archive() {
        let mut log = Log::default();
        let mut tree = Tree::new(&mut log);
        tree.expect_tablespaces(&[(16384, "../tablespaces/16384".to_owned())])
            .unwrap();
        tree.begin(Archive::Tablespace(16384)).unwrap();
        feed(&mut tree, &[header("PG_15_202209061/", b'5', 0, "")]);
        assert!(tree.tablespace_bytes(16384).is_err());
        tree.begin(Archive::Base).unwrap();
        let content = [
            header("tablespaces/", b'5', 0, ""),
            header("tablespaces/16384/PG_15/5/1", b'0', 3, ""),
            block("abc"),
        ];
        feed(&mut tree, &content);
        assert_eq!(tree.tablespace_bytes(16384).unwrap(), 3);
        assert_eq!(
            log.0,
            ["tablespaces/", "tablespaces/16384/PG_15/5/1 3", "abc"]
        );
    }

    #[test]
    fn other_relative_locations_are_refused_rather_than_lost() {
        let mut log = Log::default();
        assert!(
            Tree::new(&mut log)
                .expect_tablespaces(&[(16384, "../../fast".to_owned())])
                .is_err()
        );
    }

    #[test]
    fn a_link_to_anywhere_else_is_refused() {
        let mut log = Log::default();
        let mut tree = Tree::new(&mut log);
        tree.begin(Archive::Base).unwrap();
        let link = header("base/5", b'2', 0, "/etc");
        assert!(TarReader::new().feed(link.into(), &mut tree).is_err());
    }
}
