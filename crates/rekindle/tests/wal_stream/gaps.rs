//! Slots that are lost, taken or given up, and the gaps that are named.

use super::*;

#[test]
fn a_gap_is_named_and_gone_around_but_never_passed_over_in_silence() {
    let Some(pg) = Postgres::builder(Major::V15)
        .wal_segment_size(1)
        .conf("max_wal_size", "4MB")
        .conf("min_wal_size", "2MB")
        .start_or_skip()
    else {
        return;
    };
    let rig = Rig::new(&pg.url());
    load(&pg, 2);
    rig.once();
    assert_eq!(
        rig.home.run(&["wal", "status", "--json"]).code,
        1,
        "no receiver runs"
    );
    pg.psql(&format!("select pg_drop_replication_slot('{SLOT}')"));
    for _ in 0..4 {
        load(&pg, 4);
        pg.psql("checkpoint");
    }
    let receiver = rig.start();
    rig.wait_for_log("WAL is missing");
    load(&pg, 1);
    let end = flushed(&pg);
    wait("the vault", || stored(&rig) >= end);
    let status = rig.home.run(&["wal", "status", "--json"]);
    assert_eq!(status.code, 1, "{}", status.stdout);
    let health: Value = serde_json::from_str(&status.stdout).unwrap();
    let gap = &health["services"][0]["gaps"][0];
    let (from, to) = (
        lsn(gap["from"].as_str().unwrap()),
        lsn(gap["to"].as_str().unwrap()),
    );
    assert!(from < to && to % SEGMENT == 0, "{gap}");
    // Both ends of the gap are archived.
    let archive = rig.archive();
    assert!(archived(&archive, system(&pg), &name(1, (from - 1) / SEGMENT)).is_some());
    assert!(archived(&archive, system(&pg), &name(1, to / SEGMENT)).is_some());
    assert_eq!(receiver.stop(), 0);
    // A base backup after it makes up for it.
    rig.home.ok(&["backup"]);
    let receiver = rig.start();
    wait("the receiver", || {
        rig.home.run(&["wal", "status"]).code == 0
    });
    assert_eq!(receiver.stop(), 0);
}

fn a_slot_that_the_server_gave_up_is_made_anew(major: Major) {
    let Some(pg) = Postgres::builder(major)
        .wal_segment_size(1)
        .conf("max_wal_size", "4MB")
        .conf("min_wal_size", "2MB")
        .conf("max_slot_wal_keep_size", "4MB")
        .start_or_skip()
    else {
        return;
    };
    let rig = Rig::new(&pg.url());
    rig.once();
    for _ in 0..5 {
        load(&pg, 4);
        pg.psql("checkpoint");
    }
    let status = || {
        pg.psql(&format!(
            "select wal_status from pg_replication_slots where slot_name = '{SLOT}'"
        ))
    };
    assert_eq!(status(), "lost");
    let text = rig.home.run(&["wal", "status"]).stdout;
    assert!(text.contains("has lost WAL"), "{text}");
    let end = flushed(&pg);
    rig.once();
    assert_eq!(status(), "reserved");
    let health = rig.home.run(&["wal", "status", "--json"]);
    let health: Value = serde_json::from_str(&health.stdout).unwrap();
    let to = lsn(health["services"][0]["gaps"][0]["to"].as_str().unwrap());
    assert!(archived(&rig.archive(), system(&pg), &name(1, (end - 1) / SEGMENT)).is_some());
    assert!(to <= end);
}

#[test]
fn a_slot_that_the_server_gave_up_is_made_anew_15() {
    a_slot_that_the_server_gave_up_is_made_anew(Major::V15);
}

#[test]
fn a_slot_that_the_server_gave_up_is_made_anew_18() {
    a_slot_that_the_server_gave_up_is_made_anew(Major::V18);
}

#[test]
fn a_slot_in_use_is_waited_for() {
    let Some(pg) = server(Major::V15) else { return };
    let rig = Rig::new(&pg.url());
    rig.once();
    let dir = process::temp_dir().unwrap();
    let mut other = pg.tool("pg_receivewal");
    other.args(["--slot", SLOT, "-D"]).arg(dir.path());
    let other = Receiver(Some(
        other
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    ));
    let active = || pg.psql("select coalesce(max(active_pid), 0) from pg_replication_slots");
    wait("the other one", || active() != "0");
    let pid = active();
    let receiver = rig.start();
    rig.wait_for_log(&format!("in use by process {pid}"));
    drop(other);
    rig.wait_for_log("streaming from");
    assert_eq!(receiver.stop(), 0);
}
