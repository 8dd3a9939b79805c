//! What transactions did, read out of the WAL of real servers, and what the tables were called.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::convert::Infallible;

use common::wal::{builder, segments};
use rekindle_postgres::Error;
use rekindle_postgres::wal::catalog::{Catalog, RelationKind, TableFate};
use rekindle_postgres::wal::reader::{Reader, Segment};
use rekindle_postgres::wal::scan::{Activity, Transaction};
use rekindle_testing::postgres::{Major, Mode, Postgres};

fn catalog(server: &Postgres) -> Catalog {
    server.psql("checkpoint");
    let root = server.data_dir().to_owned();
    Catalog::read(|path| Ok::<_, Error>(std::fs::read(root.join(path)).ok())).unwrap()
}

/// Runs statements on the server, and gives what the WAL says that each did.
fn transactions(
    server: &mut Postgres,
    segment_mib: u32,
    statements: &[&str],
) -> Vec<(String, Vec<Transaction>)> {
    for sql in statements {
        let quoted = sql.replace('\'', "''");
        server.psql(&format!(
            "select pg_logical_emit_message(false, 'sql', '{quoted}')"
        ));
        server.psql(sql);
    }
    let segments = segments(server, segment_mib);
    let mut reader = Reader::new(segments.into_iter().map(Ok::<Segment<Vec<u8>>, Infallible>));
    let mut activity = Activity::new();
    let mut found: Vec<(String, Vec<Transaction>)> = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        if record.rmgr().to_string() == "LogicalMessage" {
            // Database, flag, two lengths, then the prefix with its zero.
            let message = &record.main_data().unwrap()[24 + "sql\0".len()..];
            found.push((String::from_utf8_lossy(message).into_owned(), Vec::new()));
        }
        if let (Some(transaction), Some(last)) = (activity.add(&record), found.last_mut()) {
            last.1.push(transaction);
        }
    }
    assert_eq!(activity.in_flight().count(), 0);
    found
}

#[test]
fn tables_that_are_dropped_emptied_or_written_anew_are_told_apart_and_named() {
    use TableFate::{Dropped, Replaced, Rewritten, Truncated};
    let story: &[(&str, &[(&str, TableFate)])] = &[
        ("truncate a", &[("a", Truncated)]),
        ("insert into a values (1, 'again')", &[]),
        ("truncate b, a", &[("a", Truncated), ("b", Truncated)]),
        ("reindex table a", &[]),
        ("alter table a add column more int", &[]),
        ("insert into a values (1, 'again'), (2, 'and again')", &[]),
        ("vacuum full a", &[("a", Rewritten)]),
        ("cluster b using b_pkey", &[("b", Rewritten)]),
        ("insert into b values (1, 'x')", &[]),
        ("alter table b alter id type bigint", &[("b", Rewritten)]),
        ("create index made_later on b (id)", &[]),
        ("drop index b_t_idx", &[]),
        ("drop index made_later", &[]),
        ("refresh materialized view mv", &[("mv", Rewritten)]),
        (
            "begin; drop table c; create table c as select 1 n; commit",
            &[("c", Replaced)],
        ),
        ("alter table d set unlogged", &[("d", Rewritten)]),
        ("drop materialized view mv", &[("mv", Dropped)]),
        ("create table e (id int primary key, t text)", &[]),
        ("insert into e values (1)", &[]),
        ("truncate e", &[("?", Truncated)]),
        ("drop table e", &[("?", Dropped)]),
        ("drop table a", &[("a", Dropped)]),
        ("drop table c, b", &[("b", Dropped), ("c", Dropped)]),
        ("begin; truncate d; rollback", &[]),
        ("drop schema odd cascade", &[("Ünï \"t\"", Dropped)]),
    ];
    for major in Major::available() {
        let Some(mut server) = builder(major, 16).start_or_skip() else {
            continue;
        };
        server.psql(
            "create table a (id int primary key, t text);
             insert into a select i, 'x' from generate_series(1, 100) i;
             create table b (id int primary key, t text); create index on b (t);
             insert into b select i, 'y' from generate_series(1, 50) i;
             create table c as select generate_series(1, 10) n;
             create table d (n int); insert into d values (1);
             create schema odd; create table odd.\"Ünï \"\"t\"\"\" (t text);
             create materialized view mv as select n from d;
             analyze",
        );
        let mut catalog = catalog(&server);
        let statements: Vec<&str> = story.iter().map(|(sql, _)| *sql).collect();
        let found = transactions(&mut server, 16, &statements);
        assert_eq!(found.len(), story.len());
        for ((sql, transactions), (_, expected)) in found.iter().zip(story) {
            let events = transactions
                .iter()
                .flat_map(|transaction| catalog.follow(transaction));
            let mut events: Vec<_> = events
                .map(|event| {
                    (
                        event.table.map_or("?".into(), |table| table.name),
                        event.fate,
                    )
                })
                .collect();
            events.sort_by(|one, other| one.0.cmp(&other.0));
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, fate)| ((*name).into(), *fate))
                .collect();
            assert_eq!(events, expected, "{major}: {sql}");
        }
    }
}

