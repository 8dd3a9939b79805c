//! Whether a server can take a database.

use rekindle_postgres::dump::foreign::{Creation, DatabaseDump, ForeignDump};

use super::{Guard, GuardFinding, GuardOptions, ServerFacts};

/// Of the bytes of its data a database takes about so many tenths on disk, with indexes and WAL.
const TENTHS_ON_DISK: u64 = 25;
/// Names are listed up to here.
const LISTED: usize = 8;

/// What a dumped database needs of a server.
#[derive(Clone, Debug, Default)]
pub struct DatabaseNeeds {
    /// The name that it gets.
    pub new_name: String,
    /// The major version of the server that it came from.
    pub server_major: Option<u32>,
    /// The major version of the tool that dumped it, if tools at least as new must read it.
    pub archive_major: Option<u32>,
    /// How it was created.
    pub creation: Option<Creation>,
    /// The encoding of its text.
    pub client_encoding: Option<String>,
    /// Extensions that it creates.
    pub extensions: Vec<String>,
    /// Roles that own something in it or have rights.
    pub roles: Vec<String>,
    /// Tablespaces that it names.
    pub tablespaces: Vec<String>,
    /// Bytes of its data, without compression.
    pub data_bytes: u64,
    /// Whether it was dumped under row security.
    pub is_under_row_security: bool,
    /// Tables that have row security, if nothing tells how they were dumped.
    pub row_security_tables: Vec<String>,
    /// Commands of psql's in it.
    pub meta_commands: Vec<String>,
    /// Statements that reach out of the database.
    pub reaching_statements: Vec<String>,
}

impl DatabaseNeeds {
    /// Those of one database of a dump.
    #[must_use]
    pub fn of(dump: &ForeignDump, database: &DatabaseDump, new_name: &str) -> Self {
        let is_archive = dump.form.is_archive();
        let suspects = |found: &[rekindle_postgres::dump::foreign::Suspect]| {
            found
                .iter()
                .map(|s| format!("line {}: {}", s.line, s.text))
                .collect()
        };
        Self {
            new_name: new_name.to_owned(),
            server_major: dump.server_major(),
            archive_major: dump.tool_major().filter(|_| is_archive),
            creation: database.creation.clone(),
            client_encoding: database.client_encoding.clone(),
            extensions: database.extensions.clone(),
            roles: database.roles.clone(),
            tablespaces: database.tablespaces.clone(),
            data_bytes: dump.plain_bytes,
            is_under_row_security: dump.is_under_row_security,
            row_security_tables: if is_archive {
                database.row_security_tables.clone()
            } else {
                Vec::new()
            },
            meta_commands: suspects(&dump.meta_commands),
            reaching_statements: suspects(&dump.reaching_statements),
        }
    }
}

/// Says what stands in the way. `options` matter only in that roles that will be created are not
/// missing.
#[must_use]
pub fn judge_database(
    needs: &DatabaseNeeds,
    server: &ServerFacts,
    options: &GuardOptions,
) -> Vec<GuardFinding> {
    let mut findings = Vec::new();
    findings.extend(target_exists(needs, server));
    findings.extend(server_major(needs, server));
    findings.extend(client_too_old(needs, server));
    findings.extend(missing_roles(needs, server, options));
    findings.extend(role_membership(needs, server));
    findings.extend(missing_extensions(needs, server));
    findings.extend(uninstallable_extensions(needs, server));
    findings.extend(missing_tablespaces(needs, server));
    findings.extend(collation(server));
    findings.extend(encoding(needs, server));
    findings.extend(disk_space(needs, server));
    findings.extend(row_security(needs));
    findings.extend(suspects(needs));
    findings
}

fn target_exists(needs: &DatabaseNeeds, server: &ServerFacts) -> Option<GuardFinding> {
    server.databases.contains(&needs.new_name).then(|| {
        GuardFinding::refuse(
            Guard::TargetExists,
            format!("a database `{}` exists already", needs.new_name),
            "choose another name with --as: no database is ever replaced",
        )
    })
}

fn server_major(needs: &DatabaseNeeds, server: &ServerFacts) -> Option<GuardFinding> {
    let from = needs.server_major.filter(|from| *from > server.major)?;
    Some(GuardFinding::refuse(
        Guard::ServerMajor,
        format!("it is of PostgreSQL {from}, the server is {}", server.major),
        format!(
            "restore it on PostgreSQL {from} or later; an older server does not know all that a newer one writes"
        ),
    ))
}

