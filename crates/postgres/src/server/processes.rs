//! Who works on a data directory, as the kernel sees it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's number.
    pub parent: u32,
    /// Its command line; PostgreSQL's processes write there what they do.
    pub title: String,
    /// Ticks of processor time it has used.
    pub ticks: u64,
}

/// The processes whose working directory is `directory`. Every process of a PostgreSQL server stands
/// in its data directory, whatever names it has in whichever container, because directories are
/// compared by device and inode.
///
/// Processes of other users can be seen by root only.
pub fn processes_on(directory: &Path) -> Vec<Process> {
    let Ok(wanted) = fs::metadata(directory).map(|metadata| (metadata.dev(), metadata.ino()))
    else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        fs::metadata(format!("/proc/{pid}/cwd"))
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == wanted)
    })
    .filter_map(read)
    // Our own shells and a person's may stand there too.
    .filter(is_of_postgres)
    .collect()
}

fn is_of_postgres(process: &Process) -> bool {
    let first = process.title.split(' ').next().unwrap_or_default();
    let name = first.rsplit('/').next().unwrap_or_default();
    name.trim_end_matches(':').starts_with("post")
}

/// `None` if it has gone, or is only waiting for its parent to notice that it has.
fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last bracket may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let title = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let title = String::from_utf8_lossy(&title).replace('\0', " ");
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        title: title.trim().to_owned(),
        ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_of_postgres_count() {
        let process = |title: &str| Process {
            pid: 1,
            parent: 0,
            title: title.to_owned(),
            ticks: 0,
        };
        for title in [
            "/usr/lib/postgresql/15/bin/postgres -D /x",
            "postgres: startup recovering 000000010000000000000003",
            "postgres: main: walwriter",
            "/usr/lib/postgresql/15/bin/postmaster -D /x",
        ] {
            assert!(is_of_postgres(&process(title)), "{title}");
        }
        assert!(!is_of_postgres(&process("-bash")));
        assert!(!is_of_postgres(&process("less postgresql.conf")));
    }

    #[test]
    fn a_process_of_another_directory_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(processes_on(dir.path()), Vec::new());
        assert_eq!(processes_on(Path::new("/nonexistent")), Vec::new());
    }
}
