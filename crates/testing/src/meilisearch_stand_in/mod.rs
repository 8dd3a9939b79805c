//! A stand-in for a MeiliSearch server, for want of a package that carries a real one. It says what it is in its
//! `Server` header and in the commit of its version, and keeps the contract of the public HTTP API as far as backups
//! use it: keys, tasks, indexes, documents, settings, swaps, dumps, snapshots. It searches nothing.
//!
//! Source: MeiliSearch's API reference, "Tasks", "Dumps", "Indexes", "Documents", "Settings", "Keys"; the layout of a
//! dump of version 6. A dump is packed and unpacked by the system's own `tar`.

mod database;
mod dump;
mod http;
mod routes;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::listening::Listening;
use crate::{TestingError, temp_dir};
use database::Database;
pub use database::{ADMIN_KEY, LIMITED_KEY};

/// What it calls itself.
pub const BANNER: &str = "meilisearch-stand-in (this is no MeiliSearch)";

/// How a task goes on takes a moment, so that each of its states is seen.
const TICK: Duration = Duration::from_millis(3);

/// How one is started.
#[derive(Clone, Debug)]
pub struct StandInOptions {
    /// What it says that its version is.
    pub version: &'static str,
    /// Whether keys are asked for.
    pub has_keys: bool,
    /// A dump to begin with: `--import-dump`. Refused if there is a database.
    pub import_dump: Option<PathBuf>,
}

impl Default for StandInOptions {
    fn default() -> Self {
        Self {
            version: "1.12.0",
            has_keys: true,
            import_dump: None,
        }
    }
}

/// A running stand-in. It ends when dropped; its database stays in its directory until that is dropped as well.
pub struct MeilisearchStandIn {
    listening: Listening,
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
    _own: Option<TempDir>,
}

pub(super) struct Shared {
    database: Mutex<Database>,
    is_down: AtomicBool,
    is_ending: AtomicBool,
}

impl Shared {
    fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MeilisearchStandIn {
    /// Starts an empty one in a directory of its own.
    ///
    /// # Errors
    /// [`TestingError`].
    pub fn start() -> Result<Self, TestingError> {
        let own = temp_dir()?;
        let mut started = Self::start_in(own.path(), &StandInOptions::default())?;
        started._own = Some(own);
        Ok(started)
    }

    /// Starts one whose database is `data.ms` in `directory`, and which writes dumps to `dumps` there.
    ///
    /// # Errors
    /// [`TestingError::Server`] as the real one refuses: a dump is to be imported, and there is a database.
    pub fn start_in(directory: &Path, options: &StandInOptions) -> Result<Self, TestingError> {
        let database = Database::open(directory, options)?;
        let shared = Arc::new(Shared {
            database: Mutex::new(database),
            is_down: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
        });
        let for_requests = Arc::clone(&shared);
        let listening = Listening::start("the MeiliSearch stand-in", move |client| {
            let shared = Arc::clone(&for_requests);
            // A client that hangs up in the middle is its own affair.
            spawn(move || drop(http::serve(&shared, &client)));
        })?;
        let for_worker = Arc::clone(&shared);
        let worker = spawn(move || {
            while !for_worker.is_ending.load(Ordering::SeqCst) {
                if !for_worker.is_down.load(Ordering::SeqCst) {
                    for_worker.database().go_on();
                }
                sleep(TICK);
            }
        });
        Ok(Self {
            listening,
            shared,
            worker: Some(worker),
            _own: None,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listening.port())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.listening.port()
    }

    /// Where it writes dumps.
    pub fn dump_directory(&self) -> PathBuf {
        self.shared.database().dump_directory()
    }

    /// Makes an index of these documents at once, without a task.
    pub fn put(&self, index: &str, primary_key: &str, documents: &[Value]) {
        self.shared.database().put(index, primary_key, documents);
    }

    /// Changes settings of an index at once.
    pub fn set_settings(&self, index: &str, settings: &Value) {
        self.shared.database().set_settings(index, settings);
    }

    /// All documents of an index, in order; `None` if there is no such index.
    pub fn documents(&self, index: &str) -> Option<Vec<Value>> {
        self.shared.database().documents(index)
    }

    /// The settings of an index.
    pub fn settings(&self, index: &str) -> Option<Value> {
        self.shared.database().settings(index)
    }

    /// The names of all indexes.
    pub fn indexes(&self) -> Vec<String> {
        self.shared.database().names()
    }

    /// Lets the next task of this type (`dumpCreation`) fail with these words.
    pub fn fail_next(&self, task: &str, why: &str) {
        self.shared.database().fail_next(task, why);
    }

    /// Lets one task fail, whatever it is: the one that comes when so many others have been done.
    pub fn fail_after(&self, tasks: u64) {
        self.shared.database().fail_after(tasks);
    }

    /// Whether the task of [`Self::fail_after`] has come.
    pub fn has_failed(&self) -> bool {
        self.shared.database().has_failed()
    }

    /// Lets tasks of this type stay as they are once they are being processed.
    pub fn hang(&self, task: &str) {
        self.shared.database().hang(Some(task));
    }

    /// Lets hanging tasks go on.
    pub fn go_on(&self) {
        self.shared.database().hang(None);
    }

    /// Cuts so many bytes off the end of each dump from now on.
    pub fn cut_dumps(&self, bytes: u64) {
        self.shared.database().cut_dumps(bytes);
    }

    /// Hangs up on everybody from now on, as a server that is down.
    pub fn go_down(&self) {
        self.shared.is_down.store(true, Ordering::SeqCst);
    }

    /// Answers again; what was being processed is enqueued again, as after a restart.
    pub fn come_back(&self) {
        self.shared.database().restarted();
        self.shared.is_down.store(false, Ordering::SeqCst);
    }

    /// How many tasks of this type there are.
    pub fn tasks(&self, task: &str) -> usize {
        self.shared.database().count_tasks(task)
    }
}

impl Drop for MeilisearchStandIn {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}
