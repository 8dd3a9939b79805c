//! Commands as a unit would run them: as its user, in its directory, with its environment.
//!
//! They are processes of ours. systemd could run them itself, beside the unit; but then their environment, which is the
//! place for secrets, would be a property that everybody can read.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Command,
};

use super::facts::Facts;
use crate::{
    ExecCommand, ExecOutcome, ExecStreams, RuntimeError,
    command::{self, CommandError},
    process::{become_group, furnish, read_env_file},
};

/// Runs a command as the unit would.
pub(super) fn run(
    service: &str,
    facts: &Facts,
    command: &ExecCommand,
    streams: ExecStreams<'_>,
) -> Result<ExecOutcome, RuntimeError> {
    let doing = format!(
        "run {} as",
        command.argv.first().map_or("a command", String::as_str)
    );
    let failed = |reason: String, hint: Option<String>| RuntimeError::Failed {
        doing: doing.clone(),
        service: service.to_owned(),
        reason,
        hint,
    };
    if let Some(root) = other_root(facts) {
        return Err(failed(
            format!("it has a root of its own ({root})"),
            Some("run the command by `before_backup`, which runs on the machine itself".to_owned()),
        ));
    }
    let prepared = prepare(facts, command).map_err(|error| failed(error.to_string(), None))?;
    command::run(prepared, streams, command.limit).map_err(|error| match error {
        CommandError::Io(error) => failed(error.to_string(), None),
        CommandError::TookTooLong(limit) => RuntimeError::TookTooLong {
            doing: doing.clone(),
            service: service.to_owned(),
            limit,
        },
    })
}

/// Its files are not where this machine has them.
pub(super) fn other_root(facts: &Facts) -> Option<&str> {
    let roots = ["RootDirectory", "RootImage"].map(|name| facts.text(name));
    roots
        .into_iter()
        .find(|root| !root.is_empty() && *root != "/")
}

fn prepare(facts: &Facts, command: &ExecCommand) -> io::Result<Command> {
    let mut words = command.argv.iter();
    let program = words
        .next()
        .ok_or_else(|| io::Error::other("the command is empty"))?;
    let mut prepared = Command::new(program);
    let own = Some(facts.text("User")).filter(|user| !user.is_empty());
    let user = command.user.as_deref().or(own);
    furnish(&mut prepared, &environment(facts)?, None, user)?;
    let group = facts.text("Group");
    if command.user.is_none() && !group.is_empty() {
        become_group(&mut prepared, group)?;
    }
    let directory = command
        .directory
        .clone()
        .unwrap_or_else(|| directory(facts, user));
    prepared
        .args(words)
        .envs(command.env.iter().cloned())
        .current_dir(directory);
    Ok(prepared)
}

/// Later settings count; files come after what the unit says itself. Source: systemd.exec(5), "EnvironmentFile=".
pub(super) fn environment(facts: &Facts) -> io::Result<BTreeMap<String, String>> {
    let pairs = facts
        .texts("Environment")
        .filter_map(|pair| pair.split_once('='));
    let mut all: BTreeMap<String, String> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for file in facts.list("EnvironmentFiles") {
        let path = file
            .get(0)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let may_be_absent = file
            .get(1)
            .and_then(serde_json::Value::as_bool)
            .unwrap_or_default();
        match read_env_file(Path::new(path)) {
            Ok(variables) => all.extend(variables),
            Err(error) if may_be_absent && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Source: systemd.exec(5), "WorkingDirectory="; `!` stands before one that may be absent.
fn directory(facts: &Facts, user: Option<&str>) -> PathBuf {
    let written = facts.text("WorkingDirectory");
    let may_be_absent = written.strip_prefix('!');
    match may_be_absent.unwrap_or(written) {
        "" => "/".into(),
        "~" => {
            let user = user.and_then(uzers::get_user_by_name);
            let home = user.map(|user| uzers::os::unix::UserExt::home_dir(&user).to_owned());
            home.or_else(std::env::home_dir)
                .unwrap_or_else(|| "/".into())
        }
        path if may_be_absent.is_some() && !Path::new(path).is_dir() => "/".into(),
        path => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn output(facts: serde_json::Value, words: &[&str]) -> (i64, String) {
        let facts = Facts(serde_json::from_value(facts).unwrap());
        let command = ExecCommand {
            argv: words.iter().map(|word| (*word).to_owned()).collect(),
            ..ExecCommand::default()
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let streams = ExecStreams {
            stdin: None,
            stdout: &mut out,
            stderr: &mut err,
        };
        let outcome = run("web", &facts, &command, streams).unwrap();
        (outcome.exit_code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_command_has_the_units_environment_directory_and_user() {
        let file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file.as_file(), b"; c\nA=file\nB=file\n").unwrap();
        let mut facts = json!({
            "Environment": ["A=unit", "C=a=b"],
            "EnvironmentFiles": [[file.path().to_str().unwrap(), false], ["/nowhere/env", true]],
            "WorkingDirectory": "/usr",
        });
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            facts["User"] = "nobody".into();
            facts["Group"] = "daemon".into();
        }
        let words = [
            "/bin/sh",
            "-c",
            "echo $A $B $C; pwd; id -un; id -gn; exit 4",
        ];
        let (code, text) = output(facts, &words);
        assert_eq!(code, 4);
        assert!(text.starts_with("file file a=b\n/usr\n"), "{text}");
        assert!(!is_root || text.ends_with("\nnobody\ndaemon\n"), "{text}");
    }

    #[test]
    fn a_directory_that_may_be_absent_is_no_error() {
        let facts = json!({"WorkingDirectory": "!/nowhere"});
        assert_eq!(output(facts, &["pwd"]), (0, "/\n".to_owned()));
    }

    #[test]
    fn a_unit_with_a_root_of_its_own_is_refused() {
        let facts = Facts([("RootImage".to_owned(), json!("/x.raw"))].into());
        assert_eq!(other_root(&facts), Some("/x.raw"));
    }
}
