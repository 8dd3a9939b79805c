//! rustic's engine, the other program that every vault must satisfy. It is built once from
//! `tools/rustic` of this repository, because no package carries it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::TestingError;
use crate::process::{run, workspace_root, workspace_target};

/// One repository in a local directory, reached by rustic, which takes no locks.
#[derive(Clone, Debug)]
pub struct Rustic {
    program: PathBuf,
    repository: PathBuf,
    password: String,
}

/// What a prune of rustic found of packs that had been marked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Removed now.
    pub removed: u64,
    /// Kept until their grace is over.
    pub kept: u64,
    /// Taken back, because a snapshot needs them.
    pub recovered: u64,
}

impl Rustic {
    /// Names a repository. The program is built at the first use, which takes minutes.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if it cannot be built.
    pub fn new(repository: impl Into<PathBuf>, password: &str) -> Result<Self, TestingError> {
        static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let built = PROGRAM.get_or_init(|| build().map_err(|error| error.to_string()));
        let program = built.clone().map_err(|why| TestingError::Unavailable {
            what: "rustic".into(),
            why,
        })?;
        Ok(Self {
            program,
            repository: repository.into(),
            password: password.into(),
        })
    }

    /// Makes the repository.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with what rustic said, like every other call here.
    pub fn init(&self) -> Result<String, TestingError> {
        self.run(["init".as_ref()])
    }

    /// Backs up `path` and returns the id of the snapshot.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn backup(&self, path: &Path) -> Result<String, TestingError> {
        let printed = self.run(["backup".as_ref(), path])?;
        Ok(printed.trim().to_owned())
    }

    /// The ids of all snapshots.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn snapshots(&self) -> Result<Vec<String>, TestingError> {
        let printed = self.run(["snapshots".as_ref()])?;
        Ok(printed.lines().map(Into::into).collect())
    }

    /// Reads every byte.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with all findings if anything is wrong.
    pub fn check(&self) -> Result<String, TestingError> {
        self.run(["check".as_ref()])
    }

    /// Restores a snapshot below `target`; `latest` is an id too.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn restore(&self, id: &str, target: &Path) -> Result<String, TestingError> {
        self.run(["restore".as_ref(), id.as_ref(), target])
    }

    /// Removes one snapshot, not its data.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn forget(&self, id: &str) -> Result<String, TestingError> {
        self.run(["forget".as_ref(), id.as_ref()])
    }

    /// Marks packs that no snapshot needs, after what is needed of others was packed anew, and removes
    /// those that were marked so many hours ago.
    ///
    /// # Errors
    /// [`TestingError::Failed`]; [`TestingError::Unexpected`] if it prints no numbers.
    pub fn prune(&self, hours: u32) -> Result<Marked, TestingError> {
        let printed = self.run(["prune".as_ref(), hours.to_string().as_ref()])?;
        let numbers: Result<Vec<u64>, _> = printed.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[removed, kept, recovered]) => Ok(Marked {
                removed,
                kept,
                recovered,
            }),
            _ => Err(TestingError::Unexpected {
                what: "three numbers from rustic",
                found: printed,
            }),
        }
    }

    /// As [`Rustic::prune`], and removes everything at once that is or would be marked.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn prune_at_once(&self) -> Result<String, TestingError> {
        self.run(["prune".as_ref(), "0".as_ref(), "instant".as_ref()])
    }

    /// Copies all snapshots into another repository of the same password.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn copy_to(&self, other: &Path) -> Result<String, TestingError> {
        self.run(["copy".as_ref(), other])
    }

    fn run<const N: usize>(&self, arguments: [&Path; N]) -> Result<String, TestingError> {
        let mut command = Command::new(&self.program);
        command.arg(&self.repository).args(arguments);
        command.env("RUSTIC_PASSWORD", &self.password);
        run(&mut command)
    }
}

/// Cargo itself knows whether there is anything to do, and lets one build at a time.
fn build() -> Result<PathBuf, TestingError> {
    let cache = std::env::var_os("REKINDLE_TEST_CACHE")
        .map_or_else(|| workspace_target().join("test-servers"), PathBuf::from);
    let target = cache.join("rustic");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--locked", "--quiet", "--manifest-path"])
        .arg(workspace_root().join("tools/rustic/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target);
    run(&mut command)?;
    Ok(target.join("debug/rustic-referee"))
}
