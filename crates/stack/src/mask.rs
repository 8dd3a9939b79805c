//! Passwords in URLs, also in URLs that are not quite right.

/// Parameters of URLs whose values may be shown: libpq's without its passwords, and a vault's.
const OPEN_PARAMETERS: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "endpoint",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "options",
    "port",
    "region",
    "replication",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// `text` with anything masked that is, or may be, a password of a URL in it.
///
/// Errs on the side of masking: it is used for text that has not been understood, too.
pub(crate) fn mask(text: &str) -> String {
    // In a password without percent-encoding a `?` may stand before the last `@`.
    let start = text.rfind('@').unwrap_or(0);
    let (address, query) = match text[start..]
        .find(['?', '&'])
        .filter(|_| text.contains('/'))
    {
        Some(at) => (&text[..start + at], Some(&text[start + at + 1..])),
        None => (text, None),
    };
    let separator = text[address.len()..].chars().next().unwrap_or('?');
    let mut shown = mask_address(address);
    for (index, pair) in query.iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if index == 0 { separator } else { '&' });
        match pair.split_once('=') {
            // A second `=` is a sign that the `&` before another parameter was forgotten.
            Some((key, value)) if !OPEN_PARAMETERS.contains(&key) || value.contains('=') => {
                shown.push_str(key);
                shown.push_str("=***");
            }
            Some(_) => shown.push_str(pair),
            None if pair.is_empty() => {}
            None => shown.push_str("***"),
        }
    }
    shown
}

/// Masks from the first colon of what looks like user information to its last `@`; without an `@`,
/// a port that is no number, since it may be a password whose `@` was forgotten.
fn mask_address(text: &str) -> String {
    let mut shown = text.to_owned();
    let authority = text.find("//").map(|at| at + 2);
    if let Some(at) = text.rfind('@') {
        let begin = authority.unwrap_or(0).min(at);
        if let Some(colon) = text[begin..at].find(':') {
            shown.replace_range(begin + colon + 1..at, "***");
        }
    } else if let Some(begin) = authority {
        let hosts = text[begin..].rfind(']').map_or(begin, |at| begin + at);
        if let Some(colon) = text[hosts..].find(':').map(|at| hosts + at + 1) {
            let end = text[colon..].find('/').map_or(text.len(), |at| colon + at);
            let is_port = |c: char| c.is_ascii_digit() || ",:".contains(c);
            let is_ports = text[colon..end]
                .split(',')
                .skip(1)
                .all(|host| !host.is_empty())
                && text[colon..end]
                    .split(',')
                    .next()
                    .is_some_and(|port| port.chars().all(is_port));
            if !is_ports {
                shown.replace_range(colon.., "***");
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_sign_does_not_unmask_a_password() {
        for (text, shown) in [
            ("postgres://me:hunter2localhost/db", "postgres://me:***"),
            (
                "postgres:/me:hunter2@localhost/db",
                "postgres:***@localhost/db",
            ),
            (
                "postgres://me:hun?ter2@localhost/db",
                "postgres://me:***@localhost/db",
            ),
            (
                "postgres://h/db?pasword=hunter2&user=u",
                "postgres://h/db?pasword=***&user=u",
            ),
            ("postgres://h/db?hunter2", "postgres://h/db?***"),
            (
                "postgres://a:1,b:2/db?host=x",
                "postgres://a:1,b:2/db?host=x",
            ),
            ("http://[::1]:9000/x", "http://[::1]:9000/x"),
            (
                "select * from t where a = '?'",
                "select * from t where a = '?'",
            ),
        ] {
            assert_eq!(mask(text), shown);
        }
    }
}
