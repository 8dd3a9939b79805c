//! Base backups of real servers, in both ways, and what starts from them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "what tests write need not survive a power cut"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::{assert_same, builder, client, in_place, options, over_the_wire};
use rekindle_postgres::{Mode, Timeline, identity, prepare_restored};
use rekindle_testing::faults::{flip_bit, tree_digest};
use rekindle_testing::hard::{self, Size};
use rekindle_testing::load::{Writer, lost_rows};
use rekindle_testing::postgres::{Existing, Major, Mode as Stop, Postgres, checksums_ok};

fn hard_server(major: Major) -> Option<Postgres> {
    let postgres = builder(major).start_or_skip()?;
    hard::populate(&postgres, Size::default()).unwrap();
    Some(postgres)
}

#[test]
fn a_hard_database_comes_back_over_the_wire_from_any_directory() {
    for major in Major::available() {
        let Some(source) = hard_server(major) else {
            continue;
        };
        let tree = over_the_wire(&options(&source)).unwrap();
        assert_eq!(tree.result.tablespaces.len(), 1, "{major}");
        assert!(tree.result.checksum_failures.is_empty());
        tree.verify_manifest(&source);
        let mut restored = tree.start(&source);
        assert_same(&source, &restored);
        restored.stop(Stop::Fast).unwrap();
        checksums_ok(source.bin_dir(), &tree.path().canonicalize().unwrap()).unwrap();
    }
}

#[test]
fn a_hard_database_comes_back_in_place_from_any_directory() {
    for major in Major::available() {
        let Some(source) = hard_server(major) else {
            continue;
        };
        let tree = in_place(&source, || {});
        assert_eq!(tree.result.tablespaces.len(), 1, "{major}");
        assert!(tree.result.checksum_failures.is_empty());
        let mut restored = tree.start(&source);
        assert_same(&source, &restored);
        restored.stop(Stop::Fast).unwrap();
        checksums_ok(source.bin_dir(), &tree.path().canonicalize().unwrap()).unwrap();
    }
}

#[test]
fn the_manifest_verifies_and_unlogged_tables_come_back_empty() {
    for major in Major::available() {
        let Some(source) = builder(major).start_or_skip() else {
            continue;
        };
        source.psql("create unlogged table fleeting (n int); insert into fleeting select generate_series(1, 1000)");
        let tree = over_the_wire(&options(&source)).unwrap();
        tree.verify_manifest(&source);
        let restored = tree.start(&source);
        assert_eq!(
            restored.psql("select count(*) from fleeting"),
            "0",
            "{major}"
        );
    }
}

#[test]
fn both_ways_yield_the_same_tree() {
    let Some(source) = hard_server(Major::V15) else {
        return;
    };
    source.psql("create unlogged table fleeting (n int); insert into fleeting select generate_series(1, 1000)");
    source.psql("checkpoint");
    let names = |tree: &common::Tree| {
        let entries = tree_digest(&tree.path()).unwrap().0;
        let is_compared =
            |path: &PathBuf| !path.starts_with("pg_wal") && path != Path::new("backup_manifest");
        entries
            .into_keys()
            .filter(is_compared)
            .collect::<BTreeSet<_>>()
    };
    let (wire, in_place) = (
        names(&over_the_wire(&options(&source)).unwrap()),
        names(&in_place(&source, || {})),
    );
    assert_eq!(wire, in_place);
}

/// Writes all the time, with other segment sizes, and takes backups in both ways meanwhile.
fn under_load(major: Major, segment_mib: u32) {
    let made = builder(major)
        .wal_segment_size(segment_mib)
        .conf("max_wal_size", "256MB")
        .start_or_skip();
    let Some(source) = made else { return };
    source.psql("create table churn as select g as n, repeat('x', 500) as filler from generate_series(1, 20000) g");
    let writer = Writer::start(&source).unwrap();
    writer.wait_for(50).unwrap();
    let promised_wire = writer.acknowledged();
    let wire = over_the_wire(&options(&source)).unwrap();
    let promised_in_place = writer.acknowledged();
    let in_place = in_place(&source, || {
        // Relations that vanish, shrink and grow between the walk and the copy.
        source.psql("create table gone (n int); drop table gone; truncate churn");
        source
            .psql("insert into churn select g, repeat('y', 500) from generate_series(1, 30000) g");
        source.psql("select pg_switch_wal()");
        source.psql("checkpoint");
        writer.wait_for(50).unwrap();
    });
    writer.stop();
    assert!(promised_wire >= 50 && promised_in_place >= promised_wire);
    for (tree, promised) in [(&wire, promised_wire), (&in_place, promised_in_place)] {
        let size = u64::from(segment_mib) << 20;
        for name in &tree.result.wal_segments {
            assert_eq!(
                fs::metadata(tree.path().join("pg_wal").join(name))
                    .unwrap()
                    .len(),
                size
            );
        }
        let restored = tree.start(&source);
        assert_eq!(
            lost_rows(restored.client(), "postgres", promised).unwrap(),
            0
        );
        restored
            .amcheck()
            .or_else(|error| {
                if error.is_unavailable() {
                    Ok(())
                } else {
                    Err(error)
                }
            })
            .unwrap();
    }
    let churn = "select count(*), min(filler) from churn";
    assert!(in_place.start(&source).psql(churn).starts_with("30000|yyy"));
}

