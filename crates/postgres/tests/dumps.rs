//! Logical dumps of real servers, and databases that come back from them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "what tests write need not survive a power cut"
)]

mod common;

use std::fs;
use std::io::{self, Read};

use common::{builder, client, options, over_the_wire};
use rekindle_postgres::dump::{
    Dump, DumpError, GlobalsOptions, RestoreOptions, Selection, Snapshot, Tools, databases,
    restore_database, row_counts,
};
use rekindle_postgres::{Client, ConnectOptions, Error, Mode, portable_config};
use rekindle_testing::hard::{self, ODD, SHOP, Size};
use rekindle_testing::postgres::{Auth, Major, Postgres};

const SECRET: &str = "s3cret 'with\\ odd: signs";

fn hard_server(major: Major) -> Option<(Postgres, Tools)> {
    let server = builder(major)
        .auth(Auth::Scram(SECRET.into()))
        .start_or_skip()?;
    hard::populate(&server, Size::default()).unwrap();
    let tools = Tools::find(Some(server.bin_dir()), major.number()).unwrap();
    Some((server, tools))
}

fn read(mut dump: Dump) -> Result<Vec<u8>, DumpError> {
    let mut bytes = Vec::new();
    dump.read_to_end(&mut bytes).unwrap();
    let length = dump.finish()?;
    assert_eq!(length, bytes.len() as u64);
    Ok(bytes)
}

#[test]
fn every_database_comes_back_under_a_new_name_with_all_its_rows() {
    for major in Major::available() {
        let Some((server, tools)) = hard_server(major) else {
            continue;
        };
        let admin = options(&server);
        let all = databases(&mut client(&server), &Selection::All).unwrap();
        let names: Vec<&str> = all.iter().map(|database| database.name.as_str()).collect();
        assert!(
            names.contains(&SHOP) && names.contains(&ODD) && !names.contains(&"template1"),
            "{names:?}"
        );
        for database in all {
            let of_it = admin.clone().with_database(&database.name);
            let mut snapshot = Snapshot::export(&of_it).unwrap();
            let archive =
                read(Dump::database(&tools, &admin, &database.name, Some(&snapshot)).unwrap())
                    .unwrap();
            let counts = snapshot.row_counts().unwrap();
            let new_name = format!("{} = 'again'", database.name);
            let like = RestoreOptions {
                like: Some(database.clone()),
                ..RestoreOptions::default()
            };
            restore_database(&tools, &admin, &new_name, archive.as_slice(), &like).unwrap();
            let mut again =
                Client::connect(&admin.clone().with_database(&new_name), Mode::Sql).unwrap();
            assert_eq!(
                row_counts(&mut again).unwrap(),
                counts,
                "{major}: {}",
                database.name
            );
            let made = databases(&mut again, &Selection::Named(vec![new_name]))
                .unwrap()
                .remove(0);
            assert_eq!(
                (made.encoding, made.collate),
                (database.encoding, database.collate)
            );
        }
    }
}

#[test]
fn globals_are_whole_and_hold_the_roles() {
    for major in Major::available() {
        let Some((server, tools)) = hard_server(major) else {
            continue;
        };
        let dump = |role_passwords| {
            let globals = GlobalsOptions { role_passwords };
            let bytes = read(Dump::globals(&tools, &options(&server), globals).unwrap()).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert!(
            dump(true).contains(&format!("CREATE ROLE \"{}\"", hard::OWNER)),
            "{major}"
        );
        assert!(
            dump(true).contains("SCRAM-SHA-256") && !dump(false).contains("SCRAM-SHA-256"),
            "{major}"
        );
    }
}

#[test]
fn a_dump_that_fails_or_is_not_read_to_its_end_is_an_error() {
    let Some((server, tools)) = hard_server(Major::V15) else {
        return;
    };
    let admin = options(&server);
    let error = read(Dump::database(&tools, &admin, "nowhere", None).unwrap()).unwrap_err();
    assert!(
        matches!(&error, DumpError::ToolFailed { stderr, .. } if stderr.contains("nowhere")),
        "{error}"
    );

    let wrong = admin.clone().with_password("wr0ng word");
    let error = read(Dump::database(&tools, &wrong, SHOP, None).unwrap()).unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("wr0ng word"),
        "{error}"
    );

    let mut dump = Dump::database(&tools, &admin, SHOP, None).unwrap();
    dump.read_exact(&mut [0; 100]).unwrap();
    assert!(matches!(dump.finish(), Err(DumpError::NotWhole { .. })));

    // Row security makes pg_dump fail rather than leave rows out.
    server.psql("create role reader login password 'r' in role pg_read_all_data");
    let reader = ConnectOptions::parse(&server.url_for("postgres", "reader", Some("r"))).unwrap();
    server.psql("create table own (n int); insert into own values (1), (2); alter table own enable row level security");
    let error = read(Dump::database(&tools, &reader, "postgres", None).unwrap()).unwrap_err();
    assert!(matches!(&error, DumpError::ToolFailed { .. }), "{error}");
}

