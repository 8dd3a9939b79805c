//! Restore into a running server, with a copy of what it held before and a way back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rekindle_vault::durable;

use super::RedisServer;
use super::check::check_rdb;
use super::client::Client;
use super::error::RedisError;
use super::info::ServerVersion;
use super::load::{Meeting, follows, free, load, persist, speech};
use super::prepare::with_suffix;
use super::rdb::{RdbError, RdbSummary, RdbVersion, read_rdb};
use super::record::{LiveAside, LivePhase, RdbRecord, RedisAside, RedisRecord};
use super::sync::IncomingRdb;
use super::undoing::{Undoing, undoing};
use crate::{
    Aside, DatasetRecord, InPlaceError, InPlaceSteps, Journal, PointSource, RestoredInPlace,
};

/// While what is there is copied, writers wait, for so long at most should we die.
const PAUSE: Duration = Duration::from_secs(60);
const RENEW_PAUSE: Duration = Duration::from_secs(5);

/// A server that may be restored into.
pub struct Target {
    pub replicas: u64,
    pub keys: u64,
    pub append_only: bool,
}

impl RedisServer {
    /// Looks at the server; refuses one that must not be restored into.
    pub(super) fn target(
        &self,
        record: &RedisRecord,
        wanted: RdbVersion,
    ) -> Result<Target, RedisError> {
        let mut client = Client::connect(&self.options)?;
        let server = client.info("server")?;
        let version = ServerVersion::of(&server);
        let replication = client.info("replication")?;
        let refuse = |why: String| Err(RedisError::Unsuitable(why));
        if replication.is("role", "slave") {
            let then = match record.was_master() {
                true => " It was a master when it was backed up: there was a failover.",
                false => "",
            };
            return refuse(format!(
                "this server is a {}: restore into its master, and it will follow.{then}",
                replication.role()
            ));
        }
        if super::cluster::is_node(&mut client)? {
            return refuse(
                "this server is a node of a cluster, which takes no RDB while it runs; restore its files while it is \
                 stopped"
                    .to_owned(),
            );
        }
        speech(&mut client, &self.options)?;
        version
            .reads(wanted)
            .map_err(|readable| RedisError::TooNew {
                wanted,
                server: version.to_string(),
                readable,
            })?;
        let keys = client.info("keyspace")?.keys();
        let persistence = client.info("persistence")?;
        Ok(Target {
            replicas: replication.number("connected_slaves").unwrap_or(0),
            keys: keys.values().sum(),
            append_only: persistence.is("aof_enabled", "1"),
        })
    }

    pub(super) fn plan_live(&self, record: &DatasetRecord) -> Result<InPlaceSteps, InPlaceError> {
        let (record, rdb) = rdb_of(record)?;
        let target = self
            .target(record, rdb.summary.version)
            .map_err(|error| self.refused(error))?;
        let shown = &self.options.shown;
        let mut steps = vec![
            format!(
                "make writers of {shown} wait, and copy its {} keys to {}",
                target.keys,
                self.state_directory.display()
            ),
            format!(
                "let it take the {} keys of the point, as a replica takes those of its master",
                rdb.summary.keys()
            ),
            "compare the number of keys in each database".to_owned(),
        ];
        if target.append_only {
            steps.push("have it write its append-only files anew".to_owned());
        }
        steps.push("have it save, so that it starts with this data".to_owned());
        let mut warnings = Vec::new();
        if target.replicas > 0 {
            warnings.push(format!(
                "its {} replicas take the data over as well",
                target.replicas
            ));
        }
        Ok(InPlaceSteps {
            steps,
            set_aside: vec![format!("{} keys, as an RDB", target.keys)],
            warnings,
            entries: rdb.summary.keys(),
            bytes: rdb.summary.bytes,
            stop_after: None,
        })
    }

