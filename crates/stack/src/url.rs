//! URLs of services: taken apart far enough to check and to mask them.

use std::{fmt, net::SocketAddr};

use crate::mask::mask;
use crate::secret::Secret;

/// The URL of a service. `Debug` and `Display` mask a password in it; [`Self::expose`] does not.
#[derive(Clone)]
pub struct ServiceUrl {
    whole: Secret,
    masked: String,
    scheme: String,
    user: Option<String>,
    password: Option<Secret>,
    hosts: Vec<(String, Option<u16>)>,
}

/// Why a text is no [`ServiceUrl`]. Never quotes the text, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not of the form `scheme://…`.
    #[error("a URL begins with `{0}://`")]
    NoScheme(String),
    /// A scheme that this service does not speak.
    #[error("the URL's scheme is `{found}`; it must be {wanted}")]
    Scheme {
        /// What the URL begins with.
        found: String,
        /// What it may begin with.
        wanted: String,
    },
    /// Nothing between `//` and the path.
    #[error("the URL names no host")]
    NoHost,
    /// Not a number from 1 to 65535.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    /// White space or control characters, or a `%` without two hexadecimal digits.
    #[error("the URL has a character that must be percent-encoded")]
    Character,
    /// `#…` at the end; usually a `#` in a password.
    #[error("the URL has a `#`; in a password it is written `%23`")]
    Fragment,
}

impl ServiceUrl {
    /// Parses `text`, whose scheme must be one of `schemes`.
    ///
    /// PostgreSQL URLs may name several hosts, or none (the local socket, or `?host=`): libpq's
    /// rules, from the PostgreSQL manual, "Connection URIs".
    ///
    /// # Errors
    /// [`UrlError`]; it never quotes the URL.
    pub fn parse(text: &str, schemes: &[&str]) -> Result<Self, UrlError> {
        let (scheme, rest) = split_scheme(text, schemes)?;
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) || !is_escaped_well(text) {
            return Err(UrlError::Character);
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        // The last `@`: an unencoded one in a password is a mistake, but must not end in a host.
        let (userinfo, hosts) = match rsplit_userinfo(rest, authority) {
            Some((userinfo, after)) => (Some(userinfo), after),
            None => (None, authority),
        };
        let (user, password) = match userinfo.map(|info| info.split_once(':').unwrap_or((info, "")))
        {
            Some((user, password)) => (Some(user), Some(password)),
            None => (None, None),
        };
        let hosts = split_hosts(hosts)?;
        if hosts.is_empty() && !scheme.starts_with("postgres") && scheme != "unix" {
            return Err(UrlError::NoHost);
        }
        Ok(Self {
            whole: Secret::new(text),
            masked: mask(text),
            scheme: scheme.to_owned(),
            user: user.filter(|user| !user.is_empty()).map(decoded),
            password: password
                .filter(|password| !password.is_empty())
                .or_else(|| query(text, "password"))
                .map(|password| Secret::new(decoded(password))),
            hosts,
        })
    }

    /// The URL as it was written, password included.
    pub fn expose(&self) -> &str {
        self.whole.expose()
    }

    /// What stands before `://`, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user, percent-decoded.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, percent-decoded, from before the host or from `?password=`.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The same URL with another host and port in the place of all of its own.
    #[must_use]
    pub fn at_address(&self, address: SocketAddr) -> Self {
        let text = self.whole.expose();
        let start = text.find("://").map_or(0, |at| at + 3);
        let (head, rest) = text.split_at(start);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let end = match rsplit_userinfo(rest, &rest[..end]) {
            // A password may hold a `/`: what follows the last `@` counts.
            Some((userinfo, _)) => {
                let hosts = userinfo.len() + 1;
                hosts + rest[hosts..].find(['/', '?']).unwrap_or(rest.len() - hosts)
            }
            None => end,
        };
        let userinfo = rest[..end].rfind('@').map_or("", |at| &rest[..=at]);
        let whole = format!("{head}{userinfo}{address}{}", &rest[end..]);
        Self {
            masked: mask(&whole),
            whole: Secret::new(whole),
            hosts: vec![(address.ip().to_string(), Some(address.port()))],
            ..self.clone()
        }
    }

