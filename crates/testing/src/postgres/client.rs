//! Talking to a server through its own programs.

use std::path::PathBuf;
use std::process::Command;

use crate::TestingError;
use crate::process::{output_with_input, succeeded};

/// How to reach one server over its Unix socket as one user.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) bin_dir: PathBuf,
    pub(crate) socket_dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
}

impl Client {
    /// The same server as another user.
    #[must_use]
    pub fn as_user(&self, user: &str, password: Option<&str>) -> Self {
        Self {
            user: user.into(),
            password: password.map(Into::into),
            ..self.clone()
        }
    }

    /// Prepares one of PostgreSQL's programs with the environment to reach this server.
    pub fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin_dir.join(program));
        forget_settings(&mut command);
        command
            .env("PGHOST", &self.socket_dir)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGPASSFILE", "/dev/null")
            .env("PGCONNECT_TIMEOUT", "30");
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password);
        }
        command
    }

    /// Runs SQL and returns its rows: one a line, columns parted by `|`, without the last newline.
    ///
    /// Each statement is a transaction of its own, and the first that fails ends the run. psql's
    /// own commands (`\copy`, `\c`) work.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with what psql said.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, TestingError> {
        let mut psql = self.psql_command(database);
        let output = output_with_input(&mut psql, sql.as_bytes())?;
        succeeded(&psql, &output)?;
        let rows = String::from_utf8_lossy(&output.stdout);
        Ok(rows.strip_suffix('\n').unwrap_or(&rows).to_owned())
    }

    /// Prepares psql: no startup file, bare rows, stops at the first error, reads stdin.
    pub(crate) fn psql_command(&self, database: &str) -> Command {
        let mut psql = self.tool("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
            .env("PGDATABASE", database);
        psql
    }
}

/// Takes away what the person who runs the tests may have set for their own servers.
pub(crate) fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C.UTF-8");
}
