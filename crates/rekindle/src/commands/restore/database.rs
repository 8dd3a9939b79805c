//! `rekindle restore --database`.

use std::io::Write;

use rekindle_recovery::DatabaseRestoreRequest;
use serde_json::json;

use super::{RestoreArgs, point_line};
use crate::{
    app::App,
    commands::guards,
    commands::services,
    errors::{CliError, Exit},
    output::{count, duration, write_json},
    signals,
};

/// Restores one database of a logical backup under a new name.
///
/// # Errors
/// As the library failed; nothing that exists was touched.
pub(super) fn run(
    app: &App,
    args: &RestoreArgs,
    database: &str,
    new_name: &str,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if args.dry_run {
        return Err(CliError::wrong_use(
            "a database that the point has a dump of is restored at once",
            "leave out `--dry-run`: nothing that exists is touched, and a name that is taken is refused",
        ));
    }
    let stack = app.stack()?;
    let request = DatabaseRestoreRequest {
        stack: &stack,
        point: args.point.clone(),
        service: services::the_postgres(&stack, args.service.as_deref())?,
        database: database.to_owned(),
        new_name: new_name.to_owned(),
        guards: args.guards.options(),
    };
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let half = format!("interrupted: database `{new_name}` may be there and half filled; drop it");
    signals::watch(half);
    let outcome = rekindle_recovery::restore_database(&vault, &request)?;
    if app.is_json() {
        let value = json!({
            "service": request.service,
            "database": database,
            "as": new_name,
            "point": outcome.point,
            "tables": outcome.tables,
            "rows": outcome.rows,
            "bytes": outcome.bytes,
            "took_seconds": outcome.took.as_secs_f64(),
            "created_roles": outcome.created_roles,
            "findings": outcome.findings,
        });
        write_json(out, &value)?;
    } else {
        let (tables, rows) = (outcome.tables as u64, outcome.rows);
        let (tables, rows) = (count(tables, "table"), count(rows, "row"));
        let took = duration(outcome.took);
        writeln!(out, "restored database {database} as {new_name} in {took}")?;
        writeln!(out, "  from      {}", point_line(&outcome.point))?;
        writeln!(
            out,
            "  counted   {tables}, {rows}, as many as when it was backed up"
        )?;
        for role in &outcome.created_roles {
            writeln!(
                out,
                "  role      {role}, without password and without LOGIN"
            )?;
        }
        guards::tell(app, &outcome.findings);
        app.next(&outcome.next);
    }
    Ok(Exit::Done)
}