fn client_too_old(needs: &DatabaseNeeds, server: &ServerFacts) -> Option<GuardFinding> {
    let wanted = needs.archive_major.unwrap_or(0).max(server.major);
    let has = server.tool_major;
    if has.is_some_and(|major| major >= wanted) {
        return None;
    }
    let found = has.map_or_else(
        || "none were found".to_owned(),
        |major| format!("there are those of {major}"),
    );
    Some(GuardFinding::refuse(
        Guard::ClientTooOld,
        format!("client tools of PostgreSQL {wanted} or later are needed, and {found}"),
        format!(
            "install them (Debian: postgresql-client-{wanted}), or set `bin_dir` of the dataset"
        ),
    ))
}

fn missing_roles(
    needs: &DatabaseNeeds,
    server: &ServerFacts,
    options: &GuardOptions,
) -> Option<GuardFinding> {
    let missing = missing(&needs.roles, |role| server.roles.contains(role))?;
    let found = format!("it gives things to {missing}, which the server does not have");
    Some(if options.create_missing {
        GuardFinding::warn(
            Guard::MissingRole,
            found,
            "they are created without password and without LOGIN",
        )
    } else {
        GuardFinding::refuse(
            Guard::MissingRole,
            found,
            "--create-missing creates them without password and without LOGIN; with --force \
             missing-role everything belongs to the login, and rights are left out",
        )
    })
}

fn role_membership(needs: &DatabaseNeeds, server: &ServerFacts) -> Option<GuardFinding> {
    if server.is_superuser {
        return None;
    }
    let is_fine = |role: &String| !server.roles.contains(role) || server.own_roles.contains(role);
    let foreign = missing(&needs.roles, is_fine)?;
    Some(GuardFinding::refuse(
        Guard::RoleMembership,
        format!(
            "`{}` is no superuser and may not give things to {foreign}",
            server.user
        ),
        "restore as a superuser, or GRANT those roles to it; with --force role-membership \
         everything belongs to the login, and rights are left out",
    ))
}

fn missing_extensions(needs: &DatabaseNeeds, server: &ServerFacts) -> Option<GuardFinding> {
    let missing = missing(&needs.extensions, |name| {
        server.extensions.contains_key(name)
    })?;
    Some(GuardFinding::refuse(
        Guard::MissingExtension,
        format!("the server's machine does not have {missing}"),
        "install the package there (`SELECT * FROM pg_available_extensions` shows it then); with \
         --force missing-extension it is left out, and what uses it fails",
    ))
}

fn uninstallable_extensions(needs: &DatabaseNeeds, server: &ServerFacts) -> Option<GuardFinding> {
    let reasons: Vec<String> = needs
        .extensions
        .iter()
        .filter_map(|name| Some((name, server.extensions.get(name)?)))
        .filter_map(|(name, extension)| {
            let required = missing(&extension.requires, |name| {
                server.extensions.contains_key(name)
            });
            let is_denied =
                extension.needs_superuser && !extension.is_trusted && !server.is_superuser;
            match required {
                Some(required) => Some(format!("`{name}` needs {required}")),
                None if is_denied => Some(format!("only a superuser may create `{name}`")),
                None => None,
            }
        })
        .collect();
    (!reasons.is_empty()).then(|| {
        GuardFinding::refuse(
            Guard::UninstallableExtension,
            reasons.join("; "),
            "install what is missing, or restore as a superuser",
        )
    })
}

fn missing_tablespaces(needs: &DatabaseNeeds, server: &ServerFacts) -> Option<GuardFinding> {
    let missing = missing(&needs.tablespaces, |name| server.tablespaces.contains(name))?;
    Some(GuardFinding::refuse(
        Guard::MissingTablespace,
        format!("it puts things into {missing}, which the server does not have"),
        "create it there; with --force missing-tablespace everything goes to the default one",
    ))
}

fn collation(server: &ServerFacts) -> Option<GuardFinding> {
    let reasons: Vec<_> = server
        .unusable_locales
        .iter()
        .map(|(locale, reason)| format!("`{locale}` ({reason})"))
        .collect();
    (!reasons.is_empty()).then(|| {
        GuardFinding::refuse(
            Guard::Collation,
            format!("the server cannot use the locale {}", reasons.join(", ")),
            "install the locale on its machine (Debian: dpkg-reconfigure locales) and restart it; \
             with --force collation the new database has the server's own, and sorts by that",
        )
    })
}

