//! The walk through a data directory that makes a plan.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::plan::{FileKind, Plan, PlannedDirectory, PlannedFile, PlannedSymlink};
use crate::error::Error;
use crate::layout::{
    Fork, RECEIVED_LAST, TABLESPACES_DIR, exclusion, is_contents_excluded, relation_file,
    tablespace_link_target,
};
use crate::sink::{EntryMeta, private_directory};
use crate::wire::Tablespace;

/// Walks the data directory. `tablespace_dir` is the name of the directory within each tablespace
/// that is this server's, `PG_15_202209061`.
pub(super) fn plan(pgdata: &Path, tablespace_dir: &str, block_size: u32) -> Result<Plan, Error> {
    let locations = tablespace_locations(pgdata)?;
    let inside = locations
        .values()
        .filter_map(|location| fs::canonicalize(location).ok())
        .collect();
    let mut walk = Walk {
        plan: Plan::default(),
        block_size,
        skip: inside,
    };
    walk.directory(pgdata, "")?;
    walk.tablespaces(&locations, tablespace_dir)?;
    walk.finish()
}

/// Where the links in `pg_tblspc` lead, absolute.
fn tablespace_locations(pgdata: &Path) -> Result<BTreeMap<u32, PathBuf>, Error> {
    let links = pgdata.join("pg_tblspc");
    let mut locations = BTreeMap::new();
    for entry in read_dir(&links)? {
        let Some(oid) = entry
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok())
        else {
            continue;
        };
        let metadata =
            fs::symlink_metadata(&entry).map_err(|source| Error::io("look at", &entry, source))?;
        if metadata.is_symlink() {
            let target = fs::read_link(&entry)
                .map_err(|source| Error::io("read the link", &entry, source))?;
            locations.insert(oid, links.join(target));
        } else if metadata.is_dir() {
            // An in-place tablespace, which developers' settings allow.
            locations.insert(oid, entry);
        }
    }
    Ok(locations)
}

struct Walk {
    plan: Plan,
    block_size: u32,
    /// Tablespaces that lie within PGDATA: they are walked on their own.
    skip: HashSet<PathBuf>,
}

