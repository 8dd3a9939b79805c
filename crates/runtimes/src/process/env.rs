//! The environment of a process, and who it runs as.

use std::{
    collections::BTreeMap, env, ffi::OsString, fs, io, os::unix::process::CommandExt, path::Path,
    process::Command,
};

use uzers::os::unix::UserExt;

/// What is passed on of the environment of whoever starts a service. Not all of it: passwords of
/// vaults may be in there.
const PASSED_ON: [&str; 8] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR",
];

/// What is left of an environment when it is passed on.
pub(crate) fn passed_on() -> impl Iterator<Item = (OsString, OsString)> {
    env::vars_os().filter(|(name, _)| {
        let name = name.to_str().unwrap_or_default();
        PASSED_ON.contains(&name) || name.starts_with("LC_")
    })
}

/// Gives a command the environment of a service and its user.
///
/// # Errors
/// If the file cannot be read, or there is no such user.
pub(crate) fn furnish(
    command: &mut Command,
    env: &BTreeMap<String, String>,
    env_file: Option<&Path>,
    user: Option<&str>,
) -> io::Result<()> {
    command.env_clear().envs(passed_on());
    if let Some(user) = user {
        become_user(command, user)?;
    }
    if let Some(path) = env_file {
        command.envs(read_env_file(path)?);
    }
    command.envs(env);
    Ok(())
}

fn become_user(command: &mut Command, name: &str) -> io::Result<()> {
    let unknown = || {
        let text = format!("there is no user `{name}` on this machine");
        io::Error::new(io::ErrorKind::NotFound, text)
    };
    let by_number = || uzers::get_user_by_uid(name.parse().ok()?);
    let user = uzers::get_user_by_name(name)
        .or_else(by_number)
        .ok_or_else(unknown)?;
    if user.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    command.uid(user.uid()).gid(user.primary_group_id());
    command
        .env("HOME", user.home_dir())
        .env("SHELL", user.shell());
    command.env("USER", user.name()).env("LOGNAME", user.name());
    Ok(())
}

/// Gives a command a group by name or number, instead of its user's first one.
///
/// # Errors
/// If there is no such group.
pub(crate) fn become_group(command: &mut Command, name: &str) -> io::Result<()> {
    let unknown = || {
        let text = format!("there is no group `{name}` on this machine");
        io::Error::new(io::ErrorKind::NotFound, text)
    };
    let by_number = || uzers::get_group_by_gid(name.parse().ok()?);
    let group = uzers::get_group_by_name(name)
        .or_else(by_number)
        .ok_or_else(unknown)?;
    if group.gid() != rustix::process::getegid().as_raw() {
        command.gid(group.gid());
    }
    Ok(())
}

/// Lines `NAME=value`; `#` or `;` begins a comment line, `export` before a name and quotes around a whole
/// value are taken off. Nothing is expanded.
///
/// # Errors
/// If it cannot be read, or a line is of another form; its content is never quoted.
pub(crate) fn read_env_file(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("env_file {}: {error}", path.display()),
        )
    };
    let text = fs::read_to_string(path).map_err(named)?;
    let mut variables = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let wrong = || {
            let text = format!("line {} is not NAME=value", index + 1);
            named(io::Error::new(io::ErrorKind::InvalidData, text))
        };
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or_else(wrong)?;
        let name = name.trim();
        if !is_name(name) || value.contains('\0') {
            return Err(wrong());
        }
        variables.insert(name.to_owned(), unquoted(value.trim()).to_owned());
    }
    Ok(variables)
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let begins = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    begins && name.bytes().all(allowed)
}

fn unquoted(value: &str) -> &str {
    let inside = |quote: char| {
        let rest = value.strip_prefix(quote)?;
        rest.strip_suffix(quote)
    };
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> io::Result<BTreeMap<String, String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file.as_file(), text.as_bytes()).unwrap();
        read_env_file(file.path())
    }

    #[test]
    fn an_env_file_is_read_as_it_is_written() {
        let text = "# c\n\nA=1\nexport B = \"x y\"\nC='#'\nD=a=b\nE=\n";
        let read = parsed(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "x y"),
            ("C", "#"),
            ("D", "a=b"),
            ("E", ""),
        ];
        assert_eq!(read.len(), expected.len());
        for (name, value) in expected {
            assert_eq!(read[name], value);
        }
    }

    #[test]
    fn a_line_that_is_no_variable_is_an_error_that_does_not_quote_it() {
        for text in [
            "A=1\nhunter2\n",
            "A=1\n1B=hunter2\n",
            "A B=hunter2",
            "A=1\n=hunter2",
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(
                error.contains("line ") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
