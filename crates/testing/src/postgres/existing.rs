//! Starting a server on a directory that somebody restored.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::Client;
use super::running::{Process, Ready};
use super::{Postgres, new_home};
use crate::TestingError;
use crate::process::{free_port, give_to_server_owner, make_reachable};

/// A data directory to be started as it is, but where it can do no harm.
///
/// On the command line are port, socket directory, `listen_addresses`, `archive_mode=off` (a copy
/// must never write into the archive of its original), `fsync=off`, and an `hba_file` that trusts
/// the local user. Everything else comes from the directory.
#[derive(Clone, Debug)]
pub struct Existing {
    bin_dir: PathBuf,
    data_dir: PathBuf,
    superuser: String,
    settings: Vec<(String, String)>,
    ready: Ready,
    patience: Duration,
}

impl Existing {
    /// Describes a server of the programs in `bin_dir` on `data_dir`.
    pub fn new(bin_dir: &Path, data_dir: &Path) -> Self {
        Self {
            bin_dir: bin_dir.into(),
            data_dir: data_dir.into(),
            superuser: "postgres".into(),
            settings: Vec::new(),
            ready: Ready::Writable,
            patience: Duration::from_secs(120),
        }
    }

    /// Adds a setting to the command line, where it wins over the directory's own.
    #[must_use]
    pub fn conf(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Names the cluster's superuser; `postgres` by default.
    #[must_use]
    pub fn superuser(mut self, name: &str) -> Self {
        self.superuser = name.into();
        self
    }

    /// Is content with a server that answers while it is still in recovery: a standby.
    #[must_use]
    pub fn as_standby(mut self) -> Self {
        self.ready = Ready::Answers;
        self
    }

    /// Sets how long recovery may take; two minutes by default.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Gives the directory to the servers' user when we are root, starts, and waits.
    ///
    /// # Errors
    /// [`TestingError::Server`] with the end of the log if the server ends or stays in recovery;
    /// [`TestingError::Unexpected`] if the servers' user cannot get to the directory.
    pub fn start(self) -> Result<Postgres, TestingError> {
        hand_over(&self.data_dir)?;
        let home = new_home()?;
        let hba = home.path().join("pg_hba.conf");
        let everyone = "local all all trust\nlocal replication all trust\n\
                        host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n";
        fs::write(&hba, everyone).map_err(TestingError::file("write", &hba))?;
        let mut settings = vec![
            ("archive_mode".into(), "off".into()),
            ("fsync".into(), "off".into()),
            ("hba_file".into(), hba.display().to_string()),
        ];
        settings.extend(self.settings);
        let client = Client {
            bin_dir: self.bin_dir,
            socket_dir: home.path().to_owned(),
            port: free_port()?,
            user: self.superuser,
            password: None,
        };
        let process = Process {
            data_dir: self.data_dir.clone(),
            settings,
            log: home.path().join("server.log"),
            ready: self.ready,
            patience: self.patience,
            child: None,
        };
        let config_dir = self.data_dir;
        let mut postgres = Postgres {
            process,
            client,
            ca: None,
            config_dir,
            home,
        };
        postgres.start()?;
        Ok(postgres)
    }
}

/// Gives PGDATA, and what its links for tablespaces and WAL point to, to the servers' user.
fn hand_over(data_dir: &Path) -> Result<(), TestingError> {
    give_to_server_owner(data_dir)?;
    make_reachable(data_dir)?;
    let mut links = vec![data_dir.join("pg_wal")];
    let tablespaces = data_dir.join("pg_tblspc");
    if let Ok(entries) = fs::read_dir(&tablespaces) {
        links.extend(entries.flatten().map(|entry| entry.path()));
    }
    for link in links {
        let Ok(target) = fs::canonicalize(&link) else {
            continue;
        };
        // What lies within PGDATA was given away with it, and is as reachable as it is.
        let is_outside = !fs::canonicalize(data_dir).is_ok_and(|inside| target.starts_with(inside));
        if link.is_symlink() && is_outside {
            give_to_server_owner(&target)?;
            make_reachable(&target)?;
        }
    }
    Ok(())
}
