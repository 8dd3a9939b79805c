//! One table or database comes back beside the live ones, and nothing else changes.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and need not survive a power cut"
)]

use std::{fs, sync::Arc};

use rekindle_recovery::{
    BackupRequest, RecoveryError, backup, create_vault,
    extract::{ExtractError, ExtractOutcome, ExtractRequest, Wanted, extract, plan_extract},
    wal::{RecoveryTarget, TimelineChoice},
};
use rekindle_stack::Stack;
use rekindle_testing::{
    postgres::{Major, Postgres},
    temp_dir,
};
use rekindle_vault::{Progress, Vault};

/// A shop as it was, and what hangs on its tables.
const SHOP: &str = r#"
    create schema shop;
    create type shop.state as enum ('new', 'paid');
    create type shop.gone as enum ('a', 'b');
    create domain shop.price as numeric check (value >= 0);
    create sequence shop.loose;
    create table shop.customer (id int primary key, name text);
    create table shop."Orders" (
        id serial primary key,
        number bigint generated always as identity,
        loose int default nextval('shop.loose'),
        customer int not null references shop.customer,
        parent int references shop."Orders",
        state shop.state default 'new',
        kind shop.gone[],
        price shop.price,
        twice numeric generated always as (price * 2) stored,
        constraint positive check (price < 1000));
    create index by_state on shop."Orders" (state) where state = 'new';
    create unique index on shop."Orders" (lower(id::text));
    create statistics shop.stats on state, customer from shop."Orders";
    create function shop.note() returns trigger language plpgsql as 'begin return new; end';
    create trigger noting before insert on shop."Orders" for each row execute function shop.note();
    alter table shop."Orders" enable row level security;
    create policy own on shop."Orders" using (true);
    comment on table shop."Orders" is 'what was sold';
    create table shop.invoice (id int references shop."Orders");
    create view shop.open as select id, state from shop."Orders" where state = 'new';
    insert into shop.customer select g, 'c' || g from generate_series(1, 10) g;
    insert into shop."Orders" (customer, kind, price) select 1 + g % 10, '{a}', g % 100 from generate_series(1, 500) g;
    create table shop.event (day int, what text) partition by range (day);
    create table shop.event_1 partition of shop.event for values from (0) to (10);
    create table shop.event_2 partition of shop.event for values from (10) to (20);
    create index on shop.event (day);
    insert into shop.event select g % 20, 'x' from generate_series(1, 100) g;
"#;

struct Setting {
    pg: Postgres,
    vault: Vault,
    stack: Stack,
    home: tempfile::TempDir,
}

impl Setting {
    fn new(major: Major) -> Option<Self> {
        let pg = Postgres::builder(major).start_or_skip()?;
        pg.psql(SHOP);
        let home = temp_dir().unwrap();
        fs::write(home.path().join("password"), "of the vault").unwrap();
        let text = format!(
            "stack: test\nvault: {{ at: {0}/vault, password_file: {0}/password }}\n\
             services:\n  db: {{ datasets: [ {{ kind: postgres, url: \"{1}\", bin_dir: {2:?} }} ] }}\n",
            home.path().display(),
            pg.url(),
            pg.bin_dir(),
        );
        let stack = Stack::parse(&text, &home.path().join("rekindle.yaml"))
            .unwrap()
            .stack;
        let vault = create_vault(&stack.vault).unwrap();
        let request = BackupRequest {
            stack: &stack,
            services: Vec::new(),
            tags: Vec::new(),
            progress: Arc::new(Progress::default()),
        };
        backup(&vault, &request).unwrap();
        Some(Self {
            pg,
            vault,
            stack,
            home,
        })
    }

