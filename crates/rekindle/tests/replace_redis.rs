//! Redis in place, by the program: into a server that runs, and into one that does not.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{fs, thread::sleep, time::Duration};

use rekindle_testing::{
    process::free_port,
    redis::{Cluster, Connection, Flavour, Redis},
    skip,
};
use support::Home;

const IN_PLACE: [&str; 5] = ["restore", "--service", "cache", "--in-place", "--yes"];
const UNDO: [&str; 4] = ["restore", "--undo", "--service", "cache"];

struct World(Home);

impl World {
    /// A vault, and a service with these lines of its own.
    fn new(service: &str) -> Self {
        let home = Home::with_vault();
        let text = format!(
            "stack: shop\nvault: {{ at: vault, password_file: vault-password }}\nservices:\n  cache:\n{service}"
        );
        home.write("rekindle.yaml", &text);
        Self(home)
    }

    fn run(&self, words: &[&str]) -> (i32, String) {
        let output = self.0.command(words).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        (output.status.code().unwrap(), said)
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let (code, said) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {said}");
        said
    }

    /// Copies of what the server held before restores.
    fn copies(&self) -> usize {
        fs::read_dir(self.0.join("state/redis")).map_or(0, Iterator::count)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self
            .0
            .command(&["service", "down", "--limit", "1s"])
            .output();
    }
}

#[test]
fn a_failed_restore_says_what_it_did_and_keeps_what_earlier_ones_set_aside() {
    let builder = Redis::builder(Flavour::Redis7).setting("appendonly", "yes");
    let Some(server) = skip::unless_available(builder.start()) else {
        return;
    };
    let acl = |rule: &str| {
        let answer = server.call(&format!("ACL SETUSER rekindle {rule}"));
        assert_eq!(answer.unwrap().text(), "OK");
    };
    let set = |value: &str| drop(server.call(&format!("SET a {value}")).unwrap());
    let get = || server.call("GET a").unwrap().text();
    acl("on >word ~* &* +@all");
    let port = server.port();
    let world = World::new(&format!(
        "    datasets: [ {{ kind: redis, url: \"redis://rekindle@127.0.0.1:{port}\", password_file: word }} ]\n"
    ));
    world.0.write("word", "word");
    set("one");
    world.ok(&["backup"]);
    set("two");
    world.ok(&IN_PLACE);
    set("three");

    // It cannot even be copied: nothing is changed, and nothing is left.
    acl("-psync -sync");
    let copies = world.copies();
    let (code, said) = world.run(&IN_PLACE);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("+psync") && !said.contains("--undo"),
        "{said}"
    );
    assert_eq!((get().as_str(), world.copies()), ("three", copies));

    // It is copied, and never comes for the data: it is as it was.
    acl("+@all -replicaof");
    let (code, said) = world.run(&IN_PLACE);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("+replicaof") && !said.contains("--undo"),
        "{said}"
    );
    assert_eq!((get().as_str(), world.copies()), ("three", copies));

    // It takes the data, and does not keep it.
    acl("+@all -bgrewriteaof");
    let (code, said) = world.run(&IN_PLACE);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("may hold the old, the new or none"), "{said}");
    assert!(said.contains("+bgrewriteaof"), "{said}");
    let undo = "`rekindle restore --undo --service cache --kind redis` brings back what was there";
    assert!(said.contains(undo), "{said}");
    let (code, again) = world.run(&IN_PLACE);
    assert_eq!(code, 1, "{again}");
    assert!(
        again.contains("did not come to its end") && again.contains(undo),
        "{again}"
    );

    acl("+@all");
    let said = world.ok(&UNDO);
    assert!(said.contains("1 earlier state still aside"), "{said}");
    assert_eq!(get(), "three");
    world.ok(&UNDO);
    assert_eq!(get(), "two");
    let (code, said) = world.run(&UNDO);
    assert_eq!(code, 1, "{said}");
}

