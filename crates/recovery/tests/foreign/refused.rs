//! What stands in the way, and what a stranger hides.

use super::*;

#[test]
fn roles_that_are_missing_refuse_are_created_or_done_without() {
    let source = Postgres::builder(Major::V15).start().unwrap();
    small(&source);
    let server = Postgres::builder(Major::V15).start().unwrap();
    let setting = setting(&server);
    for (name, arguments) in [("shop.sql", &[][..]), ("shop.dump", &["-Fc"])] {
        let path = setting.dump(&source, name, arguments, "shop");
        let error = setting.restore(&path, "new").unwrap_err();
        assert_eq!(refusals(&error), [Guard::MissingRole], "{name}");
        assert!(error.to_string().contains("owner_of_shop"), "{error}");

        setting
            .force(&path, "forced", &[Guard::MissingRole])
            .unwrap();
        let owner = "select tableowner from pg_tables where tablename = 'item'";
        assert_eq!(server.psql_db("forced", owner), "postgres");

        let guards = GuardOptions {
            create_missing: true,
            ..GuardOptions::default()
        };
        let new_name = Some("created".to_owned());
        let request = ForeignRestoreRequest {
            guards,
            new_name,
            ..setting.request(&path)
        };
        let outcome = restore_foreign(&request).unwrap();
        assert_eq!(outcome.created_roles, ["owner_of_shop"]);
        assert_eq!(server.psql_db("created", owner), "owner_of_shop");
        let login = "select rolcanlogin, rolpassword is null from pg_authid where rolname = 'owner_of_shop'";
        assert_eq!(server.psql(login), "f|t");
        for statement in [
            "drop database forced",
            "drop database created",
            "drop role owner_of_shop",
        ] {
            server.psql(statement);
        }
    }
}

#[test]
fn extensions_tablespaces_and_locales_that_are_missing_refuse_by_name() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    small(&server);
    let setting = setting(&server);
    let place = server.new_tablespace_dir("ssd").unwrap();
    server.psql(&format!(
        "create tablespace ssd location '{}'",
        place.display()
    ));
    server.psql_db(
        "shop",
        "create extension hstore; alter table empty set tablespace ssd",
    );
    let plain =
        fs::read_to_string(setting.dump(&server, "shop.sql", &["--create"], "shop")).unwrap();
    let altered = |from: &str, to: &str| {
        assert!(plain.contains(from), "{from}");
        let path = setting.path("altered.sql");
        fs::write(&path, plain.replace(from, to)).unwrap();
        path
    };
    let cases = [
        (
            "EXISTS hstore",
            "EXISTS no_such_extension",
            Guard::MissingExtension,
        ),
        (
            "default_tablespace = ssd",
            "default_tablespace = gone",
            Guard::MissingTablespace,
        ),
        (
            "LOCALE = 'C.UTF-8'",
            "LOCALE = 'xx_XX.utf8'",
            Guard::Collation,
        ),
        ("ENCODING = 'UTF8'", "ENCODING = 'KLINGON'", Guard::Encoding),
    ];
    for (from, to, guard) in cases {
        let path = altered(from, to).to_owned();
        let path = if guard == Guard::MissingExtension {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(
                &path,
                text.replace("EXTENSION hstore IS", "EXTENSION no_such_extension IS"),
            )
            .unwrap();
            path
        } else {
            path
        };
        let error = setting.restore(&path, "new").unwrap_err();
        assert_eq!(refusals(&error), [guard], "{error}");
        if guard != Guard::Encoding {
            setting.force(&path, "new", &[guard]).unwrap();
            assert_eq!(server.psql_db("new", "select count(*) from item"), "500");
            server.psql("drop database new");
        }
    }
    setting
        .restore(&altered("EXISTS hstore", "EXISTS hstore"), "available")
        .unwrap();
    let installed = "select count(*) from pg_extension where extname = 'hstore'";
    assert_eq!(server.psql_db("available", installed), "1");
}

