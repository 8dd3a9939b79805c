//! An engine that takes requests and does not answer.

use std::time::{Duration, Instant};

use rekindle_runtimes::{ExecCommand, ExecStreams, RunState, Runtime as _, RuntimeError};

use crate::project::{sh, shop};

#[test]
fn an_engine_that_hangs_is_given_up_and_one_that_goes_on_is_used_again() {
    let Some(shop) = shop() else { return };
    let silent = ExecCommand {
        argv: ["sleep", "1000"].map(str::to_owned).into(),
        limit: Some(Duration::from_secs(300)),
        ..ExecCommand::default()
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let streams = ExecStreams {
                stdin: None,
                stdout: &mut out,
                stderr: &mut err,
            };
            shop.docker.exec("app", &silent, streams)
        });
        crate::project::until("the command", || {
            sh(&shop.docker, "app", "ps -o args")
                .1
                .contains("sleep 1000")
        });
        shop.engine.freeze().unwrap();
        let error = running.join().unwrap().unwrap_err();
        assert!(
            matches!(error, RuntimeError::Unreachable { .. }),
            "{error:?}"
        );
        assert!(error.hint().unwrap().contains("docker ps"), "{error:?}");
    });
    assert!(
        start.elapsed() < Duration::from_secs(120),
        "and not after the command's own limit"
    );
    shop.engine.thaw().unwrap();
    assert_eq!(shop.docker.state("app").unwrap().run, RunState::Running);
}
