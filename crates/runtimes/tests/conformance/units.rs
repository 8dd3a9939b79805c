//! The world of units, on a systemd in a container. One for all promises, each with units of its own.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
};

use rekindle_runtimes::Runtime;
use rekindle_runtimes::systemd::{Bus, Systemd};
use rekindle_stack::Stack;
use rekindle_testing::docker;

use crate::{
    Promise, World,
    common::{claims, write},
    keeps,
};

const UNITS: [(&str, &str); 6] = [
    (
        "web",
        r#"Environment=COLOUR=blue
ExecStartPre=/bin/rm -f HOME/asked
ExecStart=/bin/sh -c "echo web is up; exec sleep 61""#,
    ),
    ("app", "ExecStart=/bin/sleep 61"),
    ("broken", r#"ExecStart=/bin/sh -c "echo no luck; exit 3""#),
    (
        "deaf",
        r#"TimeoutStopSec=infinity
ExecStart=/bin/sh -c "trap '' TERM; echo deaf; while :; do sleep 0.1; done""#,
    ),
    ("loyal", "Restart=on-failure\nExecStart=/bin/sleep 61"),
    (
        "store",
        "WorkingDirectory=HOME/data\nExecStart=/bin/sleep 61",
    ),
];

/// `web` is well when it is asked for the second time.
const STACK: &str = "stack: s
vault: {at: v, password_env: P}
runtime: {kind: systemd}
services:
  web: {stateless: true, unit: PREFIX-web.service, health: {command: 'test -e HOME/asked || { touch HOME/asked; exit 1; }'}}
  app: {stateless: true, unit: PREFIX-app.service, depends_on: [web]}
  broken: {stateless: true, unit: PREFIX-broken.service, optional: true}
  deaf: {stateless: true, unit: PREFIX-deaf.service}
  loyal: {stateless: true, unit: PREFIX-loyal.service}
  store: {datasets: [{kind: files, paths: [HOME/data]}], unit: PREFIX-store.service}
";

struct UnitWorld<'a> {
    machine: &'a docker::Systemd,
    prefix: String,
    stack: Stack,
    runtime: Systemd,
}

impl<'a> UnitWorld<'a> {
    fn new(machine: &'a docker::Systemd, number: usize) -> Self {
        let prefix = format!("p{number}");
        let home = machine.shared().join(&prefix);
        fs::create_dir_all(home.join("data")).unwrap();
        let kept = home.join("data/kept");
        write(&kept, "kept bytes\n");
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o640)).unwrap();
        chown(&kept, Some(1234), Some(1234)).unwrap();
        let filled = |text: &str| {
            let home = home.display().to_string();
            text.replace("HOME", &home).replace("PREFIX", &prefix)
        };
        for (name, lines) in UNITS {
            let text = format!("[Service]\n{}\n", filled(lines));
            machine.unit(&format!("{prefix}-{name}.service"), &text);
        }
        machine.reload();
        let loaded = Stack::parse(&filled(STACK), &home.join("rekindle.yaml"));
        let stack = loaded.unwrap_or_else(|error| panic!("{error}")).stack;
        let journalctl = machine
            .prefix()
            .into_iter()
            .chain(["journalctl".to_owned()]);
        let journalctl = journalctl.map(Into::into).collect();
        let runtime = Systemd::at(&stack, Bus::At(machine.bus()), journalctl);
        Self {
            machine,
            prefix,
            stack,
            runtime,
        }
    }

    fn kill_by_number(&self, what: &str, unit: &str) {
        let whom = format!("--kill-who={what}");
        self.machine
            .run(&["systemctl", "kill", "--signal=KILL", &whom, unit]);
    }
}

impl World for UnitWorld<'_> {
    fn stack(&self) -> &Stack {
        &self.stack
    }

    fn runtime(&self) -> &dyn Runtime {
        &self.runtime
    }

    fn shared(&self) -> PathBuf {
        self.machine.shared()
    }

    /// By its number: systemd learns of it as of any other end.
    fn kill(&self, service: &str) {
        let unit = self.runtime.state(service).unwrap().unit;
        self.kill_by_number("main", &unit);
    }
}

fn keep_all(promises: &[(&str, Promise)]) {
    let Some(machine) = docker::Systemd::start_or_skip() else {
        return;
    };
    let numbered = promises.iter().enumerate();
    claims(numbered.map(|(number, (name, promise))| {
        let machine = &machine;
        let kept = move || {
            let world = UnitWorld::new(machine, number);
            promise(&world);
            machine.run(&[
                "systemctl",
                "kill",
                "--signal=KILL",
                &format!("{}-*", world.prefix),
            ]);
        };
        (*name, kept)
    }));
}

keeps!(all keep_all);
