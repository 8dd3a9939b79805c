//! What the tests of this crate share: a sink that writes a plain directory, and the copying that
//! a caller of the backup in place does.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "what tests write need not survive a power cut"
)]

pub mod made_wal;
pub mod wal;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use rekindle_postgres::in_place::{FileKind, Session};
use rekindle_postgres::wire::{self, BackupError, BackupRequest, BackupResult, ChecksumFailure};
use rekindle_postgres::{Client, ConnectOptions, EntryMeta, Mode, PgdataSink};
use rekindle_testing::postgres::{Major, Postgres, PostgresBuilder};
use rekindle_testing::process::{run_as_postgres, temp_dir};
use tempfile::TempDir;

/// Writes a tree to a directory, and insists on what the trait promises.
#[derive(Clone)]
pub struct DirectorySink {
    root: PathBuf,
    open: Option<(PathBuf, u64)>,
    seen: HashSet<String>,
    /// The names of all files, in order.
    pub files: Vec<String>,
}

impl DirectorySink {
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            open: None,
            seen: HashSet::new(),
            files: Vec::new(),
        }
    }

    fn place(&mut self, path: &str) -> PathBuf {
        assert!(
            !path.starts_with('/') && !path.split('/').any(|part| matches!(part, "" | "." | "..")),
            "{path}"
        );
        assert!(self.seen.insert(path.to_owned()), "`{path}` came twice");
        assert!(
            self.open.is_none(),
            "`{path}` came while another file was open"
        );
        self.root.join(path)
    }
}

impl PgdataSink for DirectorySink {
    type Error = io::Error;

    fn directory(&mut self, path: &str, meta: &EntryMeta) -> io::Result<()> {
        let place = self.place(path);
        fs::create_dir(&place)?;
        fs::set_permissions(place, Permissions::from_mode(meta.mode))
    }

    fn symlink(&mut self, path: &str, target: &str, _: &EntryMeta) -> io::Result<()> {
        symlink(target, self.place(path))
    }

    fn begin_file(&mut self, path: &str, size: u64, meta: &EntryMeta) -> io::Result<()> {
        let place = self.place(path);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&place)?;
        fs::set_permissions(&place, Permissions::from_mode(meta.mode))?;
        self.files.push(path.to_owned());
        self.open = Some((place, size));
        Ok(())
    }

    fn data(&mut self, bytes: Bytes) -> io::Result<()> {
        let (place, missing) = self.open.as_mut().expect("data without a file");
        *missing = missing
            .checked_sub(bytes.len() as u64)
            .expect("more data than announced");
        OpenOptions::new()
            .append(true)
            .open(place)?
            .write_all(&bytes)
    }

    fn end_file(&mut self) -> io::Result<()> {
        let (place, missing) = self.open.take().expect("an end without a beginning");
        assert_eq!(missing, 0, "{} is shorter than announced", place.display());
        Ok(())
    }
}

/// A restored tree in a directory of its own.
pub struct Tree {
    pub home: TempDir,
    pub result: BackupResult,
}

impl Tree {
    pub fn path(&self) -> PathBuf {
        self.home.path().join("restored to")
    }

