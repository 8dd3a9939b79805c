//! Which cluster a connection leads to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::client::{Client, Mode};
use crate::error::{Doing, Error};
use crate::layout::{SegmentSize, Timeline};

/// What tells one cluster from another, and what a restore has to match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerIdentity {
    /// Tells this cluster and its descendants from all others.
    pub system_identifier: u64,
    /// The server's version as a number, such as 150018 for 15.18.
    pub version_num: u32,
    /// The server's version in words, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// The major version, 13 to 18.
    pub major: u32,
    /// The timeline the server writes, or a standby replays.
    pub timeline: Timeline,
    /// Bytes of a WAL segment.
    pub wal_segment_size: SegmentSize,
    /// Bytes of a data page.
    pub block_size: u32,
    /// Whether data pages carry checksums.
    pub data_checksums: bool,
    /// Where the server says its data lies, in its own view of the file system; `None` if the role
    /// may not know (`pg_read_all_settings`).
    pub data_directory: Option<PathBuf>,
    /// Whether the server is a standby.
    pub is_standby: bool,
    /// The encoding of the connection's database; `None` on a connection to no database.
    pub encoding: Option<String>,
}

/// Asks the server who it is. Works on SQL and on replication connections.
///
/// # Errors
/// Loss of the connection, or an answer that cannot be read.
pub fn identity(client: &mut Client) -> Result<ServerIdentity, Error> {
    read_identity(client).doing(|| "ask the server for its identity".to_owned())
}

fn read_identity(client: &mut Client) -> Result<ServerIdentity, Error> {
    let (system_identifier, timeline) = match client.mode() {
        Mode::Sql => control_system(client)?,
        Mode::Replication | Mode::ReplicationInDatabase => identify_system(client)?,
    };
    Ok(ServerIdentity {
        system_identifier,
        timeline,
        version_num: number(&client.show("server_version_num")?, "server_version_num")?,
        version: client
            .parameter("server_version")
            .unwrap_or_default()
            .to_owned(),
        major: client.major(),
        wal_segment_size: SegmentSize::new(bytes_of_setting(&client.show("wal_segment_size")?)?)?,
        block_size: number(&client.show("block_size")?, "block_size")?,
        data_checksums: client.show("data_checksums")? == "on",
        data_directory: data_directory(client)?,
        is_standby: is_standby(client)?,
        encoding: match client.mode() {
            Mode::Replication => None,
            _ => client.parameter("server_encoding").map(str::to_owned),
        },
    })
}

fn identify_system(client: &mut Client) -> Result<(u64, Timeline), Error> {
    let rows = client.query("IDENTIFY_SYSTEM")?;
    let row = rows.first()?;
    Ok((row.get("systemid")?, row.get("timeline")?))
}

/// On a primary the timeline is in the name of the segment being written; the control file lags a
/// promotion until the next checkpoint. A standby cannot name its segment.
fn control_system(client: &mut Client) -> Result<(u64, Timeline), Error> {
    let rows = client.query(
        "SELECT system_identifier, \
           CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint()) \
           ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline \
         FROM pg_control_system()",
    )?;
    let row = rows.first()?;
    // bigint is signed, the identifier is not.
    Ok((
        row.get::<i64>("system_identifier")? as u64,
        row.get("timeline")?,
    ))
}

fn data_directory(client: &mut Client) -> Result<Option<PathBuf>, Error> {
    match client.show("data_directory") {
        Ok(path) => Ok(Some(PathBuf::from(path))),
        Err(error) if matches!(error.root(), Error::NotPermitted { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_standby(client: &mut Client) -> Result<bool, Error> {
    if let Some(reported) = client.parameter("in_hot_standby") {
        return Ok(reported == "on");
    }
    match client.mode() {
        // Before 14 the server does not report it; every transaction on a standby is read-only.
        Mode::Replication => Ok(client.show("transaction_read_only")? == "on"),
        _ => client
            .query("SELECT pg_is_in_recovery()")?
            .first()?
            .truth("pg_is_in_recovery"),
    }
}

fn number(text: &str, setting: &str) -> Result<u32, Error> {
    text.parse()
        .map_err(|_| Error::protocol(format!("`{text}` as the setting `{setting}`")))
}

/// Reads a size with a unit, such as `16MB`.
fn bytes_of_setting(text: &str) -> Result<u64, Error> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => 0,
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| Error::protocol(format!("`{text}` as a size")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(bytes_of_setting("16MB").unwrap(), 16 << 20);
        assert_eq!(bytes_of_setting("1GB").unwrap(), 1 << 30);
        assert_eq!(bytes_of_setting("16777216").unwrap(), 16 << 20);
        assert!(bytes_of_setting("16 pages").is_err());
    }
}
