//! A whole database out of a scratch server, under a new name.

use rekindle_postgres::{
    Client, ConnectOptions, Mode,
    dump::{self, Dump, RestoreOptions, Selection, Tools, row_counts},
    server::Scratch,
};

use super::{ExtractError, Extracted, error::Doing};

/// Refuses a name that is in use, before anything is restored.
pub(super) fn check_name(client: &mut Client, name: &str) -> Result<(), ExtractError> {
    let all = dump::databases(client, &Selection::All);
    let all = all.doing("list the live server's databases")?;
    match all.iter().any(|database| database.name == name) {
        true => Err(ExtractError::NameTaken {
            what: format!("database `{name}`"),
        }),
        false => Ok(()),
    }
}

/// Dumps `database` of the scratch server into a new database of the live one. Rows are counted on
/// both sides.
pub(super) fn extract(
    scratch: &Scratch,
    live: &ConnectOptions,
    tools: &Tools,
    database: &str,
    new_name: &str,
) -> Result<Extracted, ExtractError> {
    let mut client = scratch
        .connect(database)
        .doing(format!("open database `{database}` of the scratch server"))?;
    let expected = row_counts(&mut client).doing("count the rows to be restored")?;
    let like = dump::databases(&mut client, &Selection::Named(vec![database.to_owned()]));
    let like = like.doing("look at the database to be restored")?;
    let archive = Dump::database(tools, scratch.options(), database, None);
    let archive = archive.doing("dump the database")?.whole();
    let options = RestoreOptions {
        like: like.into_iter().next(),
        ..RestoreOptions::default()
    };
    let restored = dump::restore_database(tools, live, new_name, archive, &options);
    restored.doing(format!("restore database `{database}` as `{new_name}`"))?;
    let password = live.password();
    let mut target = live.clone().with_database(new_name);
    if let Some(password) = &password {
        target = target.with_password(password.as_str());
    }
    let found = Client::connect(&target, Mode::Sql).and_then(|mut client| row_counts(&mut client));
    let found = found.doing("count the rows that arrived")?;
    let differing: Vec<_> = expected
        .iter()
        .filter(|count| !found.contains(count))
        .map(|count| format!("{}.{} had {} rows", count.schema, count.table, count.rows))
        .collect();
    if !differing.is_empty() {
        return Err(ExtractError::RowsDiffer {
            differences: format!("{}; database `{new_name}` is kept", differing.join(", ")),
        });
    }
    Ok(Extracted {
        name: new_name.to_owned(),
        tables: found.len() as u64,
        rows: found.iter().map(|count| count.rows).sum(),
        left_out: Vec::new(),
        notes: Vec::new(),
    })
}