/// Inserted, updated and deleted.
type Rows = (u64, u64, u64);

/// Rows that were changed, by table's name.
fn rows(catalog: &Catalog, transactions: &[Transaction]) -> BTreeMap<String, Rows> {
    let mut all = BTreeMap::new();
    for (id, rows) in transactions
        .iter()
        .flat_map(|transaction| &transaction.changes)
    {
        let Some(table) = catalog.relation(*id).filter(|table| table.kind.has_rows()) else {
            continue;
        };
        if !table.is_systems() {
            let sum: &mut Rows = all.entry(table.name.clone()).or_default();
            *sum = (
                sum.0 + rows.inserted,
                sum.1 + rows.updated,
                sum.2 + rows.deleted,
            );
        }
    }
    all
}

#[test]
fn rows_are_counted_whatever_way_they_were_changed() {
    let story: &[(&str, &[(&str, Rows)])] = &[
        (
            "insert into t select i from generate_series(1, 6000) i",
            &[("t", (6000, 0, 0))],
        ),
        ("delete from t where id <= 5000", &[("t", (0, 0, 5000))]),
        ("copy u from program 'seq 1 30000'", &[("u", (30000, 0, 0))]),
        (
            "update t set pad = 'x' where id > 5900",
            &[("t", (0, 100, 0))],
        ),
        (
            "begin; insert into t values (1); savepoint s; insert into t values (2), (3);
             savepoint r; insert into t values (4), (5), (6); rollback to r; release s; commit",
            &[("t", (3, 0, 0))],
        ),
        (
            "begin; insert into t values (7); insert into u values (7); prepare transaction 'p';
             commit prepared 'p'",
            &[("t", (1, 0, 0)), ("u", (1, 0, 0))],
        ),
        (
            "begin; delete from u; prepare transaction 'q'; rollback prepared 'q'",
            &[],
        ),
        (
            "insert into t values (7), (8) on conflict (id) do update set pad = 'y'",
            &[("t", (1, 1, 0))],
        ),
        ("begin; delete from u; rollback", &[]),
        ("vacuum u", &[]),
        (
            "insert into parted values (1), (2), (11); update parted set id = 12 where id = 2",
            &[("parted_1", (2, 0, 1)), ("parted_2", (2, 0, 0))],
        ),
        (
            "do $$ begin for i in 1..200 loop begin insert into u values (i); exception when others then null; end; end loop; end $$",
            &[("u", (200, 0, 0))],
        ),
    ];
    for major in Major::available() {
        for (segment_mib, level) in [(1, "replica"), (16, "logical")] {
            let server = builder(major, segment_mib).conf("wal_level", level);
            let Some(mut server) = server.start_or_skip() else {
                continue;
            };
            server.psql(
                "create table t (id int primary key, pad text); create table u (n int);
                 create table parted (id int) partition by range (id);
                 create table parted_1 partition of parted for values from (1) to (10);
                 create table parted_2 partition of parted for values from (10) to (20)",
            );
            let catalog = catalog(&server);
            let statements: Vec<&str> = story.iter().map(|(sql, _)| *sql).collect();
            let found = transactions(&mut server, segment_mib, &statements);
            for ((sql, transactions), (_, expected)) in found.iter().zip(story) {
                let expected = expected
                    .iter()
                    .map(|(name, rows)| ((*name).to_owned(), *rows));
                assert_eq!(
                    rows(&catalog, transactions),
                    expected.collect(),
                    "{major}: {sql}"
                );
            }
            let prepared = &found[5].1;
            assert!(prepared.iter().any(|transaction| transaction.was_prepared));
            assert!(
                found
                    .iter()
                    .flat_map(|(_, all)| all)
                    .all(|one| !one.began_earlier)
            );
        }
    }
}