fn encoding(needs: &DatabaseNeeds, server: &ServerFacts) -> Option<GuardFinding> {
    if !server.unknown_encodings.is_empty() {
        return Some(GuardFinding::refuse(
            Guard::Encoding,
            format!(
                "the server does not know the encoding {}",
                server.unknown_encodings.join(", ")
            ),
            "make the dump again with --encoding=UTF8",
        ));
    }
    let created = needs
        .creation
        .as_ref()
        .and_then(|creation| creation.encoding.as_deref());
    let is_ascii =
        |encoding: Option<&str>| encoding.is_some_and(|e| e.eq_ignore_ascii_case("SQL_ASCII"));
    (is_ascii(needs.client_encoding.as_deref()) && !is_ascii(created)).then(|| {
        GuardFinding::warn(
            Guard::Encoding,
            "its text is in no encoding (SQL_ASCII), and nothing tells that of its database",
            "if the restore fails at a byte that is invalid, make the dump again with --encoding",
        )
    })
}

fn disk_space(needs: &DatabaseNeeds, server: &ServerFacts) -> Option<GuardFinding> {
    let free = server.free_bytes?;
    let (data, likely) = (needs.data_bytes, needs.data_bytes / 10 * TENTHS_ON_DISK);
    let found = |about: &str| {
        format!(
            "{} MiB are free where the server's data lies, and {about}",
            free >> 20
        )
    };
    if free < data {
        Some(GuardFinding::refuse(
            Guard::DiskSpace,
            found(&format!("the data alone is {} MiB", data >> 20)),
            "make room there: a full disk stops the whole server",
        ))
    } else if free < likely {
        Some(GuardFinding::warn(
            Guard::DiskSpace,
            found(&format!(
                "{} MiB may be needed with indexes and WAL",
                likely >> 20
            )),
            "make room there: a full disk stops the whole server",
        ))
    } else {
        None
    }
}

fn row_security(needs: &DatabaseNeeds) -> Option<GuardFinding> {
    if needs.is_under_row_security {
        return Some(GuardFinding::refuse(
            Guard::RowSecurity,
            "it was made with --enable-row-security: rows that the dumping role may not see are \
             missing, and nothing tells how many",
            "make the dump again as a role with BYPASSRLS, without that option",
        ));
    }
    let tables = listed(needs.row_security_tables.iter())?;
    Some(GuardFinding::warn(
        Guard::RowSecurity,
        format!(
            "{tables} have row security, and an archive does not tell whether it was made with \
                 --enable-row-security, which leaves out rows"
        ),
        "compare the rows with what you expect",
    ))
}

fn suspects(needs: &DatabaseNeeds) -> Vec<GuardFinding> {
    let mut findings = Vec::new();
    if let Some(first) = needs.meta_commands.first() {
        findings.push(GuardFinding::refuse(
            Guard::MetaCommands,
            format!(
                "{} command(s) of psql's, as on {first}",
                needs.meta_commands.len()
            ),
            "pg_dump writes none: look at the file, and where it came from; with --force \
             meta-commands they are left out, never run",
        ));
    }
    if let Some(first) = needs.reaching_statements.first() {
        findings.push(GuardFinding::refuse(
            Guard::ReachingStatements,
            format!(
                "{} statement(s) that reach files or programs of the server, as on {first}",
                needs.reaching_statements.len()
            ),
            "pg_dump writes none: look at the file, and where it came from; with --force \
             reaching-statements they are run",
        ));
    }
    findings
}

