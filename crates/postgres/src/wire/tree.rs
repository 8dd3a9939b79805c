//! Turns the server's archives into one tree that starts wherever it is restored.

use bytes::Bytes;

use super::BackupError;
use super::tar::{Entries, Entry, Kind};
use crate::error::Error;
use crate::layout::{TABLESPACES_DIR, TablespaceMap, exclusion, tablespace_link_target};
use crate::sink::{EntryMeta, PgdataSink};

/// Label and map are a few hundred bytes; a server that sends more is not sane.
const MAX_SMALL_FILE: u64 = 16 << 20;

const BACKUP_LABEL: &str = "backup_label";
const TABLESPACE_MAP: &str = "tablespace_map";

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
    Held { path: String, meta: EntryMeta, content: Vec<u8> },
}

/// Writes a [`PgdataSink`] out of archive entries.
pub(super) struct Tree<'a, S> {
    sink: &'a mut S,
    archive: Archive,
    tablespaces: Vec<u32>,
    current: Current,
    has_tablespaces_dir: bool,
    /// Bytes of the present tablespace's files.
    archive_bytes: u64,
    pub(super) backup_label: Option<String>,
    pub(super) tablespace_map: Option<String>,
    /// Whether the tree differs from what the server's manifest lists.
    pub(super) differs_from_manifest: bool,
}

impl<'a, S: PgdataSink> Tree<'a, S> {
    pub(super) fn new(sink: &'a mut S) -> Self {
        Self {
            sink,
            archive: Archive::Base,
            tablespaces: Vec::new(),
            current: Current::Nowhere,
            has_tablespaces_dir: false,
            archive_bytes: 0,
            backup_label: None,
            tablespace_map: None,
            differs_from_manifest: false,
        }
    }

    /// Says which tablespaces will come as archives of their own.
    pub(super) fn expect_tablespaces(&mut self, oids: Vec<u32>) {
        // The manifest knows them under pg_tblspc only, and calls what lies elsewhere surplus.
        self.differs_from_manifest |= !oids.is_empty();
        self.tablespaces = oids;
    }

    /// Begins an archive.
    pub(super) fn begin(&mut self, archive: Archive) -> Result<(), BackupError<S::Error>> {
        self.archive = archive;
        self.archive_bytes = 0;
        let Archive::Tablespace(oid) = archive else { return Ok(()) };
        let meta = private_directory();
        if !self.has_tablespaces_dir {
            self.has_tablespaces_dir = true;
            self.sink.directory(TABLESPACES_DIR, &meta).map_err(BackupError::Sink)?;
        }
        self.sink.directory(&format!("{TABLESPACES_DIR}/{oid}"), &meta).map_err(BackupError::Sink)
    }

    /// The archive begun last.
    pub(super) fn archive(&self) -> Archive {
        self.archive
    }

    /// Bytes of the files of the archive begun last.
    pub(super) fn archive_bytes(&self) -> u64 {
        self.archive_bytes
    }

    /// Adds a file that no archive holds.
    pub(super) fn add_file(&mut self, path: &str, content: Vec<u8>) -> Result<(), BackupError<S::Error>> {
        put_file(self.sink, path, content, &private_file()).map_err(BackupError::Sink)
    }

    /// Where an entry lies in the tree; `None` if it does not belong there.
    fn tree_path(&mut self, entry: &Entry) -> Option<String> {
        let path = match self.archive {
            Archive::Tablespace(oid) => {
                (!entry.path.is_empty()).then(|| format!("{TABLESPACES_DIR}/{oid}/{}", entry.path))?
            }
            Archive::Base if entry.path.is_empty() => return None,
            Archive::Base => entry.path.clone(),
        };
        let is_kept = matches!(path.as_str(), BACKUP_LABEL | TABLESPACE_MAP);
        if is_kept || (exclusion(&path).is_none() && !self.is_sent_separately(&path)) {
            return Some(path);
        }
        // The server leaves out the rest itself; pg_verifybackup does not look for signal files.
        let is_signal = matches!(path.as_str(), "standby.signal" | "recovery.signal");
        self.differs_from_manifest |= matches!(entry.kind, Kind::File { .. }) && !is_signal;
        None
    }

    /// A source that was itself restored this way has its tablespaces within PGDATA, and sends
    /// them with the base archive once more.
    fn is_sent_separately(&self, path: &str) -> bool {
        if self.archive != Archive::Base {
            return false;
        }
        let Some(inside) = path.strip_prefix(TABLESPACES_DIR) else { return false };
        let oid = inside.trim_start_matches('/').split('/').next().unwrap_or_default();
        match oid.parse() {
            Ok(oid) => self.tablespaces.contains(&oid),
            // The directory itself was announced with the first tablespace.
            Err(_) => inside.is_empty() && self.has_tablespaces_dir,
        }
    }

