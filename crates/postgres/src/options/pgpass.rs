//! The password file. Source: PostgreSQL manual, "The Password File".

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{ConnectOptions, DEFAULT_SOCKET_DIR, Host};

/// The password for this server and `database`, from the first line that fits.
pub(super) fn find(options: &ConnectOptions, database: &str) -> Option<Zeroizing<String>> {
    let path = path()?;
    let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "password file ignored: others may read it; chmod 0600");
        return None;
    }
    let text = Zeroizing::new(fs::read_to_string(&path).ok()?);
    let port = options.port.to_string();
    let wanted = [
        host_name(options),
        port.as_str(),
        database,
        options.user.as_str(),
    ];
    text.lines()
        .find_map(|line| password_if_fitting(line, wanted))
}

fn path() -> Option<PathBuf> {
    match std::env::var_os("PGPASSFILE") {
        Some(path) => Some(PathBuf::from(path)),
        None => Some(PathBuf::from(std::env::var_os("HOME")?).join(".pgpass")),
    }
}

/// The default socket directory is called `localhost` in the file.
fn host_name(options: &ConnectOptions) -> &str {
    match &options.host {
        Host::Tcp(host) => host,
        Host::Unix(path) if path == Path::new(DEFAULT_SOCKET_DIR) => "localhost",
        Host::Unix(path) => path.to_str().unwrap_or_default(),
    }
}

fn password_if_fitting(line: &str, wanted: [&str; 4]) -> Option<Zeroizing<String>> {
    if line.starts_with('#') {
        return None;
    }
    let fields = fields(line);
    let [host, port, database, user, password, ..] = fields.as_slice() else {
        return None;
    };
    let fits = |field: &str, wanted: &str| field == "*" || unescaped(field) == wanted;
    let all = [host, port, database, user]
        .into_iter()
        .zip(wanted)
        .all(|(field, wanted)| fits(field, wanted));
    all.then(|| Zeroizing::new(unescaped(password)))
}

/// Splits at colons that no backslash precedes; escapes stay in.
fn fields(line: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b':' => {
                fields.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&line[start..]);
    fields
}

fn unescaped(field: &str) -> String {
    let mut characters = field.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(line: &str) -> Option<String> {
        let found = password_if_fitting(line, ["db.example", "5432", "shop", "bob"]);
        found.map(|password| password.as_str().to_owned())
    }

    #[test]
    fn a_line_fits_by_name_or_star() {
        assert_eq!(
            password("db.example:5432:shop:bob:secret"),
            Some("secret".into())
        );
        assert_eq!(password("*:*:*:bob:a\\:b\\\\c"), Some("a:b\\c".into()));
        assert_eq!(password("db.example:5433:shop:bob:secret"), None);
        assert_eq!(password("#*:*:*:*:secret"), None);
        assert_eq!(password("*:*:*"), None);
    }
}