    /// Starts the programs of `source` on the tree, at another place than it was written to.
    pub fn start(&self, source: &Postgres) -> Postgres {
        let moved = self.home.path().join("moved, and with spaces");
        if !moved.exists() {
            fs::rename(self.path(), &moved).unwrap();
            symlink(&moved, self.path()).unwrap();
        }
        rekindle_postgres::prepare_restored(&moved).unwrap();
        Postgres::open_existing(source.bin_dir(), &moved)
            .unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// `pg_verifybackup -n`, without a look at the WAL; panics if it finds anything.
    pub fn verify_manifest(&self, source: &Postgres) {
        let tool = source.bin_dir().join("pg_verifybackup");
        let output = Command::new(tool)
            .arg("-n")
            .arg(self.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

pub fn options(postgres: &Postgres) -> ConnectOptions {
    ConnectOptions::parse(&postgres.url()).unwrap()
}

pub fn client(postgres: &Postgres) -> Client {
    Client::connect(&options(postgres), Mode::Sql).unwrap()
}

pub fn builder(major: Major) -> PostgresBuilder {
    Postgres::builder(major).checksums(true)
}

fn empty_tree() -> (TempDir, PathBuf) {
    let home = temp_dir().unwrap();
    let root = home.path().join("restored to");
    fs::create_dir(&root).unwrap();
    (home, root)
}

/// Takes a base backup over the wire into a directory.
pub fn over_the_wire(options: &ConnectOptions) -> Result<Tree, BackupError<io::Error>> {
    let (home, root) = empty_tree();
    let (mut base, mut wal) = (DirectorySink::new(&root), DirectorySink::new(&root));
    // The base stream makes `pg_wal` late; WAL arrives early.
    let wal_root = home.path().join("wal");
    fs::create_dir_all(wal_root.join("pg_wal")).unwrap();
    wal.root = wal_root.clone();
    let result = wire::take(
        options,
        &BackupRequest::new("it's a test"),
        &mut base,
        &mut wal,
    )?;
    let data_files: Vec<&String> = base
        .files
        .iter()
        .filter(|file| *file != "backup_manifest")
        .collect();
    assert_eq!(data_files.last().unwrap().as_str(), "global/pg_control");
    for entry in fs::read_dir(wal_root.join("pg_wal")).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), root.join("pg_wal").join(entry.file_name())).unwrap();
    }
    Ok(Tree { home, result })
}

/// Takes a backup in place into a directory, as a caller of this crate does. `during` runs between
/// the walk and the copy.
pub fn in_place(postgres: &Postgres, during: impl FnOnce()) -> Tree {
    let (home, root) = empty_tree();
    let mut session = Session::start(client(postgres), postgres.data_dir(), "it's a test").unwrap();
    assert!(session.is_wal_held());
    let plan = session.plan().unwrap();
    assert!(plan.skipped.is_empty(), "{:?}", plan.skipped);
    during();
    for directory in &plan.directories {
        let place = root.join(&directory.tree_path);
        fs::create_dir(&place).unwrap();
        fs::set_permissions(place, Permissions::from_mode(directory.meta.mode)).unwrap();
    }
    for link in &plan.symlinks {
        symlink(&link.target, root.join(&link.tree_path)).unwrap();
    }
    let mut failures = Vec::new();
    for file in &plan.files {
        let content = match file.kind {
            FileKind::Control => session.control_file().unwrap().bytes,
            _ => match read_at_most(&file.source, file.size) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound && file.may_vanish() => {
                    continue;
                }
                Err(error) => panic!("{}: {error}", file.source.display()),
            },
        };
        if let (FileKind::Relation { first_block }, Some(verifier)) =
            (file.kind, session.page_verifier())
        {
            for block in verifier.suspicious(first_block, &content) {
                let offset = (block - first_block) as usize * verifier.block_size();
                let page = &content[offset..offset + verifier.block_size()];
                let source = File::open(&file.source).unwrap();
                if verifier
                    .verify_again(&source, offset as u64, block, page)
                    .unwrap()
                    .is_some()
                {
                    let file = Some(file.tree_path.clone());
                    failures.push(ChecksumFailure {
                        file,
                        block: Some(block),
                        message: String::new(),
                    });
                }
            }
        }
        fs::write(root.join(&file.tree_path), content).unwrap();
    }
    let mut result = session.stop(plan.tablespaces.clone()).unwrap();
    for wal in session.wal_files(&result).unwrap() {
        fs::copy(&wal.source, root.join(&wal.tree_path)).unwrap();
    }
    fs::write(root.join("backup_label"), &result.backup_label).unwrap();
    if let Some(map) = &result.tablespace_map {
        fs::write(root.join("tablespace_map"), map).unwrap();
    }
    result.checksum_failures = failures;
    Tree { home, result }
}

fn read_at_most(path: &Path, size: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(size).read_to_end(&mut content)?;
    Ok(content)
}

/// Runs one of the server's programs as the user that servers run as.
pub fn run_tool(postgres: &Postgres, tool: &str, arguments: &[&str]) -> String {
    run_as_postgres(postgres.bin_dir().join(tool), arguments)
        .unwrap_or_else(|error| panic!("{error:?}"))
}

/// Makes sure that the restored server holds what the source holds, and is sound.
pub fn assert_same(source: &Postgres, restored: &Postgres) {
    let (wanted, found) = (
        source.table_checksums().logged_only(),
        restored.table_checksums().logged_only(),
    );
    assert_eq!(wanted.differences(&found), Vec::<String>::new());
    assert!(wanted.0.len() > 1, "nothing was compared");
    assert_eq!(logged_dump(source), logged_dump(restored));
    match restored.amcheck() {
        Err(error) if error.is_unavailable() => {}
        checked => checked.unwrap_or_else(|error| panic!("{error:?}")),
    }
}

/// What `pg_dumpall` prints without the rows of unlogged tables, which no physical backup holds,
/// and without what differs between any two runs or places.
fn logged_dump(postgres: &Postgres) -> String {
    let output = postgres
        .tool("pg_dumpall")
        .arg("--no-unlogged-table-data")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let incidental = [
        "\\restrict",
        "\\unrestrict",
        "-- ",
        "CREATE TABLESPACE",
        "CREATE EXTENSION",
    ];
    let lines = text
        .lines()
        .filter(|line| !incidental.iter().any(|start| line.starts_with(start)));
    lines.fold(String::new(), |dump, line| dump + line + "\n")
}
