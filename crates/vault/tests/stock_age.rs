//! The stock `age` program opens what we seal, and we open what it seals.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

use std::{fs, path::Path};

use rekindle_testing::{age as stock, data::Random, skip, temp_dir};
use rekindle_vault::age::{self, AgeError, Identity};

/// Around every boundary of the format's pieces of 64 KiB.
const LENGTHS: [usize; 8] = [0, 1, 1000, 65_535, 65_536, 65_537, 131_072, 1_000_000];

/// A new key of `age-keygen`, read by us; `None` where age is missing.
fn new_key(file: &Path) -> Option<Identity> {
    let recipient = skip::unless_available(stock::keygen(file))?;
    let identity = Identity::find_in(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(identity.recipient().to_string(), recipient);
    Some(identity)
}

#[test]
fn files_for_a_key_pass_in_both_directions() {
    let dir = temp_dir().unwrap();
    let file = dir.path().join("key");
    let Some(identity) = new_key(&file) else {
        return;
    };
    let file = file.to_str().unwrap();
    let recipient = identity.recipient().to_string();
    for length in LENGTHS {
        let plain = Random::new(length as u64).bytes(length);
        let ours = age::seal(&[identity.recipient()], plain.clone()).unwrap();
        assert!(
            stock::age(["-d", "-i", file], &ours).unwrap() == plain,
            "{length}"
        );
        let theirs = stock::age(["-r", &recipient], &plain).unwrap();
        let opened = age::open(std::slice::from_ref(&identity), theirs).unwrap();
        assert!(opened == plain, "{length}");
    }
}

#[test]
fn files_for_several_keys_pass_in_both_directions() {
    let dir = temp_dir().unwrap();
    let files = ["first", "second"].map(|name| dir.path().join(name));
    let Some(first) = new_key(&files[0]) else {
        return;
    };
    let second = new_key(&files[1]).unwrap();
    let recipients = [first.recipient(), second.recipient()];
    let ours = age::seal(&recipients, b"a text".to_vec()).unwrap();
    let [a, b] = recipients.map(|recipient| recipient.to_string());
    let theirs = stock::age(["-r", &a, "-r", &b], b"a text").unwrap();
    for (identity, file) in [first, second].into_iter().zip(&files) {
        let opened = stock::age(["-d", "-i", file.to_str().unwrap()], &ours).unwrap();
        assert_eq!(opened, b"a text");
        assert_eq!(age::open(&[identity], theirs.clone()).unwrap(), b"a text");
    }
    let stranger = Identity::random().unwrap();
    let error = age::open(&[stranger], theirs).unwrap_err();
    assert!(matches!(error, AgeError::NoneFits), "{error}");
}

#[test]
fn files_for_a_password_pass_in_both_directions() {
    let dir = temp_dir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (password, plain) = ("Kühe im Nebel; $HOME", b"what nobody else may read");
    let ours = age::seal_with_passphrase(password, 15, plain).unwrap();
    fs::write(path("ours.age"), ours).unwrap();
    fs::write(path("plain"), plain).unwrap();
    let typed = format!("{password}\n");
    let run = |shell: &str, typed: &str| stock::on_a_terminal(dir.path(), shell, typed);
    let Some(_) = skip::unless_available(run("age -d -o opened ours.age", &typed)) else {
        return;
    };
    assert_eq!(fs::read(path("opened")).unwrap(), plain);
    run("age -p -o theirs.age plain", &typed.repeat(2)).unwrap();
    let theirs = fs::read(path("theirs.age")).unwrap();
    let opened = age::open_with_passphrase(password, theirs.clone()).unwrap();
    assert_eq!(opened, plain);
    let error = age::open_with_passphrase("Kühe im Nebel", theirs).unwrap_err();
    assert!(matches!(error, AgeError::WrongPassphrase), "{error}");
}
