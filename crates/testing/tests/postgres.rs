//! The servers themselves: each version starts, obeys, and leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

use std::path::Path;
use std::process::Command;

use rekindle_testing::postgres::{Auth, Existing, Major, Mode, Postgres, Tls, checksums_ok};
use rekindle_testing::{run_as_postgres, skip, temp_dir};

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn starts_answers_and_leaves_nothing(major: Major) {
    let Some(pg) = Postgres::builder(major).start_or_skip() else {
        return;
    };
    let version: u32 = pg.psql("show server_version_num").parse().unwrap();
    assert_eq!(version / 10_000, major.number());
    let (pid, socket_dir) = (pg.pid().unwrap(), pg.socket_dir().to_owned());
    assert!(is_running(pid));
    drop(pg);
    assert!(!is_running(pid), "process {pid} is still there");
    assert!(
        !socket_dir.exists(),
        "{} is still there",
        socket_dir.display()
    );
}

#[test]
fn version_15_starts_answers_and_leaves_nothing() {
    starts_answers_and_leaves_nothing(Major::V15);
}

#[test]
fn version_16_starts_answers_and_leaves_nothing() {
    starts_answers_and_leaves_nothing(Major::V16);
}

#[test]
fn version_17_starts_answers_and_leaves_nothing() {
    starts_answers_and_leaves_nothing(Major::V17);
}

#[test]
fn version_18_starts_answers_and_leaves_nothing() {
    starts_answers_and_leaves_nothing(Major::V18);
}

#[test]
fn choices_reach_the_server() {
    for major in Major::available() {
        let pg = Postgres::builder(major)
            .checksums(true)
            .wal_segment_size(1)
            .conf("application_name", "it's me")
            .conf("max_wal_senders", 3)
            .config_outside(true)
            .tablespace("a \"second\" disk")
            .start()
            .unwrap();
        assert_eq!(pg.psql("show data_checksums"), "on");
        assert_eq!(pg.psql("show wal_segment_size"), "1MB");
        assert_eq!(pg.psql("show max_wal_senders"), "3");
        assert_eq!(pg.psql("show fsync"), "off");
        assert_eq!(
            pg.psql("show config_file"),
            pg.config_dir()
                .join("postgresql.conf")
                .display()
                .to_string()
        );
        assert!(!pg.data_dir().join("postgresql.conf").exists());
        assert_eq!(
            pg.psql("select spcname from pg_tablespace where spcname like 'a %'"),
            "a \"second\" disk"
        );
    }
}

#[test]
fn a_password_is_asked_for_over_tcp_and_socket() {
    let kinds: [fn(String) -> Auth; 3] = [Auth::Scram, Auth::Md5, Auth::Clear];
    for auth in kinds {
        let password = "geh/heim %";
        let Some(pg) = Postgres::builder(Major::V15)
            .auth(auth(password.into()))
            .start_or_skip()
        else {
            return;
        };
        let query = |url: &str| {
            let mut psql = Command::new(pg.bin_dir().join("psql"));
            psql.args(["-XAtwc", "select 1", url])
                .env_remove("PGPASSWORD")
                .status()
                .unwrap()
        };
        assert!(query(&pg.url()).success());
        assert!(query(&pg.socket_url()).success());
        assert!(!query(&pg.url_for("postgres", "postgres", Some("wrong"))).success());
        assert!(!query(&pg.url_for("postgres", "postgres", None)).success());
    }
}

#[test]
fn a_server_that_requires_tls_refuses_plain_clients_and_proves_its_name() {
    for major in [Major::V15, Major::V17] {
        let Some(pg) = Postgres::builder(major).tls(Tls::Required).start_or_skip() else {
            return;
        };
        let query = |url: &str| {
            let mut psql = Command::new(pg.bin_dir().join("psql"));
            psql.args(["-XAtwc", "select 1", url]).status().unwrap()
        };
        assert!(query(&pg.tls_url().unwrap()).success());
        assert!(!query(&format!("{}?sslmode=disable", pg.url())).success());
        let other = Postgres::builder(major).tls(Tls::Offered).start().unwrap();
        let foreign = other.ca_path().unwrap().display().to_string();
        let mistrust = format!("{}?sslmode=verify-full&sslrootcert={foreign}", pg.url());
        assert!(!query(&mistrust).success());
    }
}

#[test]
fn a_version_without_tls_is_unavailable_and_not_broken() {
    let Some(_) = skip::unless_available(Major::V16.installation()) else {
        return;
    };
    let error = Postgres::builder(Major::V16)
        .tls(Tls::Offered)
        .start()
        .err()
        .unwrap();
    assert!(error.is_unavailable(), "{error:?}");
}

