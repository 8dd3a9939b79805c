//! What going back would lose, in words.

use std::{io::Write, time::Duration};

use rekindle_recovery::wal::{LossPreview, TableLoss};

use crate::{
    app::App,
    errors::CliError,
    output::{Table, bytes, count, duration, time},
};

/// A person looks at the tables with the most rows; `--json` has them all.
const TABLES_SHOWN: usize = 20;

/// Writes what would be lost if the restored data took the place of the live one.
///
/// # Errors
/// As the output fails.
pub fn write(app: &App, loss: &LossPreview, out: &mut dyn Write) -> Result<(), CliError> {
    let until = loss
        .until
        .time
        .map_or_else(|| loss.until.lsn.to_string(), time);
    let long = duration(Duration::from_secs(loss.seconds));
    if loss.transactions == 0 && loss.seconds > 0 {
        writeln!(out, "  loss      everything of the last {long}")?;
    } else if loss.transactions == 0 {
        writeln!(
            out,
            "  loss      none: nothing was committed after it, as of {until}"
        )?;
    } else {
        let transactions = count(loss.transactions, "transaction");
        writeln!(out, "  loss      {long}, {transactions} up to {until}:")?;
        write_tables(&loss.tables, out)?;
    }
    for database in &loss.databases_back {
        writeln!(
            out,
            "            database {database} was dropped after it, and would be back"
        )?;
    }
    match loss.unarchived_bytes {
        Some(0) => {}
        Some(more) => app.warn(format_args!(
            "the server has {} of WAL that the archive has not yet; they are not counted",
            bytes(more)
        )),
        None if loss.notes.is_empty() => {
            app.warn("the server does not answer; what it has not archived is not counted");
        }
        None => {}
    }
    for note in &loss.notes {
        app.warn(note);
    }
    Ok(())
}

fn write_tables(tables: &[TableLoss], out: &mut dyn Write) -> Result<(), CliError> {
    let mut table = Table::new(["            TABLE", ">INSERTED", ">UPDATED", ">DELETED", ""]);
    for loss in tables.iter().take(TABLES_SHOWN) {
        table.row([
            format!("            {}", loss.table),
            loss.inserted.to_string(),
            loss.updated.to_string(),
            loss.deleted.to_string(),
            if loss.changed_as_a_whole {
                "dropped, truncated or written anew".to_owned()
            } else {
                String::new()
            },
        ]);
    }
    table.write(out)?;
    match tables.len().saturating_sub(TABLES_SHOWN) {
        0 => {}
        more => writeln!(out, "            … and {more} more; --json has all")?,
    }
    Ok(())
}
