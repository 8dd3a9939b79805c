//! Two databases change names, and what belongs to the name goes along.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::client::{Client, Mode, quote_identifier, quote_literal};
use crate::error::{Doing, Error};
use crate::options::ConnectOptions;

/// Somebody is connected, or a prepared transaction waits.
const OBJECT_IN_USE: &str = "55006";
const ATTEMPTS: u32 = 6;
/// A rename waits 5 s for sessions to end, by the server's own rule.
const RENAME_WAIT: Duration = Duration::from_secs(60);

/// Parameters that hold a list of names, and must not be written as one quoted text.
const LISTS: [&str; 5] = [
    "search_path",
    "temp_tablespaces",
    "local_preload_libraries",
    "session_preload_libraries",
    "shared_preload_libraries",
];

/// What a swap did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Swapped {
    /// The name that is live.
    pub live: String,
    /// What the formerly live database is called now.
    pub set_aside: String,
    /// Sessions that were ended.
    pub ended_sessions: u64,
}

/// Renames the database `live` to `set_aside` and `new` to `live`, in one transaction: whenever
/// the power fails, `live` is one or the other. While it waits for sessions to end, the lock that
/// the transaction holds keeps new ones waiting, and it goes away with us. Owner, rights, limits,
/// settings and comment of `live` are given to `new` before if `carry_over`. Nothing is dropped.
///
/// # Errors
/// If the role may not, or a session or a prepared transaction does not end; then everything is as
/// it was.
pub fn swap_databases(
    admin: &ConnectOptions,
    live: &str,
    new: &str,
    set_aside: &str,
    carry_over: bool,
) -> Result<Swapped, Error> {
    let options = elsewhere(admin, &[live, new]);
    let mut client = Client::connect(&options, Mode::Sql)?;
    let (is_done, ended) = (AtomicBool::new(false), AtomicU64::new(0));
    let swapped = thread::scope(|scope| {
        scope.spawn(|| end_sessions(&options, &[live, new], &is_done, &ended));
        let swapped = attempt(&mut client, live, new, set_aside, carry_over);
        is_done.store(true, Ordering::Release);
        swapped
    });
    swapped.doing(|| format!("swap database `{new}` for `{live}`"))?;
    Ok(Swapped {
        live: live.to_owned(),
        set_aside: set_aside.to_owned(),
        ended_sessions: ended.load(Ordering::Acquire),
    })
}

/// A connection to another database than these: nobody can rename the one that he is in.
fn elsewhere(admin: &ConnectOptions, not: &[&str]) -> ConnectOptions {
    let other = [admin.database.as_str(), "postgres", "template1"]
        .into_iter()
        .find(|name| !not.contains(name))
        .unwrap_or("template1");
    admin.clone().with_password_of(admin).with_database(other)
}

fn attempt(
    client: &mut Client,
    live: &str,
    new: &str,
    set_aside: &str,
    carry_over: bool,
) -> Result<(), Error> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let renamed = in_transaction(client, live, new, set_aside, carry_over);
        let is_in_use = |error: &Error| {
            error
                .server_error()
                .is_some_and(|refusal| refusal.sqlstate == OBJECT_IN_USE)
        };
        match renamed {
            Err(error) if is_in_use(&error) && attempts < ATTEMPTS => {
                tracing::info!(attempts, "sessions of the database have not ended yet");
            }
            other => return other,
        }
    }
}

fn in_transaction(
    client: &mut Client,
    live: &str,
    new: &str,
    set_aside: &str,
    carry_over: bool,
) -> Result<(), Error> {
    client.query("BEGIN")?;
    let renamed = (|| {
        if carry_over {
            for statement in belongings(client, live, new)? {
                client.query(&statement)?;
            }
        }
        rename(client, live, set_aside)?;
        rename(client, new, live)
    })();
    let end = if renamed.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    client.query(end).and(renamed)
}

fn rename(client: &mut Client, from: &str, to: &str) -> Result<(), Error> {
    let (from, to) = (quote_identifier(from), quote_identifier(to));
    let sql = format!("ALTER DATABASE {from} RENAME TO {to}");
    client.query_within(&sql, RENAME_WAIT).map(drop)
}

