//! Finding the moment before a mistake, as a person does, with the server dead.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::fs;

use rekindle_stack::Stack;
use rekindle_testing::postgres::{Existing, Major, Mode, Postgres};
use rekindle_vault::{WalEffort, WalFile};
use serde_json::json;
use support::Home;

/// Puts all WAL that the server wrote into the vault's archive.
fn archive(home: &Home, pg: &Postgres) {
    let last = pg.psql("select pg_walfile_name(pg_switch_wal())");
    let system = pg.psql("select system_identifier from pg_control_system()");
    let stack = Stack::load(&home.join("rekindle.yaml")).unwrap().stack;
    let vault = rekindle_recovery::open_vault(&stack.vault).unwrap();
    let archive = vault.wal_archive().unwrap();
    for entry in fs::read_dir(pg.data_dir().join("pg_wal")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if let Ok(file) = WalFile::named(system.parse().unwrap(), name.as_str())
            && name <= last
        {
            let content = fs::read(entry.path()).unwrap();
            archive.put(&file, &content, WalEffort::Fastest).unwrap();
        }
    }
}

#[test]
fn the_command_that_is_shown_brings_back_the_moment_before_the_mistake() {
    let server = Postgres::builder(Major::V16)
        .checksums(true)
        .wal_segment_size(1)
        .conf("wal_keep_size", "1GB")
        .conf("autovacuum", "off");
    let Some(mut pg) = server.start_or_skip() else {
        return;
    };
    let home = Home::with_vault();
    home.write(
        "rekindle.yaml",
        &format!(
            "stack: shop\nvault: {{ at: vault, password_file: vault-password }}\n\
             services: {{ db: {{ datasets: [ {{ kind: postgres, url: \"{}\" }} ] }} }}\n",
            pg.url()
        ),
    );
    pg.psql("create table orders as select generate_series(1, 2500) n; analyze orders");
    home.ok(&["backup"]);
    pg.psql("insert into orders values (0)");
    pg.psql("delete from orders where n > 400");
    pg.psql("drop table orders");
    archive(&home, &pg);
    pg.stop(Mode::Immediate).unwrap();

    let text = home.ok(&["wal", "find", "--since", "2001-01-01 00:00Z"]);
    let deleted = "  deleted    2100 rows of postgres.public.orders, about 2501 rows before\n";
    assert!(text.contains(deleted), "{text}");
    let dropped = "  dropped    postgres.public.orders, about 401 rows before\n";
    assert!(text.contains(dropped), "{text}");
    assert!(
        text.starts_with("20") && text.contains(" UTC  transaction "),
        "{text}"
    );
    let command = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("just before: rekindle "));
    let command = command.unwrap().replace("DIR", "restored");
    home.ok(&command.split(' ').collect::<Vec<_>>());
    let restored = Existing::new(pg.bin_dir(), &home.join("restored"))
        .start()
        .unwrap();
    assert_eq!(restored.psql("select count(*) from orders"), "2501");

    let found = home.json(&["wal", "find", "--table", "public.orders"]);
    let happenings = found["happenings"].as_array().unwrap();
    assert_eq!(happenings.len(), 2, "{found:#}");
    assert_eq!(happenings[1]["tables"][0]["fate"], json!("dropped"));
    assert!(
        happenings[1]["just_before"]
            .as_str()
            .unwrap()
            .contains("--exclusive")
    );
    assert_eq!(found["searched"]["problems"], json!([]));
    let all = home.json(&["wal", "find", "--all", "--table", "orders"]);
    // The insert into it is a commit of its own; making it lies before the base backup.
    assert!(all["happenings"].as_array().unwrap().len() >= 3, "{all:#}");
    let none = home.run(&["wal", "find", "--table", "carts"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert!(
        none.stderr.contains("next: rekindle wal find --all"),
        "{}",
        none.stderr
    );
    let wrong = home.run(&["wal", "find", "--since", "yesterday"]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.stderr.contains("give a time such as"),
        "{}",
        wrong.stderr
    );
}
