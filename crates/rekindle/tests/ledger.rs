//! Clients write under load while the receiver is killed, the network cut and the server restarted;
//! then servers are restored to random moments, and each must hold exactly what was committed by
//! then. `pg_waldump`, over the server's own WAL, is who knows.
//!
//! `REKINDLE_TEST_SEED` repeats a run; `REKINDLE_TEST_LOAD_SECONDS` and `REKINDLE_TEST_TARGETS` make
//! it longer.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "helpers of tests may panic, write files that need not survive, and print their seed"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rekindle_testing::{
    faults::{Direction, Fault, Proxy},
    postgres::{Client, Existing, Major, Mode, Postgres},
};
use support::Home;

const WRITERS: u64 = 3;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// A small generator whose seed is printed.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let seed = setting("REKINDLE_TEST_SEED", nanos as u64 | 1);
        eprintln!("REKINDLE_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators".
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit.max(1)
    }
}

/// Inserts rows, one transaction each, and goes on when the server comes back. Returns the numbers
/// whose commit was acknowledged.
fn writer(client: Client, number: u64, stop: Arc<AtomicBool>) -> JoinHandle<BTreeSet<u64>> {
    thread::spawn(move || {
        let mut acknowledged = BTreeSet::new();
        let mut next = number;
        while !stop.load(Ordering::Relaxed) {
            let mut psql = client.tool("psql");
            // A session that is ended between two statements is told so as an error, and without
            // ON_ERROR_STOP psql would wait for the next statement, and we for its answer.
            psql.args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-d", "postgres"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            let mut child = psql.spawn().unwrap();
            let mut to = child.stdin.take().unwrap();
            let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
            while !stop.load(Ordering::Relaxed) {
                let sql = format!(
                    "insert into ledger (n, filler) values ({next}, repeat(md5('{next}'), 20)) \
                     returning n;\n"
                );
                let answer = to
                    .write_all(sql.as_bytes())
                    .ok()
                    .and_then(|()| answers.next());
                match answer {
                    Some(Ok(answer)) if answer == next.to_string() => {
                        acknowledged.insert(next);
                        next += WRITERS;
                    }
                    // It may have been committed or not: this number is not used again.
                    _ => {
                        next += WRITERS;
                        break;
                    }
                }
            }
            drop(to);
            let _ = child.kill();
            let _ = child.wait();
            thread::sleep(Duration::from_millis(100));
        }
        acknowledged
    })
}

struct World {
    pg: Postgres,
    proxy: Proxy,
    home: Home,
    receiver: Child,
}

fn world() -> Option<World> {
    let pg = Postgres::builder(Major::V15)
        .wal_segment_size(1)
        .conf("wal_keep_size", "4GB")
        .conf("max_wal_size", "4GB")
        .conf("wal_sender_timeout", "5s")
        .conf("max_connections", 50)
        .start_or_skip()?;
    pg.psql("create table ledger (n bigint primary key, xid xid8 default pg_current_xact_id(), filler text)");
    let proxy = Proxy::to(pg.port()).unwrap();
    let home = Home::with_vault();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    home.write(
        "rekindle.yaml",
        &format!(
            "stack: shop\nvault: {{ at: vault, password_file: vault-password }}\nservices:\n  db:\n    \
             datasets: [ {{ kind: postgres, url: \"{url}\", wal: stream, wal_spool: spool }} ]\n"
        ),
    );
    let receiver = receiver(&home);
    Some(World {
        pg,
        proxy,
        home,
        receiver,
    })
}

fn receiver(home: &Home) -> Child {
    let mut command = home.command(&["wal", "stream"]);
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.join("stream.log"))
        .unwrap();
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