    fn request(&self, wanted: Wanted) -> ExtractRequest<'_> {
        ExtractRequest {
            stack: &self.stack,
            service: "db".into(),
            point: None,
            target: RecoveryTarget::Consistent,
            timeline: TimelineChoice::Latest,
            inclusive: true,
            wanted,
            work_dir: Some(self.home.path().to_owned()),
            progress: Arc::new(Progress::default()),
            on_phase: None,
        }
    }

    fn table(&self, table: &str, new_name: &str) -> Result<ExtractOutcome, RecoveryError> {
        let outcome = extract(&self.vault, &self.request(wanted(table, new_name)));
        self.assert_nothing_is_left();
        outcome
    }

    /// Neither directories nor schemas of ours.
    fn assert_nothing_is_left(&self) {
        let names = fs::read_dir(self.home.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            names
                .iter()
                .all(|name| !name.to_string_lossy().contains("scratch")),
            "{names:?}"
        );
        let schemas = self
            .pg
            .psql("select nspname from pg_namespace where nspname like 'rekindle%'");
        assert_eq!(schemas, "");
    }

    /// All there is, without what the test made itself by restoring.
    fn dump_without(&self, pattern: &str) -> String {
        let mut dump = self.pg.tool("pg_dump");
        let output = dump
            .args(["-d", "postgres", "-T", pattern])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let kept = text
            .lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        kept.collect::<Vec<_>>().join("\n")
    }
}

fn wanted(table: &str, new_name: &str) -> Wanted {
    Wanted::Table {
        database: None,
        table: table.parse().unwrap(),
        new_name: new_name.parse().unwrap(),
    }
}

fn extract_error(error: RecoveryError) -> ExtractError {
    match error {
        RecoveryError::Extract(error) => *error,
        other => panic!("{other:?}"),
    }
}

fn a_table_comes_back_whole(major: Major) {
    let Some(s) = Setting::new(major) else { return };
    // The accident, and what has changed since.
    s.pg.psql(
        "delete from shop.invoice; delete from shop.\"Orders\" where id % 2 = 0; \
         delete from shop.customer where id > 5 and not exists (select from shop.\"Orders\" where customer = customer.id); \
         alter table shop.\"Orders\" drop column kind; drop type shop.gone",
    );
    let before = s.dump_without("shop.before*");
    let outcome = s.table("shop.Orders", "before").unwrap();
    let extracted = &outcome.extracted;
    assert_eq!(
        (extracted.name.as_str(), extracted.rows),
        ("shop.before", 500)
    );
    assert_eq!(
        s.pg.psql("select count(*), sum(twice) = sum(price) * 2 from shop.before"),
        "500|t"
    );
    // The type that had to come along is the only thing besides the table.
    let after = s.dump_without("shop.before*");
    let new: Vec<_> = after
        .lines()
        .filter(|line| !before.contains(line))
        .collect();
    let is_of_type = |line: &&str| line.contains("before_gone") || line.starts_with("    '");
    assert!(new.iter().all(is_of_type), "{new:#?}");
    assert!(
        before.lines().all(|line| after.contains(line)),
        "nothing that exists is touched"
    );
    let left_out = extracted.left_out.join("\n");
    for part in ["foreign key", "noting", "policy own", "stats"] {
        assert!(left_out.contains(part), "{part}: {left_out}");
    }
    let facts = |what: &str| s.pg.psql(what);
    assert_eq!(
        facts(
            "select string_agg(indexrelid::regclass::text, ',' order by indexrelid::regclass::text) from pg_index where indrelid = 'shop.before'::regclass"
        ),
        "shop.before_by_state,shop.before_lower_idx,shop.before_pkey"
    );
    assert_eq!(
        facts("select obj_description('shop.before'::regclass)"),
        "what was sold"
    );
    assert_eq!(
        facts(
            "select string_agg(contype::text, ',' order by contype) from pg_constraint where conrelid = 'shop.before'::regclass and contype <> 'n'"
        ),
        "c,f,p",
        "the foreign key to itself comes along"
    );
    assert_eq!(
        facts("select pg_typeof(state)::regtype::text from shop.before limit 1"),
        "shop.state"
    );
    // Its sequences are its own: what it counts is not missing in the live table.
    let live = facts("select last_value from shop.\"Orders_id_seq\"");
    let next = facts(
        "insert into shop.before (customer, price) values (1, 1) returning id, number, loose",
    );
    assert_eq!(next, "501|501|501");
    assert_eq!(facts("select last_value from shop.\"Orders_id_seq\""), live);
    assert_eq!(facts("select last_value from shop.loose"), "500");
    let broken =
        s.pg.try_psql("insert into shop.before (customer, price) values (1, -1)");
    assert!(
        broken.unwrap_err().to_string().contains("price_check"),
        "the domain holds"
    );
}