impl Walk {
    /// Plans what lies in `directory`, which is called `tree_path` in the tree.
    fn directory(&mut self, directory: &Path, tree_path: &str) -> Result<(), Error> {
        let entries = match read_dir(directory) {
            Ok(entries) => entries,
            Err(Error::Io { source, .. })
                if is_gone(&source) && may_directory_vanish(tree_path) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let unlogged = unlogged_relations(tree_path, &entries);
        for entry in entries {
            self.entry(&entry, tree_path, &unlogged)?;
        }
        Ok(())
    }

    fn entry(&mut self, source: &Path, parent: &str, unlogged: &HashSet<u32>) -> Result<(), Error> {
        let Some(name) = source.file_name().and_then(|name| name.to_str()) else {
            // The server's own files have plain names; what has not is somebody else's.
            self.plan.skipped.push(source.to_owned());
            return Ok(());
        };
        let path = if parent.is_empty() {
            name.to_owned()
        } else {
            format!("{parent}/{name}")
        };
        if exclusion(&path).is_some()
            || is_reset_after_crash(&path, unlogged)
            || is_tablespace_link(&path)
        {
            return Ok(());
        }
        let Some(metadata) = self.look_at(source, &path)? else {
            return Ok(());
        };
        if metadata.is_dir() {
            self.subdirectory(source, path, &metadata)
        } else if metadata.is_file() {
            self.file(source, path, &metadata);
            Ok(())
        } else {
            self.plan.skipped.push(source.to_owned());
            Ok(())
        }
    }

    /// Follows links only to what belongs to the directory: an emptied directory that was moved
    /// elsewhere (`pg_wal`), and a single file directly in PGDATA (a certificate, a configuration).
    fn look_at(&self, source: &Path, path: &str) -> Result<Option<Metadata>, Error> {
        let metadata =
            fs::symlink_metadata(source).and_then(|metadata| match metadata.is_symlink() {
                false => Ok(metadata),
                true => {
                    let target = fs::metadata(source)?;
                    let is_ours =
                        is_contents_excluded(path) || (target.is_file() && !path.contains('/'));
                    Ok(if is_ours { target } else { metadata })
                }
            });
        match metadata {
            Ok(metadata) => Ok(Some(metadata)),
            // Listed a moment ago. What must not vanish is missed when it is to be read.
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(Error::io("look at", source, error)),
        }
    }

    fn subdirectory(
        &mut self,
        source: &Path,
        path: String,
        metadata: &Metadata,
    ) -> Result<(), Error> {
        if !self.skip.is_empty()
            && fs::canonicalize(source).is_ok_and(|real| self.skip.contains(&real))
        {
            return Ok(());
        }
        // Made anew, with the tablespaces that exist now.
        if path != TABLESPACES_DIR {
            self.plan.directories.push(PlannedDirectory {
                tree_path: path.clone(),
                meta: meta(metadata),
            });
        }
        match is_contents_excluded(&path) && path != "pg_wal" {
            true => Ok(()),
            false => self.directory(source, &path),
        }
    }

    fn file(&mut self, source: &Path, tree_path: String, metadata: &Metadata) {
        let kind = match relation_file(&tree_path) {
            Some(file) => FileKind::Relation {
                first_block: file.first_block(self.block_size),
            },
            None if tree_path == RECEIVED_LAST => FileKind::Control,
            None => FileKind::Other,
        };
        let (source, meta) = (source.to_owned(), meta(metadata));
        self.plan.files.push(PlannedFile {
            tree_path,
            source,
            size: metadata.len(),
            kind,
            meta,
        });
    }

    fn tablespaces(
        &mut self,
        locations: &BTreeMap<u32, PathBuf>,
        version_dir: &str,
    ) -> Result<(), Error> {
        if !locations.is_empty()
            || self
                .plan
                .files
                .iter()
                .any(|file| is_under_tablespaces(&file.tree_path))
        {
            self.made_directory(TABLESPACES_DIR.to_owned());
        }
        for (&oid, location) in locations {
            let first_file = self.plan.files.len();
            let tree_path = format!("{TABLESPACES_DIR}/{oid}");
            self.made_directory(tree_path.clone());
            let own = location.join(version_dir);
            let metadata = fs::metadata(&own)
                .map_err(|source| Error::io("look at the tablespace", &own, source))?;
            let tree_path = format!("{tree_path}/{version_dir}");
            self.plan.directories.push(PlannedDirectory {
                tree_path: tree_path.clone(),
                meta: meta(&metadata),
            });
            self.directory(&own, &tree_path)?;
            self.link(oid, &metadata);
            let size_bytes = self.plan.files[first_file..]
                .iter()
                .map(|file| file.size)
                .sum();
            let original_location = location.display().to_string();
            self.plan.tablespaces.push(Tablespace {
                oid,
                original_location,
                size_bytes,
            });
        }
        Ok(())
    }

    fn made_directory(&mut self, tree_path: String) {
        self.plan.directories.push(PlannedDirectory {
            tree_path,
            meta: private_directory(),
        });
    }

    fn link(&mut self, oid: u32, metadata: &Metadata) {
        let meta = EntryMeta {
            mode: 0o777,
            ..meta(metadata)
        };
        let (tree_path, target) = (format!("pg_tblspc/{oid}"), tablespace_link_target(oid));
        self.plan.symlinks.push(PlannedSymlink {
            tree_path,
            target,
            meta,
        });
    }

    /// Puts parents before children and the control file last.
    fn finish(mut self) -> Result<Plan, Error> {
        self.plan
            .directories
            .sort_by(|a, b| a.tree_path.cmp(&b.tree_path));
        let Some(at) = self
            .plan
            .files
            .iter()
            .position(|file| file.kind == FileKind::Control)
        else {
            let reason = "the data directory has none".to_owned();
            return Err(Error::Damaged {
                what: RECEIVED_LAST.to_owned(),
                reason,
            });
        };
        let control = self.plan.files.remove(at);
        self.plan.files.push(control);
        Ok(self.plan)
    }
}

/// The paths of a directory's entries, in order of their names.
fn read_dir(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(directory).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut entries = entries.map_err(|source| Error::io("list", directory, source))?;
    entries.sort();
    Ok(entries)
}

/// Relations with an `_init` fork: a server resets their other forks after a crash or a restore.
fn unlogged_relations(tree_path: &str, entries: &[PathBuf]) -> HashSet<u32> {
    let names = entries
        .iter()
        .filter_map(|entry| entry.file_name()?.to_str());
    let files = names.filter_map(|name| relation_file(&format!("{tree_path}/{name}")));
    files
        .filter(|file| file.fork == Fork::Init && !file.temporary)
        .map(|file| file.oid)
        .collect()
}

fn is_reset_after_crash(path: &str, unlogged: &HashSet<u32>) -> bool {
    !unlogged.is_empty()
        && relation_file(path)
            .is_some_and(|file| file.fork != Fork::Init && unlogged.contains(&file.oid))
}

fn is_tablespace_link(path: &str) -> bool {
    path.strip_prefix("pg_tblspc/")
        .is_some_and(|oid| oid.parse::<u32>().is_ok())
}

fn is_under_tablespaces(path: &str) -> bool {
    path.strip_prefix(TABLESPACES_DIR)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// A database dropped during the walk takes its directories along.
fn may_directory_vanish(tree_path: &str) -> bool {
    tree_path.starts_with("base/") || is_under_tablespaces(tree_path)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn meta(metadata: &Metadata) -> EntryMeta {
    EntryMeta {
        mode: metadata.mode() & 0o7777,
        mtime: metadata.mtime(),
        uid: metadata.uid(),
        gid: metadata.gid(),
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "what tests write need not survive a power cut"
)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const VERSION_DIR: &str = "PG_15_202209061";

    /// Files are made by their paths, with a size each.
    fn cluster(files: &[(&str, usize)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for dir in [
            "global",
            "pg_tblspc",
            "pg_wal/archive_status",
            "pg_replslot/standby",
        ] {
            fs::create_dir_all(root.path().join("data").join(dir)).unwrap();
        }
        for (path, size) in [("global/pg_control", 8192)].iter().chain(files) {
            let path = root.path().join("data").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path)
                .unwrap()
                .set_len(*size as u64)
                .unwrap();
        }
        root
    }

    fn planned(root: &tempfile::TempDir) -> Plan {
        plan(&root.path().join("data"), VERSION_DIR, 8192).unwrap()
    }

    fn paths(plan: &Plan) -> Vec<&str> {
        plan.files
            .iter()
            .map(|file| file.tree_path.as_str())
            .collect()
    }

    #[test]
    fn unlogged_relations_keep_only_their_init_fork() {
        let root = cluster(&[
            ("base/5/100", 0),
            ("base/5/200", 8192),
            ("base/5/200.1", 8192),
            ("base/5/200_fsm", 8192),
            ("base/5/200_init", 0),
        ]);
        assert_eq!(
            paths(&planned(&root)),
            ["base/5/100", "base/5/200_init", "global/pg_control"]
        );
    }

    #[test]
    fn emptied_directories_stay_and_control_comes_last() {
        let root = cluster(&[
            ("pg_wal/000000010000000000000001", 1),
            ("pg_replslot/standby/state", 1),
            ("PG_VERSION", 3),
        ]);
        let plan = planned(&root);
        assert_eq!(paths(&plan), ["PG_VERSION", "global/pg_control"]);
        let directories: Vec<&str> = plan
            .directories
            .iter()
            .map(|dir| dir.tree_path.as_str())
            .collect();
        assert_eq!(
            directories,
            [
                "global",
                "pg_replslot",
                "pg_tblspc",
                "pg_wal",
                "pg_wal/archive_status"
            ]
        );
    }

    #[test]
    fn a_tablespace_is_walked_once_wherever_it_lies() {
        for (location, link) in [
            ("elsewhere/fast", None),
            ("data/tablespaces/900", Some("../tablespaces/900")),
        ] {
            let root = cluster(&[]);
            let location = root.path().join(location);
            fs::create_dir_all(location.join(VERSION_DIR).join("5")).unwrap();
            fs::create_dir_all(location.join("PG_14_202107181/5")).unwrap();
            fs::write(location.join(VERSION_DIR).join("5/901"), b"").unwrap();
            let target = link.map_or(location, PathBuf::from);
            symlink(target, root.path().join("data/pg_tblspc/900")).unwrap();
            let plan = planned(&root);
            assert_eq!(
                paths(&plan),
                ["tablespaces/900/PG_15_202209061/5/901", "global/pg_control"]
            );
            assert_eq!(plan.symlinks[0].target, "../tablespaces/900");
            let count = plan
                .directories
                .iter()
                .filter(|dir| dir.tree_path == "tablespaces")
                .count();
            assert_eq!((count, plan.tablespaces.len()), (1, 1));
        }
    }

    #[test]
    fn a_moved_pg_wal_becomes_a_directory_again() {
        let root = cluster(&[]);
        let wal = root.path().join("data/pg_wal");
        fs::rename(&wal, root.path().join("wal")).unwrap();
        symlink("../wal", &wal).unwrap();
        let plan = planned(&root);
        assert!(
            plan.directories
                .iter()
                .any(|dir| dir.tree_path == "pg_wal/archive_status")
        );
        assert!(plan.symlinks.is_empty() && plan.skipped.is_empty());
    }

    #[test]
    fn blocks_are_counted_across_files() {
        let root = cluster(&[("base/5/100.2", 8192)]);
        let kind = planned(&root).files[0].kind;
        assert_eq!(
            kind,
            FileKind::Relation {
                first_block: 262_144
            }
        );
    }
}