/// Those that are not there, for people; `None` if all are.
fn missing<'a>(
    wanted: impl IntoIterator<Item = &'a String>,
    is_there: impl Fn(&String) -> bool,
) -> Option<String> {
    listed(wanted.into_iter().filter(|name| !is_there(name)))
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> Option<String> {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(LISTED);
    let shown = names
        .iter()
        .take(LISTED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown),
        (false, more) => Some(format!("{shown} and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{AvailableExtension, Severity};

    fn server() -> ServerFacts {
        let plain = AvailableExtension {
            version: "1.0".into(),
            ..AvailableExtension::default()
        };
        let only_superuser = AvailableExtension {
            needs_superuser: true,
            ..plain.clone()
        };
        let trusted = AvailableExtension {
            is_trusted: true,
            ..only_superuser.clone()
        };
        let needy = AvailableExtension {
            requires: vec!["gone".into()],
            ..plain.clone()
        };
        ServerFacts {
            major: 15,
            user: "app".into(),
            is_superuser: true,
            databases: ["postgres".to_owned(), "shop".to_owned()].into(),
            roles: ["app".to_owned(), "bob".to_owned()].into(),
            own_roles: ["app".to_owned()].into(),
            tablespaces: ["pg_default".to_owned()].into(),
            extensions: [
                ("plain".to_owned(), plain),
                ("closed".to_owned(), only_superuser),
                ("trusted".to_owned(), trusted),
                ("needy".to_owned(), needy),
            ]
            .into(),
            free_bytes: Some(1 << 30),
            tool_major: Some(15),
            ..ServerFacts::default()
        }
    }

    fn found(needs: DatabaseNeeds, server: &ServerFacts) -> Vec<(Guard, Severity)> {
        let options = GuardOptions::default();
        let findings = judge_database(&needs, server, &options);
        findings
            .iter()
            .map(|finding| (finding.guard, finding.severity))
            .collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_fitting_dump_finds_nothing_in_its_way() {
        let needs = DatabaseNeeds {
            new_name: "new".into(),
            server_major: Some(14),
            archive_major: Some(15),
            extensions: names(&["plain", "closed", "trusted"]),
            roles: names(&["app", "bob"]),
            data_bytes: 1 << 20,
            ..DatabaseNeeds::default()
        };
        assert_eq!(found(needs, &server()), []);
    }

    #[test]
    fn each_thing_in_the_way_has_its_name() {
        use Severity::{Refuse, Warn};
        let base = DatabaseNeeds::default;
        let cases = [
            (
                DatabaseNeeds {
                    new_name: "shop".into(),
                    ..base()
                },
                Guard::TargetExists,
                Refuse,
            ),
            (
                DatabaseNeeds {
                    server_major: Some(17),
                    ..base()
                },
                Guard::ServerMajor,
                Refuse,
            ),
            (
                DatabaseNeeds {
                    archive_major: Some(17),
                    ..base()
                },
                Guard::ClientTooOld,
                Refuse,
            ),
            (
                DatabaseNeeds {
                    roles: names(&["eve"]),
                    ..base()
                },
                Guard::MissingRole,
                Refuse,
            ),
            (
                DatabaseNeeds {
                    extensions: names(&["x"]),
                    ..base()
                },
                Guard::MissingExtension,
                Refuse,
            ),
            (
                DatabaseNeeds {
                    extensions: names(&["needy"]),
                    ..base()
                },
                Guard::UninstallableExtension,
                Refuse,
            ),
            (
                DatabaseNeeds {
                    tablespaces: names(&["ssd"]),
                    ..base()
                },
                Guard::MissingTablespace,
                Refuse,
            ),
            (
                DatabaseNeeds {
                    data_bytes: 1 << 31,
                    ..base()
                },
                Guard::DiskSpace,
                Refuse,
            ),
            (
                DatabaseNeeds {
                    data_bytes: 1 << 29,
                    ..base()
                },
                Guard::DiskSpace,
                Warn,
            ),
            (
                DatabaseNeeds {
                    is_under_row_security: true,
                    ..base()
                },
                Guard::RowSecurity,
                Refuse,
            ),
            (
                DatabaseNeeds {
                    row_security_tables: names(&["s.t"]),
                    ..base()
                },
                Guard::RowSecurity,
                Warn,
            ),
            (
                DatabaseNeeds {
                    meta_commands: names(&["line 1: \\!"]),
                    ..base()
                },
                Guard::MetaCommands,
                Refuse,
            ),
            (
                DatabaseNeeds {
                    client_encoding: Some("SQL_ASCII".into()),
                    ..base()
                },
                Guard::Encoding,
                Warn,
            ),
        ];
        for (needs, guard, severity) in cases {
            assert_eq!(found(needs, &server()), [(guard, severity)]);
        }
    }

    #[test]
    fn who_is_no_superuser_gives_nothing_to_others_and_creates_what_is_trusted() {
        let server = ServerFacts {
            is_superuser: false,
            ..server()
        };
        let with = |extension: &str| DatabaseNeeds {
            extensions: names(&[extension]),
            ..DatabaseNeeds::default()
        };
        assert_eq!(found(with("trusted"), &server), []);
        assert_eq!(
            found(with("closed"), &server),
            [(Guard::UninstallableExtension, Severity::Refuse)]
        );
        let of_bob = DatabaseNeeds {
            roles: names(&["bob"]),
            ..DatabaseNeeds::default()
        };
        assert_eq!(
            found(of_bob, &server),
            [(Guard::RoleMembership, Severity::Refuse)]
        );
    }

    #[test]
    fn roles_that_will_be_created_are_told_and_in_nobodys_way() {
        let needs = DatabaseNeeds {
            roles: names(&["eve"]),
            ..DatabaseNeeds::default()
        };
        let options = GuardOptions {
            create_missing: true,
            ..GuardOptions::default()
        };
        let findings = judge_database(&needs, &server(), &options);
        assert_eq!(findings[0].severity, Severity::Warn);
    }
}
