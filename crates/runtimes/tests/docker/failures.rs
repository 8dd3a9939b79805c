//! Engines that are not there, that hang, that go away in the middle.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use rekindle_runtimes::docker::{Docker, Endpoint};
use rekindle_runtimes::{ExecCommand, ExecStreams, LogRequest, Runtime as _, RuntimeError};
use rekindle_testing::temp_dir;

use crate::project::{sh, shop};

fn unreachable(socket: &Path) -> RuntimeError {
    let error = Docker::at(Endpoint::Socket(socket.into()), "shop")
        .list()
        .unwrap_err();
    assert!(
        matches!(error, RuntimeError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains(&socket.display().to_string()),
        "{error}"
    );
    error
}

#[test]
fn a_socket_that_is_missing_or_where_nobody_listens_is_told_with_what_to_do() {
    let dir = temp_dir().unwrap();
    let socket = dir.path().join("docker.sock");
    assert!(unreachable(&socket).hint().unwrap().contains("DOCKER_HOST"));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(
        unreachable(&socket)
            .hint()
            .unwrap()
            .contains("systemctl status docker")
    );
}

/// Another process of this test, as a user who may not use the socket.
#[test]
#[ignore = "run by another test"]
fn child_that_may_not() {
    let Ok(socket) = std::env::var("REKINDLE_TEST_SOCKET") else {
        return;
    };
    let error = unreachable(Path::new(&socket));
    assert!(
        error.hint().unwrap().contains("usermod -aG docker"),
        "{error:?}"
    );
    println!("refused as it should be");
}

#[test]
fn a_socket_that_one_may_not_use_is_told_with_the_group() {
    if !rustix::process::geteuid().is_root() {
        rekindle_testing::skip::record("only root can run a process as another user");
        return;
    }
    let dir = temp_dir().unwrap();
    let socket = dir.path().join("docker.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).unwrap();
    // The program itself may lie where others cannot enter.
    let program = dir.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = Command::new("setpriv");
    child
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program);
    child.args([
        "--exact",
        "failures::child_that_may_not",
        "--ignored",
        "--nocapture",
    ]);
    let output = child
        .env("REKINDLE_TEST_SOCKET", &socket)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("refused as it should be"),
        "{said}"
    );
}

/// Writes one line of output and then lets the engine be killed.
struct Then<F: FnMut()> {
    once: Option<F>,
    seen: usize,
}

impl<F: FnMut()> Write for Then<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen += bytes.len();
        if let Some(mut act) = self.once.take() {
            act();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_engine_that_is_killed_in_the_middle_of_a_command_a_log_or_an_archive_is_an_error_each_time() {
    let Some(mut shop) = shop() else { return };
    sh(
        &shop.docker,
        "app",
        "head -c 30000000 /dev/urandom >/data/big",
    );
    let storage = shop.docker.storage("app").unwrap();
    let data = storage
        .iter()
        .find(|one| one.name == "shop_files")
        .unwrap()
        .clone();

    let engine = &shop.engine;
    let endless = ExecCommand {
        argv: ["sh", "-c", "while :; do echo more; sleep 0.1; done"]
            .map(str::to_owned)
            .into(),
        ..ExecCommand::default()
    };
    let kill = || engine.kill().unwrap();
    let mut out = Then {
        once: Some(kill),
        seen: 0,
    };
    let streams = ExecStreams {
        stdin: None,
        stdout: &mut out,
        stderr: &mut io::sink(),
    };
    let error = shop.docker.exec("app", &endless, streams).unwrap_err();
    assert!(
        matches!(error, RuntimeError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(matches!(
        shop.docker.list(),
        Err(RuntimeError::Unreachable { .. })
    ));

    shop.engine.start_daemon().unwrap();
    shop.docker.start("app").unwrap();
    let mut access = shop.docker.open_storage("app", &data).unwrap();
    let mut archive = access.read(Path::new("")).unwrap();
    let mut first = vec![0; 1000];
    archive.read_exact(&mut first).unwrap();
    shop.engine.kill().unwrap();
    let error = io::copy(&mut archive, &mut io::sink()).unwrap_err();
    assert!(!error.to_string().is_empty());
    drop(archive);
    drop(access);

    shop.engine.start_daemon().unwrap();
    shop.docker.start("cache").unwrap();
    shop.docker.start("app").unwrap();
    let (engine, docker) = (&shop.engine, &shop.docker);
    let follow = LogRequest {
        follow: true,
        ..LogRequest::default()
    };
    let mut out = Then {
        once: Some(|| engine.kill().unwrap()),
        seen: 0,
    };
    let error = docker.logs("cache", &follow, &mut out).unwrap_err();
    assert!(
        matches!(error, RuntimeError::Unreachable { .. }),
        "{error:?}"
    );
}
