//! Where the files of a tablespace come from.

use crate::error::Error;
use crate::layout::{TABLESPACES_DIR, tablespace_link_target};

/// How a tablespace reaches us.
pub(super) struct Origin {
    /// With the base archive, because it lies within PGDATA and the server does not know it.
    pub(super) is_within_base: bool,
    /// Whether anything of it has come.
    pub(super) has_come: bool,
    /// Bytes of its files so far.
    pub(super) bytes: u64,
}

/// A server restored from such a tree has relative links. The server takes their targets for
/// relative to PGDATA and not, as the system does, to `pg_tblspc`; it finds nothing there, sends an
/// empty archive without a word, and sends the files as any other directory of PGDATA.
pub(super) fn is_within_base(oid: u32, location: &str) -> Result<bool, Error> {
    if location.starts_with('/') || location == format!("pg_tblspc/{oid}") {
        return Ok(false);
    }
    match location == tablespace_link_target(oid) {
        true => Ok(true),
        false => Err(Error::Damaged {
            what: format!("the link of tablespace {oid}"),
            reason: format!(
                "a server cannot send a tablespace at the relative location `{location}`"
            ),
        }),
    }
}

/// Whose tablespace a path of the tree belongs to.
pub(super) fn tablespace_of(path: &str) -> Option<u32> {
    let inside = path.strip_prefix(TABLESPACES_DIR)?.strip_prefix('/')?;
    inside.split('/').next()?.parse().ok()
}
