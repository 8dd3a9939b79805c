//! What happened, found in the archive when the server is dead, and the last moment before it
//! restored.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and need not survive a power cut"
)]

use std::{fs, sync::Arc};

use rekindle_recovery::{
    BackupRequest, backup, create_vault,
    wal::{
        FindRequest, Found, Happening, RecoveryTarget, RestoreAtRequest, TableFate, TableHappening,
        TargetAction, TimelineChoice, find, loss, restore_at,
    },
};
use rekindle_stack::Stack;
use rekindle_testing::{
    postgres::{Existing, Major, Mode, Postgres},
    temp_dir,
};
use rekindle_vault::{Progress, Vault, WalEffort, WalFile};

struct World {
    pg: Postgres,
    stack: Stack,
    vault: Vault,
    system: u64,
    directory: tempfile::TempDir,
}

fn world(major: Major) -> Option<World> {
    let directory = temp_dir().unwrap();
    let pg = Postgres::builder(major)
        .checksums(true)
        .wal_segment_size(1)
        .conf("wal_keep_size", "1GB")
        .conf("autovacuum", "off")
        .start_or_skip()?;
    let text = format!(
        "stack: test\nvault: {{ at: {0}/vault, password_file: {0}/password }}\n\
         services:\n  db: {{ datasets: [ {{ kind: postgres, url: \"{1}\" }} ] }}\n",
        directory.path().display(),
        pg.url(),
    );
    fs::write(directory.path().join("password"), "of the vault").unwrap();
    let config = directory.path().join("rekindle.yaml");
    fs::write(&config, &text).unwrap();
    let stack = Stack::parse(&text, &config).unwrap().stack;
    let vault = create_vault(&stack.vault).unwrap();
    let system = pg.psql("select system_identifier from pg_control_system()");
    Some(World {
        pg,
        stack,
        vault,
        system: system.parse().unwrap(),
        directory,
    })
}

impl World {
    fn backup(&self) {
        let request = BackupRequest {
            stack: &self.stack,
            services: Vec::new(),
            tags: Vec::new(),
            progress: Arc::new(Progress::default()),
        };
        backup(&self.vault, &request).unwrap();
    }

    /// Puts every segment that the server wrote into the archive, but for those named.
    fn archive(&self, but: &[&str]) {
        let archive = self.vault.wal_archive().unwrap();
        let last = self.pg.psql("select pg_walfile_name(pg_switch_wal())");
        for entry in fs::read_dir(self.pg.data_dir().join("pg_wal")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let Ok(file) = WalFile::named(self.system, name.as_str()) else {
                continue;
            };
            if name <= last && !but.contains(&name.as_str()) {
                let content = fs::read(entry.path()).unwrap();
                archive.put(&file, &content, WalEffort::Fastest).unwrap();
            }
        }
    }

    fn find(&self, since: Option<&str>) -> (Found, Vec<Happening>) {
        let request = FindRequest {
            stack: &self.stack,
            service: "db".into(),
            since: since.map(|since| match since.parse().unwrap() {
                RecoveryTarget::Time(time) => time,
                other => panic!("{other:?}"),
            }),
            until: None,
            after: None,
            timeline: TimelineChoice::Latest,
        };
        find(&self.vault, &request, |_| true).unwrap()
    }

    /// The server as it was just before.
    fn just_before(&self, happening: &Happening) -> Postgres {
        let to = self
            .directory
            .path()
            .join(happening.before.to_string().replace('/', "-"));
        let request = RestoreAtRequest {
            service: "db".into(),
            point: None,
            target: RecoveryTarget::Lsn(happening.before),
            timeline: TimelineChoice::Latest,
            inclusive: false,
            action: TargetAction::Promote,
            keeps_archiving: false,
            to: to.clone(),
            ownership: None,
            progress: Arc::new(Progress::default()),
        };
        restore_at(&self.vault, &request).unwrap();
        Existing::new(self.pg.bin_dir(), &to).start().unwrap()
    }
}

/// The happening that did this to the table.
fn the<'a>(
    all: &'a [Happening],
    name: &str,
    what: impl Fn(&TableHappening) -> bool,
) -> &'a Happening {
    let is_it = |table: &TableHappening| table.is_called(name) && what(table);
    let mut found = all.iter().filter(|one| one.tables.iter().any(is_it));
    let first = found.next().unwrap_or_else(|| panic!("{name}: {all:#?}"));
    assert_eq!(found.next(), None);
    first
}

