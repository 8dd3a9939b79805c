//! Dumps from elsewhere come back beside live databases, take their place, go into the vault; and
//! what stands in the way is named before anything is touched.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rekindle_recovery::{
    DatabaseRestoreRequest, RecoveryError, create_vault,
    foreign::{
        ForeignRestoreOutcome, ForeignRestoreRequest, ImportRequest, SwapBack, import,
        plan_foreign_restore, restore_foreign, undo_swap,
    },
    guard::{Guard, GuardOptions},
    points, restore_database, status,
};
use rekindle_stack::Stack;
use rekindle_testing::{
    hard,
    postgres::{Major, Postgres},
    temp_dir,
};
use rekindle_vault::{Progress, Vault};

struct Setting {
    stack: Stack,
    directory: tempfile::TempDir,
}

fn setting(server: &Postgres) -> Setting {
    setting_with(server, server.bin_dir())
}

/// A configuration with the service `db`, whose tools are in `bin_dir`.
fn setting_with(server: &Postgres, bin_dir: &Path) -> Setting {
    let directory = temp_dir().unwrap();
    let at = directory.path().display();
    fs::write(directory.path().join("password"), "of the vault").unwrap();
    let text = format!(
        "stack: test\nvault: {{ at: {at}/vault, password_file: {at}/password }}\nservices:\n  \
         db: {{ datasets: [ {{ kind: postgres, url: \"{}\", bin_dir: {:?} }} ], rpo: 1h }}\n",
        server.socket_url(),
        bin_dir
    );
    let config = directory.path().join("rekindle.yaml");
    fs::write(&config, &text).unwrap();
    let stack = Stack::parse(&text, &config).unwrap().stack;
    Setting { stack, directory }
}

impl Setting {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn vault(&self) -> Vault {
        create_vault(&self.stack.vault).unwrap()
    }

    fn request(&self, from: &Path) -> ForeignRestoreRequest<'_> {
        ForeignRestoreRequest {
            stack: &self.stack,
            service: "db".to_owned(),
            from: from.to_owned(),
            database: None,
            new_name: None,
            swap: false,
            guards: GuardOptions::default(),
            progress: Arc::new(Progress::default()),
        }
    }

    fn restore(&self, from: &Path, new_name: &str) -> Result<ForeignRestoreOutcome, RecoveryError> {
        let new_name = Some(new_name.to_owned());
        restore_foreign(&ForeignRestoreRequest {
            new_name,
            ..self.request(from)
        })
    }

    /// Restores with these guards overridden.
    fn force(
        &self,
        from: &Path,
        new_name: &str,
        force: &[Guard],
    ) -> Result<ForeignRestoreOutcome, RecoveryError> {
        let guards = GuardOptions {
            force: force.iter().copied().collect(),
            create_missing: false,
        };
        let new_name = Some(new_name.to_owned());
        restore_foreign(&ForeignRestoreRequest {
            new_name,
            guards,
            ..self.request(from)
        })
    }

    fn dump(&self, server: &Postgres, name: &str, arguments: &[&str], database: &str) -> PathBuf {
        let path = self.path(name);
        run(server
            .tool("pg_dump")
            .args(arguments)
            .arg("--file")
            .arg(&path)
            .arg(database));
        path
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    output.stdout
}

/// Everything in a database as `pg_dump` tells it, without what differs from run to run.
fn content(server: &Postgres, database: &str) -> String {
    // What `ALTER DATABASE … SET` says is the database's, not its content's.
    let settings = "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres";
    let text = run(server
        .tool("pg_dump")
        .env("PGOPTIONS", settings)
        .arg(database));
    let is_kept =
        |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    let text = String::from_utf8(text).unwrap();
    text.lines().filter(is_kept).collect::<Vec<_>>().join("\n")
}

