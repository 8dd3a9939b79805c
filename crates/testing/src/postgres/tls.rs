//! A certificate authority and a server certificate for one test, made by the `openssl` program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TestingError;
use crate::process::{give_to_server_owner, run, set_mode};

/// The files a server and its clients need. All are PEM.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Makes a CA and a certificate for `localhost` and 127.0.0.1 in `dir`, good for a day.
    pub(crate) fn create(dir: &Path) -> Result<Self, TestingError> {
        fs::create_dir_all(dir).map_err(TestingError::file("create", dir))?;
        let (ca, ca_key) = (dir.join("ca.pem"), dir.join("ca.key"));
        let (certificate, key) = (dir.join("server.pem"), dir.join("server.key"));
        new_certificate(
            &ca,
            &ca_key,
            "/CN=Test CA",
            &["basicConstraints=critical,CA:TRUE"],
        )
        .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"])
        .run()?;
        new_certificate(
            &certificate,
            &key,
            "/CN=localhost",
            &[
                "basicConstraints=critical,CA:FALSE",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "extendedKeyUsage=serverAuth",
            ],
        )
        .args([
            "-CA".as_ref(),
            ca.as_os_str(),
            "-CAkey".as_ref(),
            ca_key.as_os_str(),
        ])
        .run()?;
        // PostgreSQL refuses a key that others may read.
        set_mode(&key, 0o600)?;
        Ok(Self {
            ca,
            certificate,
            key,
        })
    }

    /// Makes the key that of the user that PostgreSQL runs as.
    pub(crate) fn give_to_server_owner(&self) -> Result<(), TestingError> {
        give_to_server_owner(&self.key)
    }
}

fn new_certificate(certificate: &Path, key: &Path, subject: &str, extensions: &[&str]) -> OpenSsl {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    command.args(["-days", "1", "-subj", subject]);
    command.args([
        "-keyout".as_ref(),
        key.as_os_str(),
        "-out".as_ref(),
        certificate.as_os_str(),
    ]);
    for extension in extensions {
        command.args(["-addext", extension]);
    }
    OpenSsl(command)
}

struct OpenSsl(Command);

impl OpenSsl {
    fn args<A: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.0.args(args);
        self
    }

    fn run(mut self) -> Result<(), TestingError> {
        run(&mut self.0).map(drop)
    }
}
