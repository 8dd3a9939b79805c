//! The fixtures hold what they promise, or tests that build on them prove nothing.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rekindle_testing::data::{Random, file_tree};
use rekindle_testing::faults::{
    Direction, Fault, Proxy, SmallDisk, cut, delete, files_below, flip_bit, tree_digest,
};
use rekindle_testing::hard::{self, Size};
use rekindle_testing::load::{Writer, lost_rows};
use rekindle_testing::postgres::{Major, Mode, Postgres};
use rekindle_testing::restic::Restic;
use rekindle_testing::{run_as_postgres, skip, temp_dir};

#[test]
fn hard_databases_can_be_made_dumped_and_told_apart_on_every_version() {
    for major in Major::available() {
        let pg = Postgres::builder(major).start().unwrap();
        hard::populate(&pg, Size::default()).unwrap();
        let before = pg.table_checksums();
        assert!(before.0.len() > 20, "{:?}", before.0.keys());
        assert!(!before.0["shop: public.cache"].logged);
        assert_eq!(
            before.0[&format!("{}: public.\"t 1\"", hard::ODD)].rows,
            2000
        );
        assert!(pg.dump_all().contains("CREATE ROLE \"app owner\""));
        assert!(
            !pg.dump_all().contains("restrict "),
            "a random word is left in the dump"
        );
        pg.psql_db(hard::ODD, "update \"t 1\" set v = v || '.' where id = 7");
        assert_eq!(before.differences(&pg.table_checksums()).len(), 1);
        let _ = skip::unless_available(pg.amcheck());
    }
}

#[test]
fn the_owner_of_hard_databases_logs_in_with_its_password() {
    let hba = "local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    let Some(pg) = Postgres::builder(Major::V15).hba(hba).start_or_skip() else {
        return;
    };
    hard::populate(
        &pg,
        Size {
            rows: 100,
            big_relation_mb: 0,
        },
    )
    .unwrap();
    let url = pg.url_for(hard::SHOP, hard::OWNER, Some(hard::PASSWORD));
    let psql = |url: &str| {
        Command::new(pg.bin_dir().join("psql"))
            .args(["-XAtwc", "select 1", url])
            .status()
            .unwrap()
    };
    assert!(psql(&url).success());
    assert!(!psql(&pg.url_for(hard::SHOP, hard::OWNER, Some("wrong"))).success());
}

#[test]
fn a_big_relation_has_the_size_asked_for() {
    let Some(pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    hard::populate(
        &pg,
        Size {
            rows: 100,
            big_relation_mb: 20,
        },
    )
    .unwrap();
    let bytes = pg.psql_db(hard::SHOP, "select pg_relation_size('big.relation')");
    let mib = bytes.parse::<u64>().unwrap() >> 20;
    assert!((20..24).contains(&mib), "{mib} MiB");
}

#[test]
fn what_a_writer_was_promised_survives_a_crash_and_a_loss_is_counted() {
    let Some(mut pg) = Postgres::builder(Major::V17).start_or_skip() else {
        return;
    };
    let writer = Writer::start(&pg).unwrap();
    writer.wait_for(200).unwrap();
    pg.kill9().unwrap();
    writer.wait_until_cut_off().unwrap();
    let summary = writer.stop();
    assert!(
        summary.cut_off && summary.acknowledged >= 200,
        "{summary:?}"
    );
    pg.start().unwrap();
    let lost = || lost_rows(pg.client(), "postgres", summary.acknowledged).unwrap();
    assert_eq!(lost(), 0);
    pg.psql("delete from ledger where n in (3, 5)");
    assert_eq!(lost(), 2);
}

#[test]
fn a_writer_that_is_stopped_was_not_cut_off_and_can_be_followed_by_another() {
    let Some(pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    let writer = Writer::start(&pg).unwrap();
    writer.wait_for(20).unwrap();
    let first = writer.stop();
    assert!(!first.cut_off, "{first:?}");
    let writer = Writer::start(&pg).unwrap();
    writer.wait_for(20).unwrap();
    let second = writer.stop();
    assert!(second.acknowledged >= first.acknowledged + 20);
    assert_eq!(
        lost_rows(pg.client(), "postgres", second.acknowledged).unwrap(),
        0
    );
}

#[test]
fn restic_backs_a_hard_tree_up_and_brings_it_back() {
    let dir = temp_dir().unwrap();
    let (tree, target) = (dir.path().join("tree"), dir.path().join("target"));
    file_tree(&tree, 1, 50).unwrap();
    let restic = Restic::new(dir.path().join("repo"), "pass word");
    let Some(_) = skip::unless_available(restic.init()) else {
        return;
    };
    let id = restic.backup(&[&tree]).unwrap();
    restic.check(true).unwrap();
    assert_eq!(restic.snapshots().unwrap().as_array().unwrap().len(), 1);
    assert!(restic.ls(&id).unwrap().contains("kinds/sparse"));
    assert!(restic.stats(&id).unwrap()["total_size"].as_u64().unwrap() > 64 << 20);
    assert_eq!(restic.dump(&id, &tree.join("1950")).unwrap(), b"1950");
    restic.restore(&id, &target).unwrap();
    let restored = target.join(tree.strip_prefix("/").unwrap());
    let (before, after) = (tree_digest(&tree).unwrap(), tree_digest(&restored).unwrap());
    assert_eq!(before.differences(&after), Vec::<String>::new());
    assert!(
        Restic::new(dir.path().join("repo"), "wrong")
            .snapshots()
            .is_err()
    );
    assert!(restic.list("locks").unwrap().is_empty());
    restic.unlock(true).unwrap();
    restic.forget(&id).unwrap();
    restic.prune().unwrap();
    assert!(restic.list("packs").unwrap().is_empty());
}

#[test]
fn restic_reports_damage_that_was_done_on_purpose() {
    let dir = temp_dir().unwrap();
    std::fs::write(dir.path().join("file"), Random::new(5).bytes(100_000)).unwrap();
    let restic = Restic::new(dir.path().join("repo"), "pass word");
    let Some(_) = skip::unless_available(restic.init()) else {
        return;
    };
    restic.backup(&[&dir.path().join("file")]).unwrap();
    let packs = files_below(&dir.path().join("repo/data")).unwrap();
    let largest = packs
        .iter()
        .max_by_key(|pack| pack.metadata().unwrap().len())
        .unwrap();
    flip_bit(largest, 5000).unwrap();
    assert!(restic.check(true).is_err());
    flip_bit(largest, 5000).unwrap();
    restic.check(true).unwrap();
    cut(largest, 5000).unwrap();
    // Not by reading the data: restic tries a short pack ten times, with growing pauses.
    assert!(restic.check(false).is_err());
    delete(largest).unwrap();
    assert!(restic.check(false).is_err());
}

#[test]
fn two_trees_of_one_seed_are_the_same_and_every_small_change_shows() {
    let dir = temp_dir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    file_tree(&one, 7, 30).unwrap();
    file_tree(&two, 7, 30).unwrap();
    let digest = tree_digest(&one).unwrap().without_times();
    assert_eq!(digest, tree_digest(&two).unwrap().without_times());
    let shows = |what: &str| {
        let differences = digest.differences(&tree_digest(&two).unwrap().without_times());
        assert!(!differences.is_empty(), "{what} went unseen");
    };
    flip_bit(&two.join("kinds/large"), 4 << 20).unwrap();
    shows("a flipped bit");
    flip_bit(&two.join("kinds/large"), 4 << 20).unwrap();
    delete(&two.join("kinds/dangling")).unwrap();
    shows("a missing link");
    std::os::unix::fs::symlink("/no/such/thing", two.join("kinds/dangling")).unwrap();
    shows("a link to somewhere else");
}

#[test]
fn a_small_disk_fills_up_and_is_unmounted() {
    let Some(disk) = skip::unless_available(SmallDisk::new(2)) else {
        return;
    };
    let path = disk.path().to_owned();
    let error = std::fs::write(path.join("file"), vec![1; 3 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    disk.resize(8).unwrap();
    std::fs::write(path.join("file"), vec![1; 3 << 20]).unwrap();
    disk.make_read_only().unwrap();
    assert!(std::fs::write(path.join("other"), b"x").is_err());
    drop(disk);
    assert!(!path.exists());
}

/// Starts a server that sends a megabyte to whoever connects, and returns its port.
fn megabyte_server() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let _ = connection.and_then(|mut stream| stream.write_all(&vec![7; 1 << 20]));
        }
    });
    port
}

