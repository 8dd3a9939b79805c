//! What tests of processes share.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers of tests may panic, and serve some of them only"
)]

use std::{
    env,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rekindle_runtimes::process::{ProcessRuntime, SupervisorProgram, detach, supervise};
use rekindle_stack::Stack;

const STAGE: &str = "RK_TEST_SUPERVISOR";

/// This test program as supervisor: its test `supervisor`, which calls [`be_supervisor`].
pub fn supervisor() -> SupervisorProgram {
    let program = env::current_exe().unwrap().into_os_string();
    let words = ["--exact", "supervisor", "--nocapture"].map(Into::into);
    let argv = [vec![program], words.to_vec()].concat();
    SupervisorProgram::new(argv).env(STAGE, "first")
}

/// Becomes a supervisor if this process was started as one.
pub fn be_supervisor() {
    let folder = || PathBuf::from(env::args_os().next_back().unwrap());
    match env::var(STAGE).as_deref() {
        Ok("first") => {
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(env::args_os().skip(1)).env(STAGE, "second");
            detach(command).unwrap();
        }
        Ok(_) => supervise(folder()).unwrap(),
        Err(_) => {}
    }
}

/// A stack of processes in a directory of its own; nothing of it runs when it is dropped.
pub struct Processes {
    pub home: tempfile::TempDir,
    pub stack: Stack,
    pub runtime: ProcessRuntime,
}

impl Processes {
    /// `services` as they stand below `services:`; `HOME` in it is the directory.
    pub fn new(services: &str) -> Self {
        let home = rekindle_testing::temp_dir().unwrap();
        let path = home.path().display().to_string();
        let text = format!(
            "stack: s\nvault: {{at: v, password_env: P}}\nservices:\n{}",
            services.replace("HOME", &path)
        );
        let file = home.path().join("rekindle.yaml");
        let loaded = Stack::parse(&text, &file).unwrap_or_else(|error| panic!("{error}"));
        let runtime = ProcessRuntime::new(&loaded.stack, home.path().join("run"), supervisor());
        Self {
            home,
            stack: loaded.stack,
            runtime,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The same stack, seen by another command.
    pub fn again(&self) -> ProcessRuntime {
        ProcessRuntime::new(&self.stack, self.path("run"), supervisor())
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        use rekindle_runtimes::Runtime;
        for service in &self.stack.services {
            if service.run.is_some() {
                let _ = self.runtime.stop(&service.name, Duration::from_millis(300));
            }
        }
    }
}

/// Waits until it is so; says what was waited for if it never is.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn write(path: &Path, text: &str) {
    File::create(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// Tests claims one after the other, also after one failed, and says which did.
#[track_caller]
pub fn claims<'a>(claims: impl Iterator<Item = (&'a str, impl FnOnce())>) {
    let mut failed = Vec::new();
    for (name, claim) in claims {
        let claim = std::panic::AssertUnwindSafe(claim);
        if std::panic::catch_unwind(claim).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "not so: {}", failed.join(", "));
}
