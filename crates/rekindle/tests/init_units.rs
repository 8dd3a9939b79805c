//! `rekindle init` on a machine whose services are units, and a backup by what it wrote.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rekindle_testing::{docker::Systemd, skip};
use serde_json::Value;
use support::Home;

const PROGRAM: &str = "/usr/bin/redis-server";

/// A Redis and a shop that needs it, both units.
struct World {
    home: Home,
    machine: Systemd,
}

impl World {
    fn new() -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            skip::record("a Redis that is a unit: `make deps` installs redis-server");
            return None;
        }
        let machine = Systemd::start_or_skip()?;
        let shared = machine.shared();
        install(&shared.join("redis"));
        fs::create_dir(shared.join("shop")).unwrap();
        fs::write(shared.join("shop/orders"), "one order\n").unwrap();
        let at = shared.display();
        machine.unit(
            "redis-server.service",
            &format!(
                "[Unit]\nDescription=Advanced key-value store\n[Service]\nRestart=always\nReadWritePaths={at}/redis/data\n\
                 Environment=LD_LIBRARY_PATH={at}/redis/lib\nExecStart={at}/redis/redis-server {at}/redis/redis.conf\n"
            ),
        );
        machine.unit(
            "shop.service",
            &format!(
                "[Unit]\nRequires=redis-server.service\nAfter=redis-server.service\n\
                 [Service]\nReadWritePaths={at}/shop\nExecStart=/bin/sleep 600\n"
            ),
        );
        machine.reload();
        machine.run(&["systemctl", "start", "shop.service"]);
        let home = Home::new();
        Some(Self { home, machine })
    }

    /// Exit code, what was printed, what was said.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = self.home.command(words);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.machine.bus());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        (code, text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let (code, out, said) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {out}{said}");
        out
    }

    fn socket(&self) -> PathBuf {
        self.machine.shared().join("redis/redis.sock")
    }
}

/// The program with its libraries: the machine of units has none of them.
fn install(to: &Path) {
    for name in ["lib", "data"] {
        fs::create_dir_all(to.join(name)).unwrap();
    }
    fs::copy(PROGRAM, to.join("redis-server")).unwrap();
    let listed = Command::new("ldd").arg(PROGRAM).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for path in listed.split_whitespace().map(Path::new) {
        if path.is_absolute() {
            fs::copy(path, to.join("lib").join(path.file_name().unwrap())).unwrap();
        }
    }
    let at = to.display();
    let settings = format!("port 0\nunixsocket {at}/redis.sock\ndir {at}/data\nsave \"\"\n");
    fs::write(to.join("redis.conf"), settings).unwrap();
}

fn connected(socket: &Path) -> UnixStream {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(error) if begun.elapsed() > Duration::from_secs(60) => panic!("{error}"),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn asked(socket: &Path, line: &str) -> String {
    let mut stream = connected(socket);
    writeln!(stream, "{line}\r").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim().to_owned()
}

#[test]
fn units_that_run_are_described_by_one_command_and_backed_up() {
    let Some(world) = World::new() else { return };
    assert_eq!(asked(&world.socket(), "SET customer ada"), "+OK");

    // Without a name, what is known to keep state: neither the shop nor what is the system's own.
    let found = world.ok(&["init", "--systemd", "--dry-run", "--json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        found["project"]["units"],
        serde_json::json!(["redis-server.service"])
    );
    assert_eq!(found["project"]["components"][0]["component"], "Redis");
    assert!(!world.home.join("rekindle.yaml").exists());

    let patch = world.ok(&[
        "init",
        "--patch",
        "--unit",
        "shop",
        "--unit",
        "redis-server",
    ]);
    assert!(
        patch.contains("shop.service.d/") && !patch.contains("redis-server"),
        "{patch}"
    );
    assert!(
        patch.ends_with("[Service]\nRestart=on-failure\nRestartSec=5s\n"),
        "{patch}"
    );

    let (code, _, said) = world.run(&["init", "--unit", "nobody"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("there is no unit nobody.service"), "{said}");
    assert!(said.contains("systemctl list-unit-files"), "{said}");

    let units = [
        "init",
        "--stack",
        "shop",
        "--unit",
        "redis-server",
        "--unit",
        "shop.service",
    ];
    let told = world.ok(&units);
    assert!(told.contains("redis-server  Redis"), "{told}");
    let text = fs::read_to_string(world.home.join("rekindle.yaml")).unwrap();
    let socket = format!("unix://{}", world.socket().display());
    for expected in ["kind: systemd", &socket, "depends_on: [redis-server]"] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    world.ok(&["config", "check"]);

    world.ok(&["backup"]);
    world.ok(&["restore", "latest", "--to", "out"]);
    let rdb = fs::read(world.home.join("out/redis-server/redis/dump.rdb")).unwrap();
    let has = |word: &[u8]| rdb.windows(word.len()).any(|window| window == word);
    assert!(has(b"customer") && has(b"ada"));
    let shop = world.machine.shared().join("shop/orders");
    let mut restored: Vec<PathBuf> = Vec::new();
    find(&world.home.join("out/shop"), &mut restored);
    let orders = restored
        .iter()
        .find(|path| path.file_name() == shop.file_name());
    assert_eq!(fs::read_to_string(orders.unwrap()).unwrap(), "one order\n");
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => find(&path, found),
            false => found.push(path),
        }
    }
}
