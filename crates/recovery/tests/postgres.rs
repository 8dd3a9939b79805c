//! A real cluster goes into a vault and comes back, by both ways and for every version at hand.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and need not survive a power cut"
)]

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use rekindle_datasets::postgres::PhysicalMethod;
use rekindle_recovery::{
    BackupOutcome, BackupRequest, DatabaseRestoreRequest, RecoveryError, RestoreRequest,
    RestoredKind, backup, create_vault, points, restore, restore_database, show_point,
};
use rekindle_stack::Stack;
use rekindle_testing::{
    hard,
    load::Writer,
    postgres::{Major, Mode, Postgres, checksums_ok},
    restic::Restic,
    skip::unless_available,
    temp_dir,
};
use rekindle_vault::{Progress, Vault};

const PASSWORD: &str = "of the vault";

struct Setting {
    stack: Stack,
    vault: Vault,
    directory: tempfile::TempDir,
}

/// A vault and a configuration with one service, `db`, whose dataset has these settings.
fn setting(url: &str, dataset: &str) -> Setting {
    let directory = temp_dir().unwrap();
    let password_file = directory.path().join("password");
    fs::write(&password_file, PASSWORD).unwrap();
    let text = format!(
        "stack: test\nvault: {{ at: {0}/vault, password_file: {0}/password }}\n\
         services:\n  db: {{ datasets: [ {{ kind: postgres, url: \"{url}\", {dataset} }} ] }}\n",
        directory.path().display(),
    );
    let config = directory.path().join("rekindle.yaml");
    fs::write(&config, &text).unwrap();
    let stack = Stack::parse(&text, &config).unwrap().stack;
    let vault = create_vault(&stack.vault).unwrap();
    Setting {
        stack,
        vault,
        directory,
    }
}

impl Setting {
    fn backup(&self) -> Result<BackupOutcome, RecoveryError> {
        let request = BackupRequest {
            stack: &self.stack,
            services: Vec::new(),
            tags: vec!["nightly".to_owned()],
            progress: Arc::new(Progress::default()),
        };
        backup(&self.vault, &request)
    }

    fn restore(&self, to: &Path) -> Result<rekindle_recovery::RestoreOutcome, RecoveryError> {
        restore(&self.vault, &request_for(Some("db"), None, to))
    }

    fn restic(&self) -> Restic {
        Restic::new(self.directory.path().join("vault"), PASSWORD)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }
}

fn request_for(service: Option<&str>, path: Option<&str>, to: &Path) -> RestoreRequest {
    RestoreRequest {
        point: "latest".to_owned(),
        service: service.map(str::to_owned),
        path: path.map(str::to_owned),
        to: to.to_owned(),
        ownership: None,
        progress: Arc::new(Progress::default()),
    }
}

fn physical_method(outcome: &BackupOutcome) -> PhysicalMethod {
    let record = outcome.manifest.datasets[0].record.postgres().unwrap();
    record.physical.as_ref().unwrap().method
}

/// What a restored directory must be: it starts, holds the same data, and its checksums hold.
fn assert_comes_back(source: &Postgres, directory: &Path) {
    let mut restored = Postgres::open_existing(source.bin_dir(), directory).unwrap();
    let differences = source
        .table_checksums()
        .logged_only()
        .differences(&restored.table_checksums().logged_only());
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(dump_of(source), dump_of(&restored));
    unless_available(restored.amcheck());
    restored.stop(Mode::Fast).unwrap();
    drop(restored);
    checksums_ok(source.bin_dir(), directory).unwrap();
}

/// A server cannot start on a directory, or read a file, that is root's because root restored it.
fn assert_belongs_to_the_server(directory: &Path) {
    let owner = fs::metadata(directory.join("PG_VERSION")).unwrap().uid();
    let mut unseen = vec![directory.to_owned()];
    while let Some(path) = unseen.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.uid(), owner, "{}", path.display());
        if metadata.is_dir() {
            unseen.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
}

/// All that `pg_dumpall` says, without what a crash may change: unlogged tables are emptied, and
/// sequences go on up to 32 numbers later.
fn dump_of(server: &Postgres) -> Vec<String> {
    let dump = server.dump_all();
    let mut is_unlogged = false;
    let kept = dump.lines().filter(|line| {
        if line.starts_with("COPY ") {
            is_unlogged = line.contains(".cache ");
        }
        let keep = !is_unlogged && !line.contains("pg_catalog.setval(");
        if *line == "\\." {
            is_unlogged = false;
        }
        keep
    });
    kept.map(str::to_owned).collect()
}

