//! An image with systemd as its first process, of what Debian's packages `systemd` and `dbus-daemon` installed here: the
//! manager, the journal and a bus, and no other unit than those need.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::root::Root;
use crate::TestingError;

const PROGRAMS: [&str; 5] = [
    "/lib/systemd/systemd",
    "/lib/systemd/systemd-journald",
    "/bin/systemctl",
    "/bin/journalctl",
    "/usr/bin/dbus-daemon",
];

/// Programs that not every version has.
const PROGRAMS_OF_SOME: [&str; 2] = [
    "/lib/systemd/systemd-executor",
    "/lib/systemd/systemd-shutdown",
];

const UNITS: [&str; 21] = [
    "basic.target",
    "exit.target",
    "final.target",
    "halt.target",
    "local-fs-pre.target",
    "local-fs.target",
    "multi-user.target",
    "network.target",
    "paths.target",
    "poweroff.target",
    "reboot.target",
    "shutdown.target",
    "slices.target",
    "sockets.target",
    "sysinit.target",
    "systemd-journald-dev-log.socket",
    "systemd-journald.service",
    "systemd-journald.socket",
    "timers.target",
    "umount.target",
    "systemd-exit.service",
];

/// Which unit wants which.
const WANTS: [(&str, &str); 5] = [
    ("multi-user.target", "dbus.service"),
    ("sockets.target", "dbus.socket"),
    ("sockets.target", "systemd-journald-dev-log.socket"),
    ("sockets.target", "systemd-journald.socket"),
    ("sysinit.target", "systemd-journald.service"),
];

/// On a machine whose control groups are partly of version 1, those of a container are too, and nothing can be
/// frozen. Version 2 alone is there all the same.
const INIT: &str = "#!/bin/sh
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 1
exec /lib/systemd/systemd
";

const BUS: &str = "[Unit]
Requires=dbus.socket
[Service]
Type=notify
NotifyAccess=main
ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only
";

const BUS_SOCKET: &str = "[Socket]
ListenStream=/run/dbus/system_bus_socket
";

/// Fills the root, and says how the image is run.
pub(super) fn fill(root: &Root<'_>) -> Result<Value, TestingError> {
    let units = "lib/systemd/system";
    let mut programs: Vec<PathBuf> = Vec::new();
    for program in PROGRAMS {
        programs.push(installed(program)?);
    }
    programs.extend(
        PROGRAMS_OF_SOME
            .map(PathBuf::from)
            .into_iter()
            .filter(|path| path.exists()),
    );
    for program in &programs {
        // Of busybox there is one by some of these names.
        let inside = program.to_string_lossy();
        let _ = std::fs::remove_file(root.at(&inside));
        root.copy(program, &inside)?;
    }
    root.libraries_of(&programs)?;
    root.directory(units)?;
    for unit in UNITS {
        let from = Path::new("/lib/systemd/system").join(unit);
        if from.exists() {
            root.copy(&from, &format!("{units}/{unit}"))?;
        }
    }
    root.text(&format!("{units}/dbus.service"), BUS)?;
    root.text(&format!("{units}/dbus.socket"), BUS_SOCKET)?;
    root.link_to(&format!("{units}/default.target"), "multi-user.target")?;
    for (unit, wanted) in WANTS {
        root.directory(&format!("{units}/{unit}.wants"))?;
        root.link_to(
            &format!("{units}/{unit}.wants/{wanted}"),
            &format!("../{wanted}"),
        )?;
    }
    root.copy(
        installed("/usr/share/dbus-1/system.conf")?,
        "usr/share/dbus-1/system.conf",
    )?;
    root.copy_tree(
        Path::new("/usr/share/dbus-1/system.d"),
        "usr/share/dbus-1/system.d",
        &[],
    )?;
    root.directory("var/log/journal")?;
    root.directory("etc/systemd/system")?;
    root.script("init", INIT)?;
    Ok(json!({
        "Cmd": ["/init"],
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "container=docker"],
        "StopSignal": "SIGRTMIN+3",
    }))
}

fn installed(path: &str) -> Result<PathBuf, TestingError> {
    let found = PathBuf::from(path);
    if found.exists() {
        return Ok(found);
    }
    Err(TestingError::Unavailable {
        what: "an image of systemd".into(),
        why: format!("there is no {path}; `make deps` installs it"),
    })
}
