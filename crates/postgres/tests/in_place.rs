//! When a data directory may be taken in place, and when not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{builder, client, in_place, options};
use rekindle_postgres::in_place::{FileKind, NotInPlace, PlannedFile, Session, StartError};
use rekindle_postgres::{Client, ConnectOptions, Error, Mode};
use rekindle_testing::postgres::{Major, Postgres};

fn not_in_place(server: &Postgres, pgdata: &std::path::Path) -> NotInPlace {
    match Session::start(client(server), pgdata, "test")
        .map(drop)
        .unwrap_err()
    {
        StartError::NotInPlace(reason) => reason,
        StartError::Postgres(error) => panic!("{error:?}"),
    }
}

#[test]
fn another_clusters_directory_or_a_copy_is_not_taken_for_the_servers() {
    let (Some(server), Some(other)) = (
        builder(Major::V15).start_or_skip(),
        builder(Major::V15).start_or_skip(),
    ) else {
        return;
    };
    let reason = not_in_place(&server, other.data_dir());
    assert!(
        matches!(reason, NotInPlace::AnotherCluster { .. }),
        "{reason}"
    );
    let reason = not_in_place(&server, std::path::Path::new("/nonexistent"));
    assert!(matches!(reason, NotInPlace::Unreadable { .. }), "{reason}");

    server.psql("create table t as select generate_series(1, 1000) n; create table u (n int)");
    let tree = in_place(&server, || {});
    let reason = not_in_place(&server, &tree.path());
    assert!(
        matches!(reason, NotInPlace::NotTheServers { .. }),
        "{reason}"
    );
    let copy = tree.start(&server);
    let reason = not_in_place(&server, copy.data_dir());
    assert!(
        matches!(reason, NotInPlace::NotTheServers { .. }),
        "{reason}"
    );
    common::assert_same(&server, &copy);
}

#[test]
fn a_copy_with_the_same_port_in_its_pid_file_is_noticed_by_the_checkpoint() {
    let Some(server) = builder(Major::V15).start_or_skip() else {
        return;
    };
    let tree = in_place(&server, || {});
    std::fs::copy(
        server.data_dir().join("postmaster.pid"),
        tree.path().join("postmaster.pid"),
    )
    .unwrap();
    let reason = not_in_place(&server, &tree.path());
    assert!(
        matches!(reason, NotInPlace::NotTheServers { .. }),
        "{reason}"
    );
}

#[test]
fn a_session_given_up_leaves_no_backup_mode_and_no_slot() {
    for major in Major::available() {
        let Some(server) = builder(major).start_or_skip() else {
            continue;
        };
        let session = Session::start(client(&server), server.data_dir(), "test").unwrap();
        assert_eq!(
            server.psql("select count(*) from pg_replication_slots"),
            "1"
        );
        drop(session);
        let gone = "select count(*) from pg_replication_slots";
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while server.psql(gone) != "0" {
            assert!(std::time::Instant::now() < deadline);
        }
        in_place(&server, || {});
    }
}

#[test]
fn a_role_without_the_right_is_refused_and_one_with_it_needs_no_superuser() {
    for major in Major::available() {
        let Some(server) = builder(major).start_or_skip() else {
            continue;
        };
        server.psql("create role plain login");
        let plain = ConnectOptions::parse(&server.url_for("postgres", "plain", None)).unwrap();
        let start = || {
            let client = Client::connect(&plain, Mode::Sql).unwrap();
            Session::start(client, server.data_dir(), "test")
        };
        let error = start().map(drop).unwrap_err();
        let StartError::Postgres(error) = error else {
            panic!("{error:?}")
        };
        assert!(
            matches!(error.root(), Error::NotPermitted { .. }),
            "{major}: {error:?}"
        );
        server.psql("grant execute on function pg_backup_start(text, boolean) to plain");
        server.psql("grant execute on function pg_backup_stop(boolean) to plain");
        let mut session = start().unwrap();
        assert!(!session.is_wal_held());
        let result = session.stop(Vec::new()).unwrap();
        assert!(!session.wal_files(&result).unwrap().is_empty(), "{major}");
    }
}

#[test]
fn recycled_wal_is_missed() {
    let Some(server) = builder(Major::V15).start_or_skip() else {
        return;
    };
    let mut session = Session::start(client(&server), server.data_dir(), "test").unwrap();
    let result = session.stop(Vec::new()).unwrap();
    let first = server
        .data_dir()
        .join("pg_wal")
        .join(&result.wal_segments[0]);
    std::fs::remove_file(&first).unwrap();
    let error = session.wal_files(&result).unwrap_err();
    assert!(
        matches!(error.root(), Error::WalMissing { .. }),
        "{error:?}"
    );
}

#[test]
fn a_server_that_goes_away_during_the_backup_is_an_error_at_its_stop() {
    let Some(mut server) = builder(Major::V15).start_or_skip() else {
        return;
    };
    let _ = options(&server);
    let mut session = Session::start(client(&server), server.data_dir(), "test").unwrap();
    server.kill9().unwrap();
    let error = session.stop(Vec::new()).unwrap_err();
    assert!(
        matches!(
            error.root(),
            Error::ConnectionLost { .. } | Error::NotAvailable { .. }
        ),
        "{error:?}"
    );
}

#[test]
fn pages_of_a_relation_beyond_1_gib_are_verified_by_their_own_numbers() {
    let Some(server) = builder(Major::V15)
        .conf("max_wal_size", "3GB")
        .conf("autovacuum", "off")
        .start_or_skip()
    else {
        return;
    };
    server.psql("create table big (filler text); alter table big alter filler set storage plain");
    server.psql("insert into big select repeat('x', 7900) from generate_series(1, 131072 + 1000)");
    server.psql("checkpoint");
    let session = Session::start(client(&server), server.data_dir(), "test").unwrap();
    let plan = session.plan().unwrap();
    let is_second = |file: &&PlannedFile| {
        file.kind
            == FileKind::Relation {
                first_block: 131_072,
            }
    };
    let second = plan.files.iter().find(is_second).unwrap();
    assert!(second.tree_path.ends_with(".1"), "{}", second.tree_path);
    let content = std::fs::read(&second.source).unwrap();
    let verifier = session.page_verifier().unwrap();
    let whole = &content[..1000 * 8192];
    assert_eq!(verifier.suspicious(131_072, whole), Vec::<u32>::new());
    assert_eq!(verifier.suspicious(0, whole).len(), 1000);
}