/// A value of the server on this port, as soon as it says one.
fn value_at(port: u16) -> String {
    loop {
        let answer = Connection::open(port).and_then(|mut server| server.call(&[b"GET", b"a"]));
        match answer.map(|answer| answer.text()) {
            Ok(text) if !text.contains("LOADING") => return text,
            _ => sleep(Duration::from_millis(20)),
        }
    }
}

fn set_at(port: u16, value: &str) {
    value_at(port);
    let mut server = Connection::open(port).unwrap();
    server.call(&[b"SET", b"a", value.as_bytes()]).unwrap();
}

#[test]
fn a_stopped_server_has_its_files_replaced_and_an_undo_stops_and_starts_it() {
    let program = Flavour::Redis7.program();
    let Some(program) = skip::unless_available(program) else {
        return;
    };
    let port = free_port().unwrap();
    let world = World::new(&format!(
        "    datasets: [ {{ kind: redis, url: \"redis://127.0.0.1:{port}\" }} ]
    run: {{ command: 'exec {} --port {port} --bind 127.0.0.1 --appendonly yes --dir data --repl-diskless-sync-delay 0', log: cache.log }}
",
        program.display()
    ));
    fs::create_dir(world.0.join("data")).unwrap();
    world.ok(&["service", "up"]);
    set_at(port, "one");
    world.ok(&["backup"]);
    set_at(port, "two");
    world.ok(&["service", "stop", "cache"]);
    let plan = world.ok(&["restore", "--service", "cache", "--in-place", "--dry-run"]);
    assert!(plan.contains("appendonlydir, by renaming it"), "{plan}");
    let said = world.ok(&IN_PLACE);
    assert!(
        said.contains("`cache` was not running, and was not started"),
        "{said}"
    );
    world.ok(&["service", "start", "cache"]);
    assert_eq!(value_at(port), "one");
    set_at(port, "three");
    world.ok(&UNDO);
    assert_eq!(value_at(port), "two");
    world.ok(&["service", "stop", "cache"]);
    let (code, said) = world.run(&UNDO);
    assert_eq!(code, 1, "{said}");
}

#[test]
fn a_cluster_lacks_what_nobody_serves_and_comes_back_as_directories_with_the_commands() {
    let Some(cluster) = skip::unless_available(Cluster::start(Flavour::Redis7, 3)) else {
        return;
    };
    let port = cluster.nodes()[0].port();
    let world = World::new(&format!(
        "    datasets: [ {{ kind: redis, url: \"redis://127.0.0.1:{port}\" }} ]\n"
    ));
    cluster.call("SET a one").unwrap();
    let said = world.ok(&["backup"]);
    assert!(!said.contains("slots"), "{said}");
    let left = cluster.nodes()[1].call("CLUSTER DELSLOTSRANGE 6000 6999");
    assert_eq!(left.unwrap().text(), "OK");
    let (code, said) = world.run(&["backup"]);
    assert_eq!(code, 5, "{said}");
    assert!(
        said.contains("slots 6000-6999 are served by no node"),
        "{said}"
    );
    let to = world.0.join("restored");
    let to = to.to_str().unwrap();
    let said = world.ok(&["restore", "latest", "--service", "cache", "--to", to]);
    assert!(said.contains("the 3 shards of a Redis cluster"), "{said}");
    let first = format!("redis-server --cluster-enabled yes --port 7000 --dir {to}/shards/0");
    assert!(said.contains(&first), "{said}");
    let meet = "redis-cli -p 7000 cluster meet 127.0.0.1 7002";
    assert!(said.contains(meet), "{said}");
    for shard in 0..3 {
        let place = world.0.join("restored/shards").join(shard.to_string());
        assert!(place.join("dump.rdb").exists() && place.join("nodes.conf").exists());
    }
    let (code, said) = world.run(&IN_PLACE);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("a cluster is not restored in place"),
        "{said}"
    );
    assert!(said.contains("`restore --to DIR`"), "{said}");
}
