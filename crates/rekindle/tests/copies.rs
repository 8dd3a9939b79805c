//! Copies of the vault, as a person keeps them and is saved by them.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::fs;

use rekindle_stack::Stack;
use rekindle_testing::postgres::{Existing, Major, Mode, Postgres};
use rekindle_vault::{BackupOptions, Node, SnapshotDraft, TreePath, Vault, WalEffort, WalFile};
use serde_json::json;
use support::Home;

const VAULT: &str = "vault: { at: vault, password_file: vault-password, \
    copies: [ { name: offsite, at: mnt/offsite, password_file: other-password } ] }";

/// A stack with a copy that has a password of its own, and the services of `services`.
fn home(services: &str) -> Home {
    let home = Home::with_vault();
    home.write("other-password", "of the copy\n");
    home.write(
        "rekindle.yaml",
        &format!("stack: shop\n{VAULT}\nservices: {services}\n"),
    );
    home
}

fn idle() -> Home {
    home("{ page: { stateless: true } }")
}

fn vault(home: &Home) -> Vault {
    let stack = Stack::load(&home.join("rekindle.yaml")).unwrap().stack;
    rekindle_recovery::open_vault(&stack.vault).unwrap()
}

/// A recovery point of one small file, in the vault only.
fn point(home: &Home, content: &str) {
    let backup = vault(home).start_backup(BackupOptions::default()).unwrap();
    let path = TreePath::new("page/files/note").unwrap();
    backup
        .add_bytes(&path, Node::default(), content.as_bytes())
        .unwrap();
    backup.finish(SnapshotDraft::default()).unwrap();
}