    pub(super) fn restore_live(
        &self,
        source: &PointSource<'_>,
        journal: &mut dyn Journal,
    ) -> Result<RestoredInPlace, InPlaceError> {
        let failed = |error| self.refused(error);
        let (record, rdb) = rdb_of(source.record)?;
        self.target(record, rdb.summary.version).map_err(failed)?;
        self.make_state_directory()?;
        let name = format!(
            "{}-{}.rdb",
            self.surroundings.service,
            Timestamp::now().as_millisecond()
        );
        let safety = self.state_directory.join(name);
        // All of it is here, and whole, before the server is touched.
        let incoming = Temporary(with_suffix(&safety, ".incoming"));
        let summary = self.fetch(source, &incoming.0)?;
        let mut client = Client::connect(&self.options).map_err(failed)?;
        let meeting = Meeting::arrange(&mut client, &self.options).map_err(failed)?;
        let mut aside = LiveAside {
            phase: LivePhase::Copying,
            safety,
            master: Some(meeting.address),
            masterauth_set: meeting.sets_masterauth,
        };
        journal.write(&live(&aside))?;
        let held = self.copy_out(client, &aside.safety).map_err(|error| {
            // Writers need not wait any longer.
            let _ = free(&self.options, meeting.address, false);
            failed(error)
        })?;
        aside.phase = LivePhase::Loading;
        journal.write(&live(&aside))?;
        if let Err(not_loaded) = load(&self.options, &meeting, &incoming.0, &summary) {
            if not_loaded.is_untouched {
                aside.phase = LivePhase::Copying;
                // Else an undo gives the server back what it has: no harm, and not what went wrong.
                if let Err(error) = journal.write(&live(&aside)) {
                    tracing::warn!(%error, "the journal still says that the server was changed");
                }
            }
            return Err(failed(not_loaded.error));
        }
        let warnings = persist(&self.options).map_err(failed)?;
        aside.phase = LivePhase::Restored;
        journal.write(&live(&aside))?;
        Ok(RestoredInPlace {
            entries: summary.keys(),
            bytes: summary.bytes,
            set_aside: vec![format!(
                "{} keys in {}",
                held.keys(),
                aside.safety.display()
            )],
            warnings,
        })
    }

    pub(super) fn undo_live(&self, aside: &LiveAside) -> Result<Vec<String>, InPlaceError> {
        let failed = |error| self.refused(error);
        let mut done = Vec::new();
        let note = undoing(&aside.safety);
        if let Some(earlier) = note.read().map_err(failed)? {
            free(&self.options, earlier.master, earlier.masterauth_set).map_err(failed)?;
            note.remove().map_err(failed)?;
            done.push("ended an undo that had not come to its end".to_owned());
        }
        if let Some(master) = aside.master {
            let mut client = Client::connect(&self.options).map_err(failed)?;
            let info = client.info("replication").map_err(failed)?;
            if follows(&info, master) {
                done.push("made the server its own master again".to_owned());
            }
            // A restore that came to its end has taken it back; what is there now is somebody else's.
            let takes_back = aside.masterauth_set && aside.phase != LivePhase::Restored;
            free(&self.options, master, takes_back).map_err(failed)?;
        }
        if aside.phase == LivePhase::Copying {
            done.push("the server's data had not been touched".to_owned());
            return Ok(done);
        }
        let summary = check_rdb(&aside.safety).map_err(failed)?;
        let mut client = Client::connect(&self.options).map_err(failed)?;
        let meeting = Meeting::arrange(&mut client, &self.options).map_err(failed)?;
        // What was written since the restore is worth keeping as well.
        let stem = aside.safety.with_extension("");
        let now = Timestamp::now().as_millisecond();
        let undone = with_suffix(&stem, &format!("-undone-{now}.rdb"));
        let held = self.copy_out(client, &undone);
        let held = held.map_err(|error| {
            let _ = free(&self.options, meeting.address, false);
            failed(error)
        })?;
        done.push(format!(
            "copied the {} keys that were there to {}",
            held.keys(),
            undone.display()
        ));
        note.write(&Undoing {
            master: meeting.address,
            masterauth_set: meeting.sets_masterauth,
        })
        .map_err(failed)?;
        load(&self.options, &meeting, &aside.safety, &summary)
            .map_err(|not_loaded| failed(not_loaded.error))?;
        note.remove().map_err(failed)?;
        done.push(format!("gave the server back its {} keys", summary.keys()));
        done.extend(persist(&self.options).map_err(failed)?);
        Ok(done)
    }