    /// Hosts and ports in order, IPv6 addresses without their brackets. Empty only for PostgreSQL and `unix://`.
    pub fn hosts(&self) -> &[(String, Option<u16>)] {
        &self.hosts
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked)
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.masked)
    }
}

fn split_scheme<'a>(text: &'a str, schemes: &[&str]) -> Result<(&'a str, &'a str), UrlError> {
    let first = || schemes.first().copied().unwrap_or("https").to_owned();
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| UrlError::NoScheme(first()))?;
    if schemes.contains(&scheme) {
        return Ok((scheme, rest));
    }
    // A strange scheme is shown only if it cannot be part of a password.
    if scheme.is_empty()
        || !scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+')
    {
        return Err(UrlError::NoScheme(first()));
    }
    let wanted: Vec<_> = schemes.iter().map(|scheme| format!("`{scheme}`")).collect();
    Err(UrlError::Scheme {
        found: scheme.to_owned(),
        wanted: wanted.join(" or "),
    })
}

/// User information and what follows it up to the path. A `/` in a password is caught here too.
fn rsplit_userinfo<'a>(rest: &'a str, authority: &'a str) -> Option<(&'a str, &'a str)> {
    if let Some(found) = authority.rsplit_once('@') {
        return Some(found);
    }
    let before_query = rest.split('?').next().unwrap_or_default();
    let (info, after) = before_query.rsplit_once('@')?;
    info.contains(':')
        .then(|| (info, after.split('/').next().unwrap_or_default()))
}

fn split_hosts(text: &str) -> Result<Vec<(String, Option<u16>)>, UrlError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(split_port).collect()
}

fn split_port(text: &str) -> Result<(String, Option<u16>), UrlError> {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, after)) => (host, Some(after.strip_prefix(':').ok_or(UrlError::Port)?)),
        None => text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let number = |port: &str| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(UrlError::Port),
    };
    Ok((decoded(host), port.map(number).transpose()?))
}

fn query<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, query) = text.split_once('?')?;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

fn is_escaped_well(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|after| after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

/// Percent-decodes; bytes that are not UTF-8 become U+FFFD.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
        match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PG: &[&str] = &["postgres", "postgresql"];

    #[test]
    fn a_postgres_url_is_taken_apart() {
        let url = ServiceUrl::parse("postgres://me:p%40ss@db:5433,[::1]/app?sslmode=require", PG)
            .unwrap();
        assert_eq!(url.user(), Some("me"));
        assert_eq!(url.password().unwrap().expose(), "p@ss");
        assert_eq!(
            url.hosts(),
            [("db".to_owned(), Some(5433)), ("::1".to_owned(), None)]
        );
        assert_eq!(
            url.to_string(),
            "postgres://me:***@db:5433,[::1]/app?sslmode=require"
        );
        let socket = ServiceUrl::parse("postgresql:///app?host=/run/postgresql", PG).unwrap();
        assert!(socket.hosts().is_empty());
    }

    #[test]
    fn a_password_is_masked_wherever_it_stands() {
        for text in [
            "postgres://u:hunter2@h/db",
            "postgres://u:a@hunter2@h/db",
            "postgres://u:a/hunter2@h/db",
            "postgres://h/db?user=u&password=hunter2&sslmode=require",
            "postgres://:hunter2@h",
        ] {
            let url = ServiceUrl::parse(text, PG).unwrap();
            let shown = format!("{url} {url:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(
                url.password().unwrap().expose().contains("hunter2"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_bad_url_is_refused_without_being_quoted() {
        for text in [
            "",
            "hunter2",
            "u:hunter2@h",
            "mysql://u:hunter2@h",
            "postgres://u:hunter2@h:0/",
            "postgres://u:hun ter2@h",
            "postgres://u:hunter2%@h",
            "postgres://u:hunter2#@h",
            "postgres://u:hunter2@h:99999",
            "postgres://:5432/db",
        ] {
            let wrong = ServiceUrl::parse(text, PG).unwrap_err();
            assert!(!wrong.to_string().contains("hunter2"), "{wrong}");
        }
        assert_eq!(
            ServiceUrl::parse("http:///x", &["http"]).unwrap_err(),
            UrlError::NoHost
        );
    }
}