fn fetch(proxy: &Proxy) -> (usize, std::io::Result<usize>) {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut got = Vec::new();
    let end = stream.read_to_end(&mut got);
    (got.len(), end)
}

#[test]
fn a_proxy_cuts_after_exactly_so_many_bytes_or_stalls_or_refuses() {
    let proxy = Proxy::to(megabyte_server()).unwrap();
    assert_eq!(fetch(&proxy).0, 1 << 20);
    let down = Direction::Down;
    proxy.set(Fault::Cut {
        direction: down,
        after: 70_001,
        reset: false,
    });
    let (got, end) = fetch(&proxy);
    assert!(got == 70_001 && end.is_ok(), "{got} {end:?}");
    proxy.set(Fault::Cut {
        direction: down,
        after: 0,
        reset: true,
    });
    let (got, end) = fetch(&proxy);
    assert_eq!(
        (got, end.unwrap_err().kind()),
        (0, std::io::ErrorKind::ConnectionReset)
    );
    proxy.set(Fault::Stall {
        direction: down,
        after: 12_345,
    });
    let (got, end) = fetch(&proxy);
    assert_eq!(
        (got, end.unwrap_err().kind()),
        (12_345, std::io::ErrorKind::WouldBlock)
    );
    proxy.set(Fault::Refuse);
    assert_eq!(fetch(&proxy).0, 0);
    proxy.set(Fault::None);
    assert_eq!(fetch(&proxy).0, 1 << 20);
    assert_eq!(proxy.connections(), 6);
}

#[test]
fn a_server_behind_a_proxy_answers_until_the_line_is_cut() {
    let Some(mut pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    let proxy = Proxy::to(pg.port()).unwrap();
    let psql = pg.bin_dir().join("psql");
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    let query = ["-XAtwc", "select repeat('x', 1000000)", &url];
    assert_eq!(
        run_as_postgres(&psql, query).unwrap().trim().len(),
        1_000_000
    );
    // Bytes are counted once they are passed on, which the client may see first.
    let soon = Instant::now() + Duration::from_secs(10);
    while proxy.forwarded(Direction::Down) <= 1_000_000 {
        assert!(Instant::now() < soon, "the answer was not counted");
        std::thread::sleep(Duration::from_millis(5));
    }
    proxy.set(Fault::Cut {
        direction: Direction::Down,
        after: 500_000,
        reset: true,
    });
    assert!(run_as_postgres(&psql, query).is_err());
    pg.stop(Mode::Fast).unwrap();
}