#[test]
fn a_dropped_database_is_named_and_its_last_moment_lies_before_the_commit() {
    for major in Major::available() {
        let Some(mut server) = builder(major, 16)
            .conf("wal_level", "logical")
            .start_or_skip()
        else {
            continue;
        };
        server.psql("create database shop");
        server.psql("create table emptied (n int)");
        let oid: u32 = server
            .psql("select oid from pg_database where datname = 'shop'")
            .parse()
            .unwrap();
        let table: u32 = server
            .psql("select 'emptied'::regclass::oid")
            .parse()
            .unwrap();
        let own: u32 = server
            .psql("select oid from pg_database where datname = 'postgres'")
            .parse()
            .unwrap();
        let catalog = catalog(&server);
        let found = transactions(
            &mut server,
            16,
            &[
                "drop database shop",
                "create database other",
                "truncate emptied",
            ],
        );
        let [dropped] = found[0].1.as_slice() else {
            panic!("{major}: {:?}", found[0]);
        };
        assert_eq!(dropped.databases_dropped, [oid]);
        assert_eq!(catalog.database(oid), Some("shop"));
        assert!(dropped.before < dropped.commit.lsn);
        assert!(
            found[1]
                .1
                .iter()
                .any(|one| one.databases_created.len() == 1)
        );
        let truncated = found[2].1.iter().flat_map(|one| &one.truncated);
        assert_eq!(truncated.collect::<Vec<_>>(), [&(own, table)]);
    }
}

#[test]
fn names_are_those_that_the_server_knows() {
    for major in Major::available() {
        let server = builder(major, 16)
            .tablespace("fast")
            .tablespace("home of a database");
        let Some(mut server) = server.start_or_skip() else {
            continue;
        };
        server.psql("create database elsewhere tablespace \"home of a database\"");
        server.psql_db(
            "elsewhere",
            "create table there (n int); create table fast (n int) tablespace fast",
        );
        server.psql("create table plain (t text); create table fast (n int) tablespace fast");
        server.psql("create table renamed (n int); alter table renamed rename to new_name");
        server.psql(
            "create schema s; create sequence s.seq; create materialized view s.mv as select 1 n",
        );
        server.psql("begin; create table never (n int); rollback");
        server.psql("insert into plain values ('x'); analyze plain; vacuum full pg_class");
        server.psql("vacuum full pg_database");
        let catalog = catalog(&server);
        let mut compared = 0;
        for database in server
            .psql("select oid || ' ' || datname from pg_database where datallowconn")
            .lines()
        {
            let (oid, name) = database.split_once(' ').unwrap();
            let oid: u32 = oid.parse().unwrap();
            assert_eq!(catalog.database(oid), Some(name));
            let sql = "select coalesce(nullif(reltablespace, 0), (select dattablespace from pg_database where datname = current_database())),
                    pg_relation_filenode(c.oid), c.oid, relkind, reltuples, relisshared, nspname, relname
                from pg_class c join pg_namespace n on n.oid = relnamespace
                where pg_relation_filenode(c.oid) is not null and relpersistence = 'p'";
            for line in server.psql_db(name, sql).lines() {
                let fields: Vec<&str> = line.split('|').collect();
                let id = rekindle_postgres::wal::RelationId {
                    tablespace: fields[0].parse().unwrap(),
                    database: if fields[5] == "t" { 0 } else { oid },
                    node: fields[1].parse().unwrap(),
                };
                let known = catalog
                    .relation(id)
                    .unwrap_or_else(|| panic!("{major}: {line}"));
                assert_eq!(known.oid.to_string(), fields[2], "{major}: {line}");
                assert_eq!(
                    (known.schema.as_str(), known.name.as_str()),
                    (fields[6], fields[7])
                );
                assert_eq!(known.kind, RelationKind::of(fields[3].as_bytes()[0]));
                compared += 1;
            }
        }
        assert!(compared > 500, "{compared}");
        let tables: Vec<_> = catalog
            .relations()
            .filter(|(_, it)| it.name == "plain")
            .collect();
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0].1.rows, Some(1));
        server.stop(Mode::Fast).unwrap();
    }
}
