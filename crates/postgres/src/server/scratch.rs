//! A private server on a restored directory.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::activity::Activity;
use super::settings::{self, HBA, Minimums};
use super::supervised::Supervised;
use super::{ControlError, Owner, Programs, Report, processes_on};
use crate::client::{Client, Mode};
use crate::control_file::ControlFile;
use crate::error::Error;
use crate::options::ConnectOptions;
use crate::restored::major_of_directory;

/// The path of a Unix socket has room for 107 bytes, and the names in it take about 40.
const LONGEST_PARENT: usize = 60;
const POLL: Duration = Duration::from_millis(50);
const LOOK_FOR_PROGRESS: Duration = Duration::from_secs(1);
/// Enough for whoever lists ever so many libraries, and an end for a server that never names one.
const MAX_ATTEMPTS: usize = 32;

/// All private servers of this process, for whoever ends it without unwinding.
static RUNNING: Mutex<Vec<Weak<Mutex<Supervised>>>> = Mutex::new(Vec::new());

/// Whether [`stop_all_scratch`] was called: what another thread starts after that is stopped too.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// How a private server is started.
#[derive(Clone)]
pub struct ScratchOptions {
    /// Where the server's programs are, if not where packages put them.
    pub bin_dir: Option<PathBuf>,
    /// Roles to try first to log in as; any that existed at that moment will do, because a superuser
    /// is looked up through it. `postgres` and the directory's owner are tried anyway.
    pub users: Vec<String>,
    /// How long the server may do nothing at all before it counts as stuck. Recovery as a whole
    /// may take as long as it needs.
    pub patience: Duration,
    /// Further settings, which win over everything.
    pub settings: Vec<(String, String)>,
    /// Told what the server is doing whenever that changes, as in `recovering
    /// 000000010000000000000003`.
    pub report: Option<Report>,
}

impl Default for ScratchOptions {
    fn default() -> Self {
        Self {
            bin_dir: None,
            users: Vec::new(),
            patience: Duration::from_secs(600),
            settings: Vec::new(),
            report: None,
        }
    }
}

/// A server on a restored data directory that only this process's user can reach, through a socket
/// in a private directory. It reads no configuration but `postgresql.auto.conf`, archives nothing,
/// subscribes to nothing, runs no jobs, and gives up durability for speed: the directory is not one
/// to go on with.
///
/// It ends when this is dropped, and also when this process is killed.
pub struct Scratch {
    running: Arc<Mutex<Supervised>>,
    options: ConnectOptions,
    programs: Programs,
    pgdata: PathBuf,
    major: u32,
    warnings: Vec<String>,
}

impl Scratch {
    /// Starts a server on `pgdata` and waits until it is out of recovery and answers. A recovery
    /// target in the directory's settings is recovered to, and the server is promoted there.
    ///
    /// Libraries that the directory wants preloaded and that are not here are left out with a
    /// warning: data can be read without them, mostly.
    ///
    /// # Errors
    /// [`ControlError::NoPrograms`], [`ControlError::OwnedByRoot`], [`ControlError::NotOurs`] or
    /// [`ControlError::Busy`] before anything is started; [`ControlError::Ended`] or
    /// [`ControlError::Stuck`] with the end of the log.
    pub fn start(pgdata: &Path, options: &ScratchOptions) -> Result<Self, ControlError> {
        let major = major_of_directory(pgdata)?;
        let owner = Owner::of(pgdata)?;
        let programs = Programs::find(options.bin_dir.as_deref(), major)?;
        if let Some(process) = processes_on(pgdata).first() {
            return Err(ControlError::Busy {
                path: pgdata.to_owned(),
                pid: process.pid,
            });
        }
        let starting = Starting {
            pgdata,
            major,
            owner,
            programs,
            options,
        };
        starting.run()
    }

    /// How to connect: to the socket, as a superuser, to database `postgres` or `template1`.
    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Opens a connection to one of its databases.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect(&self, database: &str) -> Result<Client, Error> {
        let options = self.options.clone().with_database(database);
        Client::connect(&options, Mode::Sql)
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Where its programs are.
    pub fn bin_dir(&self) -> &Path {
        self.programs.bin_dir()
    }

    /// What a person should know: libraries that were left out.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        lock(&self.running).log_tail()
    }

    /// Stops it in good order, so that the directory needs no recovery at its next start.
    ///
    /// # Errors
    /// [`ControlError::NotStopped`] if it did not within `patience`; it is stopped at once then.
    pub fn stop(self, patience: Duration) -> Result<(), ControlError> {
        if lock(&self.running).stop_fast(patience) {
            return Ok(());
        }
        Err(ControlError::NotStopped {
            path: self.pgdata.clone(),
            waited: patience,
            still_there: self.log_tail(),
        })
    }
}

/// Stops all private servers of this process and removes their sockets; for a handler of signals
/// that ends the process without unwinding.
pub fn stop_all_scratch() {
    IS_ENDING.store(true, Ordering::SeqCst);
    let running: Vec<_> = RUNNING
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
        .filter_map(|weak| weak.upgrade())
        .collect();
    for server in running {
        let mut server = lock(&server);
        server.stop_now();
        server.remove_home();
    }
}

fn lock(running: &Mutex<Supervised>) -> MutexGuard<'_, Supervised> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

fn register(running: &Arc<Mutex<Supervised>>) {
    let mut all = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|weak| weak.strong_count() > 0);
    all.push(Arc::downgrade(running));
    drop(all);
    if IS_ENDING.load(Ordering::SeqCst) {
        let mut server = lock(running);
        server.stop_now();
        server.remove_home();
    }
}

/// What is known before the server runs.
struct Starting<'a> {
    pgdata: &'a Path,
    major: u32,
    owner: Owner,
    programs: Programs,
    options: &'a ScratchOptions,
}

