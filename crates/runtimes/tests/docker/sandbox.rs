//! Second instances of services.

use std::io::Write as _;
use std::process::{Command, Stdio};

use rekindle_runtimes::{
    ExecCommand, ExecStreams, LogRequest, RunState, Runtime as _, Sandbox, SandboxRequest,
};
use rekindle_testing::temp_dir;

use crate::project::{at, sh, shop, until};

fn said(sandbox: &dyn Sandbox, script: &str) -> String {
    let command = ExecCommand {
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        ..ExecCommand::default()
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = ExecStreams {
        stdin: None,
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    sandbox.exec(&command, streams).unwrap();
    String::from_utf8(stdout).unwrap()
}

#[test]
fn a_sandbox_has_the_image_and_nothing_of_the_service_and_is_gone_when_dropped() {
    let Some(shop) = shop() else { return };
    sh(&shop.docker, "app", "echo precious >/data/x");
    let volumes = || shop.engine.run(["volume", "ls", "--quiet"]).lines().count();
    let before = volumes();
    let dir = temp_dir().unwrap();
    std::fs::write(dir.path().join("given"), "from outside\n").unwrap();
    let request = SandboxRequest {
        env: vec![("EXTRA".into(), "more".into())],
        mounts: vec![(dir.path().into(), "/given".into())],
        ..SandboxRequest::default()
    };
    let mut sandbox = shop.docker.sandbox("app", &request).unwrap();
    assert_eq!(sandbox.state().unwrap().run, RunState::Created);
    sandbox.start().unwrap();
    assert_eq!(
        sandbox.state().unwrap().image_digest,
        shop.docker.state("app").unwrap().image_digest
    );
    assert_eq!(
        said(sandbox.as_ref(), "ls /data /scratch | wc -w"),
        "2\n",
        "only the two names of ls"
    );
    assert_eq!(
        said(
            sandbox.as_ref(),
            "echo $APP_MESSAGE $EXTRA; cat /given/given"
        ),
        "hello more\nfrom outside\n"
    );
    assert_eq!(
        said(sandbox.as_ref(), "ip -o link | grep -vc lo:"),
        "0\n",
        "no network but its own"
    );
    assert_eq!(
        shop.docker.list().unwrap().len(),
        2,
        "it is taken for no service"
    );
    drop(sandbox);
    assert_eq!(volumes(), before);
    assert_eq!(
        shop.engine.run([
            "ps",
            "--all",
            "--quiet",
            "--filter",
            "label=io.rekindle.owner"
        ]),
        ""
    );
    assert_eq!(sh(&shop.docker, "app", "cat /data/x").1, "precious\n");
}

#[test]
fn a_sandbox_runs_another_program_if_told_and_shows_what_it_said() {
    let Some(shop) = shop() else { return };
    let request = SandboxRequest {
        command: Some(
            ["sh", "-c", "echo instead; exit 5"]
                .map(str::to_owned)
                .into(),
        ),
        ..SandboxRequest::default()
    };
    let mut sandbox = shop.docker.sandbox("cache", &request).unwrap();
    sandbox.start().unwrap();
    until("its end", || {
        sandbox.state().unwrap().run == RunState::Failed
    });
    assert_eq!(sandbox.state().unwrap().exit_code, Some(5));
    let mut log = Vec::new();
    sandbox.logs(&LogRequest::default(), &mut log).unwrap();
    assert_eq!(log, b"instead\n");
}

/// Another process of this test: makes a sandbox, says so, and waits to be killed.
#[test]
#[ignore = "run by another test"]
fn child_that_makes_a_sandbox() {
    let Ok(socket) = std::env::var("REKINDLE_TEST_SOCKET") else {
        return;
    };
    let endpoint = rekindle_runtimes::docker::Endpoint::Socket(socket.into());
    let docker = rekindle_runtimes::docker::Docker::at(endpoint, "shop");
    let mut sandbox = docker.sandbox("app", &SandboxRequest::default()).unwrap();
    sandbox.start().unwrap();
    println!("made");
    std::io::stdout().flush().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(600));
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_has_is_not() {
    let Some(shop) = shop() else { return };
    let ours = || {
        shop.engine
            .run(["ps", "--quiet", "--filter", "label=io.rekindle.owner"])
            .lines()
            .count()
    };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sandbox::child_that_makes_a_sandbox",
            "--ignored",
            "--nocapture",
        ])
        .env("REKINDLE_TEST_SOCKET", shop.engine.socket())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the child's sandbox", || ours() == 1);
    let docker = at(&shop.engine, "shop");
    drop(docker.sandbox("app", &SandboxRequest::default()).unwrap());
    assert_eq!(ours(), 1, "its owner lives");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(ours(), 1, "nobody could clean up");
    drop(docker.sandbox("app", &SandboxRequest::default()).unwrap());
    assert_eq!(ours(), 0);
}