/// Puts all WAL that the server wrote into the vault's archive.
fn archive(home: &Home, pg: &Postgres) {
    let last = pg.psql("select pg_walfile_name(pg_switch_wal())");
    let system = pg.psql("select system_identifier from pg_control_system()");
    let archive = vault(home).wal_archive().unwrap();
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
fn with_the_vault_gone_the_copy_restores_to_the_last_moment() {
    let server = Postgres::builder(Major::V16)
        .wal_segment_size(1)
        .conf("wal_keep_size", "1GB")
        .conf("autovacuum", "off");
    let Some(mut pg) = server.start_or_skip() else {
        return;
    };
    let home = home(&format!(
        "{{ db: {{ datasets: [ {{ kind: postgres, url: \"{}\" }} ] }} }}",
        pg.url()
    ));
    pg.psql("create table orders as select generate_series(1, 2500) n");
    let made = home.json(&["backup"]);
    let copy = &made["copies"][0];
    assert_eq!(
        (&copy["ok"], &copy["new"]),
        (&json!(true), &json!(true)),
        "{made:#}"
    );
    assert_eq!(copy["points_copied"][0]["source"], made["point"]["id"]);
    // What came after the base backup is in the archive only.
    pg.psql("insert into orders select generate_series(2501, 3000)");
    archive(&home, &pg);
    let behind = home.json(&["copy", "status"]);
    assert!(
        behind["copies"][0]["missing_wal_files"].as_u64() > Some(0),
        "{behind:#}"
    );
    let filled = home.json(&["copy", "run", "offsite"]);
    assert!(
        filled["copies"][0]["wal_files"].as_u64() > Some(0),
        "{filled:#}"
    );
    pg.stop(Mode::Immediate).unwrap();

    // A new machine: nothing but the configuration, the password of the copy, and the copy.
    fs::remove_dir_all(home.join("vault")).unwrap();
    let points = home.json(&["--vault", "offsite", "points"]);
    assert_eq!(points["points"].as_array().unwrap().len(), 1, "{points:#}");
    home.ok(&["--vault", "offsite", "vault", "check", "--read-data"]);
    let text = home.ok(&[
        "--vault",
        "offsite",
        "restore",
        "--at",
        "latest",
        "--service",
        "db",
        "--to",
        "restored",
    ]);
    drop(text);
    let restored = Existing::new(pg.bin_dir(), &home.join("restored"))
        .start()
        .unwrap();
    assert_eq!(restored.psql("select count(*) from orders"), "3000");
    let status = home.run(&["status"]);
    assert_eq!(status.code, 1);
    let (first, _) = status.stdout.split_once('\n').unwrap();
    assert_eq!(
        first,
        "The vault cannot be read; the copy offsite has 1 recovery point."
    );
    assert!(status.stderr.contains("--vault offsite points"));
    let status = home.run(&["copy", "status"]);
    assert_eq!(status.code, 1);
    assert!(
        status.stderr.contains("only the copies were looked at"),
        "{}",
        status.stderr
    );
}

#[test]
fn a_run_brings_what_is_missing_and_says_so() {
    let home = idle();
    point(&home, "one");
    let planned = home.ok(&["copy", "run", "--dry-run"]);
    assert!(
        planned.contains("would be made") && planned.contains("1 recovery point to copy"),
        "{planned}"
    );
    assert!(!home.join("mnt").exists(), "a dry run makes nothing");
    let waiting = home.json(&["copy", "run", "--dry-run"]);
    assert_eq!(waiting["copies"][0]["is_new"], json!(true));
    let ran = home.run(&["copy", "run"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout
            .starts_with("copy offsite: 1 recovery point copied, "),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.contains("made the vault of the copy offsite"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        home.ok(&["copy", "run"]),
        "copy offsite: has everything (1 recovery point)\n"
    );
    point(&home, "two");
    let status = home.json(&["copy", "status"]);
    let copy = &status["copies"][0];
    assert_eq!(
        (&copy["points"], &copy["missing_points"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(copy["ok"], json!(true), "it is not late yet");
    home.ok(&["copy", "run", "offsite"]);
    let table = home.ok(&["copy", "status"]);
    assert!(
        table.contains("2 of 2") && table.contains("none"),
        "{table}"
    );
    home.run(&["copy", "run", "nowhere"])
        .fails_with(2, "there is no copy `nowhere`");
    home.run(&["--vault", "nowhere", "points"])
        .fails_with(2, "it has `offsite`");
}

#[test]
fn a_copy_that_vanished_alarms_and_is_not_made_anew() {
    let home = idle();
    point(&home, "one");
    home.ok(&["copy", "run"]);
    fs::rename(home.join("mnt"), home.join("unplugged")).unwrap();
    point(&home, "two");
    let gone = home.run(&["copy", "run"]);
    gone.fails_with(1, "is gone; nothing was made in its place");
    assert!(gone.stderr.contains("not mounted"), "{}", gone.stderr);
    assert!(!home.join("mnt").exists());
    home.run(&["copy", "create", "offsite"])
        .fails_with(1, "is gone");
    let status = home.run(&["status"]);
    assert!(
        status.code != 0 && status.stdout.contains("is gone"),
        "{}",
        status.stdout
    );
    let doctor = home.run(&["doctor"]);
    assert!(
        doctor.code == 1 && doctor.stdout.contains("is gone"),
        "{}",
        doctor.stdout
    );
    // Back again, it is the same one, and gets what it missed.
    fs::rename(home.join("unplugged"), home.join("mnt")).unwrap();
    home.ok(&["copy", "run"]);
    home.ok(&["copy", "status"]);
    // Truly lost, it is given up by name.
    fs::remove_dir_all(home.join("mnt")).unwrap();
    home.ok(&["copy", "create", "offsite", "--anew"]);
    assert_eq!(
        home.json(&["copy", "run"])["copies"][0]["points_copied"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn another_vault_in_the_place_of_a_copy_is_not_filled() {
    let home = idle();
    point(&home, "one");
    home.ok(&["copy", "run"]);
    fs::rename(home.join("mnt"), home.join("unplugged")).unwrap();
    home.ok(&["--vault", "offsite", "vault", "init"]);
    home.run(&["copy", "run"])
        .fails_with(1, "there is another vault");
    assert_eq!(
        home.json(&["--vault", "offsite", "points"])["points"],
        json!([])
    );
    home.ok(&["copy", "create", "offsite", "--anew"]);
    home.ok(&["copy", "run"]);
}

#[test]
fn a_copy_opens_by_its_own_password_and_a_wrong_one_is_told() {
    let home = idle();
    point(&home, "one");
    home.ok(&["copy", "run"]);
    fs::copy(home.join("vault-password"), home.join("other-password")).unwrap();
    home.run(&["--vault", "offsite", "points"])
        .fails_with(1, "opens none of the 1 keys");
    home.run(&["copy", "run"])
        .fails_with(1, "the copy `offsite` cannot be used");
    let status = home.json_status();
    assert_eq!(status["copies"][0]["ok"], json!(false), "{status:#}");
    home.write("other-password", "of the copy\n");
    home.ok(&["copy", "run"]);
    assert_eq!(
        home.json(&["copy", "status"])["copies"][0]["ok"],
        json!(true)
    );
}

#[test]
fn a_copy_where_the_vault_lies_is_no_copy() {
    let home = idle();
    let yaml = fs::read_to_string(home.join("rekindle.yaml")).unwrap();
    home.write("rekindle.yaml", &yaml.replace("mnt/offsite", "vault"));
    point(&home, "one");
    home.run(&["copy", "run"])
        .fails_with(1, "would be lost with it");
}

trait JsonStatus {
    fn json_status(&self) -> serde_json::Value;
}

impl JsonStatus for Home {
    /// What `copy status` prints though something is wrong.
    fn json_status(&self) -> serde_json::Value {
        let output = self
            .command(&["copy", "status", "--json"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[test]
fn a_vault_that_cannot_be_listed_says_nothing_good_of_its_copies() {
    let home = idle();
    point(&home, "one");
    home.ok(&["copy", "run"]);
    // Something that is no listing lies where the points are; what is remembered is damaged, too.
    let points = home.join("vault/snapshots");
    fs::rename(&points, home.join("elsewhere")).unwrap();
    fs::write(&points, "").unwrap();
    let ran = home.run(&["copy", "status"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    let part = "the points of the vault cannot be listed";
    assert!(ran.stdout.contains(part), "{}", ran.stdout);
    let record = home.join("vault/rekindle/copies/offsite");
    fs::remove_file(&record).unwrap();
    fs::write(&record, "not what it was").unwrap();
    let ran = home.run(&["copy", "status"]);
    let part = "what is remembered of it cannot be read";
    assert!(ran.stdout.contains(part), "{}", ran.stdout);
}

#[test]
fn a_hold_of_the_vault_protects_in_the_copy_too_and_is_ended_there_by_itself() {
    let home = idle();
    point(&home, "one");
    point(&home, "two");
    home.ok(&["copy", "run"]);
    let first = home.json(&["points"])["points"][0]["id"].clone();
    let first = first.as_str().unwrap();
    home.ok(&["hold", "add", "incident-7", "--point", first]);
    let run = home.json(&["copy", "run"]);
    assert_eq!(run["copies"][0]["holds"], json!(["incident-7"]), "{run:#}");
    let there = home.json(&["--vault", "offsite", "points"])["points"][0]["id"].clone();
    let there = there.as_str().unwrap();
    let forget = ["--vault", "offsite", "points", "forget", there, "--yes"];
    home.run(&forget).fails_with(1, "hold `incident-7` [hold]");
    // Only added: what the vault ends stands in the copy.
    let ended = home.run(&["hold", "remove", "incident-7", "--yes"]);
    let next = "--vault offsite hold remove incident-7 --yes";
    assert!(ended.stderr.contains(next), "{}", ended.stderr);
    home.ok(&["copy", "run"]);
    home.run(&forget).fails_with(1, "hold `incident-7` [hold]");
    home.ok(&[
        "--vault",
        "offsite",
        "hold",
        "remove",
        "incident-7",
        "--yes",
    ]);
    home.ok(&["copy", "run"]);
    home.ok(&forget);
}

#[test]
fn a_tag_that_is_a_hold_and_came_after_the_copying_protects_in_the_copy_too() {
    let home = idle();
    point(&home, "one");
    home.ok(&["copy", "run"]);
    let vault = vault(&home);
    let snapshot = vault.snapshots().unwrap().remove(0);
    // As `restic tag --add` does it.
    vault
        .set_tags(&snapshot, vec!["hold:audit".to_owned()])
        .unwrap();
    let name = format!("audit-{}", snapshot.id.short());
    let run = home.json(&["copy", "run"]);
    assert_eq!(run["copies"][0]["holds"], json!([name]), "{run:#}");
    let again = home.json(&["copy", "run"]);
    assert_eq!(again["copies"][0]["holds"], json!([]), "{again:#}");
    let list = home.json(&["--vault", "offsite", "hold", "list"]);
    assert_eq!(list["holds"][0]["points"], 1, "{list:#}");
}
