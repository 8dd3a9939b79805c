//! Promotions are followed, also that of a standby that is streamed itself.

use super::*;

/// A standby of `pg`, made by its own tools.
fn standby(pg: &Postgres, dir: &Path, follows: bool) -> Postgres {
    let mut copy = pg.tool("pg_basebackup");
    copy.args(["-X", "stream", "-c", "fast", "-D"]).arg(dir);
    if follows {
        copy.arg("-R");
    }
    process::run(&mut copy).unwrap();
    if !follows {
        fs::write(dir.join("standby.signal"), "").unwrap();
    }
    let existing = Existing::new(pg.bin_dir(), dir).conf("wal_keep_size", "4GB");
    existing.as_standby().start().unwrap()
}

#[test]
fn a_promotion_is_followed_and_what_diverged_stays_aside() {
    let Some(mut old) = server(Major::V15) else {
        return;
    };
    let rig = Rig::new(&old.url());
    let dir = process::temp_dir().unwrap();
    load(&old, 2);
    let new = standby(&old, &dir.path().join("copy"), false);
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    // The standby does not get this: the two histories part.
    load(&old, 3);
    let end_of_old = flushed(&old);
    wait("the vault", || stored(&rig) >= end_of_old);
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &old, 1, end_of_old);
    old.stop(Mode::Fast).unwrap();
    new.psql("select pg_promote()");
    wait("the promotion", || {
        new.psql("select pg_is_in_recovery()") == "f"
    });
    load(&new, 2);
    rig.configure(&new.url(), "", "");
    let end = flushed(&new);
    rig.once();
    let archive = rig.archive();
    assert_is_archived(&archive, &new, 2, end);
    let history = WalFile::named(system(&new), "00000002.history").unwrap();
    let own = fs::read(new.data_dir().join("pg_wal/00000002.history")).unwrap();
    assert_eq!(archive.get(&history).unwrap(), Some(own));
    let last = name(1, (end_of_old - 1) / SEGMENT);
    assert!(
        archived(&archive, system(&new), &last).is_some(),
        "what the old server wrote stays"
    );
    // The old server comes back, and its WAL must not follow.
    old.start().unwrap();
    rig.configure(&old.url(), "", "");
    let refused = rig.home.run(&["wal", "stream", "--once"]);
    refused.fails_with(1, "timeline 2");
}

#[test]
fn a_standby_that_is_promoted_while_it_is_streamed_leads_on_to_its_timeline() {
    let Some(pg) = server(Major::V17) else { return };
    let dir = process::temp_dir().unwrap();
    let second = standby(&pg, &dir.path().join("copy"), true);
    let rig = Rig::new(&second.url());
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    load(&pg, 2);
    let received = || lsn(&second.psql("select pg_last_wal_receive_lsn()"));
    wait("the standby", || received() >= flushed(&pg));
    second.psql("select pg_promote()");
    wait("the promotion", || {
        second.psql("select pg_is_in_recovery()") == "f"
    });
    let text = second.psql("select timeline_id from pg_control_checkpoint()");
    assert!(!text.is_empty());
    load(&second, 2);
    let end = flushed(&second);
    wait("the vault", || {
        stored(&rig) >= end && rig.record()["vaults"][0]["stored"]["timeline"] == 2
    });
    assert_eq!(receiver.stop(), 0);
    let archive = rig.archive();
    assert_is_archived(&archive, &second, 2, end);
    let history = fs::read_to_string(second.data_dir().join("pg_wal/00000002.history")).unwrap();
    let switch = lsn(history.split_whitespace().nth(1).unwrap());
    assert_is_archived(&archive, &pg, 1, switch);
    assert!(rig.log().contains("timeline 1 has ended"), "{}", rig.log());
}
