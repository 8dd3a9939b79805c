//! Bringing one database back beside the others.

use std::io::{self, Read, Write};
use std::process::Stdio;
use std::time::Duration;

use super::running::Running;
use super::{DatabaseInfo, DumpError, Tools};
use crate::client::{Client, Mode, quote_identifier, quote_literal};
use crate::error::Error;
use crate::options::ConnectOptions;

const DUPLICATE_DATABASE: &str = "42P04";

/// Making and dropping a database waits for checkpoints, which take long on a busy server.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(2 * 3600);

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
    let created = CreatedDatabase::create(admin, new_name, restore.like.as_ref())?;
    fill(tools, admin, new_name, &mut archive, restore)?;
    created.keep();
    Ok(())
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

/// A database that goes away again unless it is kept.
struct CreatedDatabase {
    client: Client,
    name: String,
    is_kept: bool,
}

impl CreatedDatabase {
    fn create(
        admin: &ConnectOptions,
        name: &str,
        like: Option<&DatabaseInfo>,
    ) -> Result<Self, DumpError> {
        let mut client = Client::connect(admin, Mode::Sql)?;
        let known = client.query(&format!(
            "SELECT 1 FROM pg_database WHERE datname = {}",
            quote_literal(name)
        ))?;
        if !known.is_empty() {
            return Err(DumpError::DatabaseExists {
                name: name.to_owned(),
            });
        }
        match client.query_within(&creation(name, like), CHECKPOINT_WAIT) {
            Ok(_) => Ok(Self {
                client,
                name: name.to_owned(),
                is_kept: false,
            }),
            // Somebody else was faster; it is theirs, and not to be dropped.
            Err(error)
                if error
                    .server_error()
                    .is_some_and(|error| error.sqlstate == DUPLICATE_DATABASE) =>
            {
                Err(DumpError::DatabaseExists {
                    name: name.to_owned(),
                })
            }
            Err(error) => Err(Error::While {
                doing: format!("create database `{name}`"),
                source: Box::new(error),
            }
            .into()),
        }
    }

    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for CreatedDatabase {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let sql = format!(
            "DROP DATABASE {} WITH (FORCE)",
            quote_identifier(&self.name)
        );
        if let Err(error) = self.client.query_within(&sql, CHECKPOINT_WAIT) {
            tracing::error!(database = %self.name, %error, "the half-restored database could not be dropped");
        }
    }
}

fn creation(name: &str, like: Option<&DatabaseInfo>) -> String {
    let mut sql = format!(
        "CREATE DATABASE {} TEMPLATE template0",
        quote_identifier(name)
    );
    let Some(like) = like else { return sql };
    for (option, value) in [
        ("ENCODING", &like.encoding),
        ("LC_COLLATE", &like.collate),
        ("LC_CTYPE", &like.ctype),
    ] {
        sql.push_str(&format!(" {option} {}", quote_literal(value)));
    }
    match (like.locale_provider.as_str(), &like.locale) {
        ("i", Some(locale)) => sql.push_str(&format!(
            " LOCALE_PROVIDER icu ICU_LOCALE {}",
            quote_literal(locale)
        )),
        ("b", Some(locale)) => {
            sql.push_str(&format!(
                " LOCALE_PROVIDER builtin BUILTIN_LOCALE {}",
                quote_literal(locale)
            ));
        }
        _ => {}
    }
    sql
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
enum Side {
    /// The tool hung up; it says why.
    Tool,
    Archive(io::Error),
}

fn feed(archive: &mut dyn Read, stdin: &mut impl Write) -> Result<(), Side> {
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
fn connection_string(name: &str) -> String {
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
        assert_eq!(
            creation("we\"ird", None),
            "CREATE DATABASE \"we\"\"ird\" TEMPLATE template0"
        );
    }
}