    /// The relative link of a tablespace; other links no server sends.
    fn link(&mut self, path: &str, meta: &EntryMeta) -> Result<(), BackupError<S::Error>> {
        let oid = path.strip_prefix("pg_tblspc/").and_then(|oid| oid.parse().ok());
        match oid.filter(|oid| self.tablespaces.contains(oid)) {
            Some(oid) => {
                self.sink.symlink(path, &tablespace_link_target(oid), meta).map_err(BackupError::Sink)
            }
            None => Err(Error::protocol(format!("a symbolic link `{path}` that is no tablespace's")).into()),
        }
    }

    fn begin_file(&mut self, path: String, size: u64, meta: EntryMeta) -> Result<(), BackupError<S::Error>> {
        if matches!(path.as_str(), BACKUP_LABEL | TABLESPACE_MAP) {
            if size > MAX_SMALL_FILE {
                return Err(Error::protocol(format!("`{path}` of {size} bytes")).into());
            }
            self.current = Current::Held { path, meta, content: Vec::new() };
            return Ok(());
        }
        self.current = Current::Sink;
        self.archive_bytes += size;
        self.sink.begin_file(&path, size, &meta).map_err(BackupError::Sink)
    }

    fn finish_held(&mut self, path: &str, meta: EntryMeta, content: Vec<u8>) -> Result<(), BackupError<S::Error>> {
        let text = String::from_utf8(content).map_err(|_| Error::protocol(format!("`{path}` is not UTF-8")))?;
        let text = match path {
            TABLESPACE_MAP => {
                let map = rewritten_map(&text)?;
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
        let Some(path) = self.tree_path(&entry) else { return Ok(()) };
        match entry.kind {
            Kind::Directory => self.sink.directory(&path, &entry.meta).map_err(BackupError::Sink),
            Kind::Symlink { .. } => self.link(&path, &entry.meta),
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
            Current::Held { path, meta, content } => self.finish_held(&path, meta, content),
        }
    }
}

/// The same tablespaces, lying within the tree.
pub(crate) fn rewritten_map(text: &str) -> Result<String, Error> {
    let map = TablespaceMap::parse(text)?;
    Ok(TablespaceMap::relative(map.entries.iter().map(|entry| entry.oid)).to_text())
}

pub(crate) fn put_file<S: PgdataSink>(
    sink: &mut S,
    path: &str,
    content: Vec<u8>,
    meta: &EntryMeta,
) -> Result<(), S::Error> {
    sink.begin_file(path, content.len() as u64, meta)?;
    if !content.is_empty() {
        sink.data(content.into())?;
    }
    sink.end_file()
}

pub(crate) fn private_directory() -> EntryMeta {
    EntryMeta { mode: 0o700, ..private_file() }
}

pub(crate) fn private_file() -> EntryMeta {
    let now = jiff::Timestamp::now().as_second();
    EntryMeta { mode: 0o600, mtime: now, uid: 0, gid: 0 }
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
        tree.expect_tablespaces(vec![16384]);
        tree.begin(Archive::Tablespace(16384)).unwrap();
        feed(&mut tree, &[header("PG_15_202209061/", b'5', 0, "")]);
        tree.begin(Archive::Base).unwrap();
        let map = "16384 /srv/fast\n";
        feed(&mut tree, &[
            header("tablespace_map", b'0', map.len() as u64, ""),
            block(map),
            header("pg_tblspc/16384", b'2', 0, "/srv/fast"),
        ]);
        assert!(tree.differs_from_manifest);
        assert_eq!(tree.tablespace_map.as_deref(), Some("16384 ../tablespaces/16384\n"));
        let wanted = [
            "tablespaces/",
            "tablespaces/16384/",
            "tablespaces/16384/PG_15_202209061/",
            "tablespace_map 27",
            "16384 ../tablespaces/16384\n",
            "pg_tblspc/16384 -> ../tablespaces/16384",
        ];
        assert_eq!(log.0, wanted);
    }

    #[test]
    fn a_source_restored_this_way_sends_nothing_twice() {
        let mut log = Log::default();
        let mut tree = Tree::new(&mut log);
        tree.expect_tablespaces(vec![16384]);
        tree.begin(Archive::Tablespace(16384)).unwrap();
        tree.begin(Archive::Base).unwrap();
        feed(&mut tree, &[
            header("tablespaces/", b'5', 0, ""),
            header("tablespaces/16384/", b'5', 0, ""),
            header("tablespaces/16384/PG_15_202209061/5/16385", b'0', 3, ""),
            block("abc"),
            header("standby.signal", b'0', 0, ""),
            header("PG_VERSION", b'0', 3, ""),
            block("15\n"),
        ]);
        assert_eq!(log.0, ["tablespaces/", "tablespaces/16384/", "PG_VERSION 3", "15\n"]);
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