#[test]
fn a_failing_statement_is_an_error_and_stops_the_script() {
    let Some(pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    let error = pg.try_psql("create table before (); select 1/0; create table after ()");
    assert!(error.unwrap_err().to_string().contains("division by zero"));
    assert_eq!(
        pg.psql("select relname from pg_class where relname in ('before', 'after')"),
        "before"
    );
}

#[test]
fn a_setting_the_server_rejects_is_an_error_that_shows_the_log() {
    let Some(_) = skip::unless_available(Major::V15.installation()) else {
        return;
    };
    let error = Postgres::builder(Major::V15)
        .conf("shared_buffers", "-3")
        .start()
        .err()
        .unwrap();
    assert!(error.to_string().contains("shared_buffers"), "{error:?}");
}

#[test]
fn committed_rows_survive_a_crash_of_all_processes() {
    for major in Major::available() {
        let mut pg = Postgres::builder(major).start().unwrap();
        pg.psql("create table t as select generate_series(1, 1000) as id");
        let pid = pg.pid().unwrap();
        pg.kill9().unwrap();
        assert!(!is_running(pid) && pg.pid().is_none());
        assert!(
            pg.data_dir().join("postmaster.pid").exists(),
            "that was no crash"
        );
        pg.start().unwrap();
        assert_eq!(pg.psql("select count(*) from t"), "1000");
    }
}

#[test]
fn a_stopped_copy_opens_with_the_same_data_beside_its_original() {
    for major in Major::available() {
        let mut pg = Postgres::builder(major).checksums(true).start().unwrap();
        pg.psql("create database \"a b\"");
        pg.psql_db(
            "a b",
            "create table t as select generate_series(1, 10000) id, 'x' as \"t\"",
        );
        pg.psql_db("a b", "select lo_from_bytea(0, 'large object')");
        pg.stop(Mode::Fast).unwrap();
        checksums_ok(pg.bin_dir(), pg.data_dir()).unwrap();
        let closed = tempfile::tempdir().unwrap();
        let copy = closed.path().join("copy");
        assert!(
            Command::new("cp")
                .arg("-a")
                .args([pg.data_dir(), &copy])
                .status()
                .unwrap()
                .success()
        );
        pg.start().unwrap();
        let restored = Postgres::open_existing(pg.bin_dir(), &copy).unwrap();
        assert_eq!(restored.psql("show archive_mode"), "off");
        assert_eq!(pg.dump_all(), restored.dump_all());
        let before = pg.table_checksums();
        assert_eq!(before.0["a b: public.t"].rows, 10_000);
        assert_eq!(before.0["a b: pg_catalog.pg_largeobject"].rows, 1);
        assert_eq!(
            before.differences(&restored.table_checksums()),
            Vec::<String>::new()
        );
        restored.psql_db("a b", "update t set t = 'y' where id = 5000");
        assert_eq!(before.differences(&restored.table_checksums()).len(), 1);
        let _ = skip::unless_available(restored.amcheck());
    }
}

#[test]
fn a_directory_that_cannot_start_is_an_error_that_shows_the_log() {
    let Some(installation) = skip::unless_available(Major::V15.installation()) else {
        return;
    };
    let mut pg = Postgres::builder(Major::V15).start().unwrap();
    pg.stop(Mode::Fast).unwrap();
    std::fs::remove_file(pg.data_dir().join("global/pg_control")).unwrap();
    let opened = Existing::new(installation.bin_dir(), pg.data_dir()).start();
    assert!(opened.err().unwrap().to_string().contains("pg_control"));
}

#[test]
fn a_base_backup_opens_as_a_standby_or_not_at_all() {
    let Some(pg) = Postgres::builder(Major::V17).start_or_skip() else {
        return;
    };
    let dir = temp_dir().unwrap();
    let standby = dir.path().join("standby");
    let mut backup = pg.tool("pg_basebackup");
    backup
        .args(["-X", "stream", "-R", "-c", "fast", "-D"])
        .arg(&standby);
    assert!(backup.status().unwrap().success());
    let opened = Existing::new(pg.bin_dir(), &standby)
        .as_standby()
        .start()
        .unwrap();
    assert_eq!(opened.psql("select pg_is_in_recovery()"), "t");
    drop(opened);
    let wait = std::time::Duration::from_secs(2);
    let opened = Existing::new(pg.bin_dir(), &standby).patience(wait).start();
    assert!(opened.err().unwrap().to_string().contains("not Writable"));
}

#[test]
fn corruption_of_a_page_is_found_by_checksums() {
    let Some(mut pg) = Postgres::builder(Major::V15)
        .checksums(true)
        .start_or_skip()
    else {
        return;
    };
    pg.psql("create table t as select generate_series(1, 1000) as id");
    let file = pg
        .data_dir()
        .join(pg.psql("select pg_relation_filepath('t')"));
    pg.stop(Mode::Fast).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(checksums_ok(pg.bin_dir(), pg.data_dir()).is_err());
}

#[test]
fn tools_run_as_the_user_of_the_servers() {
    let Some(pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    let control = pg.bin_dir().join("pg_controldata");
    let printed = run_as_postgres(control, [pg.data_dir()]).unwrap();
    assert!(printed.contains("in production"), "{printed}");
}
