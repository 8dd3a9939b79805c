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

/// How a certificate is that is made for a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// For `localhost` and 127.0.0.1, as server and as client.
    Good,
    /// As [`Good`](Self::Good), and long expired.
    Expired,
    /// For a host of another name.
    OtherName,
    /// For clients only.
    ClientOnly,
    /// As [`Good`](Self::Good), of an authority that nobody knows.
    OtherAuthority,
}

impl Leaf {
    fn names(self) -> &'static str {
        match self {
            Self::OtherName => "subjectAltName=DNS:elsewhere.example",
            _ => "subjectAltName=DNS:localhost,IP:127.0.0.1",
        }
    }

    fn uses(self) -> &'static str {
        match self {
            Self::ClientOnly => "extendedKeyUsage=clientAuth",
            _ => "extendedKeyUsage=serverAuth,clientAuth",
        }
    }

    /// The first and the last moment of its life.
    fn life(self) -> (&'static str, &'static str) {
        match self {
            Self::Expired => ("20200101000000Z", "20200102000000Z"),
            _ => ("20200101000000Z", "20991231000000Z"),
        }
    }
}

/// Makes a certificate and its key in `dir`, signed by the authority in `authority` (`ca.pem`, `ca.key`).
pub(crate) fn issue(
    authority: &Path,
    dir: &Path,
    leaf: Leaf,
) -> Result<(PathBuf, PathBuf), TestingError> {
    fs::create_dir_all(dir).map_err(TestingError::file("create", dir))?;
    let (certificate, key) = (dir.join("leaf.pem"), dir.join("leaf.key"));
    let (request, settings) = (dir.join("leaf.csr"), dir.join("ca.cnf"));
    let here = dir.display();
    let text = format!(
        "[ca]\ndefault_ca = d\n[d]\ndatabase = {here}/index\nnew_certs_dir = {here}\nrand_serial = yes\npolicy = p\n\
         copy_extensions = copy\n[p]\ncommonName = supplied\n"
    );
    for (path, text) in [(&settings, text.as_str()), (&dir.join("index"), "")] {
        fs::write(path, text).map_err(TestingError::file("write", path))?;
    }
    let mut asking = Command::new("openssl");
    asking.args([
        "req", "-new", "-newkey", "ec", "-nodes", "-subj", "/CN=leaf",
    ]);
    asking.args(["-pkeyopt", "ec_paramgen_curve:P-256"]);
    asking.args(["-addext", leaf.names(), "-addext", leaf.uses()]);
    asking.arg("-keyout").arg(&key).arg("-out").arg(&request);
    run(&mut asking)?;
    let (from, until) = leaf.life();
    let mut signing = Command::new("openssl");
    signing.args(["ca", "-batch", "-notext", "-md", "sha256"]);
    signing.args(["-startdate", from, "-enddate", until]);
    signing
        .arg("-config")
        .arg(&settings)
        .arg("-in")
        .arg(&request);
    signing.arg("-cert").arg(authority.join("ca.pem"));
    signing.arg("-keyfile").arg(authority.join("ca.key"));
    run(signing.arg("-out").arg(&certificate))?;
    Ok((certificate, key))
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
