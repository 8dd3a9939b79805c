//! The commands that our pages give for a machine without Rekindle, run as they stand there.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, thread, time::Duration};

use common::{PASSWORD, Place, draft, options};
use rekindle_testing::{
    age,
    data::Random,
    postgres::{Existing, Major, Mode, Postgres},
    skip,
};
use rekindle_vault::{LocalTree, TreePath, Vault, WalArchive, WalEffort, WalFile, wal_frame};

const FORMAT: &str = include_str!("../../../docs/format.md");
const GUIDE: &str = include_str!("../../../docs/guides/restore-without-rekindle.md");
/// The cluster of the pages.
const SYSTEM: u64 = 7_300_000_000_000_000_001;

/// The commands below a heading, block by block.
fn commands<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let section = page
        .split_once(heading)
        .expect("the page has this section")
        .1;
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

/// Runs commands in bash on a terminal, with other places for those of the page, and types the
/// password. Panics if a place is not in the commands.
fn run(place: &Place, commands: &str, places: &[(&str, &str)]) -> Option<String> {
    let mut script = commands.to_owned();
    for (on_the_page, here) in places {
        assert!(script.contains(on_the_page), "{on_the_page}: {script}");
        script = script.replace(on_the_page, here);
    }
    let file = place.path("commands");
    fs::write(&file, script).unwrap();
    let said = age::on_a_terminal(&place.path("."), "bash commands", &format!("{PASSWORD}\n"));
    skip::unless_available(said)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_segment_is_recovered_by_the_commands_of_the_format() {
    let place = Place::new();
    let archive = place.create().wal_archive().unwrap();
    let plain = Random::new(3).bytes(1 << 20);
    let file = WalFile::named(SYSTEM, "000000010000000000000003").unwrap();
    archive.put(&file, &plain, WalEffort::Default).unwrap();
    let commands = commands(FORMAT, "### A segment by stock tools")[0];
    let here = (
        text(&place.vault_dir()).to_owned(),
        text(&place.path("segment")).to_owned(),
    );
    let places = [
        ("/backups/vault", &here.0[..]),
        ("> segment", &format!("> {}", here.1)),
    ];
    let Some(said) = run(&place, commands, &places) else {
        return;
    };
    assert!(fs::read(place.path("segment")).unwrap() == plain, "{said}");
}

/// A server whose WAL lies in `wal` of the place, as it wrote it.
fn archiving_server(place: &Place) -> Option<Postgres> {
    let wal = place.path("wal");
    fs::create_dir(&wal).unwrap();
    // The server writes there as its own user.
    fs::set_permissions(&wal, fs::Permissions::from_mode(0o777)).unwrap();
    Postgres::builder(Major::V15)
        .conf("archive_mode", "on")
        .conf("archive_command", format!("cp %p {}/%f", wal.display()))
        .start_or_skip()
}

/// Puts a base backup into the vault, where a recovery point has it.
fn back_up(place: &Place, server: &Postgres, vault: &Vault) {
    let base = place.path("base");
    let mut tool = server.tool("pg_basebackup");
    tool.args(["-c", "fast", "-X", "fetch", "-D"]).arg(&base);
    rekindle_testing::process::run(&mut tool).unwrap();
    let backup = vault.start_backup(options(None)).unwrap();
    let at = TreePath::new("postgres/postgres/base").unwrap();
    backup
        .add_local_tree(&LocalTree {
            source: base,
            at,
            leave_out: &|_| false,
        })
        .unwrap();
    backup.finish(draft()).unwrap();
}

/// Archives what the server wrote, its last segment as a part of one.
fn archive(place: &Place, server: &Postgres, archive: &WalArchive) {
    let last = server.psql("select pg_walfile_name(pg_switch_wal())");
    let wal = place.path("wal");
    while !wal.join(&last).exists() {
        thread::sleep(Duration::from_millis(20));
    }
    for entry in fs::read_dir(wal).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let plain = fs::read(&path).unwrap();
        if *name == last {
            let partial = WalFile::named(SYSTEM, format!("{name}.partial")).unwrap();
            let written = plain.iter().rposition(|&byte| byte != 0).unwrap() + 1;
            let (begin, end) = plain[..written].split_at(written / 2);
            let frames = [begin, end].map(|part| wal_frame(part, WalEffort::Fast));
            archive
                .replace_partial(&partial, &[&frames[0], &frames[1]])
                .unwrap();
        } else {
            let file = WalFile::named(SYSTEM, name).unwrap();
            archive.put(&file, &plain, WalEffort::Fast).unwrap();
        }
    }
}

#[test]
fn a_moment_is_restored_by_the_commands_of_the_guide() {
    let place = Place::new();
    let Some(mut server) = archiving_server(&place) else {
        return;
    };
    let vault = place.create();
    server.psql("create table t as select 'in the backup' as row");
    back_up(&place, &server, &vault);
    server.psql("insert into t values ('in a segment')");
    server.psql("select pg_switch_wal()");
    server.psql("insert into t values ('in the part')");
    let moment = server.psql("select clock_timestamp()");
    server.psql("insert into t values ('after the moment')");
    archive(&place, &server, &vault.wal_archive().unwrap());
    server.stop(Mode::Immediate).unwrap();

    let restic = place.restic();
    if skip::unless_available(restic.version()).is_none() {
        return;
    }
    let restored = place.path("restored");
    restic.restore("latest", &restored).unwrap();
    let blocks = commands(GUIDE, "## Any moment, with the archived WAL");
    let [_, wal, settings] = blocks[..] else {
        panic!("{blocks:?}");
    };
    let (vault_dir, key, srv) = (
        place.vault_dir(),
        place.path("wal.key"),
        place.path("srv-wal"),
    );
    let places = [
        ("$RESTIC_REPOSITORY", text(&vault_dir)),
        ("/root/wal.key", text(&key)),
        ("/srv/wal", text(&srv)),
    ];
    let Some(said) = run(&place, wal, &places) else {
        return;
    };
    assert!(!said.contains("damaged"), "{said}");
    assert!(!key.exists(), "the key does not stay");
    let places = [
        ("/srv/restored", text(&restored)),
        ("/srv/wal", text(&srv)),
        ("2026-11-21 14:30:00+00", &moment[..]),
    ];
    run(&place, settings, &places).unwrap();
    let base = restored.join("postgres/postgres/base");
    let server = Existing::new(server.bin_dir(), &base).start().unwrap();
    assert_eq!(
        server.psql("select row from t"),
        "in the backup\nin a segment\nin the part"
    );
}