/// Statements that give to `new` what belongs to `live` and is not in a dump of it.
fn belongings(client: &mut Client, live: &str, new: &str) -> Result<Vec<String>, Error> {
    let (live, new) = (quote_literal(live), quote_identifier(new));
    let rows = client.query(&format!(
        "SELECT pg_get_userbyid(datdba) AS owner, datconnlimit, datacl IS NOT NULL AS has_acl, \
           shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = {live}"
    ))?;
    let row = rows.first()?;
    let owner = quote_identifier(&row.get::<String>("owner")?);
    let comment = row.text("comment").map_or("NULL".to_owned(), quote_literal);
    let limit: i64 = row.get("datconnlimit")?;
    let mut statements = vec![
        format!("ALTER DATABASE {new} OWNER TO {owner}"),
        format!("ALTER DATABASE {new} CONNECTION LIMIT {limit}"),
        format!("COMMENT ON DATABASE {new} IS {comment}"),
    ];
    if row.truth("has_acl")? {
        statements.push(format!("REVOKE ALL ON DATABASE {new} FROM PUBLIC"));
        statements.push(format!("REVOKE ALL ON DATABASE {new} FROM {owner}"));
        statements.extend(grants(client, &live, &new)?);
    }
    statements.extend(settings(client, &live, &new)?);
    Ok(statements)
}

fn grants(client: &mut Client, live: &str, new: &str) -> Result<Vec<String>, Error> {
    let rows = client.query(&format!(
        "SELECT a.privilege_type AS privilege, a.is_grantable, \
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee \
         FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = {live}"
    ))?;
    rows.iter()
        .map(|row| {
            let (privilege, grantee): (String, String) =
                (row.get("privilege")?, row.get("grantee")?);
            let option = if row.truth("is_grantable")? {
                " WITH GRANT OPTION"
            } else {
                ""
            };
            Ok(format!(
                "GRANT {privilege} ON DATABASE {new} TO {grantee}{option}"
            ))
        })
        .collect()
}

/// `ALTER DATABASE … SET`, also those for single roles.
fn settings(client: &mut Client, live: &str, new: &str) -> Result<Vec<String>, Error> {
    let rows = client.query(&format!(
        "SELECT pg_get_userbyid(s.setrole) AS role, s.setrole <> 0 AS is_for_role, unnest(s.setconfig) AS setting \
         FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = {live}"
    ))?;
    let mut statements = Vec::new();
    for row in rows.iter() {
        let setting: String = row.get("setting")?;
        let Some((name, value)) = setting.split_once('=') else {
            continue;
        };
        let whose = if row.truth("is_for_role")? {
            let role = quote_identifier(&row.get::<String>("role")?);
            format!("ALTER ROLE {role} IN DATABASE {new}")
        } else {
            format!("ALTER DATABASE {new}")
        };
        let parameter: Vec<_> = name.split('.').map(quote_identifier).collect();
        let (parameter, value) = (parameter.join("."), quote_literal(value));
        if LISTS.contains(&name) {
            let name = quote_literal(name);
            statements.push(format!("SELECT set_config({name}, {value}, true)"));
            statements.push(format!("{whose} SET {parameter} FROM CURRENT"));
        } else {
            statements.push(format!("{whose} SET {parameter} TO {value}"));
        }
    }
    Ok(statements)
}

/// Ends sessions again and again, because clients come back until the rename holds its lock.
fn end_sessions(
    options: &ConnectOptions,
    databases: &[&str],
    is_done: &AtomicBool,
    ended: &AtomicU64,
) {
    let names: Vec<_> = databases.iter().map(|name| quote_literal(name)).collect();
    let sql = format!(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname IN ({}) AND pid <> pg_backend_pid()",
        names.join(", ")
    );
    let mut client = match Client::connect(options, Mode::Sql) {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(%error, "sessions cannot be ended");
            return;
        }
    };
    while !is_done.load(Ordering::Acquire) {
        match client.query(&sql).and_then(|rows| rows.single::<u64>()) {
            Ok(count) => {
                ended.fetch_add(count, Ordering::AcqRel);
            }
            Err(error) => {
                tracing::warn!(%error, "sessions cannot be ended");
                return;
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
}
