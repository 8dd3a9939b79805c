//! Dumps of every form beside the live databases.

use super::*;

#[test]
fn every_form_comes_back_beside_the_live_database_with_all_it_holds() {
    for major in [Major::V15, Major::V17] {
        let Some(server) = Postgres::builder(major).start_or_skip() else {
            continue;
        };
        hard::populate(
            &server,
            hard::Size {
                rows: 200,
                big_relation_mb: 0,
            },
        )
        .unwrap();
        let setting = setting(&server);
        let live = content(&server, hard::SHOP);
        let mut dumps: Vec<(&str, PathBuf)> = [
            ("plain", &[][..]),
            ("create", &["--create"]),
            ("clean", &["--clean"]),
            ("create and clean", &["--create", "--clean", "--if-exists"]),
            ("inserts", &["--rows-per-insert=50"]),
            ("custom", &["-Fc"]),
            ("tar", &["-Ft"]),
            ("directory", &["-Fd"]),
        ]
        .into_iter()
        .map(|(name, arguments)| (name, setting.dump(&server, name, arguments, hard::SHOP)))
        .collect();
        let all = setting.path("all.sql");
        run(server.tool("pg_dumpall").arg("--file").arg(&all));
        dumps.push(("dumpall", all));
        for name in ["plain", "custom", "tar"] {
            let gz = setting.path(&format!("{name}.gz"));
            fs::write(
                &gz,
                run(Command::new("gzip").arg("-c").arg(setting.path(name))),
            )
            .unwrap();
            dumps.push(("gzip", gz));
        }
        for (name, path) in dumps {
            let request = ForeignRestoreRequest {
                database: Some(hard::SHOP.to_owned()),
                new_name: Some("beside".to_owned()),
                ..setting.request(&path)
            };
            restore_foreign(&request)
                .unwrap_or_else(|error| panic!("{major} {name} {}: {error:?}", path.display()));
            // Where a table is filled in another transaction than it is made in, rows go to any page
            // that has room, so their order differs.
            let found = sorted(&content(&server, "beside"));
            assert_same(&found, &sorted(&live), &format!("{major} {name}"));
            server.psql("drop database beside");
        }
        assert_eq!(
            content(&server, hard::SHOP),
            live,
            "the live database is as it was"
        );
    }
}

#[test]
fn all_databases_of_a_cluster_come_back_under_names_of_their_own() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    hard::populate(
        &server,
        hard::Size {
            rows: 100,
            big_relation_mb: 0,
        },
    )
    .unwrap();
    let setting = setting(&server);
    let all = setting.path("all.sql");
    run(server.tool("pg_dumpall").arg("--file").arg(&all));
    let outcome = restore_foreign(&setting.request(&all)).unwrap();
    let of = |name: &str| {
        outcome
            .databases
            .iter()
            .find(|database| database.in_dump.as_deref() == Some(name))
            .unwrap()
    };
    for name in [hard::SHOP, hard::ODD] {
        let restored = &of(name).name;
        assert!(restored.contains("_rekindle_"), "{restored}");
        assert_same(&content(&server, restored), &content(&server, name), name);
    }
    assert!(
        databases(&server)
            .iter()
            .any(|name| name.starts_with("empty_rekindle_"))
    );
}

#[test]
fn a_cut_dump_makes_no_database() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    small(&server);
    let setting = setting(&server);
    let before = databases(&server);
    for (name, arguments, part) in [
        ("a.sql", &[][..], 60),
        ("b.dump", &["-Fc"], 30),
        ("c.tar", &["-Ft"], 50),
    ] {
        let path = setting.dump(&server, name, arguments, "shop");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() * part / 100]).unwrap();
        let error = setting.restore(&path, "new").unwrap_err();
        assert!(
            matches!(error, RecoveryError::Foreign(_)),
            "{name}: {error}"
        );
        assert!(error.hint().is_some());
    }
    assert_eq!(databases(&server), before);
}