/// Whoever restores, the server's user can use all of it.
fn assert_owned_as(source: &Path, directory: &Path) {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(source).unwrap().uid();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        assert_eq!(
            fs::metadata(&directory).unwrap().uid(),
            owner,
            "{directory:?}"
        );
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            assert_eq!(metadata.uid(), owner, "{path:?}");
            if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
}

fn a_hard_cluster_comes_back(major: Major) {
    let Some(server) = Postgres::builder(major)
        .checksums(true)
        .wal_segment_size(if major == Major::V17 { 1 } else { 16 })
        .start_or_skip()
    else {
        return;
    };
    hard::populate(
        &server,
        hard::Size {
            rows: 500,
            big_relation_mb: 8,
        },
    )
    .unwrap();
    for (method, expected) in [
        ("in_place", PhysicalMethod::InPlace),
        ("wire", PhysicalMethod::Wire),
    ] {
        let setting = setting(&server.socket_url(), &format!("method: {method}"));
        let outcome = setting.backup().unwrap();
        assert_eq!(physical_method(&outcome), expected);
        assert_eq!(outcome.point.datasets, ["db/postgres"]);

        let ours = setting.path("ours");
        let restored = setting.restore(&ours).unwrap();
        let wanted = RestoredKind::PostgresDirectory {
            major: major.number(),
        };
        assert_eq!(restored.kind, wanted);
        assert_belongs_to_the_server(&ours);
        assert_comes_back(&server, &ours);

        let restic = setting.restic();
        restic.check(true).unwrap();
        let theirs = setting.path("theirs");
        restic.restore("latest", &theirs).unwrap();
        assert_owned_as(server.data_dir(), &theirs.join("db/postgres/base"));
        assert_comes_back(&server, &theirs.join("db/postgres/base"));
    }
}

#[test]
fn a_hard_cluster_of_version_15_comes_back_by_both_ways_and_from_stock_restic() {
    a_hard_cluster_comes_back(Major::V15);
}

#[test]
fn a_hard_cluster_of_version_16_comes_back_by_both_ways_and_from_stock_restic() {
    a_hard_cluster_comes_back(Major::V16);
}

#[test]
fn a_hard_cluster_of_version_17_comes_back_by_both_ways_and_from_stock_restic() {
    a_hard_cluster_comes_back(Major::V17);
}

#[test]
fn a_hard_cluster_of_version_18_comes_back_by_both_ways_and_from_stock_restic() {
    a_hard_cluster_comes_back(Major::V18);
}

#[test]
fn a_backup_under_write_load_loses_nothing_that_was_acknowledged_before_it_stopped() {
    for method in ["in_place", "wire"] {
        let server = Postgres::builder(Major::V15)
            .checksums(true)
            .start()
            .unwrap();
        let setting = setting(&server.socket_url(), &format!("method: {method}"));
        let writer = Writer::start(&server).unwrap();
        writer.wait_for(200).unwrap();
        let before = writer.acknowledged();
        setting.backup().unwrap();
        writer.wait_for(50).unwrap();
        let _ = writer.stop();
        let to = setting.path("restored");
        setting.restore(&to).unwrap();
        let restored = Postgres::open_existing(server.bin_dir(), &to).unwrap();
        let lost =
            rekindle_testing::load::lost_rows(restored.client(), "postgres", before).unwrap();
        assert_eq!(lost, 0, "{method}");
    }
}

#[test]
fn a_second_backup_stores_only_what_changed_whichever_way_it_is_taken() {
    let server = Postgres::builder(Major::V15)
        .checksums(true)
        .conf("autovacuum", "off")
        .start()
        .unwrap();
    server.psql("create table t as select i, md5(i::text) from generate_series(1, 400000) i");
    // The first reader of a row sets hint bits, which changes its page.
    server.psql("vacuum freeze t");
    let setting = setting(&server.socket_url(), "method: wire");
    let first = setting.backup().unwrap();
    server.psql("update t set i = i where i = 77");
    let wire = setting.backup().unwrap();
    assert!(
        wire.point.added_bytes * 5 < first.point.added_bytes,
        "{:?}",
        wire.point
    );

    let text = fs::read_to_string(setting.path("rekindle.yaml")).unwrap();
    let text = text.replace("method: wire", "method: in_place");
    let stack = Stack::parse(&text, &setting.path("rekindle.yaml"))
        .unwrap()
        .stack;
    let in_place = Setting { stack, ..setting }.backup().unwrap();
    assert_eq!(physical_method(&in_place), PhysicalMethod::InPlace);
    assert!(
        in_place.point.added_bytes * 5 < first.point.added_bytes,
        "{:?}",
        in_place.point
    );
}

