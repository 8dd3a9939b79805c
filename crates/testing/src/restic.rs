//! The stock `restic` program, which every vault must satisfy and whose repositories we must read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::TestingError;
use crate::process::run;

/// One repository, reached by stock restic, without any cache of its own.
#[derive(Clone, Debug)]
pub struct Restic {
    repository: PathBuf,
    password: String,
    environment: Vec<(String, String)>,
    options: Vec<String>,
}

impl Restic {
    /// Names a repository: a local directory, or one of restic's own locations (`s3:http://…`). Nothing
    /// is looked at yet.
    pub fn new(repository: impl Into<PathBuf>, password: &str) -> Self {
        Self {
            repository: repository.into(),
            password: password.into(),
            environment: Vec::new(),
            options: Vec::new(),
        }
    }

    /// Gives restic a variable of its environment, such as `AWS_ACCESS_KEY_ID`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives restic an extended option, such as `sftp.command=ssh …`.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.into());
        self
    }

    /// Returns what `restic version` says.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if it is not installed, like every other call here.
    pub fn version(&self) -> Result<String, TestingError> {
        self.run(["version"])
    }

    /// Makes the repository, in format version 2.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with what restic said, like every other call here.
    pub fn init(&self) -> Result<String, TestingError> {
        self.run(["init", "--repository-version", "2"])
    }

    /// Backs up `paths` and returns the id of the snapshot.
    ///
    /// # Errors
    /// [`TestingError::Failed`], also if some file could not be read (restic's exit code 3).
    pub fn backup(&self, paths: &[&Path]) -> Result<String, TestingError> {
        let mut arguments: Vec<OsString> = ["backup", "--json", "--host", "test"]
            .map(Into::into)
            .into();
        arguments.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
        let printed = self.run(arguments)?;
        let summary = printed
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let id = summary
            .filter_map(|line| Some(line.get("snapshot_id")?.as_str()?.to_owned()))
            .next_back();
        id.ok_or(TestingError::Unexpected {
            what: "a snapshot id from restic",
            found: printed,
        })
    }

    /// Checks the structure, and every byte of every pack if `read_data`.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with the damage found.
    pub fn check(&self, read_data: bool) -> Result<String, TestingError> {
        if read_data {
            self.run(["check", "--read-data"])
        } else {
            self.run(["check"])
        }
    }

    /// Returns all snapshots as restic prints them: an array of objects.
    ///
    /// # Errors
    /// [`TestingError::Failed`]; [`TestingError::Unexpected`] if that is no JSON.
    pub fn snapshots(&self) -> Result<Value, TestingError> {
        self.json(["snapshots", "--json"])
    }

    /// Restores one snapshot below `target`; `latest` is an id too.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn restore(&self, id: &str, target: &Path) -> Result<String, TestingError> {
        self.run([
            OsString::from("restore"),
            id.into(),
            "--target".into(),
            target.into(),
        ])
    }

    /// Removes packs that no snapshot needs.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn prune(&self) -> Result<String, TestingError> {
        self.run(["prune"])
    }

    /// Removes one snapshot, not its data.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn forget(&self, id: &str) -> Result<String, TestingError> {
        self.run(["forget", id])
    }

    /// Removes stale locks; all of them if `all`.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn unlock(&self, all: bool) -> Result<String, TestingError> {
        if all {
            self.run(["unlock", "--remove-all"])
        } else {
            self.run(["unlock"])
        }
    }

    /// Lists the paths of a snapshot, one a line.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn ls(&self, id: &str) -> Result<String, TestingError> {
        self.run(["ls", "--quiet", id])
    }

    /// Returns the size that restoring a snapshot would take, and its number of files.
    ///
    /// # Errors
    /// [`TestingError::Failed`]; [`TestingError::Unexpected`] if that is no JSON.
    pub fn stats(&self, id: &str) -> Result<Value, TestingError> {
        self.json(["stats", "--json", id])
    }

    /// Returns the bytes of one file of a snapshot.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn dump(&self, id: &str, file: &Path) -> Result<Vec<u8>, TestingError> {
        let mut command = self.command();
        command.args(["dump", id]).arg(file);
        let output = crate::process::output_with_input(&mut command, &[]).map_err(not_installed)?;
        crate::process::succeeded(&command, &output)?;
        Ok(output.stdout)
    }

    /// Lists the ids of one kind of file: `locks`, `packs`, `index`, `snapshots`, `keys`, `blobs`.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn list(&self, kind: &str) -> Result<Vec<String>, TestingError> {
        // Without a lock, or `list locks` would list its own.
        Ok(self
            .run(["list", "--no-lock", kind])?
            .lines()
            .map(Into::into)
            .collect())
    }

    /// Runs any command of restic and returns its stdout.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with what restic said.
    pub fn run<A: Into<OsString>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, TestingError> {
        run(self.command().args(arguments.into_iter().map(Into::into))).map_err(not_installed)
    }

    /// Prepares restic for this repository, for tests that need the process itself.
    pub fn command(&self) -> Command {
        let mut command = Command::new("restic");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RESTIC_") {
                command.env_remove(name);
            }
        }
        command
            .arg("--no-cache")
            .env("RESTIC_REPOSITORY", &self.repository);
        command.env("RESTIC_PASSWORD", &self.password);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    fn json<const N: usize>(&self, arguments: [&str; N]) -> Result<Value, TestingError> {
        let printed = self.run(arguments)?;
        serde_json::from_str(&printed).map_err(|_| TestingError::Unexpected {
            what: "JSON from restic",
            found: printed,
        })
    }
}

fn not_installed(error: TestingError) -> TestingError {
    match error {
        TestingError::Run { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            let why = "it is not in PATH; `make deps` installs it".into();
            TestingError::Unavailable {
                what: "restic".into(),
                why,
            }
        }
        other => other,
    }
}
