//! Asking a service whether it is well, as `health` of `rekindle.yaml` says.

mod http;

use std::{
    io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    process::Command,
    time::Duration,
};

use rekindle_stack::{CommandLine, HealthCheck, HealthProbe, TcpAddress};

use crate::{
    ExecCommand, ExecOutcome, ExecStreams, Health, RunState, Runtime,
    command::{self, CommandError},
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How much of what a command says is told.
const LONGEST: usize = 200;

/// Asks once. A host that is the service's own name is looked up by the runtime, so that a check
/// may name a container.
pub fn ask(runtime: &dyn Runtime, service: &str, check: &HealthCheck) -> Health {
    let answer = match check.probe() {
        Some(HealthProbe::Http(url, expect)) => http::ask(runtime, service, url, expect),
        Some(HealthProbe::Tcp(address)) => connect(runtime, service, address),
        Some(HealthProbe::Command(command)) => run(runtime, service, command),
        None => return Health::Unchecked,
    };
    match answer {
        Ok(()) => Health::Healthy,
        Err(why) => Health::Unhealthy { why },
    }
}

/// Where a host and port of a check are.
fn addresses(
    runtime: &dyn Runtime,
    service: &str,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, String> {
    if host == service
        && let Ok(Some(address)) = runtime.address(service, port)
    {
        return Ok(vec![address]);
    }
    let found = (host, port).to_socket_addrs();
    found
        .map(Iterator::collect)
        .map_err(|error| format!("{host}: {error}"))
}

fn connect(runtime: &dyn Runtime, service: &str, address: &TcpAddress) -> Result<(), String> {
    let mut last = io::Error::other("it has no address");
    for socket in addresses(runtime, service, &address.host, address.port)? {
        match TcpStream::connect_timeout(&socket, ANSWER) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(format!("{address}: {last}"))
}

fn run(runtime: &dyn Runtime, service: &str, command: &CommandLine) -> Result<(), String> {
    let command = ExecCommand {
        argv: command.argv(),
        limit: Some(ANSWER),
        ..ExecCommand::default()
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let streams = ExecStreams {
        stdin: None,
        stdout: &mut out,
        stderr: &mut err,
    };
    let program = command.argv.first().cloned().unwrap_or_default();
    // What something else runs, nobody can enter: then the question is asked here.
    let run = runtime.state(service).map(|state| state.run);
    let outcome = match run {
        Ok(RunState::Unknown) => run_here(&command, streams),
        _ => runtime
            .exec(service, &command, streams)
            .map_err(|error| error.to_string()),
    };
    match outcome {
        Ok(outcome) if outcome.exit_code == 0 => Ok(()),
        Ok(outcome) => {
            let said = [&err, &out].map(|bytes| last_line(bytes));
            let said = said.into_iter().find(|line| !line.is_empty());
            let said = said.map_or_else(String::new, |line| format!(": {line}"));
            Err(format!("{program} ended with {}{said}", outcome.exit_code))
        }
        Err(why) => Err(why),
    }
}

fn run_here(command: &ExecCommand, streams: ExecStreams<'_>) -> Result<ExecOutcome, String> {
    let (program, arguments) = command.argv.split_first().ok_or("the command is empty")?;
    let mut base = Command::new(program);
    base.args(arguments);
    command::run(base, streams, command.limit).map_err(|error| match error {
        CommandError::Io(error) => format!("{program}: {error}"),
        CommandError::TookTooLong(limit) => {
            format!("{program}: not done within {} s", limit.as_secs())
        }
    })
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or_default()
        .trim()
        .chars()
        .take(LONGEST)
        .collect()
}