/// Compares, and shows where the first difference is.
#[track_caller]
fn assert_same(found: &str, expected: &str, what: &str) {
    let mut lines = found.lines().zip(expected.lines());
    if let Some((found, expected)) = lines.find(|(found, expected)| found != expected) {
        panic!("{what}: `{found}` is not `{expected}`");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn databases(server: &Postgres) -> Vec<String> {
    let names = server.psql("select datname from pg_database order by 1");
    names.lines().map(str::to_owned).collect()
}

fn refusals(error: &RecoveryError) -> Vec<Guard> {
    let RecoveryError::Refused { findings, .. } = error else {
        panic!("{error}")
    };
    findings
        .iter()
        .filter(|f| rekindle_recovery::guard::is_refusal(f))
        .map(|f| f.guard)
        .collect()
}

/// A small database with an owner of its own, and a dump of it.
fn small(server: &Postgres) {
    server.psql("create role owner_of_shop; create database shop");
    server.psql_db(
        "shop",
        "create table item as select g as id, md5(g::text) as name from generate_series(1, 500) g;
         alter table item owner to owner_of_shop; create table empty (id int)",
    );
}

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

#[test]
fn imported_dumps_are_points_and_come_back_from_the_vault() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    small(&server);
    let setting = setting(&server);
    let vault = setting.vault();
    let live = content(&server, "shop");
    let all = setting.path("all.sql");
    run(server.tool("pg_dumpall").arg("--file").arg(&all));
    let gz = setting.path("shop.sql.gz");
    let plain = setting.dump(&server, "shop.sql", &[], "shop");
    fs::write(&gz, run(Command::new("gzip").arg("-c").arg(&plain))).unwrap();
    let dumps = [
        gz,
        setting.dump(&server, "archive", &["-Fc"], "shop"),
        setting.dump(&server, "tar", &["-Ft"], "shop"),
        all,
    ];
    for path in &dumps {
        let outcome = import(&vault, &import_request(&setting, vec![path.clone()])).unwrap();
        assert!(outcome.point.is_imported());
        let request = DatabaseRestoreRequest {
            stack: &setting.stack,
            point: outcome.point.id.to_string(),
            service: "db".to_owned(),
            database: "shop".to_owned(),
            new_name: "again".to_owned(),
            guards: GuardOptions::default(),
        };
        let restored = restore_database(&vault, &request)
            .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        assert_eq!(restored.rows, 500);
        assert_eq!(content(&server, "again"), live, "{}", path.display());
        server.psql("drop database again");
    }
    let together = import(&vault, &import_request(&setting, dumps.to_vec())).unwrap();
    let files: Vec<_> = together
        .files
        .iter()
        .map(|file| file.file.as_str())
        .collect();
    assert_eq!(files, ["shop.sql", "shop.dump", "shop.tar", "all.sql"]);
    let directory = setting.dump(&server, "dir", &["-Fd"], "shop");
    import(&vault, &import_request(&setting, vec![directory])).unwrap();

    let status = status(&setting.stack, Ok(&vault));
    assert!(
        status.services[0].newest_point.is_none(),
        "an import is no backup of today"
    );
    assert!(status.services[0].rpo.is_missed);

    let before = points(&vault).unwrap().points.len();
    let cut = setting.path("cut.sql");
    let whole = fs::read(&plain).unwrap();
    fs::write(&cut, &whole[..whole.len() * 6 / 10]).unwrap();
    import(&vault, &import_request(&setting, vec![plain, cut])).unwrap_err();
    assert_eq!(points(&vault).unwrap().points.len(), before, "all or none");
    assert!(vault.locks().unwrap().is_empty());
}

fn import_request(setting: &Setting, files: Vec<PathBuf>) -> ImportRequest<'_> {
    ImportRequest {
        stack: &setting.stack,
        service: "db".to_owned(),
        files,
        database: None,
        tags: vec!["old".to_owned()],
        guards: GuardOptions::default(),
        progress: Arc::new(Progress::default()),
    }
}

#[test]
fn a_plan_changes_nothing_and_says_everything() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    small(&server);
    let setting = setting(&server);
    let path = setting.dump(&server, "shop.dump", &["-Fc"], "shop");
    let before = databases(&server);
    let plan = plan_foreign_restore(&ForeignRestoreRequest {
        swap: true,
        ..setting.request(&path)
    })
    .unwrap();
    assert!(plan.is_permitted);
    assert_eq!((plan.databases[0].tables, plan.databases[0].rows), (2, 500));
    assert_eq!(plan.databases[0].swaps.as_ref().unwrap().live, "shop");
    assert!(
        plan.steps
            .iter()
            .any(|step| step.contains("in one transaction"))
    );
    assert_eq!(databases(&server), before);
}
