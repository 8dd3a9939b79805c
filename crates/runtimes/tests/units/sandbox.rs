//! Second instances of units.

use std::{
    env,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rekindle_runtimes::{
    ExecCommand, ExecStreams, RunState, Runtime as _, RuntimeError, Sandbox, SandboxRequest,
    systemd::Bus,
};
use rekindle_testing::docker;

use crate::{
    STAYS,
    common::{until, write},
    runtime_of, service, with,
};

fn command(script: &str) -> ExecCommand {
    ExecCommand {
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        ..ExecCommand::default()
    }
}

fn try_say(sandbox: &dyn Sandbox, command: &ExecCommand) -> Result<String, RuntimeError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = ExecStreams {
        stdin: None,
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    sandbox.exec(command, streams)?;
    Ok(String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn said(sandbox: &dyn Sandbox, script: &str) -> String {
    try_say(sandbox, &command(script)).unwrap()
}

/// Units and directories of sandboxes.
fn left(machine: &docker::Systemd) -> usize {
    let list = "systemctl list-units --all --no-legend --plain 'rekindle-sandbox-*'; ls /run | grep rekindle-sandbox; true";
    machine.run(&["sh", "-c", list]).lines().count()
}

pub fn own_program_runs_as_its_user_on_directories_of_its_own(machine: &docker::Systemd) {
    let home = machine.shared().join("boxed");
    let live = home.join("live");
    std::fs::create_dir_all(&live).unwrap();
    write(&live.join("precious"), "precious\n");
    write(&home.join("env"), "B=of-the-file\n");
    let unit = service(&format!(
        "User=app\nGroup=app\nStateDirectory=boxed\nRuntimeDirectory=boxed\nReadWritePaths={live}\n\
         Environment=A=of-the-unit\nEnvironmentFile={home}/env\n\
         ExecStartPre=/bin/sh -c 'echo prepared > /var/lib/boxed/pre'\n\
         ExecStart=/bin/sh -c 'touch {live}/mine /run/boxed/socket; echo $A $B $C ${{C}} > /var/lib/boxed/told; exec sleep 600'",
        live = live.display(),
        home = home.display()
    ));
    let runtime = with(machine, &[("boxed", &unit)]);
    let request = SandboxRequest {
        env: vec![("C".into(), "asked for".into())],
        ..SandboxRequest::default()
    };
    let before = left(machine);
    let mut sandbox = runtime.sandbox("boxed", &request).unwrap();
    sandbox.start().unwrap();
    until("it told", || {
        said(sandbox.as_ref(), "cat /var/lib/boxed/told").contains("asked")
    });
    assert_eq!(sandbox.state().unwrap().run, RunState::Running);
    let look = format!(
        "cat /var/lib/boxed/pre /var/lib/boxed/told; ls {live} /run/boxed; id -u; id -g; touch /etc/x 2>/dev/null || echo no",
        live = live.display()
    );
    let expected = format!(
        "prepared\nof-the-unit of-the-file asked for asked for\n/run/boxed:\nsocket\n\n{}:\nmine\n1000\n1000\nno\n",
        live.display()
    );
    let mut lines: Vec<String> = said(sandbox.as_ref(), &look)
        .lines()
        .map(str::to_owned)
        .collect();
    let mut expected: Vec<String> = expected.lines().map(str::to_owned).collect();
    // In which order `ls` takes them is its own affair.
    lines.sort();
    expected.sort();
    assert_eq!(lines, expected);
    let mut as_root = command("id -u");
    as_root.user = Some("root".into());
    assert_eq!(try_say(sandbox.as_ref(), &as_root).unwrap(), "0\n");
    let environment = machine.run(&[
        "systemctl",
        "show",
        "--property=Environment",
        "rekindle-sandbox-*",
    ]);
    assert!(
        !environment.contains("asked"),
        "everybody reads this: {environment}"
    );
    drop(sandbox);
    assert_eq!(left(machine), before);
    assert_eq!(std::fs::read_dir(&live).unwrap().count(), 1);
    assert_eq!(
        machine.run(&["sh", "-c", "ls -d /var/lib/boxed/* 2>/dev/null | wc -l"]),
        "0"
    );
}

pub fn a_sandbox_has_a_network_of_its_own_and_sees_no_socket_of_a_live_service(
    machine: &docker::Systemd,
) {
    let runtime = with(machine, &[("lonely", &service(STAYS))]);
    machine.run(&["touch", "/tmp/of-the-live-one", "/run/of-the-live-one"]);
    let sandbox = runtime
        .sandbox("lonely", &SandboxRequest::default())
        .unwrap();
    let look = "ls -a /tmp /run/dbus /run/of-the-live-one 2>/dev/null | grep -c -e live -e socket";
    assert_eq!(said(sandbox.as_ref(), look), "0\n");
    assert_eq!(said(sandbox.as_ref(), "echo kept > /tmp/x"), "");
    assert_eq!(
        said(sandbox.as_ref(), "cat /tmp/x"),
        "kept\n",
        "they share what is theirs"
    );
    let network = said(sandbox.as_ref(), "readlink /proc/self/ns/net");
    assert!(network.starts_with("net:"), "{network}");
    assert_ne!(
        network.trim(),
        machine.run(&["readlink", "/proc/1/ns/net"]).trim()
    );
    let again = said(sandbox.as_ref(), "readlink /proc/self/ns/net");
    assert_eq!(network, again, "one for all of it");
}

pub fn a_command_that_takes_too_long_is_ended(machine: &docker::Systemd) {
    let runtime = with(machine, &[("limited", &service(STAYS))]);
    let sandbox = runtime
        .sandbox("limited", &SandboxRequest::default())
        .unwrap();
    let before = left(machine);
    let mut command = command("trap '' TERM; while :; do sleep 1; done");
    command.limit = Some(Duration::from_millis(300));
    let error = try_say(sandbox.as_ref(), &command).unwrap_err();
    assert!(
        matches!(error, RuntimeError::TookTooLong { .. }),
        "{error:?}"
    );
    assert_eq!(left(machine), before, "it is ended");
    assert_eq!(said(sandbox.as_ref(), "echo well"), "well\n");
}

pub fn what_cannot_be_held_is_refused_with_the_reason(machine: &docker::Systemd) {
    let units = [
        ("mighty", &*service("ExecStart=+/bin/sleep 600")),
        ("fleeting", &service(&format!("DynamicUser=yes\n{STAYS}"))),
        ("plain", &service(STAYS)),
    ];
    let runtime = with(machine, &units);
    for (name, words) in [
        ("mighty", "/bin/sleep with `+`"),
        ("fleeting", "DynamicUser="),
    ] {
        let error = runtime
            .sandbox(name, &SandboxRequest::default())
            .map(drop)
            .unwrap_err();
        assert!(
            matches!(error, RuntimeError::Unsupported { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
    let request = SandboxRequest {
        mounts: vec![(machine.shared(), "/srv/nowhere/at/all".into())],
        ..SandboxRequest::default()
    };
    let error = runtime.sandbox("plain", &request).map(drop).unwrap_err();
    assert!(error.to_string().contains("there is nothing at"), "{error}");
    assert_eq!(machine.run(&["sh", "-c", "ls /srv | wc -l"]), "0");
    let request = SandboxRequest {
        mounts: vec![("/nowhere/here".into(), "/srv".into())],
        ..SandboxRequest::default()
    };
    let error = runtime.sandbox("plain", &request).map(drop).unwrap_err();
    assert!(
        error.to_string().contains("there is no /nowhere/here"),
        "{error}"
    );
    assert_eq!(left(machine), 0);
}

const BUS: &str = "REKINDLE_TEST_BUS";

/// Another process of this test: makes a sandbox, says so, and waits to be killed.
#[test]
#[ignore = "run by another test"]
fn child_that_makes_a_sandbox() {
    let Ok(bus) = env::var(BUS) else { return };
    let runtime = runtime_of(Bus::At(bus), &["survivor"]);
    let mut sandbox = runtime
        .sandbox("survivor", &SandboxRequest::default())
        .unwrap();
    sandbox.start().unwrap();
    let made = env::var("REKINDLE_TEST_MADE").unwrap();
    write(Path::new(&made), "made");
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

pub fn what_a_killed_process_left_is_ended_by_the_next_and_what_a_living_one_has_is_not(
    machine: &docker::Systemd,
) {
    let runtime = with(machine, &[("survivor", &service(STAYS))]);
    let made = machine.shared().join("made");
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "sandbox::child_that_makes_a_sandbox",
            "--ignored",
        ])
        .env(BUS, machine.bus())
        .env("REKINDLE_TEST_MADE", &made)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the child's sandbox", || made.exists());
    let its_own = left(machine);
    assert!(its_own > 0);
    let another = || {
        drop(
            runtime
                .sandbox("survivor", &SandboxRequest::default())
                .unwrap(),
        )
    };
    another();
    assert_eq!(left(machine), its_own, "its owner lives");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(left(machine), its_own, "nobody could clean up");
    another();
    assert_eq!(left(machine), 0);
}
