//! Restored databases that take the place of live ones.

use super::*;

#[test]
fn a_swap_takes_everything_along_ends_sessions_and_is_undone() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    small(&server);
    let setting = setting(&server);
    let path = setting.dump(&server, "shop.dump", &["-Fc"], "shop");
    server.psql(
        "create role app login; alter database shop owner to app; revoke connect on database shop from public;
         grant connect on database shop to app; alter database shop set search_path to \"$user\", other, public;
         alter database shop set app.mode to 'a, b'; alter role app in database shop set work_mem to '7MB';
         alter database shop connection limit 42; comment on database shop is 'it''s the shop'",
    );
    let belongings = "select pg_get_userbyid(datdba), datacl, datconnlimit, shobj_description(oid, 'pg_database'),
         (select string_agg(setconfig::text, ';' order by setrole) from pg_db_role_setting where setdatabase = d.oid)
         from pg_database d where datname = 'shop'";
    let expected = server.psql(belongings);
    server.psql_db("shop", "delete from item");

    let mut idle = server
        .tool("psql")
        .args(["-c", "select 1", "-c", "select pg_sleep(300)", "shop"])
        .spawn()
        .unwrap();
    let waits = "select count(*) from pg_stat_activity where datname = 'shop' and state = 'active'";
    while server.psql(waits) != "1" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let swap = |force: &[Guard]| {
        let guards = GuardOptions {
            force: force.iter().copied().collect(),
            create_missing: false,
        };
        restore_foreign(&ForeignRestoreRequest {
            swap: true,
            guards,
            ..setting.request(&path)
        })
    };
    assert_eq!(
        refusals(&swap(&[]).unwrap_err()),
        [Guard::ActiveConnections]
    );
    let outcome = swap(&[Guard::ActiveConnections]).unwrap();
    assert!(!idle.wait().unwrap().success(), "its session was ended");
    let swapped = outcome.databases[0].swapped.clone().unwrap();
    assert!(swapped.ended_sessions >= 1);
    assert_eq!(server.psql_db("shop", "select count(*) from item"), "500");
    assert_eq!(
        server.psql(belongings),
        expected,
        "what belongs to the name went along"
    );
    assert_eq!(
        server.psql_db(&swapped.set_aside, "select count(*) from item"),
        "0"
    );

    let back = SwapBack {
        stack: &setting.stack,
        service: "db".to_owned(),
        database: "shop".to_owned(),
        guards: GuardOptions::default(),
    };
    let undone = undo_swap(&back).unwrap();
    assert_eq!(server.psql_db("shop", "select count(*) from item"), "0");
    assert_eq!(server.psql(belongings), expected);
    assert_eq!(
        server.psql_db(&undone.set_aside, "select count(*) from item"),
        "500"
    );
    let nothing = undo_swap(&back).unwrap_err();
    assert!(
        matches!(nothing, RecoveryError::NothingSetAside { .. }),
        "{nothing}"
    );
}

#[test]
fn a_swap_waits_for_nobody_who_cannot_be_ended() {
    let server = Postgres::builder(Major::V15)
        .conf("max_prepared_transactions", 5)
        .start()
        .unwrap();
    small(&server);
    let setting = setting(&server);
    let path = setting.dump(&server, "shop.dump", &["-Fc"], "shop");
    server.psql_db(
        "shop",
        "begin; insert into empty values (1); prepare transaction 'waits'",
    );
    let before = databases(&server);
    let request = ForeignRestoreRequest {
        swap: true,
        ..setting.request(&path)
    };
    let error = restore_foreign(&request).unwrap_err();
    assert_eq!(refusals(&error), [Guard::ActiveConnections]);
    assert_eq!(databases(&server), before);
}