impl Starting<'_> {
    fn run(&self) -> Result<Scratch, ControlError> {
        ControlFile::read(self.pgdata)?;
        let minimums = Minimums::read(&self.programs, &self.owner, self.pgdata);
        let mut warnings = Vec::new();
        let mut libraries = self.libraries(&mut warnings);
        for _ in 0..MAX_ATTEMPTS {
            let home = self.home()?;
            let mut settings = settings::settings(home.path(), self.major, minimums, &libraries);
            settings.extend(self.options.settings.iter().cloned());
            let socket = home.path().to_owned();
            let server =
                Supervised::start(&self.programs, &self.owner, self.pgdata, home, &settings)?;
            let running = Arc::new(Mutex::new(server));
            register(&running);
            let error = match self.wait(&running, &socket) {
                Ok(options) => {
                    return Ok(Scratch {
                        running,
                        options,
                        programs: self.programs.clone(),
                        pgdata: self.pgdata.to_owned(),
                        major: self.major,
                        warnings,
                    });
                }
                Err(error) => error,
            };
            let ControlError::Ended { log, .. } = &error else {
                return Err(error);
            };
            let Some(library) = settings::unloadable(log, &libraries).cloned() else {
                return Err(error);
            };
            warnings.push(format!(
                "library `{library}` of shared_preload_libraries cannot be loaded here and was left out"
            ));
            libraries.retain(|other| *other != library);
        }
        Err(Error::protocol("one library after the other could not be loaded").into())
    }

    fn libraries(&self, warnings: &mut Vec<String>) -> Vec<String> {
        match settings::preload_libraries(&self.programs, &self.owner, self.pgdata) {
            Ok(libraries) => libraries,
            Err(reason) => {
                warnings.push(format!(
                    "the directory's own configuration cannot be read and was left out: {reason}"
                ));
                Vec::new()
            }
        }
    }

    /// A private directory with a short path, for socket, configuration and log.
    fn home(&self) -> Result<TempDir, ControlError> {
        let usual = std::env::temp_dir();
        let parent = match usual.as_os_str().len() <= LONGEST_PARENT && usual.is_absolute() {
            true => usual,
            false => PathBuf::from("/tmp"),
        };
        let home = tempfile::Builder::new()
            .prefix("rekindle-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(|source| Error::io("make a private directory in", &parent, source))?;
        for (name, content) in [
            ("postgresql.conf", ""),
            ("pg_hba.conf", HBA),
            ("pg_ident.conf", ""),
        ] {
            let path = home.path().join(name);
            create(&path, content).map_err(|source| Error::io("write", &path, source))?;
            self.owner.give(&path)?;
        }
        self.owner.give(home.path())?;
        Ok(home)
    }

    fn wait(
        &self,
        running: &Mutex<Supervised>,
        socket: &Path,
    ) -> Result<ConnectOptions, ControlError> {
        let mut activity = Activity::new(self.options.report.clone());
        let mut last_look = Instant::now();
        loop {
            if let Some(options) = self.try_to_connect(socket)? {
                return Ok(options);
            }
            let mut server = lock(running);
            if let Some(status) = server.ended() {
                return Err(ControlError::Ended {
                    path: self.pgdata.to_owned(),
                    status: status.to_string(),
                    log: server.log_tail(),
                });
            }
            if last_look.elapsed() >= LOOK_FOR_PROGRESS {
                last_look = Instant::now();
                activity.look(self.pgdata, server.log_bytes());
                if activity.idle_for() > self.options.patience {
                    return Err(ControlError::Stuck {
                        path: self.pgdata.to_owned(),
                        waited: activity.idle_for(),
                        log: server.log_tail(),
                    });
                }
            }
            drop(server);
            thread::sleep(POLL);
        }
    }

    /// `None` while the server does not take connections. With `hot_standby` off it takes none
    /// before recovery has ended.
    fn try_to_connect(&self, socket: &Path) -> Result<Option<ConnectOptions>, ControlError> {
        let base = ConnectOptions::for_socket(socket);
        if !base.socket_path().is_some_and(|path| path.exists()) {
            return Ok(None);
        }
        let mut tried: Vec<String> = self.options.users.clone();
        tried.extend(["postgres".to_owned(), self.owner.name().to_owned()]);
        for user in &tried {
            for database in ["postgres", "template1"] {
                let mut options = base.clone().with_database(database);
                options.user.clone_from(user);
                match Client::connect(&options, Mode::Sql) {
                    Ok(mut client) => {
                        if client
                            .query("SELECT pg_is_in_recovery()")?
                            .single::<String>()?
                            == "t"
                        {
                            return Ok(None);
                        }
                        if let Some(name) = superuser(&mut client)? {
                            options.user = name;
                            return Ok(Some(options));
                        }
                    }
                    Err(error) if error.is_retryable() => return Ok(None),
                    Err(error) => match error.server_error().map(|said| &*said.sqlstate) {
                        // No such database, or one that takes no connections.
                        Some("3D000" | "55000") => continue,
                        // No such role, or one that may not log in.
                        Some("28000") => {}
                        _ => return Err(error.into()),
                    },
                }
                break;
            }
        }
        Err(ControlError::NoSuperuser { tried })
    }
}

/// A role with all rights that can log in, the present one if it is one.
fn superuser(client: &mut Client) -> Result<Option<String>, Error> {
    let rows = client.query(
        "SELECT rolname FROM pg_catalog.pg_roles WHERE rolsuper AND rolcanlogin \
         ORDER BY rolname = current_user DESC, oid LIMIT 1",
    )?;
    Ok(rows
        .iter()
        .next()
        .and_then(|row| row.text("rolname").map(str::to_owned)))
}

fn create(path: &Path, content: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content.as_bytes())
}
