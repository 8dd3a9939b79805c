//! Every acknowledged commit is archived, whatever is killed or cut.

use super::*;

#[test]
fn every_commit_is_archived_whenever_the_receiver_is_killed() {
    let Some(pg) = server(Major::V15) else { return };
    let rig = Rig::new(&pg.url());
    let writer = Writer::start(&pg).unwrap();
    for round in 0..8_u64 {
        let receiver = rig.start();
        // Spread over start, streaming and storing, in a way that is the same in each run.
        sleep(Duration::from_millis(120 + round * 173 % 700));
        drop(receiver);
        load(&pg, 2);
    }
    let written = writer.stop();
    assert!(written.acknowledged > 0 && !written.cut_off);
    let end = flushed(&pg);
    rig.once();
    assert_is_archived(&rig.archive(), &pg, 1, end);
    let status = rig.home.run(&["wal", "status"]);
    assert!(
        status.stdout.contains("no receiver runs"),
        "{}",
        status.stdout
    );
    assert_eq!(status.code, 1);
}

#[test]
fn a_commit_is_in_the_vault_within_a_second_and_a_stop_leaves_nothing_behind() {
    let Some(pg) = server(Major::V18) else { return };
    let rig = Rig::new(&pg.url());
    let doctor = || rig.home.run(&["doctor"]);
    assert!(
        doctor().stdout.contains("no receiver of WAL runs"),
        "{}",
        doctor().stdout
    );
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    // Its status is a second old at most.
    wait("doctor", || {
        doctor().stdout.contains("the receiver of WAL runs")
    });
    load(&pg, 3);
    let end = flushed(&pg);
    // What the server knows as flushed is what the vault has.
    let told = || pg.psql("select coalesce(max(flush_lsn), '0/0') from pg_stat_replication");
    wait("the vault", || lsn(&told()) >= end);
    assert_is_archived(&rig.archive(), &pg, 1, end);
    assert_eq!(
        pg.psql("select application_name from pg_stat_replication"),
        SLOT
    );
    wait("the status", || rig.home.run(&["wal", "status"]).code == 0);
    let status = rig.home.json(&["wal", "status"]);
    assert_eq!(
        (
            &status["ok"],
            &status["services"][0]["receiver"]["is_running"]
        ),
        (&true.into(), &true.into())
    );
    load(&pg, 2);
    let end = flushed(&pg);
    wait("the rest", || {
        rig.record()["received"].as_str().map(lsn) >= Some(end)
    });
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
}

#[test]
fn nothing_is_missing_after_cuts_and_stalls_of_the_network() {
    let Some(pg) = Postgres::builder(Major::V15)
        .wal_segment_size(1)
        .conf("wal_keep_size", "4GB")
        .conf("wal_sender_timeout", "2s")
        .start_or_skip()
    else {
        return;
    };
    let proxy = Proxy::to(pg.port()).unwrap();
    let url = pg
        .url()
        .replace(&pg.port().to_string(), &proxy.port().to_string());
    let rig = Rig::new(&url);
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    for (round, after) in [1_u64, 70_001, 400_000, 1_500_003].into_iter().enumerate() {
        let direction = Direction::Down;
        let reset = round % 2 == 0;
        proxy.set(Fault::Cut {
            direction,
            after,
            reset,
        });
        load(&pg, 2);
        sleep(Duration::from_millis(300));
        proxy.set(Fault::None);
        proxy.close_all();
    }
    let before = rig.log().matches("streaming from").count();
    proxy.set(Fault::Stall {
        direction: Direction::Down,
        after: 100_000,
    });
    load(&pg, 2);
    wait("the stall to be noticed", || {
        proxy.connections() > 8 || rig.log().contains("did not answer")
    });
    proxy.set(Fault::None);
    let end = flushed(&pg);
    wait("the vault", || stored(&rig) >= end);
    assert!(
        rig.log().matches("streaming from").count() > before,
        "it had to connect again"
    );
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
}

#[test]
fn a_server_may_restart_and_crash_while_it_is_streamed() {
    let Some(mut pg) = server(Major::V17) else {
        return;
    };
    let rig = Rig::new(&pg.url());
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    for mode in [Mode::Fast, Mode::Immediate] {
        load(&pg, 2);
        pg.stop(mode).unwrap();
        rig.wait_for_log("not streaming");
        pg.start().unwrap();
        load(&pg, 1);
    }
    let end = flushed(&pg);
    wait("the vault", || stored(&rig) >= end);
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
}
