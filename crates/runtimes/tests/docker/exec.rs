//! Commands inside containers.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use rekindle_runtimes::{ExecCommand, ExecStreams, Runtime as _, RuntimeError};

use crate::project::{run, sh, shop_of, until};

const ONE: &str = "version: '3.8'\nservices: { app: { image: 'rekindle-test/app:1', environment: { APP_MESSAGE: hello } } }\n";

fn command(argv: &[&str]) -> ExecCommand {
    ExecCommand {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecCommand::default()
    }
}

/// Bytes without a pattern, among them all that a protocol might stumble over.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length).map(|_| next().to_le_bytes()[3]).collect()
}

#[test]
fn streams_go_both_ways_byte_for_byte_and_the_end_of_the_input_is_told() {
    let Some(shop) = shop_of(ONE) else { return };
    let input = noise(9 << 20);
    let (code, out, err) = run(&shop.docker, "app", &command(&["cat"]), Some(&input)).unwrap();
    assert_eq!((code, err.len()), (0, 0));
    assert!(
        out == input,
        "{} of {} bytes came back",
        out.len(),
        input.len()
    );
    let (code, out, _) = run(&shop.docker, "app", &command(&["wc", "-c"]), Some(&[])).unwrap();
    assert_eq!(
        (code, out.trim_ascii()),
        (0, &b"0"[..]),
        "an empty input ends, too"
    );
    let sums = "cat | sha256sum; sha256sum </dev/null >&2";
    let (_, out, err) = run(
        &shop.docker,
        "app",
        &command(&["sh", "-c", sums]),
        Some(&[]),
    )
    .unwrap();
    assert_eq!(out, err, "each stream comes out where it belongs");
}

#[test]
fn twenty_mebibytes_of_output_come_whole_beside_complaints() {
    let Some(shop) = shop_of(ONE) else { return };
    let script = "head -c 20971520 /dev/urandom >/tmp/x; sha256sum </tmp/x >&2; cat /tmp/x";
    let (code, out, err) = run(&shop.docker, "app", &command(&["sh", "-c", script]), None).unwrap();
    assert_eq!((code, out.len()), (0, 20 << 20));
    let (_, again, _) = run(&shop.docker, "app", &command(&["sha256sum"]), Some(&out)).unwrap();
    assert_eq!(again, err);
}

#[test]
fn exit_code_user_environment_and_directory_are_as_asked() {
    let Some(shop) = shop_of(ONE) else { return };
    let docker = &shop.docker;
    assert_eq!(
        sh(docker, "app", "echo out; echo err >&2; exit 41"),
        (41, "out\n".into(), "err\n".into())
    );
    assert_eq!(sh(docker, "app", "kill -9 $$").0, 137);
    assert_eq!(
        sh(docker, "app", "printf '\\001\\000\\003' | cat; exit 0").1,
        "\u{1}\0\u{3}"
    );
    let mut own = command(&["sh", "-c", "id -u; pwd; echo $APP_MESSAGE $EXTRA"]);
    own.user = Some("app".into());
    own.directory = Some("/srv".into());
    own.env = vec![("EXTRA".into(), "two words".into())];
    let (_, out, _) = run(docker, "app", &own, None).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "1000\n/srv\nhello two words\n"
    );
}

#[test]
fn a_command_that_cannot_be_run_is_an_error_and_not_an_exit_code() {
    let Some(shop) = shop_of(ONE) else { return };
    let error = run(&shop.docker, "app", &command(&["no-such-program"]), None).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("run no-such-program in `app`: "),
        "{error}"
    );
    assert!(
        error
            .hint()
            .unwrap()
            .contains("the image must have that program"),
        "{error:?}"
    );
    let mut nobody = command(&["true"]);
    nobody.user = Some("stranger".into());
    let error = run(&shop.docker, "app", &nobody, None).unwrap_err();
    assert!(error.to_string().contains("stranger"), "{error}");
}

#[test]
fn at_its_limit_a_command_is_killed_with_all_that_it_started() {
    let Some(shop) = shop_of(ONE) else { return };
    let script = "echo begun; (sleep 4321; echo late) & sleep 4322";
    let mut slow = command(&["sh", "-c", script]);
    slow.limit = Some(Duration::from_secs(1));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let start = Instant::now();
    let streams = ExecStreams {
        stdin: None,
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    let error = shop.docker.exec("app", &slow, streams).unwrap_err();
    assert!(
        matches!(error, RuntimeError::TookTooLong { limit, .. } if limit.as_secs() == 1),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(stdout, b"begun\n");
    let left = sh(
        &shop.docker,
        "app",
        "ps -o args | grep '[s]leep 432' || true",
    )
    .1;
    assert_eq!(left, "", "nothing of it runs");
    assert_eq!(
        shop.docker.state("app").unwrap().run,
        rekindle_runtimes::RunState::Running
    );
}

/// Ends with an error in the middle.
struct Breaking(u32);

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("the disk is gone"))?;
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

#[test]
fn an_input_that_breaks_is_never_taken_for_one_that_ended() {
    let Some(shop) = shop_of(ONE) else { return };
    let taken = command(&["sh", "-c", "cat >/tmp/part && touch /tmp/complete"]);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = ExecStreams {
        stdin: Some(&mut Breaking(5)),
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    let error = shop.docker.exec("app", &taken, streams).unwrap_err();
    assert!(
        matches!(&error, RuntimeError::Io { source, .. } if source.to_string() == "the disk is gone"),
        "{error:?}"
    );
    assert_eq!(sh(&shop.docker, "app", "ls /tmp").1, "part\n");
}

#[test]
fn a_command_that_takes_no_input_ends_before_the_input_does() {
    let Some(shop) = shop_of(ONE) else { return };
    let (code, out, _) = run(
        &shop.docker,
        "app",
        &command(&["head", "-c", "3"]),
        Some(&noise(64 << 20)),
    )
    .unwrap();
    assert_eq!((code, out.len()), (0, 3));
}

#[test]
fn a_service_that_is_stopped_or_frozen_takes_no_command_and_says_what_to_do() {
    let Some(shop) = shop_of(ONE) else { return };
    shop.docker.pause("app").unwrap();
    let error = run(&shop.docker, "app", &command(&["true"]), None).unwrap_err();
    assert!(error.hint().unwrap().contains("resume"), "{error:?}");
    shop.docker.stop("app", Duration::from_secs(1)).unwrap();
    let error = run(&shop.docker, "app", &command(&["true"]), None).unwrap_err();
    assert!(
        error.hint().unwrap().contains("start the service"),
        "{error:?}"
    );
    shop.engine.run(["rm", "--force", "shop_app_1"]);
    until("its removal", || shop.docker.list().unwrap().is_empty());
    let error = run(&shop.docker, "app", &command(&["true"]), None).unwrap_err();
    assert!(matches!(error, RuntimeError::NoService { .. }), "{error}");
}

#[test]
fn the_words_before_a_command_make_it_run_inside_with_secrets_from_the_environment() {
    let Some(shop) = shop_of(ONE) else { return };
    let words = shop
        .docker
        .command_prefix("app", &["SECRET", "NOT_SET"])
        .unwrap()
        .unwrap();
    let mut command = std::process::Command::new(&words[0]);
    command
        .args(&words[1..])
        .args(["sh", "-c", "echo $SECRET ${NOT_SET-unset}; cat"])
        .env("SECRET", "geheim");
    command.stdin(std::fs::File::open("/proc/sys/kernel/ostype").unwrap());
    let output = command.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "geheim unset\nLinux\n"
    );
    assert!(words.iter().all(|word| word != "geheim"));
}
