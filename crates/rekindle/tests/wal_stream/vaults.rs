//! Vaults and copies that are full, away or lost.

use super::*;

#[test]
fn a_full_vault_holds_nothing_up_and_is_filled_later() {
    let Some(pg) = server(Major::V15) else { return };
    let Some(disk) = rekindle_testing::skip::unless_available(SmallDisk::new(24)) else {
        return;
    };
    let mut rig = Rig::new(&pg.url());
    let mut move_it = std::process::Command::new("cp");
    process::run(
        move_it
            .arg("-a")
            .arg(&rig.vault)
            .arg(disk.path().join("vault")),
    )
    .unwrap();
    rig.vault = disk.path().join("vault");
    rig.configure(&pg.url(), "", "");
    let filler = disk.path().join("filler");
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    load(&pg, 1);
    let mut filling = fs::File::create(&filler).unwrap();
    let full = std::io::copy(
        &mut std::io::Read::take(std::io::repeat(1), 64 << 20),
        &mut filling,
    );
    assert!(full.is_err());
    load(&pg, 6);
    let end = flushed(&pg);
    rig.wait_for_log("vault fails");
    wait("the spool", || {
        rig.record()["durable"].as_str().map(lsn) >= Some(end)
    });
    assert_eq!(rig.home.run(&["wal", "status"]).code, 1);
    drop(filling);
    fs::remove_file(&filler).unwrap();
    wait("the vault", || stored(&rig) >= end);
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
}

#[test]
fn a_vault_that_is_away_is_waited_for_and_the_spool_keeps_to_its_limit() {
    let Some(pg) = server(Major::V15) else { return };
    let rig = Rig::with(&pg.url(), ", wal_spool_limit: 4MiB", "");
    rig.once();
    let away = rig.home.join("away");
    fs::rename(&rig.vault, &away).unwrap();
    let receiver = rig.start();
    rig.wait_for_log("the vault cannot be read yet");
    load(&pg, 20);
    let end = flushed(&pg);
    rig.wait_for_log("receiving pauses");
    assert!(rig.spooled() < 6 << 20, "{}", rig.spooled());
    let replicating = pg.psql("select count(*) from pg_stat_replication");
    assert_eq!(replicating, "1", "the connection is kept");
    fs::rename(&away, &rig.vault).unwrap();
    wait("the vault", || stored(&rig) >= end);
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
}

#[test]
fn a_copy_that_fails_never_stops_the_vault_and_catches_up() {
    let Some(pg) = server(Major::V15) else { return };
    let rig = Rig::with(
        &pg.url(),
        ", wal_spool_limit: 4MiB",
        ", copies: [ { name: second, at: copy } ]",
    );
    let copy = rig.home.join("copy");
    let mut cp = std::process::Command::new("cp");
    process::run(cp.arg("-a").arg(&rig.vault).arg(&copy)).unwrap();
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    load(&pg, 2);
    wait("the copy", || {
        rig.record()["vaults"][1]["stored"]["lsn"]
            .as_str()
            .map_or(0, lsn)
            >= flushed(&pg)
    });
    let away = rig.home.join("away");
    fs::rename(&copy, &away).unwrap();
    load(&pg, 12);
    let end = flushed(&pg);
    wait("the vault", || stored(&rig) >= end);
    rig.wait_for_log("second lacks");
    fs::rename(&away, &copy).unwrap();
    let password = rig.home.join("vault-password");
    let second = open(&copy, &password);
    wait("the copy", || {
        rig.record()["vaults"][1]["lacks"].is_null()
            && second.list(system(&pg)).unwrap().len() >= 14
    });
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
    assert_is_archived(&second, &pg, 1, end);
}

#[test]
fn a_synchronous_commit_is_durable_in_the_spool_and_a_lost_server_loses_nothing() {
    let Some(mut pg) = server(Major::V17) else {
        return;
    };
    let rig = Rig::with(&pg.url(), ", wal_synchronous: true", "");
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    pg.psql(&format!(
        "alter system set synchronous_standby_names = '{SLOT}'"
    ));
    pg.psql("select pg_reload_conf()");
    wait("synchronous replication", || {
        pg.psql("select coalesce(max(sync_state), '') from pg_stat_replication") == "sync"
    });
    // Waits for us, and for nothing of ours but the spool.
    pg.psql("set synchronous_commit = remote_apply; create table kept as select 1");
    load(&pg, 2);
    let end = flushed(&pg);
    pg.kill9().unwrap();
    drop(receiver);
    // Neither server nor receiver: the next receiver stores what the spool has.
    let receiver = rig.start();
    wait("the spool to be empty", || {
        rig.spooled() < 64 << 10 && stored_anywhere(&rig, end)
    });
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), started(&mut pg), 1, end);
}

/// Whether the archive reaches `end`, without asking anybody.
fn stored_anywhere(rig: &Rig, end: u64) -> bool {
    let archive = rig.archive();
    let system = archive.systems().unwrap()[0];
    let segment = name(1, (end - 1) / SEGMENT);
    archived(&archive, system, &segment)
        .is_some_and(|there| there.len() as u64 >= (end - 1) % SEGMENT)
}

fn started(pg: &mut Postgres) -> &Postgres {
    pg.start().unwrap();
    pg
}
