//! A stack of units: brought up and down, at rest while it is backed up, its units in the recovery point.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rekindle_testing::docker::Systemd;
use serde_json::Value;
use support::Home;

/// A writer that is a unit, and files that it writes.
struct World {
    home: Home,
    machine: Systemd,
}

impl World {
    fn new() -> Option<Self> {
        let machine = Systemd::start_or_skip()?;
        let home = Home::with_vault();
        fs::create_dir(home.join("data")).unwrap();
        home.write("data/a", "a");
        let world = Self { home, machine };
        let shared = world.machine.shared().display().to_string();
        let web = format!(
            "[Service]\nEnvironmentFile={shared}/web.env\nExecStart=/bin/sh -c 'echo web is up; touch {shared}/up; exec sleep 600'\n\
             ExecStopPost=/bin/rm -f {shared}/up\n"
        );
        fs::write(world.machine.shared().join("web.env"), "TOKEN=of-the-web\n").unwrap();
        world.machine.unit("web.service", &web);
        world.machine.unit(
            "web.service.d/10-more.conf",
            "[Service]\nEnvironment=COLOUR=blue\n",
        );
        world.machine.reload();
        // The journal is in the container.
        fs::create_dir(world.home.join("bin")).unwrap();
        let words = world.machine.prefix().join(" ");
        let script = world.home.write(
            "bin/journalctl",
            &format!("#!/bin/sh\nexec {words} journalctl \"$@\"\n"),
        );
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
        Some(world)
    }

    fn configure(&self, before: &str) {
        let text = format!(
            "stack: shop
vault: {{ at: vault, password_file: vault-password }}
runtime: {{ kind: systemd }}
services:
  web:
    stateless: true
    during_backup: stop
  uploads:
    unit: nowhere.service
    optional: true
    datasets: [ {{ kind: files, paths: [data] }} ]
    before_backup: {before:?}
"
        );
        self.home.write("rekindle.yaml", &text);
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.home.command(words);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env(
                "PATH",
                format!("{}:{path}", self.home.join("bin").display()),
            )
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.machine.bus());
        command
    }

    /// Exit code, and what was printed and said.
    fn run(&self, words: &[&str]) -> (i32, String) {
        let output = self.command(words).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8(said).unwrap(),
        )
    }

    fn web_is(&self, run: &str) -> bool {
        let output = self
            .command(&["service", "list", "--json"])
            .output()
            .unwrap();
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let services = listed["services"].as_array().unwrap();
        services
            .iter()
            .find(|state| state["name"] == "web")
            .unwrap()["run"]
            == run
    }

    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_stack_of_units_is_brought_up_backed_up_and_taken_down() {
    let Some(world) = World::new() else { return };
    let up = world.machine.shared().join("up");

    world.configure("true");
    let (code, said) = world.run(&["service", "up"]);
    assert!(matches!(code, 0 | 5), "{said}");
    assert!(world.web_is("running"), "{said}");
    let (code, said) = world.run(&["service", "restart", "web"]);
    assert_eq!(code, 0, "{said}");
    world.until("its log has been read", |world| {
        world
            .run(&["service", "logs", "web"])
            .1
            .contains("web is up\n")
    });

    // It rests while its files are read.
    world.until("it is up", |_| up.exists());
    let noting = format!(
        "if [ -e {} ]; then echo runs; else echo rests; fi >> noted",
        up.display()
    );
    world.configure(&noting);
    let (code, said) = world.run(&["backup"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        fs::read_to_string(world.home.join("noted")).unwrap(),
        "rests\n"
    );
    assert!(world.web_is("running"));

    // Its unit is in the point.
    let (code, said) = world.run(&["restore", "latest", "--path", "stack", "--to", "out"]);
    assert_eq!(code, 0, "{said}");
    let shared = world.machine.shared().display().to_string();
    let files = world.home.join("out/configuration/files");
    for name in [
        "units/web.service",
        "units/web.service.d/10-more.conf",
        "web.env",
    ] {
        let path = files.join(shared.trim_start_matches('/')).join(name);
        assert!(path.exists(), "{}: {said}", path.display());
    }

    // What a killed backup owes is done by the next one.
    world.home.write("hold", "");
    world.configure("touch resting; while [ -e hold ]; do sleep 0.1; done");
    let mut backup = world.command(&["backup"]);
    let mut backup = backup
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    world.until("it rests", |world| world.home.join("resting").exists());
    backup.kill().unwrap();
    backup.wait().unwrap();
    fs::remove_file(world.home.join("hold")).unwrap();
    assert!(world.web_is("stopped"), "nobody could start it again");
    world.configure("true");
    let (code, said) = world.run(&["backup"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("web: an earlier run was killed while it rested; it goes on now"),
        "{said}"
    );
    assert!(world.web_is("running"));

    let (_, said) = world.run(&["service", "down"]);
    assert!(world.web_is("stopped"), "{said}");
}
