//! Which servers run in a directory. A server that listens elsewhere than we think would write over what was restored.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use crate::InPlaceError;
use crate::files::in_place::refused;

/// How the programs' names begin.
const PROGRAMS: [&str; 3] = ["redis", "valkey", "keydb"];
const PROC: &str = "/proc";

/// A server whose working directory this is, in words: a server makes its `dir` that (`CONFIG GET dir`). The directory is
/// known by its numbers, so that a container's view of it is the same.
///
/// # Errors
/// [`InPlaceError::Refused`] if it cannot be seen whether there is one: who may not look must not think that there is none.
pub(super) fn in_directory(directory: &Path) -> Result<Option<String>, InPlaceError> {
    look(Path::new(PROC), directory)
}

fn look(proc: &Path, directory: &Path) -> Result<Option<String>, InPlaceError> {
    let wanted = fs::metadata(directory).map_err(|error| unseen(directory, directory, &error))?;
    // Mounted with `hidepid`, it shows a user no processes but their own, and says nothing of it.
    let first = proc.join("1/comm");
    fs::read(&first).map_err(|error| unseen(directory, &first, &error))?;
    for process in fs::read_dir(proc).map_err(|error| unseen(directory, proc, &error))? {
        let process = process.map_err(|error| unseen(directory, proc, &error))?;
        if let Some(server) = server(&process, directory, &wanted)? {
            return Ok(Some(server));
        }
    }
    Ok(None)
}

/// The process in words, if it is a server that works in the directory.
fn server(
    process: &DirEntry,
    directory: &Path,
    wanted: &Metadata,
) -> Result<Option<String>, InPlaceError> {
    let id = process.file_name().to_string_lossy().into_owned();
    if !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let comm = process.path().join("comm");
    // A name is cut after 15 bytes, which may be in the middle of a letter.
    let name = of_living(fs::read(&comm)).map_err(|error| unseen(directory, &comm, &error))?;
    let Some(name) = name else {
        return Ok(None);
    };
    let name = String::from_utf8_lossy(&name);
    let name = name.trim_end();
    if !PROGRAMS.iter().any(|program| name.starts_with(program)) {
        return Ok(None);
    }
    let who = format!("{name} (process {id})");
    let works_in = of_living(fs::metadata(process.path().join("cwd"))).map_err(|error| {
        refused(
            format!(
                "{who} runs, and it cannot be seen whether that is in {}: {error}",
                directory.display()
            ),
            Some(LOOK_AS_ROOT),
        )
    })?;
    let is_there = works_in.is_some_and(|at| (at.dev(), at.ino()) == (wanted.dev(), wanted.ino()));
    Ok(is_there.then_some(who))
}

const LOOK_AS_ROOT: &str =
    "run it as root, who sees every process; `restore --to` an empty directory needs no look";

/// What was read of a process; `None` if that has ended meanwhile.
fn of_living<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn unseen(directory: &Path, at: &Path, error: &io::Error) -> InPlaceError {
    refused(
        format!(
            "it cannot be seen whether a server runs in {}: look at {}: {error}",
            directory.display(),
            at.display()
        ),
        Some(LOOK_AS_ROOT),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What the kernel shows of processes, as far as it is looked at.
    struct Kernel(tempfile::TempDir);

    impl Kernel {
        fn new() -> Self {
            let kernel = Self(tempfile::tempdir().unwrap());
            fs::create_dir(kernel.0.path().join("data")).unwrap();
            fs::create_dir(kernel.0.path().join("elsewhere")).unwrap();
            kernel.process("1", "init", "elsewhere");
            fs::create_dir(kernel.0.path().join("proc/sys")).unwrap();
            kernel
        }

        fn process(&self, id: &str, name: &str, works_in: &str) {
            self.process_of_bytes(id, name.as_bytes(), works_in);
        }

        fn process_of_bytes(&self, id: &str, name: &[u8], works_in: &str) {
            let place = self.0.path().join("proc").join(id);
            fs::create_dir_all(&place).unwrap();
            symlink(format!("../../{works_in}"), place.join("cwd")).unwrap();
            rekindle_vault::durable::replace(&place.join("comm"), name, 0o600).unwrap();
        }

        fn look(&self) -> Result<Option<String>, InPlaceError> {
            look(&self.0.path().join("proc"), &self.0.path().join("data"))
        }

        fn refuses(&self) -> String {
            let error = self.look().unwrap_err();
            assert!(matches!(error, InPlaceError::Refused { .. }), "{error:?}");
            assert!(error.hint().unwrap().contains("root"), "{error:?}");
            error.to_string()
        }
    }

    #[test]
    fn a_server_is_seen_where_it_works_and_no_other_program() {
        let kernel = Kernel::new();
        kernel.process("7", "redis-server\n", "elsewhere");
        kernel.process("8", "bash\n", "data");
        kernel.process_of_bytes("11", b"sauvegarde-\xc3\xa9l\xc3", "data");
        kernel.process("9", "valkey-server\n", "ended");
        assert_eq!(kernel.look().unwrap(), None);
        kernel.process("10", "valkey-server\n", "data");
        let found = kernel.look().unwrap();
        assert_eq!(found.as_deref(), Some("valkey-server (process 10)"));
    }

    #[test]
    fn who_cannot_look_does_not_say_that_there_is_none() {
        let kernel = Kernel::new();
        // It leads nowhere, which is neither somewhere else nor the end of the process.
        kernel.process("7", "redis-server\n", "proc/7/cwd");
        let said = kernel.refuses();
        assert!(said.contains("redis-server (process 7) runs"), "{said}");

        let kernel = Kernel::new();
        fs::create_dir_all(kernel.0.path().join("proc/7/comm")).unwrap();
        assert!(kernel.refuses().contains("proc/7/comm"));

        let kernel = Kernel::new();
        // As with `hidepid=2`.
        fs::remove_dir_all(kernel.0.path().join("proc/1")).unwrap();
        assert!(kernel.refuses().contains("proc/1/comm"));

        let kernel = Kernel::new();
        fs::remove_dir_all(kernel.0.path().join("proc")).unwrap();
        assert!(kernel.refuses().contains("it cannot be seen"));

        let kernel = Kernel::new();
        fs::remove_dir(kernel.0.path().join("data")).unwrap();
        assert!(kernel.refuses().contains("it cannot be seen"));
    }
}
