//! Guards ask real servers and real directories.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use rekindle_postgres::{Client, ConnectOptions, ControlFile, Mode, dump::foreign::Creation};
use rekindle_recovery::guard::{
    DatabaseNeeds, DirectoryNeeds, DirectoryPlace, Guard, GuardFinding, GuardOptions, ServerFacts,
    collation_findings, guards_for_directory, judge_database,
};
use rekindle_testing::postgres::{Major, Postgres};

fn connect(server: &Postgres) -> Client {
    let options = ConnectOptions::parse(&server.socket_url()).unwrap();
    Client::connect(&options, Mode::Sql).unwrap()
}

fn guards(findings: &[GuardFinding]) -> Vec<Guard> {
    findings.iter().map(|finding| finding.guard).collect()
}

#[test]
fn a_sorting_library_of_another_version_is_told_with_what_to_run() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    assert_eq!(collation_findings(&mut connect(&server)).unwrap(), []);
    server.psql(
        "create collation german (provider = icu, locale = 'de-DE');
         create table t (word text collate german); create index on t (word);
         create database \"other one\" locale_provider icu icu_locale 'de-DE' template template0;
         update pg_collation set collversion = '0.1' where collname = 'german';
         update pg_database set datcollversion = '0.2' where datname = 'other one'",
    );
    let findings = collation_findings(&mut connect(&server)).unwrap();
    assert_eq!(guards(&findings), [Guard::CollationVersion; 2]);
    assert!(
        findings[0]
            .advice
            .contains("REINDEX DATABASE \"other one\""),
        "{findings:?}"
    );
    assert!(findings[1].found.contains("german"), "{findings:?}");
}

#[test]
fn locales_are_tried_by_the_server_itself() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    let found = |provider: &str, collate: &str, locale: Option<&str>| {
        let creation = Creation {
            encoding: Some("UTF8".to_owned()),
            collate: Some(collate.to_owned()),
            ctype: Some(collate.to_owned()),
            locale_provider: Some(provider.to_owned()),
            locale: locale.map(str::to_owned),
        };
        let needs = DatabaseNeeds {
            creation: Some(creation),
            ..DatabaseNeeds::default()
        };
        let facts = ServerFacts {
            tool_major: Some(15),
            ..ServerFacts::gather(&mut connect(&server), &needs).unwrap()
        };
        guards(&judge_database(&needs, &facts, &GuardOptions::default()))
    };
    assert_eq!(found("c", "C.UTF-8", None), []);
    assert_eq!(found("i", "C", Some("de-DE")), []);
    assert_eq!(found("c", "xx_YY.utf8", None), [Guard::Collation]);
    assert_eq!(
        found("b", "C", Some("C.UTF-8")),
        [Guard::Collation],
        "built in since 17"
    );
    assert_eq!(
        server.psql("select count(*) from pg_collation where collname like 'rekindle%'"),
        "0"
    );
}

#[test]
fn a_directory_is_judged_by_the_programs_and_the_directory_that_are_there() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    let other = Postgres::builder(Major::V15).start().unwrap();
    let system_identifier = ControlFile::read(server.data_dir())
        .unwrap()
        .system_identifier;
    let needs = DirectoryNeeds {
        major: 15,
        system_identifier: Some(system_identifier),
        bytes: 1,
    };
    let place = |replaces: &Postgres| {
        let place = DirectoryPlace {
            directory: replaces.data_dir(),
            replaces: Some(replaces.data_dir()),
            bin_dir: Some(server.bin_dir()),
        };
        guards(&guards_for_directory(&needs, &place))
    };
    assert_eq!(place(&server), []);
    assert_eq!(place(&other), [Guard::SystemIdentifier]);
    let newer = DirectoryNeeds {
        major: 16,
        bytes: u64::MAX,
        ..needs.clone()
    };
    let here = DirectoryPlace {
        directory: server.data_dir(),
        replaces: None,
        bin_dir: Some(server.bin_dir()),
    };
    assert_eq!(
        guards(&guards_for_directory(&newer, &here)),
        [Guard::ServerMajor, Guard::DiskSpace]
    );
}