#[test]
fn dumps_come_back_under_a_new_name_and_single_files_come_out() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    hard::populate(
        &server,
        hard::Size {
            rows: 500,
            big_relation_mb: 0,
        },
    )
    .unwrap();
    let setting = setting(&server.socket_url(), "physical: false, logical: all");
    let outcome = setting.backup().unwrap();
    let record = outcome.manifest.datasets[0].record.postgres().unwrap();
    let databases: Vec<_> = record
        .logical
        .as_ref()
        .unwrap()
        .databases
        .iter()
        .map(|d| d.database.name.clone())
        .collect();
    assert!(
        databases.iter().any(|name| name == hard::ODD),
        "{databases:?}"
    );

    for (number, database) in databases.iter().enumerate() {
        let new_name = format!("restored \"{number}\" of '{database}'");
        let request = |new_name: &str| DatabaseRestoreRequest {
            stack: &setting.stack,
            point: "latest".to_owned(),
            service: "db".to_owned(),
            database: database.clone(),
            new_name: new_name.to_owned(),
            guards: rekindle_recovery::guard::GuardOptions::default(),
        };
        restore_database(&setting.vault, &request(&new_name)).unwrap();
        let again = restore_database(&setting.vault, &request(&new_name)).unwrap_err();
        assert!(again.hint().unwrap().contains("another name"), "{again}");
    }
    let sums = server.table_checksums();
    let original: Vec<_> = sums
        .0
        .iter()
        .filter(|(name, _)| name.starts_with(hard::SHOP))
        .collect();
    assert!(!original.is_empty());

    let to = setting.path("globals");
    restore(
        &setting.vault,
        &request_for(Some("db"), Some("dump/globals.sql"), &to),
    )
    .unwrap();
    let globals = fs::read_to_string(to.join("globals.sql")).unwrap();
    assert!(globals.contains("PostgreSQL database cluster dump complete"));
}

#[test]
fn a_cluster_with_its_configuration_elsewhere_starts_where_it_is_restored() {
    let server = Postgres::builder(Major::V15)
        .config_outside(true)
        .start()
        .unwrap();
    server.psql("create table t as select 1 as one");
    for method in ["in_place", "wire"] {
        let setting = setting(&server.socket_url(), &format!("method: {method}"));
        setting.backup().unwrap();
        let to = setting.path("restored");
        setting.restore(&to).unwrap();
        let restored = Postgres::open_existing(server.bin_dir(), &to).unwrap();
        assert_eq!(restored.psql("select one from t").trim(), "1");
    }
}

#[test]
fn a_damaged_page_on_the_source_is_told_and_the_backup_goes_on() {
    let server = Postgres::builder(Major::V15)
        .checksums(true)
        .start()
        .unwrap();
    server.psql("create table t as select i from generate_series(1, 100000) i; checkpoint");
    let path = server.psql("select pg_relation_filepath('t')");
    let file = server.data_dir().join(path.trim());
    rekindle_testing::faults::flip_bit(&file, 3 * 8192 + 5000).unwrap();
    let setting = setting(&server.socket_url(), "method: in_place");
    let outcome = setting.backup().unwrap();
    let told = outcome.warnings.join("\n");
    assert!(
        told.contains(path.trim()) && told.contains("block 3"),
        "{told}"
    );
}

#[test]
fn a_failed_backup_leaves_no_point_and_the_next_one_works() {
    let server = Postgres::builder(Major::V15).start().unwrap();
    let fine = setting(&server.socket_url(), "method: wire");
    let gone = Stack::parse(
        &format!(
            "stack: test\nvault: {{ at: {0}/vault, password_file: {0}/password }}\nservices:\n  \
             db: {{ datasets: [ {{ kind: postgres, url: \"postgres://postgres@127.0.0.1:1/x\" }} ] }}\n",
            fine.directory.path().display()
        ),
        &fine.path("rekindle.yaml"),
    )
    .unwrap()
    .stack;
    let broken = Setting {
        stack: gone,
        vault: fine.vault.clone(),
        directory: temp_dir().unwrap(),
    };
    let error = broken.backup().unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    assert!(points(&fine.vault).unwrap().points.is_empty());
    fine.backup().unwrap();
    assert_eq!(points(&fine.vault).unwrap().points.len(), 1);
    assert!(
        show_point(&fine.vault, "latest")
            .unwrap()
            .manifest
            .is_some()
    );
    assert!(
        fine.vault.locks().unwrap().is_empty(),
        "no lock is left behind"
    );
}
