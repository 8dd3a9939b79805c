//! The replication slot that makes the server keep what we have not safe yet.

use std::fmt;

use crate::client::{Client, Mode, Row, quote_literal};
use crate::error::{Doing, Error};
use crate::layout::Lsn;
use crate::options::ConnectOptions;

/// What PostgreSQL takes as a slot's name: 1 to 63 lower-case letters, digits and `_`. Source: its manual,
/// "Replication Slots".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SlotName(String);

impl SlotName {
    /// The nearest possible name: lower case, everything else than letters and digits becomes `_`, the first 63.
    pub fn sanitised(text: &str) -> Self {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let replaced = text.chars().map(|c| c.to_ascii_lowercase());
        let name = replaced.map(|c| if allowed(c) { c } else { '_' });
        let name: String = name.take(63).collect();
        Self(if name.is_empty() {
            "_".to_owned()
        } else {
            name
        })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of the WAL that a slot wants kept. Source: PostgreSQL manual, "pg_replication_slots".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalStatus {
    /// All there, within `max_wal_size`.
    Reserved,
    /// All there, beyond `max_wal_size`.
    Extended,
    /// May go at the next checkpoint.
    Unreserved,
    /// Gone: the slot is of no use any more.
    Lost,
}

impl WalStatus {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "reserved" => Self::Reserved,
            "extended" => Self::Extended,
            "unreserved" => Self::Unreserved,
            "lost" => Self::Lost,
            _ => return None,
        })
    }

    /// As the server writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Extended => "extended",
            Self::Unreserved => "unreserved",
            Self::Lost => "lost",
        }
    }
}

/// A replication slot as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Whether it is for physical replication; a logical one of our name is somebody else's.
    pub is_physical: bool,
    /// From where on the server keeps WAL; `None` if it never kept any, or lost it.
    pub restart_lsn: Option<Lsn>,
    /// The server's process that serves its user.
    pub active_pid: Option<u32>,
    /// What became of its WAL; `None` where that could not be asked for.
    pub wal_status: Option<WalStatus>,
    /// Bytes of WAL that may still be written before it may be lost; `None` without a limit.
    pub safe_wal_size: Option<i64>,
    /// Bytes between `restart_lsn` and the server's end of WAL.
    pub retained_bytes: Option<u64>,
}

impl Slot {
    /// Whether its WAL is gone.
    pub fn is_lost(&self) -> bool {
        self.wal_status == Some(WalStatus::Lost)
    }
}

/// What is known of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// There is none of that name.
    Missing,
    /// This.
    Present(Slot),
}

/// Asks for the slot `name` on a connection that takes SQL.
///
/// # Errors
/// Loss of the connection, or an answer that cannot be read.
pub fn inspect_slot(client: &mut Client, name: &SlotName) -> Result<SlotState, Error> {
    inspect_by_sql(client, name).doing(|| format!("look at the replication slot `{name}`"))
}

fn inspect_by_sql(client: &mut Client, name: &SlotName) -> Result<SlotState, Error> {
    let sql = format!(
        "SELECT slot_type, restart_lsn, active_pid, wal_status, safe_wal_size, \
           pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() \
             ELSE pg_current_wal_lsn() END, restart_lsn)::bigint AS retained \
         FROM pg_replication_slots WHERE slot_name = {}",
        quote_literal(name.as_str())
    );
    let rows = client.query(&sql)?;
    let Some(row) = rows.iter().next() else {
        return Ok(SlotState::Missing);
    };
    Ok(SlotState::Present(Slot {
        is_physical: row.text("slot_type") == Some("physical"),
        restart_lsn: optional(&row, "restart_lsn")?,
        active_pid: optional(&row, "active_pid")?,
        wal_status: row.text("wal_status").and_then(WalStatus::parse),
        safe_wal_size: optional(&row, "safe_wal_size")?,
        retained_bytes: optional::<i64>(&row, "retained")?.map(|bytes| bytes.max(0) as u64),
    }))
}

fn optional<T: std::str::FromStr>(row: &Row<'_>, column: &str) -> Result<Option<T>, Error> {
    match row.text(column) {
        Some(_) => row.get(column).map(Some),
        None => Ok(None),
    }
}

/// Looks at the slot by SQL where the role may log in to its database, else by the replication connection, which
/// knows less (and nothing before 15).
pub(super) fn look(
    options: &ConnectOptions,
    replication: &mut Client,
    name: &SlotName,
) -> Result<Option<SlotState>, Error> {
    match Client::connect(options, Mode::Sql) {
        Ok(mut client) => return inspect_slot(&mut client, name).map(Some),
        Err(error) if error.is_retryable() => return Err(error),
        Err(error) => {
            tracing::debug!(%error, "no SQL connection; the slot is asked for by replication")
        }
    }
    if replication.major() < 15 {
        return Ok(None);
    }
    let rows = replication.query(&format!("READ_REPLICATION_SLOT \"{name}\""));
    let rows = match rows {
        Ok(rows) => rows,
        // The only refusal of this command: the slot is logical.
        Err(Error::Server { .. }) => {
            return Ok(Some(SlotState::Present(Slot::unknown(false, None))));
        }
        Err(error) => return Err(error),
    };
    let row = rows.first()?;
    Ok(Some(match row.text("slot_type") {
        None => SlotState::Missing,
        Some(_) => SlotState::Present(Slot::unknown(true, optional(&row, "restart_lsn")?)),
    }))
}

impl Slot {
    fn unknown(is_physical: bool, restart_lsn: Option<Lsn>) -> Self {
        Self {
            is_physical,
            restart_lsn,
            active_pid: None,
            wal_status: None,
            safe_wal_size: None,
            retained_bytes: None,
        }
    }
}

/// Makes a physical slot that keeps WAL from now on. Needs a replication connection.
///
/// # Errors
/// What the server refuses: no right, no slot free.
pub fn create_slot(client: &mut Client, name: &SlotName) -> Result<(), Error> {
    let command = format!("CREATE_REPLICATION_SLOT \"{name}\" PHYSICAL RESERVE_WAL");
    let created = client.query(&command).map(drop);
    created.doing(|| format!("create the replication slot `{name}`"))
}

/// Removes a slot. Needs a replication connection.
///
/// # Errors
/// What the server refuses: it is in use, or there is none.
pub fn drop_slot(client: &mut Client, name: &SlotName) -> Result<(), Error> {
    let dropped = client
        .query(&format!("DROP_REPLICATION_SLOT \"{name}\""))
        .map(drop);
    dropped.doing(|| format!("drop the replication slot `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stack_and_service_gets_a_name_that_the_server_takes() {
        let name = |text: &str| SlotName::sanitised(text).to_string();
        assert_eq!(name("rekindle_shop_Main-DB.1"), "rekindle_shop_main_db_1");
        assert_eq!(name("ä"), "_");
        assert_eq!(name(""), "_");
        assert_eq!(name(&"x".repeat(99)).len(), 63);
    }
}