#[test]
fn a_table_of_15_comes_back_with_all_that_is_its_own() {
    a_table_comes_back_whole(Major::V15);
}

#[test]
fn a_table_of_18_comes_back_with_all_that_is_its_own() {
    a_table_comes_back_whole(Major::V18);
}

#[test]
fn a_partitioned_table_a_partition_and_a_dropped_table_come_back() {
    let Some(s) = Setting::new(Major::V15) else {
        return;
    };
    s.pg.psql("drop table shop.event; drop table shop.invoice");
    let whole = s.table("event", "archive.event_then").unwrap();
    assert_eq!((whole.extracted.rows, whole.extracted.tables), (100, 2));
    assert_eq!(
        s.pg.psql("select count(*) from archive.event_then where day < 10"),
        "50"
    );
    assert_eq!(s.pg.psql("select count(*) from archive.event_then_2"), "50");
    let part = s.table("shop.event_1", "shop.event_1").unwrap();
    assert_eq!(
        (part.extracted.rows, part.extracted.name.as_str()),
        (50, "shop.event_1")
    );
    assert_eq!(s.table("invoice", "invoice").unwrap().extracted.rows, 0);
}

#[test]
fn what_cannot_come_back_is_refused_and_leaves_nothing() {
    let Some(s) = Setting::new(Major::V15) else {
        return;
    };
    let refused = |table: &str, new_name: &str| {
        let error = s.table(table, new_name).unwrap_err();
        extract_error(error).to_string()
    };
    assert!(
        refused("shop.nothing", "x").contains("shop.customer"),
        "lists what there was"
    );
    assert!(refused("shop.customer", "Orders").contains("exists already"));
    assert!(refused("shop.open", "x").contains("view"));
    let mut request = s.request(wanted("shop.customer", "x"));
    request.work_dir = Some("/proc".into());
    let error = extract_error(plan_extract(&s.vault, &request).unwrap_err());
    assert!(matches!(error, ExtractError::NoRoom { .. }), "{error}");
    // A function that a default needs is not there any more: the server's refusal is told.
    s.pg.psql("drop function shop.note() cascade; create table shop.t (id int)");
    let error = s.table("shop.customer", "t").unwrap_err();
    assert!(matches!(
        extract_error(error),
        ExtractError::NameTaken { .. }
    ));
}

#[test]
fn a_database_without_a_dump_comes_back_under_a_new_name() {
    let Some(s) = Setting::new(Major::V15) else {
        return;
    };
    s.pg.psql("delete from shop.invoice; delete from shop.\"Orders\"");
    let wanted = || Wanted::Database {
        database: "postgres".into(),
        new_name: "as it was".into(),
    };
    let plan = plan_extract(&s.vault, &s.request(wanted())).unwrap();
    assert_eq!(
        (plan.steps.len(), &plan.work_dir),
        (5, &s.home.path().to_owned())
    );
    let outcome = extract(&s.vault, &s.request(wanted())).unwrap();
    s.assert_nothing_is_left();
    assert_eq!(outcome.extracted.name, "as it was");
    assert_eq!(
        s.pg.psql_db("as it was", "select count(*) from shop.\"Orders\""),
        "500"
    );
    let taken = extract(&s.vault, &s.request(wanted())).unwrap_err();
    assert!(matches!(
        extract_error(taken),
        ExtractError::NameTaken { .. }
    ));
}
