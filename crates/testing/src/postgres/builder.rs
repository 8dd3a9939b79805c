//! Describing and making a new cluster.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::client::{Client, forget_settings};
use super::running::{Process, Ready};
use super::tls::Certificates;
use super::{Installation, Major, Postgres, new_home};
use crate::TestingError;
use crate::process::{as_server_owner, free_port, give_to_server_owner, run, set_mode};

/// How clients prove who they are, over the socket and over TCP alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// They do not.
    Trust,
    /// SCRAM-SHA-256, with this password of the superuser.
    Scram(String),
    /// MD5, with this password of the superuser.
    Md5(String),
    /// The password in clear.
    Clear(String),
}

/// Whether the server speaks TLS over TCP, with a certificate of the test's own CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// It does not.
    Off,
    /// It does if asked.
    Offered,
    /// It refuses TCP clients that do not.
    Required,
}

/// A cluster to be made. Without any choice: no checksums, trust, no TLS, `fsync=off`.
#[derive(Clone, Debug)]
pub struct PostgresBuilder {
    major: Major,
    checksums: bool,
    wal_segment_mib: Option<u32>,
    auth: Auth,
    tls: Tls,
    fsync: bool,
    config_outside: bool,
    superuser: String,
    settings: Vec<(String, String)>,
    hba: Option<String>,
    tablespaces: Vec<String>,
    initdb_args: Vec<String>,
}

impl PostgresBuilder {
    pub(super) fn new(major: Major) -> Self {
        Self {
            major,
            checksums: false,
            wal_segment_mib: None,
            auth: Auth::Trust,
            tls: Tls::Off,
            fsync: false,
            config_outside: false,
            superuser: "postgres".into(),
            settings: Vec::new(),
            hba: None,
            tablespaces: Vec::new(),
            initdb_args: Vec::new(),
        }
    }

    /// Turns page checksums on or off (`initdb -k`).
    #[must_use]
    pub fn checksums(mut self, on: bool) -> Self {
        self.checksums = on;
        self
    }

    /// Sets the size of a WAL segment in MiB, a power of two from 1 to 1024; 16 if not set.
    #[must_use]
    pub fn wal_segment_size(mut self, mib: u32) -> Self {
        self.wal_segment_mib = Some(mib);
        self
    }

