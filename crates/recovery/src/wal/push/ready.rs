//! What waits for the archiver.

use std::{ffi::OsString, fs, io, path::Path};

use rekindle_postgres::layout::WalFileKind;

/// Where the server notes which files it wants archived. Source: PostgreSQL's
/// `postmaster/pgarch.c`.
const STATUS: &str = "archive_status";
const READY: &str = ".ready";

/// Names of the files of `pg_wal` that wait to be archived, in the order in which the archiver
/// takes them: timeline histories first, then by name, so the oldest segment first.
///
/// # Errors
/// As the directory cannot be listed.
pub(crate) fn ready(pg_wal: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(pg_wal.join(STATUS))? {
        names.extend(waiting(entry?.file_name()));
    }
    names.sort_unstable_by_key(|(kind, name)| (*kind != WalFileKind::History, name.clone()));
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

fn waiting(file: OsString) -> Option<(WalFileKind, String)> {
    let file = file.into_string().ok()?;
    let name = file.strip_suffix(READY)?;
    Some((name.parse().ok()?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_come_first_and_strangers_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let status = dir.path().join(STATUS);
        fs::create_dir(&status).unwrap();
        for name in [
            "000000010000000000000003.ready",
            "000000010000000000000002.ready",
            "000000010000000000000001.done",
            "000000020000000000000003.ready",
            "000000010000000000000003.partial.ready",
            "00000002.history.ready",
            "something.ready",
        ] {
            fs::File::create(status.join(name)).unwrap();
        }
        assert_eq!(
            ready(dir.path()).unwrap(),
            [
                "00000002.history",
                "000000010000000000000002",
                "000000010000000000000003",
                "000000010000000000000003.partial",
                "000000020000000000000003",
            ]
        );
    }
}
