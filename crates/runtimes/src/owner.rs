//! Which process made something that outlives it, a container or a unit, so that it can be told later whether that one is gone.
//!
//! Written as `MACHINE:BOOT:PID:START`: a process id is used again, but not with the same start in the same boot.

use std::fs;
use std::io;

/// Who we are.
pub(crate) fn this_process() -> io::Result<String> {
    let pid = std::process::id();
    let (machine, boot) = (machine(), boot()?);
    let start = start_of(pid)
        .ok_or_else(|| io::Error::other("/proc does not tell when this process started"))?;
    Ok(format!("{machine}:{boot}:{pid}:{start}"))
}

/// Whether that process was one of this machine and is there no more. Of others nothing is known.
pub(crate) fn is_gone(owner: &str) -> bool {
    let fields: Vec<&str> = owner.split(':').collect();
    let [machine_then, boot_then, pid, start] = fields[..] else {
        return false;
    };
    let (Ok(boot), Ok(pid)) = (boot(), pid.parse()) else {
        return false;
    };
    if machine_then != machine() {
        return false;
    }
    boot_then != boot || start_of(pid).is_none_or(|now| now != start)
}

/// Containers on one engine may come from several machines, and from containers with process ids of their own.
fn machine() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .replace(':', "_");
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let space: String = space
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    format!("{}-{host}-{space}", id.trim())
}

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// In ticks since the boot; the 22nd field, counted behind the name, which may have spaces in it.
fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_is_not_gone_and_one_that_ended_is() {
        let ours = this_process().unwrap();
        assert!(!is_gone(&ours));
        let (front, _) = ours.rsplit_once(':').unwrap();
        assert!(
            is_gone(&format!("{front}:1")),
            "the same id, but started at another time"
        );
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let fields: Vec<&str> = ours.split(':').collect();
        let of_child = format!("{}:{}:{}:5", fields[0], fields[1], child.id());
        child.wait().unwrap();
        assert!(is_gone(&of_child));
    }

    #[test]
    fn of_another_machine_or_in_another_form_nothing_is_known() {
        let ours = this_process().unwrap();
        assert!(!is_gone(&format!("x{ours}")));
        for odd in ["", "a:b", "a:b:c:d:e"] {
            assert!(!is_gone(odd), "{odd}");
        }
    }
}
