//! What a running server says of itself, as far as guards need it.

use std::collections::{BTreeMap, BTreeSet};

use rekindle_postgres::{Client, Error, dump::foreign::Creation, quote_identifier, quote_literal};

use super::database::DatabaseNeeds;

/// An extension that could be created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AvailableExtension {
    /// The version that `CREATE EXTENSION` takes.
    pub version: String,
    /// Whether only a superuser, or a database's owner if it is trusted, may create it.
    pub needs_superuser: bool,
    /// Whether a database's owner may create it all the same.
    pub is_trusted: bool,
    /// Extensions that it needs.
    pub requires: Vec<String>,
}

/// A server, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its major version.
    pub major: u32,
    /// Who we are to it.
    pub user: String,
    /// Whether we may do everything.
    pub is_superuser: bool,
    /// Databases.
    pub databases: BTreeSet<String>,
    /// Roles.
    pub roles: BTreeSet<String>,
    /// Roles that we may act as.
    pub own_roles: BTreeSet<String>,
    /// Tablespaces.
    pub tablespaces: BTreeSet<String>,
    /// Extensions that its machine has.
    pub extensions: BTreeMap<String, AvailableExtension>,
    /// Of the wanted locales those that it cannot use, with its reason.
    pub unusable_locales: Vec<(String, String)>,
    /// Of the wanted encodings those that it does not know.
    pub unknown_encodings: Vec<String>,
    /// Free bytes where its data lies; `None` if that cannot be seen from here.
    pub free_bytes: Option<u64>,
    /// The newest client tools that were found for it; `None` if none fit.
    pub tool_major: Option<u32>,
}

impl ServerFacts {
    /// Asks a server for what matters to `needs`. Changes nothing.
    ///
    /// # Errors
    /// If the server refuses or goes away.
    pub fn gather(client: &mut Client, needs: &DatabaseNeeds) -> Result<Self, Error> {
        let me = client.query(
            "SELECT current_user AS name, rolsuper FROM pg_roles WHERE rolname = current_user",
        )?;
        let me = me.first()?;
        let (user, is_superuser) = (me.get("name")?, me.truth("rolsuper")?);
        Ok(Self {
            major: client.major(),
            user,
            is_superuser,
            databases: names(client, "SELECT datname FROM pg_database")?,
            roles: names(client, "SELECT rolname FROM pg_roles")?,
            own_roles: names(
                client,
                "SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')",
            )?,
            tablespaces: names(client, "SELECT spcname FROM pg_tablespace")?,
            extensions: extensions(client)?,
            unusable_locales: unusable_locales(client, needs.creation.as_ref())?,
            unknown_encodings: unknown_encodings(client, needs)?,
            free_bytes: free_bytes(client),
            tool_major: None,
        })
    }
}

fn names(client: &mut Client, sql: &str) -> Result<BTreeSet<String>, Error> {
    client.query(sql)?.iter().map(|row| row.at(0)).collect()
}

fn extensions(client: &mut Client) -> Result<BTreeMap<String, AvailableExtension>, Error> {
    let rows = client.query(
        "SELECT e.name, e.default_version, v.superuser, v.trusted, array_to_string(v.requires, ',') AS requires \
         FROM pg_available_extensions e JOIN pg_available_extension_versions v \
           ON v.name = e.name AND v.version = e.default_version",
    )?;
    rows.iter()
        .map(|row| {
            let requires = row.text("requires").unwrap_or_default().split(',');
            let extension = AvailableExtension {
                version: row.get("default_version")?,
                needs_superuser: row.truth("superuser")?,
                is_trusted: row.truth("trusted")?,
                requires: requires
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect(),
            };
            Ok((row.get("name")?, extension))
        })
        .collect()
}

fn unknown_encodings(client: &mut Client, needs: &DatabaseNeeds) -> Result<Vec<String>, Error> {
    let created = needs
        .creation
        .as_ref()
        .and_then(|creation| creation.encoding.as_ref());
    let mut unknown = Vec::new();
    for encoding in created.into_iter().chain(&needs.client_encoding) {
        let sql = format!(
            "SELECT pg_char_to_encoding({}) < 0 AS unknown",
            quote_literal(encoding)
        );
        if client.query(&sql)?.first()?.truth("unknown")? {
            unknown.push(encoding.clone());
        }
    }
    Ok(unknown)
}

/// Tries a locale by making a collation of it, which is rolled back: the catalogue does not know
/// of locales that came to the machine after the cluster was made.
fn unusable_locales(
    client: &mut Client,
    creation: Option<&Creation>,
) -> Result<Vec<(String, String)>, Error> {
    let Some(creation) = creation else {
        return Ok(Vec::new());
    };
    let mut wanted: Vec<(&str, &String)> = Vec::new();
    wanted.extend(creation.collate.as_ref().map(|locale| ("libc", locale)));
    wanted.extend(creation.ctype.as_ref().map(|locale| ("libc", locale)));
    let own = match creation.locale_provider.as_deref() {
        Some("i") => Some("icu"),
        Some("b") => Some("builtin"),
        _ => None,
    };
    wanted.extend(own.zip(creation.locale.as_ref()));
    wanted.dedup();
    let mut unusable = Vec::new();
    for (provider, locale) in wanted {
        if let Some(reason) = why_unusable(client, provider, locale)? {
            unusable.push((locale.clone(), reason));
        }
    }
    Ok(unusable)
}

fn why_unusable(
    client: &mut Client,
    provider: &str,
    locale: &str,
) -> Result<Option<String>, Error> {
    if provider == "libc" && matches!(locale, "C" | "POSIX") {
        return Ok(None);
    }
    let sql = format!(
        "CREATE COLLATION pg_temp.{} (provider = {provider}, locale = {})",
        quote_identifier("rekindle probe"),
        quote_literal(locale)
    );
    client.query("BEGIN")?;
    let made = client.query(&sql);
    client.query("ROLLBACK")?;
    match made {
        Ok(_) => Ok(None),
        Err(error) => {
            let Some(refusal) = error.server_error() else {
                return Err(error);
            };
            // Other refusals say nothing of the locale: the login may make no collations, or the
            // locale is for another encoding than that of the database we are in.
            let is_about_locale = [
                "could not create locale",
                "could not open collator",
                "not supported in this build",
                "unrecognized collation provider",
                "invalid locale",
            ]
            .iter()
            .any(|part| refusal.message.contains(part));
            Ok(is_about_locale.then(|| refusal.message.clone()))
        }
    }
}

/// Only if the server's files are within our sight; another machine's path may exist here too, so
/// the process that it names must be the server's.
fn free_bytes(client: &mut Client) -> Option<u64> {
    let directory = client.show("data_directory").ok()?;
    let pid: u32 = std::fs::read_to_string(format!("{directory}/postmaster.pid"))
        .ok()?
        .lines()
        .next()?
        .trim()
        .parse()
        .ok()?;
    let ours = client.query("SELECT pg_backend_pid() AS pid").ok()?;
    let backend: u32 = ours.first().ok()?.get("pid").ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{backend}/stat")).ok()?;
    let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?;
    (parent.parse() == Ok(pid)).then(|| crate::restore::free_bytes(directory.as_ref()))?
}
