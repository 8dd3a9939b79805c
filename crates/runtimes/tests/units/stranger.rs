//! Somebody who is not root, on the machine's own bus.

use std::{env, fs, os::unix::fs::DirBuilderExt as _, path::Path, process::Command};

use rekindle_runtimes::{Runtime as _, RuntimeError, SandboxRequest, systemd::Bus};
use rekindle_testing::{docker, skip};
use rustix::{
    process::{Gid, Uid, geteuid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::{STAYS, runtime_of, service, with};

const BUS: &str = "REKINDLE_TEST_BUS_DIRECTORY";
/// The same bus, behind a directory that root alone enters.
const CLOSED: &str = "REKINDLE_TEST_CLOSED_BUS";

/// Debian's `nobody`; that it has a name does not matter.
const STRANGER: u32 = 65534;

pub fn a_user_without_rights_may_look_and_is_told_what_is_missing(machine: &docker::Systemd) {
    if !geteuid().is_root() {
        skip::record("a stranger on the bus: root alone can become one");
        return;
    }
    with(machine, &[("guarded", &service(STAYS))]);
    let bus = machine.bus();
    let socket = Path::new(bus.strip_prefix("unix:path=").unwrap());
    let (above, below) = (
        machine.shared(),
        socket.strip_prefix(machine.shared().parent().unwrap()),
    );
    let (closed, below) = (above.join("closed"), Path::new("..").join(below.unwrap()));
    fs::DirBuilder::new().mode(0o700).create(&closed).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "stranger::child_that_is_nobody",
            "--ignored",
            "--nocapture",
        ])
        .env(BUS, socket.parent().unwrap())
        .env(CLOSED, closed.join("..").join(below))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

/// Another process of this test, since rights are given up for good.
#[test]
#[ignore = "run by another test"]
fn child_that_is_nobody() {
    let Some(directory) = env::var_os(BUS) else {
        return;
    };
    // What lies above it may be root's alone.
    env::set_current_dir(&directory).unwrap();
    let (user, group) = (Uid::from_raw(STRANGER), Gid::from_raw(STRANGER));
    set_thread_groups(&[]).unwrap();
    set_thread_res_gid(group, group, group).unwrap();
    set_thread_res_uid(user, user, user).unwrap();
    let runtime = runtime_of(Bus::At("unix:path=system_bus_socket".into()), &["guarded"]);
    assert!(runtime.state("guarded").unwrap().why.is_none());
    let made = || {
        runtime
            .sandbox("guarded", &SandboxRequest::default())
            .map(drop)
    };
    for refused in [runtime.start("guarded"), made()] {
        let error = refused.unwrap_err();
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("run as root") && hint.contains("polkit"),
            "{error:?}"
        );
        assert!(matches!(error, RuntimeError::Failed { .. }), "{error:?}");
    }
    let closed = format!("unix:path={}", env::var(CLOSED).unwrap());
    let runtime = runtime_of(Bus::At(closed), &["guarded"]);
    let error = runtime.list().unwrap_err();
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("this user may not use the bus: run as root"),
        "{error:?}"
    );
}