#[test]
fn a_missing_database_is_named_before_anything_is_dumped() {
    let Some((server, _)) = hard_server(Major::V15) else {
        return;
    };
    let wanted = Selection::Named(vec![SHOP.into(), "nowhere".into()]);
    let error = databases(&mut client(&server), &wanted).unwrap_err();
    assert!(
        matches!(&error, Error::DatabaseMissing { source } if source.message.contains("nowhere")),
        "{error}"
    );
}

#[test]
fn a_restore_that_fails_leaves_no_database_and_touches_no_other() {
    for major in Major::available() {
        let Some((server, tools)) = hard_server(major) else {
            continue;
        };
        let admin = options(&server);
        let archive = read(Dump::database(&tools, &admin, SHOP, None).unwrap()).unwrap();
        let before = server.table_checksums();
        let restore = |name: &str, archive: &mut dyn Read| {
            restore_database(&tools, &admin, name, archive, &RestoreOptions::default())
        };
        for percent in [0, 1, 10, 30, 60, 90, 99] {
            let cut = &archive[..archive.len() * percent / 100];
            let error = restore("again", &mut &*cut).unwrap_err();
            assert!(
                matches!(
                    error,
                    DumpError::ToolFailed { .. } | DumpError::NotWhole { .. }
                ),
                "{major} {percent}: {error}"
            );
            assert_eq!(
                server.psql("select count(*) from pg_database where datname = 'again'"),
                "0",
                "{percent}"
            );
        }
        let mut broken = archive[..archive.len() / 2].chain(Failing);
        let error = restore("again", &mut broken).unwrap_err();
        assert!(matches!(error, DumpError::ReadArchive { .. }), "{error}");
        let error = restore(SHOP, &mut archive.as_slice()).unwrap_err();
        assert!(matches!(error, DumpError::DatabaseExists { .. }), "{error}");
        assert_eq!(
            before.differences(&server.table_checksums()),
            Vec::<String>::new()
        );
    }
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the vault went away"))
    }
}

#[test]
fn a_cluster_with_its_configuration_elsewhere_starts_from_what_was_asked_of_it() {
    for major in Major::available() {
        let made = builder(major)
            .config_outside(true)
            .conf("max_connections", 137)
            .conf("cluster_name", r"it's \\ mine")
            .conf("archive_mode", "on")
            .conf("archive_command", "/bin/false")
            .start_or_skip();
        let Some(server) = made else { continue };
        server.psql("create table t as select generate_series(1, 100) n; create table u (n int)");
        let config = portable_config(&mut client(&server)).unwrap();
        let tree = over_the_wire(&options(&server)).unwrap();
        let files = [
            ("postgresql.conf", config.postgresql_conf),
            ("pg_hba.conf", config.pg_hba_conf),
            ("pg_ident.conf", config.pg_ident_conf),
        ];
        for (name, content) in files {
            assert!(
                !tree.path().join(name).exists(),
                "{major}: {name} was in the backup"
            );
            fs::write(tree.path().join(name), content.unwrap()).unwrap();
        }
        let restored = tree.start(&server);
        assert_eq!(restored.psql("show max_connections"), "137");
        assert_eq!(restored.psql("show cluster_name"), r"it's \ mine");
        assert_eq!(restored.psql("show archive_command"), "(disabled)");
        common::assert_same(&server, &restored);
    }
}

#[test]
fn a_cluster_with_its_configuration_inside_needs_none() {
    let Some(server) = builder(Major::V15).start_or_skip() else {
        return;
    };
    assert_eq!(
        portable_config(&mut client(&server)).unwrap(),
        Default::default()
    );
}
