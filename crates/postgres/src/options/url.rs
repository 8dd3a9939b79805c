//! Connection URLs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::{ConnectOptions, DEFAULT_SOCKET_DIR, Host};
use crate::error::Error;

pub(super) fn parse(url: &str) -> Result<ConnectOptions, Error> {
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"))
        .ok_or_else(|| refuse("it must begin with postgres://"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    // A password may contain an unescaped `@`, a host may not.
    let (login, place) = match authority.rsplit_once('@') {
        Some((login, place)) => (login, place),
        None => ("", authority),
    };
    let mut options = ConnectOptions::for_socket(Path::new(DEFAULT_SOCKET_DIR));
    set_login(&mut options, login)?;
    set_place(&mut options, place)?;
    options.database = decode(database)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| refuse(format!("`{pair}` has no value")))?;
        set_parameter(&mut options, &decode(key)?, decode(value)?)?;
    }
    fill_defaults(&mut options)?;
    Ok(options)
}

fn set_login(options: &mut ConnectOptions, login: &str) -> Result<(), Error> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    options.user = decode(user)?;
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        options.password = Some(Zeroizing::new(decode(password)?));
    }
    Ok(())
}

fn set_place(options: &mut ConnectOptions, place: &str) -> Result<(), Error> {
    if place.contains(',') {
        return Err(refuse("several hosts are not supported; name one"));
    }
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest
                .split_once(']')
                .ok_or_else(|| refuse("`[` without `]` in the host"))?;
            (host, after.strip_prefix(':').unwrap_or(after))
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    set_host(options, decode(host)?);
    if !port.is_empty() {
        options.port = parse_port(port)?;
    }
    Ok(())
}

fn set_host(options: &mut ConnectOptions, host: String) {
    options.host = match host.as_str() {
        "" => Host::Unix(PathBuf::from(DEFAULT_SOCKET_DIR)),
        path if path.starts_with('/') => Host::Unix(PathBuf::from(path)),
        _ => Host::Tcp(host),
    };
}

fn set_parameter(options: &mut ConnectOptions, key: &str, value: String) -> Result<(), Error> {
    match key {
        "host" => set_host(options, value),
        "port" => options.port = parse_port(&value)?,
        "user" => options.user = value,
        "password" => options.password = Some(Zeroizing::new(value)),
        "dbname" => options.database = value,
        "sslmode" => options.ssl_mode = value.parse()?,
        "sslrootcert" if value == "system" => options.ssl_root_cert = None,
        "sslrootcert" => options.ssl_root_cert = Some(PathBuf::from(value)),
        "connect_timeout" => options.connect_timeout = parse_seconds(&value)?,
        "application_name" => options.application_name = value,
        other => return Err(refuse(format!("parameter `{other}` is not supported"))),
    }
    Ok(())
}

/// libpq takes 0 for "wait for ever", which a backup should not; then our default stays.
fn parse_seconds(value: &str) -> Result<Duration, Error> {
    match value.parse::<u64>() {
        Ok(0) => Ok(Duration::from_secs(15)),
        Ok(seconds) => Ok(Duration::from_secs(seconds.min(86_400))),
        Err(_) => Err(refuse(format!(
            "connect_timeout `{value}` is not a number of seconds"
        ))),
    }
}

fn parse_port(text: &str) -> Result<u16, Error> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(refuse("the port is not a number from 1 to 65535")),
    }
}

fn fill_defaults(options: &mut ConnectOptions) -> Result<(), Error> {
    if options.user.is_empty() {
        options.user = default_user().ok_or_else(|| refuse("it names no user"))?;
    }
    if options.database.is_empty() {
        options.database = options.user.clone();
    }
    let holds_nul = |text: &str| text.contains('\0');
    let password = options.password.as_deref().map_or("", String::as_str);
    if [
        &options.user,
        &options.database,
        password,
        &options.application_name,
    ]
    .into_iter()
    .any(holds_nul)
    {
        return Err(refuse("it contains a zero byte"));
    }
    Ok(())
}

/// `PGUSER`, else who we are, as libpq does.
fn default_user() -> Option<String> {
    std::env::var("PGUSER")
        .ok()
        .filter(|user| !user.is_empty())
        .or_else(|| {
            let own = rustix::process::geteuid().as_raw().to_string();
            let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
            passwd.lines().find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                (fields.nth(1)? == own).then(|| name.to_owned())
            })
        })
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                bytes.push(hex_byte(*high, *low).ok_or_else(bad_escape)?);
                rest = after;
            }
            (b'%', _) => return Err(bad_escape()),
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8 once decoded"))
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Does not show the place: it may lie within the password.
fn bad_escape() -> Error {
    refuse("a `%` is not followed by two hexadecimal digits; write a percent sign as %25")
}

fn refuse(reason: impl Into<String>) -> Error {
    Error::Url {
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SslMode;

    #[test]
    fn a_full_url_is_read() {
        let url = "postgres://b%40r:p%3Aw%2F%25@db.example:6432/my%20db?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=7";
        let options = parse(url).unwrap();
        assert_eq!(options.host, Host::Tcp("db.example".into()));
        assert_eq!(
            (
                options.port,
                options.user.as_str(),
                options.database.as_str()
            ),
            (6432, "b@r", "my db")
        );
        assert_eq!(options.password.as_ref().unwrap().as_str(), "p:w/%");
        assert_eq!(options.ssl_mode, SslMode::VerifyFull);
        assert_eq!(options.ssl_root_cert, Some("/ca.pem".into()));
        assert_eq!(options.connect_timeout, Duration::from_secs(7));
    }

    #[test]
    fn sockets_are_named_in_three_ways() {
        let socket = |url: &str| parse(url).unwrap().address();
        assert_eq!(
            socket("postgres://u@/db"),
            "/var/run/postgresql/.s.PGSQL.5432"
        );
        assert_eq!(
            socket("postgres://u@%2Ftmp%2Fpg:5433/db"),
            "/tmp/pg/.s.PGSQL.5433"
        );
        assert_eq!(
            socket("postgres:///db?host=/tmp/pg&user=u"),
            "/tmp/pg/.s.PGSQL.5432"
        );
    }

    #[test]
    fn ipv6_addresses_keep_their_colons() {
        let options = parse("postgresql://u@[::1]:5433/db").unwrap();
        assert_eq!(options.host, Host::Tcp("::1".into()));
        assert_eq!(options.address(), "[::1]:5433");
    }

    #[test]
    fn the_database_defaults_to_the_user() {
        assert_eq!(parse("postgres://u@h").unwrap().database, "u");
    }

    #[test]
    fn a_password_is_shown_by_nothing() {
        let options = parse("postgres://u:s3cret@h/db").unwrap();
        assert!(!format!("{options:?} {}", options.redacted()).contains("s3cret"));
        let error = parse("postgres://u:s3cret%@h/db").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }

    #[test]
    fn bad_urls_are_refused_with_a_reason() {
        for url in [
            "mysql://h",
            "postgres://u@h:0/",
            "postgres://u@h:x/",
            "postgres://u@a,b/",
            "postgres://u@h/?x=1",
            "postgres://u@h/?sslmode=maybe",
            "postgres://u@[::1/db",
            "postgres://u%00@h/db",
        ] {
            assert!(matches!(parse(url), Err(Error::Url { .. })), "{url}");
        }
    }
}