impl World {
    /// One thing that goes wrong, or a backup.
    fn disturb(&mut self, what: u64) {
        match what {
            0 | 1 => {
                self.receiver.kill().unwrap();
                self.receiver.wait().unwrap();
                self.receiver = receiver(&self.home);
            }
            2 => self.proxy.close_all(),
            3 => {
                self.proxy.set(Fault::Stall {
                    direction: Direction::Down,
                    after: 0,
                });
                thread::sleep(Duration::from_millis(700));
                self.proxy.set(Fault::None);
                self.proxy.close_all();
            }
            4 => {
                self.pg.stop(Mode::Immediate).unwrap();
                self.pg.start().unwrap();
            }
            5 => {
                self.pg.restart().unwrap();
            }
            _ => {
                // One that meets a restart fails, and leaves nothing.
                self.home.run(&["backup", "--quiet"]);
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.receiver.kill();
        let _ = self.receiver.wait();
    }
}

/// A commit record, as `pg_waldump` tells it.
#[derive(Clone, Debug)]
struct Commit {
    lsn: u64,
    xid: u64,
    /// As printed; text of one form and one zone sorts as the times do.
    time: String,
}

fn place(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    let part = |text| u64::from_str_radix(text, 16).unwrap();
    part(high) << 32 | part(low)
}

/// All commits from `start` to where the server's WAL ends.
fn commits(pg: &Postgres, start: &str, end: &str) -> Vec<Commit> {
    let mut dump = pg.tool("pg_waldump");
    dump.args(["--rmgr=Transaction", "-p"])
        .arg(pg.data_dir().join("pg_wal"))
        .args(["-s", start, "-e", end])
        .env("TZ", "UTC");
    let output = dump.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| {
            let field = |name: &str| {
                let rest = &line[line.find(name)? + name.len()..];
                rest.trim_start().split([',', ' ', ';']).next()
            };
            let (_, description) = line.split_once("desc: COMMIT ")?;
            let time: Vec<&str> = description.split([' ', ';']).take(2).collect();
            Some(Commit {
                lsn: place(field("lsn:")?),
                xid: field("tx:")?.parse().unwrap(),
                time: time.join(" "),
            })
        })
        .collect()
}

/// What a restored server shall hold, and how the moment is asked for.
struct Target {
    arguments: Vec<String>,
    expected: BTreeSet<u64>,
}

/// Whether a commit, with its number in the order of the log, belongs to a moment.
type Belongs = Box<dyn Fn(usize, &Commit) -> bool>;

fn target(
    random: &mut Random,
    commits: &[Commit],
    from: usize,
    number_of: &BTreeMap<u64, u64>,
) -> Target {
    let chosen = from + random.below((commits.len() - from - 1) as u64) as usize;
    let commit = &commits[chosen];
    let exclusive = random.below(2) == 1;
    let (at, is_there): (String, Belongs) = match random.below(3) {
        0 => {
            let time = commit.time.clone();
            // The server stops at the first record that is past the target.
            let past = move |other: &Commit| match exclusive {
                true => other.time >= time,
                false => other.time > time,
            };
            let stop = commits[from..]
                .iter()
                .position(past)
                .map_or(usize::MAX, |n| n + from);
            (format!("{}Z", commit.time), Box::new(move |n, _| n < stop))
        }
        1 => (
            format!("xid:{}", commit.xid),
            Box::new(move |n, _| if exclusive { n < chosen } else { n <= chosen }),
        ),
        _ => {
            let lsn = commit.lsn;
            let text = format!("lsn:{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF);
            (
                text,
                Box::new(move |_, other| {
                    if exclusive {
                        other.lsn < lsn
                    } else {
                        other.lsn <= lsn
                    }
                }),
            )
        }
    };
    let mut arguments = vec!["--at".to_owned(), at];
    if exclusive {
        arguments.push("--exclusive".to_owned());
    }
    let expected = commits
        .iter()
        .enumerate()
        .filter(|(n, commit)| is_there(*n, commit))
        .filter_map(|(_, commit)| number_of.get(&commit.xid).copied())
        .collect();
    Target {
        arguments,
        expected,
    }
}

fn numbers(pg: &Postgres) -> BTreeSet<u64> {
    let found = pg.psql("select n from ledger");
    found.lines().map(|line| line.parse().unwrap()).collect()
}

fn restored(world: &World, arguments: &[&str]) -> BTreeSet<u64> {
    let mut all = vec!["restore", "--service", "db", "--to", "restored"];
    all.extend(arguments);
    world.home.ok(&all);
    let directory = world.home.join("restored");
    let server = Existing::new(world.pg.bin_dir(), &directory)
        .start()
        .unwrap();
    let found = numbers(&server);
    drop(server);
    fs::remove_dir_all(&directory).unwrap();
    found
}

#[test]
fn every_moment_under_load_comes_back_as_it_was() {
    let mut random = Random::seeded();
    let Some(mut world) = world() else { return };
    let start = world.pg.psql("select pg_current_wal_insert_lsn()");
    world.home.ok(&["backup", "--quiet"]);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| writer(world.pg.client().clone(), n, Arc::clone(&stop)))
        .collect();
    let until = Instant::now() + Duration::from_secs(setting("REKINDLE_TEST_LOAD_SECONDS", 15));
    let mut events = Vec::new();
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(300 + random.below(900)));
        let event = random.below(7);
        events.push(event);
        world.disturb(event);
    }
    thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    let acknowledged: BTreeSet<u64> = writers
        .into_iter()
        .flat_map(|writer| writer.join().unwrap())
        .collect();
    world.receiver.kill().unwrap();
    world.receiver.wait().unwrap();
    world.home.ok(&["wal", "stream", "--once"]);

    let there = numbers(&world.pg);
    assert!(
        acknowledged.is_subset(&there),
        "the server itself lost something"
    );
    let pairs = world.pg.psql("select xid, n from ledger");
    let number_of: BTreeMap<u64, u64> = pairs
        .lines()
        .map(|line| {
            let (xid, n) = line.split_once('|').unwrap();
            (xid.parse().unwrap(), n.parse().unwrap())
        })
        .collect();
    let end = world.pg.psql("select pg_current_wal_flush_lsn()");
    let commits = commits(&world.pg, &start, &end);
    eprintln!("{} commits, events {events:?}", commits.len());

    let windows = world.home.json(&["wal", "windows"]);
    let windows = windows["services"][0]["windows"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(windows.len(), 1, "no hole: {windows:?}");
    let first = place(windows[0]["from"]["lsn"].as_str().unwrap());
    let from = commits
        .iter()
        .position(|commit| commit.lsn >= first)
        .unwrap();

    assert_eq!(
        restored(&world, &["--at", "latest"]),
        there,
        "the end, with events {events:?}"
    );
    for _ in 0..setting("REKINDLE_TEST_TARGETS", 12) {
        let target = target(&mut random, &commits, from, &number_of);
        let arguments: Vec<&str> = target.arguments.iter().map(String::as_str).collect();
        let found = restored(&world, &arguments);
        let missing: Vec<_> = target.expected.difference(&found).take(5).collect();
        let surplus: Vec<_> = found.difference(&target.expected).take(5).collect();
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "{arguments:?}: missing {missing:?}, surplus {surplus:?}; events {events:?}"
        );
    }
}
