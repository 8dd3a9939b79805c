//! What overridden guards mean for a restore.

use rekindle_postgres::dump::{
    DatabaseInfo, LeaveOut,
    foreign::{Creation, DatabaseDump},
};

use crate::guard::{Guard, GuardFinding, GuardOptions, ServerFacts};

/// What is left out because a guard refused and a person overrode it.
pub(crate) fn leave_out(
    dump: &DatabaseDump,
    server: &ServerFacts,
    findings: &[GuardFinding],
) -> LeaveOut {
    let forced = |guard| {
        findings
            .iter()
            .any(|f| f.guard == guard && f.forced && f.severity == crate::guard::Severity::Refuse)
    };
    let missing = |name: &&String| !server.extensions.contains_key(*name);
    let denied = |name: &&String| server.extensions.contains_key(*name);
    let mut extensions = std::collections::BTreeSet::new();
    if forced(Guard::MissingExtension) {
        extensions.extend(dump.extensions.iter().filter(missing).cloned());
    }
    if forced(Guard::UninstallableExtension) {
        extensions.extend(dump.extensions.iter().filter(denied).cloned());
    }
    LeaveOut {
        ownership: forced(Guard::MissingRole) || forced(Guard::RoleMembership),
        tablespaces: forced(Guard::MissingTablespace),
        extensions,
    }
}

/// What the new database is to be like: as the dump says, else as the live one, else the server's
/// own with the encoding of the text.
pub(crate) fn like(
    dump: &DatabaseDump,
    live: Option<&DatabaseInfo>,
    options: &GuardOptions,
) -> Option<DatabaseInfo> {
    let is_ascii = |encoding: &String| encoding.eq_ignore_ascii_case("SQL_ASCII");
    let mut like = match (&dump.creation, live) {
        (Some(creation), _) => of_creation(creation),
        (None, Some(live)) => live.clone(),
        (None, None) => {
            let encoding = dump
                .client_encoding
                .clone()
                .filter(|encoding| !is_ascii(encoding))?;
            DatabaseInfo {
                encoding,
                ..DatabaseInfo::default()
            }
        }
    };
    if options.forces(Guard::Collation) {
        like = DatabaseInfo {
            encoding: like.encoding,
            ..DatabaseInfo::default()
        };
    }
    Some(like)
}

fn of_creation(creation: &Creation) -> DatabaseInfo {
    DatabaseInfo {
        encoding: creation.encoding.clone().unwrap_or_default(),
        collate: creation.collate.clone().unwrap_or_default(),
        ctype: creation.ctype.clone().unwrap_or_default(),
        locale_provider: creation
            .locale_provider
            .clone()
            .unwrap_or_else(|| "c".to_owned()),
        locale: creation.locale.clone(),
        ..DatabaseInfo::default()
    }
}
