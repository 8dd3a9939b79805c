use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;

use crate::choice::choice;
use crate::secret::Secret;

/// How a service is run as an ordinary process, which Rekindle watches.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct Run {
    /// The program and its arguments as a list, or one line for `/bin/sh`. It must stay in the
    /// foreground.
    pub command: CommandLine,
    /// Where it runs. Default: the directory of `rekindle.yaml`.
    #[schemars(extend("default" = "."))]
    pub directory: PathBuf,
    /// Variables of its environment, besides `PATH`, `LANG`, `LC_*`, `TZ`, `TMPDIR` and those that
    /// name its user.
    #[schemars(with = "BTreeMap<String, crate::schema::Scalar>", extend("default" = {}))]
    pub env: BTreeMap<String, Secret>,
    /// A file of lines `NAME=value` with more of them, read at each start; `env` counts before it.
    pub env_file: Option<PathBuf>,
    /// The user it runs as, by name, with the user's primary group. Needs root. Default: who
    /// starts it.
    pub user: Option<String>,
    /// When it is started again after it ended by itself.
    #[schemars(extend("default" = "on-failure"))]
    pub restart: RestartPolicy,
    /// The signal that asks it to end.
    #[schemars(extend("default" = "SIGTERM"))]
    pub stop_signal: StopSignal,
    /// Where its output goes, rotated by size. Default:
    /// `/var/log/rekindle/<stack>/<service>.log`.
    pub log: Option<PathBuf>,
    /// Where the id of its process is written while it runs.
    pub pid_file: Option<PathBuf>,
}

/// A command: a program and its arguments, or one line for a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// The program and its arguments; at least one.
    Program(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

impl CommandLine {
    /// The program and its arguments.
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Program(argv) => argv.clone(),
            Self::Shell(line) => ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        }
    }
}

choice! {
    /// When a process is started again after it ended by itself.
    #[derive(Default)]
    "restart policy" RestartPolicy {
        /// Never.
        No = "no",
        /// When it ended with another code than 0, or by a signal.
        #[default]
        OnFailure = "on-failure",
        /// Always, until it is stopped.
        Always = "always",
    }
}

choice! {
    /// A signal that asks a process to end.
    #[derive(Default)]
    "stop signal" StopSignal {
        /// What most programs take for "end in good order".
        #[default]
        Term = "SIGTERM",
        /// As Ctrl-C; PostgreSQL: fast shutdown.
        Int = "SIGINT",
        /// nginx and php-fpm: end after what is under way.
        Quit = "SIGQUIT",
        /// The terminal is gone.
        Hup = "SIGHUP",
        /// The program's own.
        Usr1 = "SIGUSR1",
        /// The program's own.
        Usr2 = "SIGUSR2",
    }
}