fn what_is_lost_is_found_and_the_moment_before_has_it(major: Major) {
    let Some(mut world) = world(major) else {
        return;
    };
    world.pg.psql("create database shop");
    world.pg.psql("create database old");
    world.pg.psql_db(
        "shop",
        "create table orders (id int primary key, note text);
         insert into orders select i, 'note' from generate_series(1, 6000) i;
         create table carts as select generate_series(1, 300) n;
         create table users as select generate_series(1, 40) n;
         analyze",
    );
    world
        .pg
        .psql_db("old", "create table kept as select generate_series(1, 7) n");
    world.backup();
    let shop = |sql: &str| world.pg.psql_db("shop", sql);
    shop("insert into orders values (6001, 'new')");
    shop("delete from orders where id <= 5000");
    shop("delete from users where n > 10");
    shop("update carts set n = 0 where n < 5");
    shop("vacuum full carts");
    shop("insert into carts values (1)");
    shop("truncate carts");
    shop("create table later as select generate_series(1, 2000) n");
    shop("delete from later");
    shop("drop table later");
    shop("drop table orders");
    world.pg.psql("drop database old");
    world.archive(&[]);
    world.pg.stop(Mode::Immediate).unwrap();

    let (found, all) = world.find(None);
    assert_eq!(found.problems, Vec::<String>::new());
    assert!(found.transactions >= 11, "{found:?}");
    let outstanding: Vec<&Happening> = all.iter().filter(|one| one.stands_out(1000)).collect();
    let told: Vec<String> = outstanding
        .iter()
        .flat_map(|one| {
            let tables = one.tables.iter().map(|table| {
                format!(
                    "{} {:?} -{} of {:?}",
                    table.full_name(),
                    table.fate,
                    table.deleted,
                    table.rows_before
                )
            });
            tables.chain(one.databases_dropped.clone())
        })
        .collect();
    let later = format!(
        "{:?}",
        the(&all, "shop.public.orders", |table| table.fate.is_some()).xid - 1
    );
    assert_eq!(told.len(), 7, "{told:#?} {later}");
    assert_eq!(told[0], "shop.public.orders None -5000 of Some(6001)");
    assert_eq!(told[1], "shop.public.users None -30 of Some(40)");
    assert_eq!(told[2], "shop.public.carts Some(Truncated) -0 of Some(301)");
    assert!(
        told[3].starts_with("shop: a table with OID ") && told[3].contains("-2000"),
        "{told:?}"
    );
    assert!(
        told[4].starts_with("shop: a table with OID ") && told[4].contains("Dropped"),
        "{told:?}"
    );
    assert_eq!(told[5], "shop.public.orders Some(Dropped) -0 of Some(1001)");
    assert_eq!(told[6], "old");
    assert!(outstanding.iter().all(|one| !one.began_earlier));

    let deleted = the(&all, "public.orders", |table| table.deleted == 5000);
    let lost = loss(
        &world.vault,
        &FindRequest {
            stack: &world.stack,
            service: "db".into(),
            since: None,
            until: None,
            after: Some(deleted.before),
            timeline: TimelineChoice::Latest,
        },
    );
    let lost = lost.unwrap();
    assert_eq!(lost.databases_dropped, ["old"]);
    let rows = |table: &TableHappening| (table.inserted, table.updated, table.deleted);
    let of = |name: &str| {
        rows(
            lost.tables
                .iter()
                .find(|table| table.is_called(name))
                .unwrap(),
        )
    };
    // The row that was inserted before the target is not lost.
    assert_eq!(of("shop.public.orders"), (0, 0, 5000));
    assert_eq!((of("users"), of("carts")), ((0, 0, 30), (1, 4, 0)));
    assert_eq!(rows(&lost.tables[1]), (2000, 0, 2000), "{:?}", lost.tables);
    assert_eq!(lost.tables.len(), 4, "{:?}", lost.tables);

    let count = |server: &Postgres, database: &str, table: &str| {
        server.psql_db(database, &format!("select count(*) from {table}"))
    };
    let before = world.just_before(deleted);
    assert_eq!(count(&before, "shop", "orders"), "6001");
    drop(before);
    let dropped = the(&all, "orders", |table| {
        table.fate == Some(TableFate::Dropped)
    });
    let before = world.just_before(dropped);
    assert_eq!(count(&before, "shop", "orders"), "1001");
    assert_eq!(count(&before, "shop", "carts"), "0");
    drop(before);
    let gone = all
        .iter()
        .find(|one| !one.databases_dropped.is_empty())
        .unwrap();
    let before = world.just_before(gone);
    assert_eq!(count(&before, "old", "kept"), "7");
    // The last work before the database went is there, too.
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(before.psql_db("shop", tables), "2");
}

#[test]
fn what_is_lost_is_found_and_the_moment_before_has_it_on_15() {
    what_is_lost_is_found_and_the_moment_before_has_it(Major::V15);
}

#[test]
fn what_is_lost_is_found_and_the_moment_before_has_it_on_18() {
    what_is_lost_is_found_and_the_moment_before_has_it(Major::V18);
}

#[test]
fn a_span_and_a_hole_and_a_server_that_still_knows_names() {
    let Some(world) = world(Major::V17) else {
        return;
    };
    world.backup();
    world.pg.psql("create table made_later (n int)");
    world
        .pg
        .psql("insert into made_later select generate_series(1, 20000)");
    let since = world.pg.psql("select clock_timestamp()");
    world.pg.psql("delete from made_later where n <= 15000");
    let missing = world.pg.psql("select pg_walfile_name(pg_switch_wal())");
    world.pg.psql("insert into made_later values (1)");
    world.pg.psql("select pg_switch_wal()");
    world.pg.psql("insert into made_later values (2)");
    let hole = world.pg.psql("select pg_walfile_name(pg_switch_wal())");
    world
        .pg
        .psql("drop table if exists nothing; truncate made_later");
    assert_ne!(missing, hole);
    world.archive(&[&hole]);

    let (found, all) = world.find(Some(&since));
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    assert!(
        found.problems[0].contains("WAL is missing"),
        "{:?}",
        found.problems
    );
    let deleted = the(&all, "postgres.public.made_later", |table| {
        table.deleted > 0
    });
    assert_eq!(deleted.tables[0].deleted, 15000);
    assert!(!deleted.began_earlier);
    let inserted: u64 = all
        .iter()
        .flat_map(|one| &one.tables)
        .map(|table| table.inserted)
        .sum();
    assert_eq!(
        inserted, 1,
        "what lies in the hole, or before the span, is not counted: {all:#?}"
    );
    let emptied = all.last().unwrap();
    assert_eq!(
        emptied.tables[0].fate,
        Some(TableFate::Truncated),
        "{emptied:?}"
    );
}
