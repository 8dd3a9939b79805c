//! Whether the restored server is what was wanted.

use std::{fs, path::Path};

use rekindle_datasets::with_causes;
use rekindle_postgres::{
    self as pg, Client, Mode,
    dump::{Selection, databases},
    server::StartedServer,
};
use serde::Serialize;

use super::{InPlaceError, journal::Journal, live::Place};

const CONFIGURATION: [&str; 3] = ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The restored server's timeline; `None` if it could not be asked.
    pub timeline: Option<u32>,
    /// Databases that answered.
    pub databases: u64,
    /// The last commit that was replayed, as the server says.
    pub last_commit: Option<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Looks at a server that was started on the restored directory.
///
/// # Errors
/// [`InPlaceError::WrongServer`] if it is another cluster.
pub(super) fn check(
    place: &Place<'_>,
    journal: &Journal,
    started: StartedServer,
) -> Result<CheckReport, InPlaceError> {
    let mut report = CheckReport::default();
    compare_configuration(
        &journal.set_aside,
        place.site.pgdata(),
        &mut report.warnings,
    );
    match started {
        StartedServer::RefusesUs(error) => report.warnings.push(format!(
            "the server runs and has ended recovery, and was not looked into: {}",
            with_causes(&error)
        )),
        StartedServer::Answers(mut client) => look(place, journal, &mut client, &mut report)?,
    }
    Ok(report)
}

fn look(
    place: &Place<'_>,
    journal: &Journal,
    client: &mut Client,
    report: &mut CheckReport,
) -> Result<(), InPlaceError> {
    let identity = pg::identity(client)?;
    if identity.system_identifier != journal.system_identifier {
        return Err(InPlaceError::WrongServer {
            reason: format!(
                "its system identifier is {}, not {}",
                identity.system_identifier, journal.system_identifier
            ),
        });
    }
    let timeline = identity.timeline.number();
    report.timeline = Some(timeline);
    if timeline <= journal.old_timeline {
        report.warnings.push(format!(
            "it writes timeline {timeline}, and the old server wrote {}: do not archive both to one place",
            journal.old_timeline
        ));
    }
    let last = "SELECT coalesce(pg_last_xact_replay_timestamp()::text, '')";
    let last: String = client.query(last)?.single()?;
    report.last_commit = Some(last).filter(|last| !last.is_empty());
    let options = place.cluster.options();
    let password = options.password();
    for database in databases(client, &Selection::All)? {
        let mut options = options.clone().with_database(&database.name);
        if let Some(password) = &password {
            options = options.with_password(password.as_str());
        }
        let answered = Client::connect(&options, Mode::Sql)
            .and_then(|mut client| client.query("SELECT 1").map(drop));
        match answered {
            Ok(()) => report.databases += 1,
            Err(error) => report.warnings.push(format!(
                "database `{}` was not looked into: {}",
                database.name,
                with_causes(&error)
            )),
        }
    }
    Ok(())
}

/// The configuration comes with the point; where it differs from what was in effect, somebody has to
/// look at it.
fn compare_configuration(old: &Path, new: &Path, warnings: &mut Vec<String>) {
    for name in CONFIGURATION {
        let (Ok(before), Ok(now)) = (fs::read(old.join(name)), fs::read(new.join(name))) else {
            continue;
        };
        if before != now {
            warnings.push(format!(
                "{name} is that of the recovery point, and differs from the one in {}",
                old.display()
            ));
        }
    }
}