#[test]
fn under_write_load_nothing_acknowledged_before_is_lost_with_segments_of_1_mib() {
    under_load(Major::V15, 1);
}

#[test]
fn under_write_load_nothing_acknowledged_before_is_lost_with_segments_of_64_mib() {
    under_load(Major::V17, 64);
}

#[test]
fn a_restored_server_with_tablespaces_can_be_backed_up_again_without_doubles() {
    for major in Major::available() {
        let Some(source) = hard_server(major) else {
            continue;
        };
        let first = over_the_wire(&options(&source)).unwrap();
        let restored = first.start(&source);
        over_the_wire(&options(&restored))
            .unwrap()
            .verify_manifest(&source);
        // The sink refuses whatever comes twice.
        for again in [
            over_the_wire(&options(&restored)).unwrap(),
            in_place(&restored, || {}),
        ] {
            assert_eq!(again.result.tablespaces.len(), 1, "{major}");
            assert_same(&source, &again.start(&source));
        }
    }
}

#[test]
fn a_second_timeline_brings_its_history() {
    for major in Major::available() {
        let Some(source) = builder(major).start_or_skip() else {
            continue;
        };
        source.psql("create table t as select generate_series(1, 1000) n; create table u (n int)");
        let tree = over_the_wire(&options(&source)).unwrap();
        fs::write(tree.path().join("recovery.signal"), "").unwrap();
        prepare_restored(&tree.path()).unwrap();
        let promoted = Existing::new(source.bin_dir(), &tree.path())
            .conf("restore_command", "/bin/false")
            .start()
            .unwrap();
        assert_eq!(
            identity(&mut client(&promoted)).unwrap().timeline,
            Timeline::new(2)
        );
        for again in [
            over_the_wire(&options(&promoted)).unwrap(),
            in_place(&promoted, || {}),
        ] {
            assert_eq!(again.result.start_timeline, Timeline::new(2), "{major}");
            assert!(
                again.path().join("pg_wal/00000002.history").is_file(),
                "{major}"
            );
            assert_same(&promoted, &again.start(&source));
        }
    }
}

#[test]
fn a_standby_is_backed_up_without_its_signal_file() {
    for major in Major::available() {
        let Some(source) = builder(major).start_or_skip() else {
            continue;
        };
        source.psql("create table t as select generate_series(1, 1000) n; create table u (n int)");
        let tree = over_the_wire(&options(&source)).unwrap();
        fs::write(tree.path().join("standby.signal"), "").unwrap();
        prepare_restored(&tree.path()).unwrap();
        let upstream = format!(
            "host={} port={} user=postgres",
            source.socket_dir().display(),
            source.port()
        );
        let standby = Existing::new(source.bin_dir(), &tree.path())
            .conf("primary_conninfo", upstream)
            .as_standby()
            .start()
            .unwrap();
        for mode in [Mode::Sql, Mode::Replication] {
            let mut client = rekindle_postgres::Client::connect(&options(&standby), mode).unwrap();
            assert!(
                identity(&mut client).unwrap().is_standby,
                "{major} {mode:?}"
            );
        }
        source.psql("checkpoint");
        let again = over_the_wire(&options(&standby)).unwrap();
        assert!(!again.path().join("standby.signal").exists());
        again.verify_manifest(&source);
        assert_same(&source, &again.start(&source));
        let again = in_place(&standby, || {});
        assert_same(&source, &again.start(&source));
    }
}

/// Flips a bit of the third page of a table behind the back of a stopped server.
fn with_a_damaged_page(major: Major) -> Option<(Postgres, String)> {
    let mut source = builder(major).start_or_skip()?;
    source.psql("create table hurt as select g as n, repeat('x', 100) as filler from generate_series(1, 5000) g");
    let file = source.psql("select pg_relation_filepath('hurt')");
    source.stop(Stop::Fast).unwrap();
    flip_bit(&source.data_dir().join(&file), 2 * 8192 + 4000).unwrap();
    source.start().unwrap();
    Some((source, file))
}

#[test]
fn a_flipped_bit_on_the_source_is_reported_with_file_and_block_in_both_ways() {
    for major in Major::available() {
        let Some((source, file)) = with_a_damaged_page(major) else {
            continue;
        };
        for tree in [
            over_the_wire(&options(&source)).unwrap(),
            in_place(&source, || {}),
        ] {
            let failures = &tree.result.checksum_failures;
            assert_eq!(failures.len(), 1, "{major}: {failures:?}");
            assert_eq!(
                (failures[0].file.as_deref(), failures[0].block),
                (Some(file.as_str()), Some(2)),
                "{major}"
            );
        }
    }
}

#[test]
fn both_kinds_of_connection_tell_the_same_identity() {
    for major in Major::available() {
        let Some(source) = builder(major).start_or_skip() else {
            continue;
        };
        let ask = |mode| {
            let mut client = rekindle_postgres::Client::connect(&options(&source), mode).unwrap();
            identity(&mut client).unwrap()
        };
        let known = ask(Mode::Sql);
        assert_eq!(known.major, major.number());
        assert!(known.data_checksums && known.data_directory.as_deref() == Some(source.data_dir()));
        assert_eq!(
            ask(Mode::Replication),
            rekindle_postgres::ServerIdentity {
                encoding: None,
                ..known.clone()
            }
        );
        assert_eq!(ask(Mode::ReplicationInDatabase), known);
    }
}
