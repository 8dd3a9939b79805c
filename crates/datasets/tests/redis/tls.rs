//! Servers that speak nothing but TLS, also when they replicate.

use std::path::Path;
use std::sync::Arc;

use rekindle_datasets::redis::{RedisError, RedisServer};
use rekindle_datasets::{CaptureError, Dataset, InPlaceError};
use rekindle_testing::redis::{Flavour, Leaf, Redis};
use rekindle_testing::skip::unless_available;
use rekindle_testing::temp_dir;
use rekindle_vault::Progress;

use super::common::{Remembered, capture, described, new_vault};

/// A server without a plain port, which wants certificates of its clients.
fn start(certificate: Leaf) -> Option<Redis> {
    unless_available(Flavour::Redis7.program())?;
    let builder = Redis::builder(Flavour::Redis7).tls_only(certificate);
    Some(builder.setting("tls-auth-clients", "yes").start().unwrap())
}

/// The server as it is described by who shows it such a certificate.
fn shown(redis: &Redis, certificate: Option<Leaf>, state: &Path) -> RedisServer {
    let url = format!("rediss://localhost:{}", redis.tls_port().unwrap());
    let mut more = format!(", ca_file: \"{}\"", redis.ca_file().display());
    if let Some(leaf) = certificate {
        let (cert, key) = redis.issue(leaf).unwrap();
        let (cert, key) = (cert.display(), key.display());
        more += &format!(", cert_file: \"{cert}\", key_file: \"{key}\"");
    }
    described(&url, &more, state)
}

fn tls_error(error: &CaptureError) -> &str {
    match error {
        CaptureError::Redis {
            source: RedisError::Tls(message),
            ..
        } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_with_nothing_but_tls_is_captured_and_takes_a_point_and_gives_back_what_it_had() {
    let Some(redis) = start(Leaf::Good) else {
        return;
    };
    for (masteruser, masterauth) in [("", ""), ("", "word"), ("rep", "word")] {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        for (name, value) in [("masteruser", masteruser), ("masterauth", masterauth)] {
            let set: [&[u8]; 4] = [b"CONFIG", b"SET", name.as_bytes(), value.as_bytes()];
            redis.connect().unwrap().call(&set).unwrap();
        }
        redis.call("FLUSHALL").unwrap();
        redis.fill().unwrap();
        let before = redis.content().unwrap();
        let dataset = shown(&redis, Some(Leaf::Good), &dir.path().join("state"));
        let point = capture(&vault, &dataset).unwrap();
        redis.call("SET only-after 1").unwrap();
        let changed = redis.content().unwrap();
        let progress = Arc::new(Progress::default());
        let source = point.source(&progress);
        dataset.plan_in_place(&source).unwrap();
        let mut journal = Remembered::default();
        dataset.restore_in_place(&source, &mut journal).unwrap();
        assert_eq!(redis.content().unwrap(), before);
        let role = redis.info("role").unwrap();
        assert_eq!(role.as_deref(), Some("master"));
        let word = redis.call("CONFIG GET masterauth").unwrap();
        assert_eq!(word.items()[1].text(), masterauth, "as it was");
        dataset.undo_in_place(journal.last()).unwrap();
        assert_eq!(redis.content().unwrap(), changed);
    }
}

#[test]
fn a_server_that_does_not_trust_our_certificate_keeps_its_data_and_that_is_told() {
    let Some(redis) = start(Leaf::Good) else {
        return;
    };
    let dir = temp_dir().unwrap();
    let vault = new_vault(&dir.path().join("vault"));
    redis.call("SET a old").unwrap();
    let good = shown(&redis, Some(Leaf::Good), dir.path());
    let point = capture(&vault, &good).unwrap();
    redis.call("SET a new").unwrap();
    // It lets us in, and would not take us for its master.
    redis.call("CONFIG SET tls-auth-clients no").unwrap();
    let progress = Arc::new(Progress::default());
    let source = point.source(&progress);
    let state = dir.path().join("state");
    for leaf in [Leaf::OtherAuthority, Leaf::Expired, Leaf::ClientOnly] {
        let dataset = shown(&redis, Some(leaf), &state);
        let mut journal = Remembered::default();
        let error = dataset.restore_in_place(&source, &mut journal).unwrap_err();
        let text = rekindle_datasets::with_causes(&error);
        assert!(
            text.contains("came to take the data by TLS"),
            "{leaf:?}: {text}"
        );
        assert!(error.hint().unwrap().contains("tls-ca-cert-file"), "{text}");
        assert!(journal.last().is_untouched(), "{leaf:?}");
        let role = redis.info("role").unwrap();
        assert_eq!(role.as_deref(), Some("master"), "{leaf:?}");
        assert_eq!(redis.call("GET a").unwrap().text(), "new", "{leaf:?}");
        dataset.discard_aside(journal.last()).unwrap();
    }
    let left = std::fs::read_dir(&state).unwrap().count();
    assert_eq!(left, 0, "nothing is left of what came to nothing");
    let without = shown(&redis, None, &state);
    let error = without.plan_in_place(&source).unwrap_err();
    assert!(matches!(error, InPlaceError::Refused { .. }), "{error}");
    assert!(error.hint().unwrap().contains("`cert_file`"), "{error}");
}

#[test]
fn what_is_wrong_between_us_and_a_server_with_tls_is_told_with_what_to_do() {
    let Some(redis) = start(Leaf::Good) else {
        return;
    };
    let dir = temp_dir().unwrap();
    let vault = new_vault(&dir.path().join("vault"));
    for (certificate, hint) in [
        (None, "`tls-auth-clients yes`"),
        (Some(Leaf::OtherAuthority), "`tls-auth-clients yes`"),
    ] {
        let dataset = shown(&redis, certificate, dir.path());
        let error = capture(&vault, &dataset).err().unwrap();
        let message = tls_error(&error);
        assert!(error.hint().unwrap().contains(hint), "{message}");
    }
    for (certificate, hint) in [
        (Leaf::Expired, "renew"),
        (Leaf::OtherName, "name the server in `url`"),
    ] {
        let redis = start(certificate).unwrap();
        let dataset = shown(&redis, Some(Leaf::Good), dir.path());
        let error = capture(&vault, &dataset).err().unwrap();
        let message = tls_error(&error);
        assert!(error.hint().unwrap().contains(hint), "{message}");
    }
    let other = start(Leaf::Good).unwrap();
    let url = format!("rediss://localhost:{}", redis.tls_port().unwrap());
    let of_other = format!(", ca_file: \"{}\"", other.ca_file().display());
    let error = capture(&vault, &described(&url, &of_other, dir.path()));
    let error = error.err().unwrap();
    let message = tls_error(&error);
    assert!(message.contains("invalid peer certificate"), "{message}");
    assert!(error.hint().unwrap().contains("`ca_file`"), "{message}");
}
