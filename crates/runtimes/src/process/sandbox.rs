//! A second instance of a service, in a directory and a network of its own.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rekindle_stack::{RestartPolicy, Run};
use tempfile::TempDir;

use super::{
    SupervisorProgram, failure, launch, logs,
    place::Place,
    services::{Described, spec},
    state::{filled, observe},
};
use crate::{
    ExecCommand, ExecOutcome, ExecStreams, LogRequest, RunState, RuntimeError, Sandbox,
    SandboxRequest, ServiceState,
};

const DOING: &str = "make a sandbox of";

/// How long its program may take to end before it is killed: nothing in it is worth more.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Ends what the sandbox runs, and removes its directory, when dropped.
pub(super) struct ProcessSandbox {
    service: Described,
    run: Run,
    program: SupervisorProgram,
    /// A process that keeps the namespaces; what is run in it enters them.
    holder: Holder,
    home: TempDir,
}

impl ProcessSandbox {
    /// Only root can make a network without the machine's in it.
    pub fn make(
        service: &Described,
        run: &Run,
        request: &SandboxRequest,
        program: &SupervisorProgram,
    ) -> Result<Self, RuntimeError> {
        if !rustix::process::geteuid().is_root() {
            return Err(RuntimeError::Unsupported {
                runtime: "the process runtime".to_owned(),
                what: "makes sandboxes for root only: they have no network".to_owned(),
            });
        }
        let failed = failure(DOING, &service.name);
        let home = tempfile::Builder::new()
            .prefix("rekindle-sandbox-")
            .tempdir();
        let home = home.map_err(&failed)?;
        let holder = Holder::start(&request.mounts).map_err(&failed)?;
        let mut run = run.clone();
        run.restart = RestartPolicy::No;
        run.pid_file = None;
        run.directory = home.path().to_owned();
        if let Some(argv) = &request.command {
            run.command = rekindle_stack::CommandLine::Program(argv.clone());
        }
        let env = request.env.iter().cloned();
        run.env
            .extend(env.map(|(name, value)| (name, rekindle_stack::Secret::new(value))));
        open_to(run.user.as_deref(), home.path()).map_err(&failed)?;
        let mut service = service.clone();
        service.log = home.path().join("sandbox.log");
        let program = program.clone();
        Ok(Self {
            service,
            run,
            program,
            holder,
            home,
        })
    }

    fn place(&self) -> Place {
        Place::at(self.home.path().join("state"))
    }
}

/// Lets the service's user into its directory.
fn open_to(user: Option<&str>, home: &Path) -> std::io::Result<()> {
    let user = user.and_then(uzers::get_user_by_name);
    match user {
        Some(user) => {
            std::os::unix::fs::chown(home, Some(user.uid()), Some(user.primary_group_id()))
        }
        None => Ok(()),
    }
}

impl Sandbox for ProcessSandbox {
    fn start(&mut self) -> Result<(), RuntimeError> {
        let failed = failure("start the sandbox of", &self.service.name);
        let place = self.place();
        place.make().map_err(&failed)?;
        let mut spec = spec(&self.service, &self.run, "sandbox".to_owned());
        // `nsenter` becomes the program; before that, as root, it enters the namespaces.
        spec.argv = self
            .holder
            .entering(spec.user.take().as_deref(), &spec.directory, spec.argv);
        let outcome = launch::launch(&self.program, &place, &spec);
        outcome.map(drop).map_err(failed)
    }

    fn state(&self) -> Result<ServiceState, RuntimeError> {
        let state = ServiceState::absent(&self.service.name);
        let told = observe(&self.place()).map_err(failure("look at", &self.service.name))?;
        Ok(match told {
            None => ServiceState {
                run: RunState::Created,
                ..state
            },
            Some((record, is_watched)) => filled(state, &record, is_watched),
        })
    }

    fn exec(
        &self,
        command: &ExecCommand,
        streams: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError> {
        let user = command.user.as_deref().or(self.run.user.as_deref());
        let directory = command.directory.as_ref().unwrap_or(&self.run.directory);
        let argv = self.holder.entering(user, directory, command.argv.clone());
        let mut run = self.run.clone();
        run.user = None;
        let base = Command::new(argv.first().map_or("", String::as_str));
        let command = ExecCommand {
            argv,
            user: None,
            directory: None,
            ..command.clone()
        };
        super::exec(&self.service.name, &run, &command, base, streams)
    }

    fn logs(&self, request: &LogRequest, out: &mut dyn Write) -> Result<(), RuntimeError> {
        let goes_on = || {
            self.state()
                .is_ok_and(|state| state.run == RunState::Running)
        };
        logs::write(&self.service.log, request, out, &goes_on)
            .map_err(failure("read the log of", &self.service.name))
    }
}

impl Drop for ProcessSandbox {
    fn drop(&mut self) {
        if let Err(error) = launch::stop(&self.place(), STOP_LIMIT) {
            tracing::warn!(service = %self.service.name, %error, "a sandbox's process may be left");
        }
    }
}

/// Keeps a network namespace without links, and a mount namespace, alive.
struct Holder {
    child: std::process::Child,
}

impl Holder {
    fn start(mounts: &[(PathBuf, PathBuf)]) -> std::io::Result<Self> {
        // The loopback interface is brought up: programs talk to themselves through it. What is
        // bound here is seen in this namespace alone. The word at the end says that all is done.
        const SCRIPT: &str = "ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null; \
            while [ $# -gt 1 ]; do mount --bind \"$1\" \"$2\" || exit 1; shift 2; done; \
            echo ready; exec sleep infinity";
        let mut command = Command::new("unshare");
        command.args([
            "--net",
            "--mount",
            "--propagation",
            "private",
            "--",
            "/bin/sh",
            "-c",
            SCRIPT,
            "sh",
        ]);
        for (here, inside) in mounts {
            command.arg(here).arg(inside);
        }
        command.stdin(std::process::Stdio::null());
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let child = command.spawn()?;
        // Dropped, and so ended, if it does not get ready.
        let mut holder = Self { child };
        let mut word = String::new();
        if let Some(said) = holder.child.stdout.take() {
            std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut word)?;
        }
        if word.trim() == "ready" {
            return Ok(holder);
        }
        let mut complaint = String::new();
        if let Some(mut said) = holder.child.stderr.take() {
            std::io::Read::read_to_string(&mut said, &mut complaint)?;
        }
        Err(std::io::Error::other(format!(
            "unshare: {}",
            complaint.trim()
        )))
    }

    /// The command line that runs `argv` in the namespaces, in `directory` as it is seen there, as
    /// `user`.
    fn entering(&self, user: Option<&str>, directory: &Path, argv: Vec<String>) -> Vec<String> {
        let pid = self.child.id().to_string();
        let mut line = vec!["nsenter".to_owned(), "--target".into(), pid];
        // Entering another tree of mounts leads to its root.
        let words = [
            "--net",
            "--mount",
            "--",
            "/bin/sh",
            "-c",
            "cd \"$0\" && exec \"$@\"",
        ];
        line.extend(words.map(str::to_owned));
        line.push(directory.display().to_string());
        if let Some(user) = user.filter(|user| *user != "root") {
            let words = [
                "setpriv",
                "--reuid",
                user,
                "--regid",
                user,
                "--init-groups",
                "--",
            ];
            line.extend(words.map(str::to_owned));
        }
        line.extend(argv);
        line
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
