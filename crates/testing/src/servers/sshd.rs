//! OpenSSH's server on a port of its own, with keys made for the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Server, listens, needs, start, wait_until};
use crate::TestingError;
use crate::process::{free_port, run, temp_dir};

/// A server that lets the current user in by one key, for SFTP only.
pub struct Sshd {
    port: u16,
    server: Option<Server>,
    dir: TempDir,
}

impl Sshd {
    /// Starts it.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] where OpenSSH's server or client is not installed.
    pub fn start() -> Result<Self, TestingError> {
        for program in ["sshd", "ssh", "ssh-keygen"] {
            needs(program, "OpenSSH")?;
        }
        let dir = temp_dir()?;
        for key in ["host_key", "user_key"] {
            let path = dir.path().join(key);
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path))?;
        }
        // Its directory for separated privileges, which a service would make at boot.
        let separated = Path::new("/run/sshd");
        if !separated.exists() {
            fs::create_dir_all(separated).map_err(TestingError::file("create", separated))?;
        }
        let port = free_port()?;
        let mut sshd = Self {
            port,
            server: None,
            dir,
        };
        sshd.configure()?;
        sshd.resume()?;
        Ok(sshd)
    }

    /// Ends the server; sessions that are open end, too.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts it again after [`stop`](Self::stop), on the same port.
    ///
    /// # Errors
    /// [`TestingError::Server`] if it does not listen.
    pub fn resume(&mut self) -> Result<(), TestingError> {
        let log = self.dir.path().join("sshd.log");
        let mut command = Command::new("/usr/sbin/sshd");
        command
            .args(["-D", "-e", "-f"])
            .arg(self.dir.path().join("sshd_config"));
        self.server = Some(start(&mut command, &log)?);
        let port = self.port;
        wait_until(self.dir.path(), &log, || listens(port))
    }

    /// A configuration of the SSH client that knows this server as `vault-host`.
    pub fn client_config(&self) -> PathBuf {
        self.dir.path().join("ssh_config")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A directory that its user may write to.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the client's configuration lead to another port: a proxy before this server.
    ///
    /// # Errors
    /// [`TestingError::File`].
    pub fn lead_client_to(&self, port: u16) -> Result<(), TestingError> {
        let dir = self.dir.path().display();
        let text = format!(
            "Host vault-host\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {dir}/user_key\n  \
             IdentitiesOnly yes\n  UserKnownHostsFile {dir}/known_hosts\n  \
             GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  HostKeyAlias vault-host\n"
        );
        self.write("ssh_config", &text)
    }

    fn configure(&self) -> Result<(), TestingError> {
        let dir = self.dir.path().display();
        self.write(
            "sshd_config",
            &format!(
                "Port {}\nListenAddress 127.0.0.1\nHostKey {dir}/host_key\nPidFile none\n\
                 AuthorizedKeysFile {dir}/user_key.pub\nStrictModes no\nUsePAM no\n\
                 PermitRootLogin prohibit-password\nPasswordAuthentication no\n\
                 MaxStartups 100\nSubsystem sftp internal-sftp\nForceCommand internal-sftp\n",
                self.port
            ),
        )?;
        let path = self.dir.path().join("host_key.pub");
        let key = fs::read_to_string(&path).map_err(TestingError::file("read", &path))?;
        self.write("known_hosts", &format!("vault-host {key}"))?;
        self.lead_client_to(self.port)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), TestingError> {
        let path = self.dir.path().join(name);
        fs::write(&path, text).map_err(TestingError::file("write", &path))
    }
}
