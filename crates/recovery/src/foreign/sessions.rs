//! Who would be sent away by a swap.

use rekindle_postgres::{Client, Error, quote_literal};

use crate::guard::{Guard, GuardFinding};

/// Sessions of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    idle: u64,
    working: u64,
    prepared: u64,
}

impl Sessions {
    pub(super) fn gather(client: &mut Client, database: &str) -> Result<Self, Error> {
        let name = quote_literal(database);
        let rows = client.query(&format!(
            "SELECT count(*) FILTER (WHERE state = 'idle') AS idle, \
               count(*) FILTER (WHERE state <> 'idle') AS working, \
               (SELECT count(*) FROM pg_prepared_xacts WHERE database = {name}) AS prepared \
             FROM pg_stat_activity \
             WHERE datname = {name} AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ))?;
        let row = rows.first()?;
        Ok(Self {
            idle: row.get("idle")?,
            working: row.get("working")?,
            prepared: row.get("prepared")?,
        })
    }
}

/// Idle sessions come back by themselves; work that is cut off does not.
pub(super) fn judge(database: &str, sessions: Sessions) -> Option<GuardFinding> {
    let Sessions {
        idle,
        working,
        prepared,
    } = sessions;
    if prepared > 0 {
        return Some(GuardFinding::refuse(
            Guard::ActiveConnections,
            format!(
                "{prepared} prepared transaction(s) wait in `{database}`, and it cannot be renamed"
            ),
            "COMMIT PREPARED or ROLLBACK PREPARED what `SELECT * FROM pg_prepared_xacts` lists",
        ));
    }
    if working > 0 {
        return Some(GuardFinding::refuse(
            Guard::ActiveConnections,
            format!(
                "{working} session(s) of `{database}` are in the middle of something, {idle} are idle"
            ),
            "stop what works there; with --force active-connections they are ended, and what they \
             have not committed is lost",
        ));
    }
    (idle > 0).then(|| {
        GuardFinding::warn(
            Guard::ActiveConnections,
            format!("{idle} idle session(s) of `{database}` will be ended"),
            "most programs connect again by themselves",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Severity;

    #[test]
    fn only_work_that_would_be_lost_refuses() {
        let severity = |idle, working, prepared| {
            judge(
                "d",
                Sessions {
                    idle,
                    working,
                    prepared,
                },
            )
            .map(|finding| finding.severity)
        };
        assert_eq!(severity(0, 0, 0), None);
        assert_eq!(severity(5, 0, 0), Some(Severity::Warn));
        assert_eq!(severity(0, 1, 0), Some(Severity::Refuse));
        assert_eq!(severity(0, 0, 1), Some(Severity::Refuse));
    }
}