#[test]
fn a_newer_servers_dump_is_refused_and_one_of_newer_tools_is_not() {
    let Some(newer) = Postgres::builder(Major::V17).start_or_skip() else {
        return;
    };
    small(&newer);
    let server = Postgres::builder(Major::V15).start().unwrap();
    small(&server);
    let with_new_tools = setting_with(&server, newer.bin_dir());
    for (name, arguments) in [("newer.sql", &[][..]), ("newer.dump", &["-Fc"])] {
        let path = with_new_tools.dump(&newer, name, arguments, "shop");
        let error = with_new_tools.restore(&path, "new").unwrap_err();
        assert_eq!(refusals(&error), [Guard::ServerMajor], "{name}");
    }
    // The newer tool sets parameters that the older server does not know.
    for (name, arguments) in [
        ("tool.sql", &[][..]),
        ("tool.dump", &["-Fc"]),
        ("tool.dir", &["-Fd"]),
    ] {
        let path = with_new_tools.path(name);
        let mut command = server.client().tool("pg_dump");
        let program = newer.bin_dir().join("pg_dump");
        let mut with_new = Command::new(program);
        for (key, value) in command.get_envs() {
            value.map(|value| with_new.env(key, value));
        }
        command.arg("");
        run(with_new
            .args(arguments)
            .arg("--file")
            .arg(&path)
            .arg("shop"));
        with_new_tools.restore(&path, "new").unwrap();
        assert_eq!(content(&server, "new"), content(&server, "shop"), "{name}");
        server.psql("drop database new");
    }
    let with_old_tools = setting(&server);
    let archive = with_new_tools.path("tool.dump");
    let error = with_old_tools.restore(&archive, "new").unwrap_err();
    assert_eq!(refusals(&error), [Guard::ClientTooOld]);
}

#[test]
fn what_a_stranger_hides_in_a_dump_is_never_run_here() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    small(&server);
    let setting = setting(&server);
    let plain = fs::read_to_string(setting.dump(&server, "shop.sql", &[], "shop")).unwrap();
    let owned = setting.path("owned");
    let touch = format!("touch {}", owned.display());
    let with = |evil: &str| {
        let path = setting.path("evil.sql");
        let place = "SET row_security = off;\n";
        fs::write(&path, plain.replacen(place, &format!("{place}{evil}\n"), 1)).unwrap();
        path
    };
    let metas = [
        format!("\\! {touch}"),
        format!("\\copy item from program '{touch}'"),
        format!("\\o | {touch}"),
        "\\i /etc/passwd".to_owned(),
        format!("\\unrestrict x\n\\! {touch}"),
    ];
    for evil in metas {
        let path = with(&evil);
        let error = setting.restore(&path, "new").unwrap_err();
        assert_eq!(refusals(&error), [Guard::MetaCommands], "{evil}");
        setting.force(&path, "new", &[Guard::MetaCommands]).unwrap();
        server.psql("drop database new");
        assert!(!owned.exists(), "{evil}");
    }
    // Something that our reading and psql's see differently.
    let hidden = format!(
        "SELECT set_config('standard_conforming_strings', 'off', false);\nSELECT '\\'; \\! {touch} --';\nSELECT '';"
    );
    setting.restore(&with(&hidden), "hidden").unwrap_err();
    assert!(!owned.exists());
    assert!(!databases(&server).contains(&"hidden".to_owned()));

    let program = with(&format!("COPY item FROM PROGRAM '{touch}';"));
    let error = setting.restore(&program, "new").unwrap_err();
    assert_eq!(refusals(&error), [Guard::ReachingStatements]);
    assert!(!owned.exists());

    let live = content(&server, "shop");
    let others = with(
        "COMMIT;\nDROP DATABASE shop;\nALTER DATABASE shop CONNECTION LIMIT 0;\nCREATE ROLE intruder SUPERUSER;",
    );
    setting.restore(&others, "new").unwrap();
    assert_eq!(content(&server, "shop"), live);
    assert_eq!(
        server.psql("select count(*) from pg_roles where rolname = 'intruder'"),
        "0"
    );
}

#[test]
fn row_security_and_taken_names_are_refused() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    small(&server);
    let setting = setting(&server);
    let path = setting.dump(&server, "rls.sql", &["--enable-row-security"], "shop");
    let error = setting.restore(&path, "new").unwrap_err();
    assert_eq!(refusals(&error), [Guard::RowSecurity]);
    setting.force(&path, "new", &[Guard::RowSecurity]).unwrap();
    let error = setting
        .force(&path, "new", &[Guard::RowSecurity, Guard::TargetExists])
        .unwrap_err();
    assert_eq!(refusals(&error), [Guard::TargetExists]);
}