    /// Adds a line to `postgresql.conf`; the value is quoted here.
    #[must_use]
    pub fn conf(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Sets how clients authenticate.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Sets whether the server speaks TLS; see [`Installation::has_tls`].
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Writes through to the disk, as a server in production does; off by default, for speed.
    #[must_use]
    pub fn fsync(mut self, on: bool) -> Self {
        self.fsync = on;
        self
    }

    /// Moves the configuration files out of PGDATA, as Debian has them.
    #[must_use]
    pub fn config_outside(mut self, outside: bool) -> Self {
        self.config_outside = outside;
        self
    }

    /// Names the superuser that `initdb` makes; `postgres` by default.
    #[must_use]
    pub fn superuser(mut self, name: &str) -> Self {
        self.superuser = name.into();
        self
    }

    /// Replaces `pg_hba.conf` altogether; lines for the superuser are the caller's business.
    #[must_use]
    pub fn hba(mut self, content: &str) -> Self {
        self.hba = Some(content.into());
        self
    }

    /// Makes a tablespace of this name, in a directory of its own outside PGDATA.
    #[must_use]
    pub fn tablespace(mut self, name: &str) -> Self {
        self.tablespaces.push(name.into());
        self
    }

    /// Adds an argument for `initdb`.
    #[must_use]
    pub fn initdb_arg(mut self, argument: &str) -> Self {
        self.initdb_args.push(argument.into());
        self
    }

    /// Makes the cluster and starts it.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if this version cannot be had here, or cannot do what was
    /// asked; [`TestingError::Server`] with the end of the log if it does not start.
    pub fn start(self) -> Result<Postgres, TestingError> {
        let installation = self.major.installation()?;
        if self.tls != Tls::Off && !installation.has_tls() {
            let why = "this build is without OpenSSL".into();
            return Err(TestingError::Unavailable {
                what: format!("{} with TLS", self.major),
                why,
            });
        }
        let home = new_home()?;
        let data_dir = home.path().join("data");
        self.initdb(&installation, &data_dir, home.path())?;
        let certificates = match self.tls {
            Tls::Off => None,
            Tls::Offered | Tls::Required => {
                let certificates = Certificates::create(&home.path().join("tls"))?;
                certificates.give_to_server_owner()?;
                Some(certificates)
            }
        };
        let config_dir = self.configure(&data_dir, home.path(), certificates.as_ref())?;
        let client = Client {
            bin_dir: installation.bin_dir().to_owned(),
            socket_dir: home.path().to_owned(),
            port: free_port()?,
            user: self.superuser.clone(),
            password: self.auth.password().map(Into::into),
        };
        let process = Process {
            settings: self.command_line(&data_dir, &config_dir),
            data_dir,
            log: home.path().join("server.log"),
            ready: Ready::Writable,
            patience: Duration::from_secs(60),
            child: None,
        };
        let ca = certificates.map(|certificates| certificates.ca);
        let mut postgres = Postgres {
            process,
            client,
            ca,
            config_dir,
            home,
        };
        postgres.start()?;
        self.make_tablespaces(&postgres)?;
        Ok(postgres)
    }

    /// As [`start`](Self::start), but skips loudly if it is not available here.
    ///
    /// # Panics
    /// If it is available and does not start.
    #[track_caller]
    pub fn start_or_skip(self) -> Option<Postgres> {
        crate::skip::unless_available(self.start())
    }

    fn initdb(&self, by: &Installation, data: &Path, home: &Path) -> Result<(), TestingError> {
        let mut initdb = Command::new(by.bin_dir().join("initdb"));
        forget_settings(&mut initdb);
        as_server_owner(&mut initdb)?;
        initdb
            .arg("-D")
            .arg(data)
            .args(["-U", &self.superuser, "-A", self.auth.method()]);
        initdb.args(["--locale=C.UTF-8", "--encoding=UTF8", "--no-sync"]);
        if self.checksums {
            initdb.arg("--data-checksums");
        } else if self.major >= Major::V18 {
            initdb.arg("--no-data-checksums");
        }
        if let Some(mib) = self.wal_segment_mib {
            initdb.arg(format!("--wal-segsize={mib}"));
        }
        if let Some(password) = self.auth.password() {
            let file = home.join("password");
            write(&file, password)?;
            set_mode(&file, 0o600)?;
            give_to_server_owner(&file)?;
            initdb.arg(format!("--pwfile={}", file.display()));
        }
        initdb.args(&self.initdb_args);
        run(&mut initdb).map(drop)
    }

    /// Writes the configuration and returns the directory it is in.
    fn configure(
        &self,
        data_dir: &Path,
        home: &Path,
        tls: Option<&Certificates>,
    ) -> Result<PathBuf, TestingError> {
        let mut lines = String::from("\n# Added for the test\n");
        if let Some(tls) = tls {
            add(&mut lines, "ssl", "on");
            add(
                &mut lines,
                "ssl_cert_file",
                &tls.certificate.to_string_lossy(),
            );
            add(&mut lines, "ssl_key_file", &tls.key.to_string_lossy());
        }
        for (name, value) in &self.settings {
            add(&mut lines, name, value);
        }
        let dir = if self.config_outside {
            home.join("etc")
        } else {
            data_dir.to_owned()
        };
        if self.config_outside {
            fs::create_dir(&dir).map_err(TestingError::file("create", &dir))?;
            for name in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
                let from = data_dir.join(name);
                fs::rename(&from, dir.join(name)).map_err(TestingError::file("move", &from))?;
            }
            add(&mut lines, "data_directory", &data_dir.to_string_lossy());
            add(
                &mut lines,
                "hba_file",
                &dir.join("pg_hba.conf").to_string_lossy(),
            );
            add(
                &mut lines,
                "ident_file",
                &dir.join("pg_ident.conf").to_string_lossy(),
            );
            give_to_server_owner(&dir)?;
        }
        append(&dir.join("postgresql.conf"), &lines)?;
        // Written over in place, so that the owner and mode initdb gave it stay.
        write(
            &dir.join("pg_hba.conf"),
            &self.hba.clone().unwrap_or_else(|| self.default_hba()),
        )?;
        Ok(dir)
    }

    fn default_hba(&self) -> String {
        let host = if self.tls == Tls::Required {
            "hostssl"
        } else {
            "host"
        };
        let method = self.auth.method();
        let mut hba = String::new();
        for database in ["all", "replication"] {
            let _ = writeln!(hba, "local {database} all {method}");
            let _ = writeln!(hba, "{host} {database} all 127.0.0.1/32 {method}");
        }
        hba
    }

    fn command_line(&self, data_dir: &Path, config_dir: &Path) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        if !self.fsync {
            settings.push(("fsync".into(), "off".into()));
        }
        if data_dir != config_dir {
            let file = config_dir.join("postgresql.conf");
            settings.push(("config_file".into(), file.display().to_string()));
        }
        settings
    }

    fn make_tablespaces(&self, postgres: &Postgres) -> Result<(), TestingError> {
        for name in &self.tablespaces {
            let dir = postgres.new_tablespace_dir(name)?;
            let quoted = name.replace('"', "\"\"");
            postgres.try_psql(&format!(
                "create tablespace \"{quoted}\" location '{}'",
                dir.display().to_string().replace('\'', "''")
            ))?;
        }
        Ok(())
    }
}

impl Auth {
    /// Its name in `pg_hba.conf`.
    fn method(&self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Scram(_) => "scram-sha-256",
            Self::Md5(_) => "md5",
            Self::Clear(_) => "password",
        }
    }

    fn password(&self) -> Option<&str> {
        match self {
            Self::Trust => None,
            Self::Scram(word) | Self::Md5(word) | Self::Clear(word) => Some(word),
        }
    }
}

fn add(lines: &mut String, name: &str, value: &str) {
    let _ = writeln!(lines, "{name} = '{}'", value.replace('\'', "''"));
}

fn write(path: &Path, content: &str) -> Result<(), TestingError> {
    fs::write(path, content).map_err(TestingError::file("write", path))
}

fn append(path: &Path, content: &str) -> Result<(), TestingError> {
    let opened = OpenOptions::new().append(true).open(path);
    let mut file = opened.map_err(TestingError::file("open", path))?;
    file.write_all(content.as_bytes())
        .map_err(TestingError::file("write", path))
}
