//! An RDB that the server writes to its own disk, for those who can read that.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::client::Client;
use super::error::RedisError;

const TICK: Duration = Duration::from_millis(50);
/// A BGSAVE of somebody else is waited for this long before ours begins.
const BUSY_LIMIT: Duration = Duration::from_secs(600);

/// A saved RDB.
pub struct SavedRdb {
    /// It, open: a later BGSAVE puts another one in its place, and this one stays.
    pub file: File,
    /// Where it is.
    pub path: PathBuf,
    /// The server's clock before it was begun, in seconds since 1970.
    pub not_before: i64,
}

/// Has the server save, waits, and opens what it saved. Never `SAVE`, which stops the server.
///
/// # Errors
/// [`RedisError::SaveFailed`] if the server could not write.
pub fn save(client: &mut Client, directory: &Path, name: &str) -> Result<SavedRdb, RedisError> {
    // The server counts in seconds; a save within the same second as the last could not be told from that.
    let before = last_save(client)?;
    while server_time(client)? <= before {
        sleep(TICK);
    }
    let not_before = server_time(client)?;
    start(client)?;
    loop {
        let info = client.info("persistence")?;
        if info.is("rdb_bgsave_in_progress", "0") {
            // Behind a rewrite of the append-only file ours has not begun, and the status is that of the one before.
            let is_ours = info.is("aof_rewrite_in_progress", "0");
            if is_ours && !info.is("rdb_last_bgsave_status", "ok") {
                return Err(RedisError::SaveFailed);
            }
            if last_save(client)? >= not_before {
                break;
            }
        }
        sleep(TICK);
    }
    let path = directory.join(name);
    let file = File::open(&path).map_err(|source| RedisError::File {
        path: path.clone(),
        source,
    })?;
    Ok(SavedRdb {
        file,
        path,
        not_before,
    })
}

/// Begins one of our own, after one of somebody else's, which began too early.
fn start(client: &mut Client) -> Result<(), RedisError> {
    let begun = Instant::now();
    loop {
        match client.call(&["BGSAVE", "SCHEDULE"]) {
            Ok(_) => return Ok(()),
            Err(RedisError::Refused { message, .. }) if message.contains("in progress") => {
                if begun.elapsed() > BUSY_LIMIT {
                    return Err(RedisError::SaveBusy(BUSY_LIMIT));
                }
                sleep(TICK);
            }
            Err(error) => return Err(error),
        }
    }
}

fn last_save(client: &mut Client) -> Result<i64, RedisError> {
    number(client.call(&["LASTSAVE"])?.text().as_str(), "LASTSAVE")
}

/// The server's clock, in seconds since 1970.
pub fn server_time(client: &mut Client) -> Result<i64, RedisError> {
    let reply = client.call(&["TIME"])?;
    let seconds = match &reply {
        super::client::Reply::List(parts) => parts.first().map(super::client::Reply::text),
        _ => None,
    };
    number(&seconds.unwrap_or_default(), "TIME")
}

fn number(text: &str, command: &str) -> Result<i64, RedisError> {
    text.parse().map_err(|_| RedisError::Protocol {
        command: command.to_owned(),
        what: "a number was expected",
    })
}
