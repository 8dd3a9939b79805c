//! Bringing one database back beside the others.

use std::io::{self, Read, Write};
use std::process::Stdio;

use super::created::CreatedDatabase;
use super::running::Running;
use super::{DatabaseInfo, DumpError, Tools};
use crate::options::ConnectOptions;

/// How a database is brought back.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// What the database was like: encoding and locale are made the same. The server's own
    /// otherwise.
    pub like: Option<DatabaseInfo>,
    /// Whether everything is to belong to the role that restores, for where the original roles do
    /// not exist.
    pub no_owner: bool,
    /// Whether to leave out GRANT and REVOKE.
    pub no_privileges: bool,
    /// Whether all of it is one transaction, so that there is all of it or nothing. Not for large
    /// objects by the thousand, each of which takes a lock.
    pub single_transaction: bool,
}

/// Makes the database `new_name` and fills it from `archive`, one of `pg_dump -Fc`.
///
/// `admin` is where to log in to make it, with a role that may. On any failure the new database is
/// dropped again; nothing else is ever touched.
///
/// # Errors
/// [`DumpError::DatabaseExists`] before anything was changed, [`DumpError::ToolFailed`] with what
/// `pg_restore` said, [`DumpError::ReadArchive`] if `archive` fails.
pub fn restore_database(
    tools: &Tools,
    admin: &ConnectOptions,
    new_name: &str,
    mut archive: impl Read,
    restore: &RestoreOptions,
) -> Result<(), DumpError> {
    let created = CreatedDatabase::create(admin, new_name, restore.like.as_ref(), None)?;
    fill(tools, admin, new_name, &mut archive, restore)?;
    created.keep(&format!("an archive, as {new_name}"))
}

/// Fills the database that `options` name from `archive`, one of `pg_dump -Fc`, beside what is in it.
/// In one transaction nothing of it stays on a failure.
///
/// # Errors
/// [`DumpError::ToolFailed`] with what `pg_restore` said, [`DumpError::ReadArchive`] if `archive`
/// fails.
pub fn restore_into(
    tools: &Tools,
    options: &ConnectOptions,
    mut archive: impl Read,
    restore: &RestoreOptions,
) -> Result<(), DumpError> {
    fill(tools, options, &options.database, &mut archive, restore)
}

fn fill(
    tools: &Tools,
    admin: &ConnectOptions,
    name: &str,
    archive: &mut dyn Read,
    restore: &RestoreOptions,
) -> Result<(), DumpError> {
    let options = admin.clone().with_password_of(admin).with_database(name);
    let mut running = Running::start(tools, "pg_restore", &options, |command| {
        command.args([
            "--exit-on-error",
            "--no-password",
            "--dbname",
            &connection_string(name),
        ]);
        if restore.no_owner {
            command.arg("--no-owner");
        }
        if restore.no_privileges {
            command.arg("--no-privileges");
        }
        if restore.single_transaction {
            command.arg("--single-transaction");
        }
        command.stdin(Stdio::piped());
    })?;
    let mut stdin = running.child().stdin.take();
    let fed = stdin
        .as_mut()
        .map_or(Err(Side::Tool), |stdin| feed(archive, stdin));
    match fed {
        Ok(()) | Err(Side::Tool) => {
            drop(stdin);
            running.finish()
        }
        Err(Side::Archive(source)) => {
            // The tool ends before its input does: it must not take that for the archive's end.
            drop(running);
            Err(DumpError::ReadArchive { source })
        }
    }
}

/// Which side failed while an archive was passed on.
pub(super) enum Side {
    /// The tool hung up; it says why.
    Tool,
    Archive(io::Error),
}

pub(super) fn feed(archive: &mut dyn Read, mut stdin: impl Write) -> Result<(), Side> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match archive.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => stdin.write_all(&buffer[..count]).map_err(|_| Side::Tool)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Side::Archive(error)),
        }
    }
}

/// A name alone might be taken for a connection string.
pub(super) fn connection_string(name: &str) -> String {
    format!(
        "dbname='{}'",
        name.replace('\\', "\\\\").replace('\'', "\\'")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_stay_names() {
        assert_eq!(connection_string("a'b\\c"), "dbname='a\\'b\\\\c'");
    }
}
