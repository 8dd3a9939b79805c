//! An engine on a port, by TLS with certificates of both sides.

use std::path::Path;
use std::process::Command;

use rekindle_runtimes::docker::{Docker, Endpoint};
use rekindle_runtimes::{Runtime as _, RuntimeError};
use rekindle_testing::docker::{Engine, Image};
use rekindle_testing::{skip, temp_dir};

use crate::project::run;

fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An authority, and one certificate of it that serves both sides.
fn certificates(dir: &Path) {
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        dir,
        &format!("req -x509 {new} -days 2 -subj /CN=ca -keyout ca-key.pem -out ca.pem"),
    );
    openssl(
        dir,
        &format!("req {new} -subj /CN=localhost -keyout key.pem -out request.pem"),
    );
    std::fs::write(
        dir.join("extensions"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .unwrap();
    openssl(
        dir,
        "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile extensions -out cert.pem",
    );
}

#[test]
fn an_engine_on_a_port_is_used_by_tls_and_refuses_those_without_a_certificate_of_its_authority() {
    let dir = temp_dir().unwrap();
    certificates(dir.path());
    let Some(engine) = skip::unless_available(Engine::start_with_tls(dir.path())) else {
        return;
    };
    if skip::unless_available(engine.load(&Image::App)).is_none() {
        return;
    }
    let compose = "version: '3.8'\nservices: { app: { image: 'rekindle-test/app:1' } }\n";
    let Some(project) = skip::unless_available(engine.project("shop", compose)) else {
        return;
    };
    project.up().unwrap();
    let address = format!("localhost:{}", engine.port().unwrap());
    let tls = |certificates: &Path| {
        let endpoint = Endpoint::Tls {
            address: address.clone(),
            certificates: certificates.into(),
        };
        Docker::at(endpoint, "shop")
    };
    let docker = tls(dir.path());
    assert_eq!(docker.list().unwrap().len(), 1);
    let command = rekindle_runtimes::ExecCommand {
        argv: vec!["cat".into()],
        ..rekindle_runtimes::ExecCommand::default()
    };
    let input = vec![7; 3 << 20];
    let (code, out, _) = run(&docker, "app", &command, Some(&input)).unwrap();
    assert_eq!(
        (code, out.len()),
        (0, input.len()),
        "the end of the input is told through TLS, too"
    );

    let strange = temp_dir().unwrap();
    certificates(strange.path());
    assert!(matches!(
        tls(strange.path()).list(),
        Err(RuntimeError::Unreachable { .. })
    ));
    let error = tls(Path::new("/nowhere")).list().unwrap_err();
    assert!(
        error.hint().unwrap().contains("DOCKER_CERT_PATH"),
        "{error:?}"
    );
}
