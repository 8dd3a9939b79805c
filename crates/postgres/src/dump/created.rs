//! A new database that is filled, and goes away again if that fails.

use std::time::Duration;

use super::{DatabaseInfo, DumpError};
use crate::client::{Client, Mode, quote_identifier, quote_literal};
use crate::error::Error;
use crate::options::ConnectOptions;

const DUPLICATE_DATABASE: &str = "42P04";

/// Making and dropping a database waits for checkpoints, which take long on a busy server.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(2 * 3600);

/// How the comment on a database begins that is being filled.
pub(super) const UNFINISHED_MARK: &str = "rekindle: unfinished restore";
/// How the comment on a database begins that was restored, and not promoted yet.
const FINISHED_MARK: &str = "rekindle: restored from";

/// A database that a restore left behind half filled, or is filling now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UnfinishedDatabase {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub comment: String,
    /// Whether somebody is connected to it: then it is probably being filled now.
    pub is_in_use: bool,
}

/// Finds databases that a restore did not finish.
///
/// # Errors
/// If the server refuses or goes away.
pub fn unfinished_databases(client: &mut Client) -> Result<Vec<UnfinishedDatabase>, Error> {
    let rows = client.query(&format!(
        "SELECT d.datname, c.description, \
           EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid) AS is_in_use \
         FROM pg_database d JOIN pg_shdescription c ON c.objoid = d.oid \
           AND c.classoid = 'pg_database'::regclass \
         WHERE starts_with(c.description, {}) ORDER BY 1",
        quote_literal(UNFINISHED_MARK)
    ))?;
    rows.iter()
        .map(|row| {
            Ok(UnfinishedDatabase {
                name: row.get("datname")?,
                comment: row.get("description")?,
                is_in_use: row.truth("is_in_use")?,
            })
        })
        .collect()
}

/// A database that goes away again unless it is kept.
pub(super) struct CreatedDatabase {
    client: Client,
    name: String,
    is_kept: bool,
}

impl CreatedDatabase {
    pub(super) fn create(
        admin: &ConnectOptions,
        name: &str,
        like: Option<&DatabaseInfo>,
        tablespace: Option<&str>,
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
        let mut sql = creation(name, like);
        if let Some(tablespace) = tablespace {
            sql.push_str(&format!(" TABLESPACE {}", quote_identifier(tablespace)));
        }
        match client.query_within(&sql, CHECKPOINT_WAIT) {
            Ok(_) => {
                let mut created = Self {
                    client,
                    name: name.to_owned(),
                    is_kept: false,
                };
                // If we are killed, this tells whoever comes next what it is.
                created.mark(&format!(
                    "{UNFINISHED_MARK} since {}",
                    jiff::Timestamp::now()
                ))?;
                Ok(created)
            }
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

    /// Ends the mark of being unfinished; from here on the database stays.
    pub(super) fn keep(mut self, origin: &str) -> Result<(), DumpError> {
        self.mark(&format!("{FINISHED_MARK} {origin}"))?;
        self.is_kept = true;
        Ok(())
    }

    fn mark(&mut self, text: &str) -> Result<(), Error> {
        let (name, text) = (quote_identifier(&self.name), quote_literal(text));
        self.client
            .query(&format!("COMMENT ON DATABASE {name} IS {text}"))
            .map(drop)
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
    let options = [
        ("ENCODING", &like.encoding),
        ("LC_COLLATE", &like.collate),
        ("LC_CTYPE", &like.ctype),
    ];
    // What is not known is the server's own.
    for (option, value) in options.into_iter().filter(|(_, value)| !value.is_empty()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_stay_names_and_unknown_locales_the_servers_own() {
        assert_eq!(
            creation("we\"ird", None),
            "CREATE DATABASE \"we\"\"ird\" TEMPLATE template0"
        );
        let utf8 = DatabaseInfo {
            encoding: "UTF8".into(),
            ..DatabaseInfo::default()
        };
        assert_eq!(
            creation("d", Some(&utf8)),
            "CREATE DATABASE \"d\" TEMPLATE template0 ENCODING 'UTF8'"
        );
    }
}