    /// Removes the copies of one restore and its undoing, and nothing else.
    pub(super) fn discard_live(&self, aside: &LiveAside) -> Result<Vec<String>, InPlaceError> {
        let (Some(folder), Some(stem)) = (aside.safety.parent(), aside.safety.file_stem()) else {
            return Ok(Vec::new());
        };
        let stem = stem.to_string_lossy().into_owned();
        let io_failed = |doing: &str, path: &Path| {
            let doing = format!("{doing} {}", path.display());
            move |source| InPlaceError::Io { doing, source }
        };
        let mut found = Vec::new();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_failed("list", folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(io_failed("list", folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let rest = name.strip_prefix(&stem);
            if rest.is_some_and(|rest| {
                rest == ".rdb"
                    || rest.starts_with(".rdb.")
                    || rest.starts_with("-undone-")
                    || rest == "-undoing.json"
            }) {
                found.push(entry.path());
            }
        }
        let mut done = Vec::new();
        for path in found {
            fs::remove_file(&path).map_err(io_failed("remove", &path))?;
            done.push(format!("removed {}", path.display()));
        }
        Ok(done)
    }

    /// Brings the point's RDB here and reads it to its end.
    fn fetch(&self, source: &PointSource<'_>, to: &Path) -> Result<RdbSummary, InPlaceError> {
        let at = crate::postgres::join(&source.at, super::DUMP_FILE).map_err(Box::new)?;
        let node = source
            .vault
            .find_node(source.index, source.snapshot, at.to_string())?;
        let node = node.ok_or_else(|| InPlaceError::Refused {
            reason: format!("the point has no {at}"),
            hint: None,
        })?;
        let mut file = create(to).map_err(|source| InPlaceError::Io {
            doing: format!("create {}", to.display()),
            source,
        })?;
        let copied = source.vault.copy_file(source.index, &node, &mut file);
        copied.map_err(|error| match error {
            rekindle_vault::CopyError::Vault(error) => error.into(),
            rekindle_vault::CopyError::Write(source) => InPlaceError::Io {
                doing: format!("write {}", to.display()),
                source,
            },
        })?;
        check_rdb(to).map_err(|error| self.refused(error))
    }

    /// Copies what the server holds to a file that is durable when this returns; nobody writes meanwhile, and after it,
    /// until the server follows us or is freed.
    fn copy_out(&self, mut client: Client, to: &Path) -> Result<RdbSummary, RedisError> {
        let info = client.info("server")?;
        pause(&mut client)?;
        let mut incoming =
            IncomingRdb::request(Client::connect(&self.options)?, &ServerVersion::of(&info))?;
        let failed = |source| RedisError::File {
            path: to.to_owned(),
            source,
        };
        let mut sink = Pausing {
            file: create(to).map_err(failed)?,
            client: &mut client,
            renewed: Instant::now(),
        };
        let summary = read_rdb(&mut incoming, &mut sink).map_err(|error| match error {
            RdbError::Write(source) => failed(source),
            other => self.stream_failed(other),
        })?;
        sink.file.sync_all().map_err(failed)?;
        pause(&mut client)?;
        durable::sync_folder(&self.state_directory).map_err(failed)?;
        Ok(summary)
    }

    fn make_state_directory(&self) -> Result<(), InPlaceError> {
        let made = fs::create_dir_all(&self.state_directory);
        made.map_err(|source| InPlaceError::Io {
            doing: format!("create {}", self.state_directory.display()),
            source,
        })
    }

    pub(super) fn refused(&self, error: RedisError) -> InPlaceError {
        match error {
            RedisError::Unsuitable(_) | RedisError::NoCertificate | RedisError::TooNew { .. } => {
                InPlaceError::Refused {
                    hint: error.hint(),
                    reason: error.to_string(),
                }
            }
            error => InPlaceError::Service(Box::new(self.failed(error))),
        }
    }
}

/// The Redis data of a point's record, and its RDB.
fn rdb_of(record: &DatasetRecord) -> Result<(&RedisRecord, &RdbRecord), InPlaceError> {
    let refused = |reason: &str, hint: Option<&str>| InPlaceError::Refused {
        reason: reason.to_owned(),
        hint: hint.map(str::to_owned),
    };
    let DatasetRecord::Redis(record) = record else {
        return Err(refused("the point holds no Redis data there", None));
    };
    let rdb = record.rdb.as_ref().map(|rdb| (record, rdb));
    rdb.ok_or_else(|| {
        refused(
            "the point has append-only files and no RDB, and a running server takes an RDB only",
            Some("stop the server, which then has its files replaced; and add `rdb` to `include` for later points"),
        )
    })
}

fn live(aside: &LiveAside) -> Aside {
    Aside::Redis(RedisAside::Live(aside.clone()))
}

/// Keeps writers waiting; a server before 6.2 cannot, and writes of the last moment are then not in the copy.
fn pause(client: &mut Client) -> Result<(), RedisError> {
    let limit = PAUSE.as_millis().to_string();
    if client
        .try_call(&["CLIENT", "PAUSE", &limit, "WRITE"])?
        .is_none()
    {
        tracing::warn!("writers cannot be made to wait on this server");
    }
    Ok(())
}

/// A file whose writing keeps writers of the server waiting.
struct Pausing<'a> {
    file: File,
    client: &'a mut Client,
    renewed: Instant,
}

impl Write for Pausing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.renewed.elapsed() > RENEW_PAUSE {
            pause(self.client).map_err(io::Error::other)?;
            self.renewed = Instant::now();
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file of ours that only we read.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// A file that is gone when this is.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It lies beside the copies and is removed with them at the latest.
        let _ = fs::remove_file(&self.0);
    }
}
