//! Commands in a sandbox: each a unit that joins it, with our pipes for its streams.

use std::{
    io,
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{UnitSandbox, leftovers, likeness, streams::Pipes, text};
use crate::{
    ExecCommand, ExecOutcome, ExecStreams, RuntimeError,
    systemd::{
        bus::{Job, Property},
        change::facts,
        facts::Facts,
        failure::Failure,
    },
};

/// How long to listen for the end of a command between two looks at its limit.
const LOOK: Duration = Duration::from_millis(20);

/// How waiting for a command ended.
enum Waited {
    Ended,
    TookTooLong(Duration),
    Broke(io::Error),
    Lost(Failure),
}

impl UnitSandbox {
    /// Runs a command to its end, or to its limit.
    pub(super) fn run(
        &self,
        command: &ExecCommand,
        streams: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError> {
        let program = command.argv.first().map_or("a command", String::as_str);
        let doing = format!("run {program} in the sandbox of");
        if command.argv.is_empty() {
            let reason = "the command is empty".to_owned();
            return Err(self.doing(&doing).failed(reason, None));
        }
        let variables = match command.env.is_empty() {
            true => None,
            false => Some(self.write_variables(&command.env)?),
        };
        self.run_with(&doing, command, variables.as_ref(), streams)
    }

    /// Writes variables where the sandbox's user alone reads them, and systemd.
    fn write_variables(&self, env: &[(String, String)]) -> Result<PathBuf, RuntimeError> {
        let path = self.variables_file(&format!("{}.env", self.next_unit()));
        let script = format!("umask 077; cat > {}", path.display());
        let command = ExecCommand {
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), script],
            directory: Some("/".into()),
            ..ExecCommand::default()
        };
        let content = variables(env);
        let (mut stdin, mut out, mut err) = (content.as_bytes(), Vec::new(), Vec::new());
        let streams = ExecStreams {
            stdin: Some(&mut stdin),
            stdout: &mut out,
            stderr: &mut err,
        };
        let doing = "write variables for the sandbox of";
        let outcome = self.run_with(doing, &command, None, streams)?;
        if outcome.exit_code == 0 {
            return Ok(path);
        }
        let said = String::from_utf8_lossy(&err).trim().to_owned();
        Err(self.doing(doing).failed(said, None))
    }

    fn run_with(
        &self,
        doing: &str,
        command: &ExecCommand,
        variables: Option<&PathBuf>,
        streams: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError> {
        let unit = self.next_unit();
        let io = |source| RuntimeError::Io {
            doing: doing.to_owned(),
            source,
        };
        let (pipes, ends) = Pipes::new(streams.stdin.is_some()).map_err(io)?;
        let mut properties = self.properties(command, variables);
        properties.extend(ends);
        let explain = |failure: Failure| self.doing(doing).explain(failure);
        let job = self.manager.start_transient(&unit, &properties);
        // Until these are closed, nobody sees that the other side closed its own.
        drop(properties);
        let mut job = job.map_err(explain)?;
        let (waited, broke) = pipes.pass(streams, |failures| {
            let waited = wait(&mut job, command.limit, failures);
            if !matches!(waited, Waited::Ended) {
                // What is left holds the pipes.
                let _ = leftovers::end(&self.manager, &unit);
            }
            waited
        });
        let ended = facts(&self.manager, &unit);
        let _ = self.manager.call("UnrefUnit", &(&unit,));
        match (waited, broke) {
            (Waited::Broke(error), _) | (Waited::Ended, Some(error)) => Err(io(error)),
            (Waited::Lost(failure), _) => Err(explain(failure)),
            (Waited::TookTooLong(limit), _) => Err(RuntimeError::TookTooLong {
                doing: doing.to_owned(),
                service: self.service.clone(),
                limit,
            }),
            (Waited::Ended, None) => self.outcome(doing, &ended.map_err(explain)?),
        }
    }

    fn properties(&self, command: &ExecCommand, variables: Option<&PathBuf>) -> Vec<Property> {
        let mut all = self.joined();
        let is_replaced = |name: &str| match name {
            "EnvironmentFiles" | "NotifyAccess" => true,
            "User" | "Group" | "SupplementaryGroups" => command.user.is_some(),
            "WorkingDirectory" => command.directory.is_some(),
            _ => false,
        };
        let settings = likeness::settings(&self.facts).into_iter();
        all.extend(settings.filter(|(name, _)| !is_replaced(name)));
        all.push(self.variables_files(variables));
        if let Some(user) = &command.user {
            all.push(("User", text(user)));
        }
        if let Some(directory) = &command.directory {
            all.push(("WorkingDirectory", text(directory.display().to_string())));
        }
        all.push(("Type", text("oneshot")));
        all.push(shell(&by_path(&command.argv)));
        all
    }

    fn outcome(&self, doing: &str, facts: &Facts) -> Result<ExecOutcome, RuntimeError> {
        let status = facts.number("ExecMainStatus");
        // Source: waitid(2): 1 for an exit, 2 and 3 for a signal.
        match facts.number("ExecMainCode") {
            1 => Ok(ExecOutcome { exit_code: status }),
            2 | 3 => Ok(ExecOutcome {
                exit_code: 128 + status,
            }),
            _ => {
                let reason = "systemd did not run it, or does not tell how it ended".to_owned();
                Err(self.doing(doing).failed(reason, None))
            }
        }
    }
}

/// Waits for the end, for the limit, or until one of our streams fails.
fn wait(
    job: &mut Job<'_>,
    limit: Option<Duration>,
    failures: &mpsc::Receiver<io::Error>,
) -> Waited {
    let begun = Instant::now();
    loop {
        match job.end(LOOK) {
            Ok(Some(_)) => return Waited::Ended,
            Ok(None) => {}
            Err(failure) => return Waited::Lost(failure),
        }
        if let Ok(error) = failures.try_recv() {
            return Waited::Broke(error);
        }
        if let Some(limit) = limit.filter(|limit| begun.elapsed() >= *limit) {
            return Waited::TookTooLong(limit);
        }
    }
}

/// Words that find a program as a shell does: systemd wants a whole path.
pub(super) fn by_path(argv: &[String]) -> Vec<String> {
    let shell = ["/bin/sh", "-c", "exec \"$@\"", "sh"].map(str::to_owned);
    shell.into_iter().chain(argv.iter().cloned()).collect()
}

/// What a unit runs, to the letter: systemd would fill in what follows a `$`.
pub(super) fn shell(argv: &[String]) -> Property {
    let program = argv.first().cloned().unwrap_or_default();
    let words: Vec<String> = argv.iter().map(|word| word.replace('$', "$$")).collect();
    ("ExecStart", vec![(program, words, false)].into())
}

/// Variables as systemd reads them from a file. Source: systemd.exec(5), "EnvironmentFile=".
pub(super) fn variables(env: &[(String, String)]) -> String {
    let line = |(name, value): &(String, String)| {
        let mut line = format!("{name}=\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                line.push('\\');
            }
            line.push(c);
        }
        line + "\"\n"
    };
    env.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_written_as_systemd_reads_them() {
        let env = [("A", "b c"), ("B", "\"$x`\\\n'")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(variables(&env), "A=\"b c\"\nB=\"\\\"\\$x\\`\\\\\n'\"\n");
    }

    #[test]
    fn a_command_is_passed_to_the_letter() {
        let (_, value) = shell(&by_path(&["echo".into(), "$HOME %n".into()]));
        let words = ["/bin/sh", "-c", "exec \"$$@\"", "sh", "echo", "$$HOME %n"];
        let words: Vec<String> = words.map(str::to_owned).to_vec();
        let expected = vec![("/bin/sh".to_owned(), words, false)];
        assert_eq!(value, expected.into());
    }
}
