//! A directory of a server that is reached by SFTP, through the system's own SSH client.
//!
//! Keys, agents, jump hosts and known hosts are the user's, as `~/.ssh/config` has them. What is written
//! gets a temporary name first, is made durable, and then gets its own.

mod files;
mod packet;
mod session;

use std::{
    io,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;
use rekindle_stack::VaultLocation;
use rekindle_vault::store::{Distance, Listed, ObjectKey, Operation, Store, StoreError};
use session::Session;

use crate::{OpenStoreError, StoreSettings};

/// Nobody changes an object, and its owner alone reads it.
const MODE: u32 = 0o400;
const FOLDER_MODE: u32 = 0o700;
/// Unfinished files, beside restic's directories, which restic ignores.
const UNFINISHED: &str = "rekindle/tmp";
/// What is unfinished for longer was left by a connection that broke, or by a crash.
const LEFT_AFTER_SECONDS: u32 = 24 * 60 * 60;
const LISTERS: usize = 8;

/// A directory of an SFTP server. Connects at the first use, and again after the connection broke.
pub struct SftpStore {
    location: String,
    root: String,
    destination: Destination,
    stall: Duration,
    session: Mutex<Option<Arc<Session>>>,
    has_tidied: AtomicBool,
}

struct Destination {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    config: Option<PathBuf>,
}

impl SftpStore {
    /// The store of `settings`. Nothing is connected to yet.
    ///
    /// # Errors
    /// If the settings are not those of SFTP.
    pub fn new(settings: &StoreSettings) -> Result<Self, OpenStoreError> {
        let location = settings.location.to_string();
        let VaultLocation::Sftp {
            user,
            host,
            port,
            path,
        } = &settings.location
        else {
            return Err(OpenStoreError::Unknown { location });
        };
        let is_option = |text: &String| text.starts_with('-');
        if is_option(host) || user.as_ref().is_some_and(is_option) {
            let reason = "a host or user that begins with `-` would be an option of ssh".to_owned();
            return Err(OpenStoreError::Setting { location, reason });
        }
        Ok(Self {
            location,
            root: path.trim_end_matches('/').to_owned(),
            destination: Destination {
                user: user.clone(),
                host: host.clone(),
                port: *port,
                config: settings.ssh_config.clone(),
            },
            stall: settings.stall,
            session: Mutex::new(None),
            has_tidied: AtomicBool::new(false),
        })
    }

    fn path(&self, key: &str) -> String {
        format!("{}/{key}", self.root)
    }

    /// The connection, made if there is none that lives.
    fn session(&self) -> io::Result<Arc<Session>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(alive) = session.as_ref().filter(|session| session.is_alive()) {
            return Ok(Arc::clone(alive));
        }
        *session = None;
        let mut command = self.destination.command(self.stall);
        let made = Arc::new(Session::start(&mut command, self.stall)?);
        *session = Some(Arc::clone(&made));
        Ok(made)
    }

    fn run<T>(
        &self,
        operation: Operation,
        key: &str,
        work: impl FnOnce(&Session) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let done = self.session().and_then(|session| work(&session));
        done.map_err(|error| StoreError::new(operation, key, self.location.clone(), error))
    }

    /// Writes `content` under a name of its own, durable, and returns that name.
    fn write_aside(&self, session: &Session, content: &[u8]) -> io::Result<String> {
        let name = format!("{UNFINISHED}/{:016x}", getrandom::u64()?);
        let path = self.path(&name);
        let handle = match session.create_new(&path, MODE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folders_above(session, &name)?;
                session.create_new(&path, MODE)?
            }
            made => made?,
        };
        let written = session
            .write(&handle, content)
            .and_then(|()| session.sync(&handle));
        let closed = session.close(&handle);
        if let Err(error) = written.and(closed) {
            forget(session, &path);
            return Err(error);
        }
        if !self.has_tidied.swap(true, Ordering::Relaxed)
            && let Err(error) = self.remove_left_behind(session, &path)
        {
            tracing::debug!(%error, "unfinished files of others were not looked at");
        }
        Ok(path)
    }

    /// Removes unfinished files that nobody will finish. How old they are is told by the age of
    /// `new`, which was written a moment ago: both are of the server's clock.
    fn remove_left_behind(&self, session: &Session, new: &str) -> io::Result<()> {
        let Some(now) = session.attributes(new)?.modified else {
            return Ok(());
        };
        for (name, attributes) in session.folder(&self.path(UNFINISHED))? {
            let age = attributes.modified.map(|then| now.saturating_sub(then));
            if let (Ok(name), Some(LEFT_AFTER_SECONDS..)) = (String::from_utf8(name), age) {
                forget(session, &self.path(&format!("{UNFINISHED}/{name}")));
            }
        }
        Ok(())
    }

    /// Makes what is missing of the folders above an object, the topmost first.
    fn make_folders_above(&self, session: &Session, key: &str) -> io::Result<()> {
        let whole = self.path(key);
        let slashes = whole.match_indices('/').map(|(at, _)| at);
        for at in slashes.filter(|at| *at > 0) {
            let folder = &whole[..at];
            if session.exists(folder)? {
                continue;
            }
            if let Err(error) = session.make_folder(folder, FOLDER_MODE)
                && !session.exists(folder)?
            {
                return Err(error);
            }
            sync_folder(session, parent(folder));
        }
        Ok(())
    }

    fn create_on(&self, session: &Session, key: &str, content: &[u8]) -> io::Result<()> {
        let to = self.path(key);
        let from = self.write_aside(session, content)?;
        let named = match name_it(session, &from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = self.make_folders_above(session, key);
                made.and_then(|()| name_it(session, &from, &to))
            }
            named => named,
        };
        if named.is_err() {
            forget(session, &from);
        }
        // Whoever finds the name taken may rely on it, too.
        sync_folder(session, parent(&to));
        named
    }

    fn replace_on(&self, session: &Session, key: &str, content: &[u8]) -> io::Result<()> {
        const NAME: &str = "posix-rename@openssh.com";
        let to = self.path(key);
        self.make_folders_above(session, key)?;
        let from = self.write_aside(session, content)?;
        session
            .extended(NAME, &from, &to)
            .inspect_err(|_| forget(session, &from))?;
        sync_folder(session, parent(&to));
        Ok(())
    }

    fn list_on(&self, session: &Session, folder: &str) -> io::Result<Vec<Listed>> {
        // A disk that is not mounted must not look like an empty vault.
        session.attributes(if self.root.is_empty() {
            "/"
        } else {
            &self.root
        })?;
        let mut found = Vec::new();
        let mut level = vec![folder.to_owned()];
        while !level.is_empty() {
            let share = level.len().div_ceil(LISTERS).max(1);
            let outcomes: Vec<_> = thread::scope(|scope| {
                let listers: Vec<_> = level
                    .chunks(share)
                    .map(|some| scope.spawn(move || self.list_some(session, some)))
                    .collect();
                listers.into_iter().map(|lister| lister.join()).collect()
            });
            level.clear();
            for outcome in outcomes {
                let panicked = |_| io::Error::other("a lister panicked");
                let (objects, folders) = outcome.map_err(panicked)??;
                found.extend(objects);
                level.extend(folders);
            }
        }
        Ok(found)
    }

    fn list_some(
        &self,
        session: &Session,
        folders: &[String],
    ) -> io::Result<(Vec<Listed>, Vec<String>)> {
        let (mut objects, mut below) = (Vec::new(), Vec::new());
        for folder in folders.iter().filter(|folder| *folder != UNFINISHED) {
            let entries = match session.folder(&self.path(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for (name, mut attributes) in entries {
                let Ok(name) = String::from_utf8(name) else {
                    continue;
                };
                let key = format!("{folder}/{name}");
                if attributes.mode.is_none() || attributes.size.is_none() {
                    attributes = match session.attributes(&self.path(&key)) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        found => found?,
                    };
                }
                if attributes.is_folder() {
                    below.push(key);
                } else if attributes.is_file()
                    && let (Some(key), Some(size_bytes)) = (ObjectKey::parse(&key), attributes.size)
                {
                    objects.push(Listed { key, size_bytes });
                }
            }
        }
        Ok((objects, below))
    }
}

/// Gives a finished file its name unless that is taken. A hard link cannot replace; where there are none,
/// a rename of version 3 must not.
fn name_it(session: &Session, from: &str, to: &str) -> io::Result<()> {
    let linked = session.extended("hardlink@openssh.com", from, to);
    if linked.is_ok() {
        return session.remove(from);
    }
    if session.exists(to)? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let renamed = session.rename(from, to);
    if renamed.is_err() && session.exists(to)? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    renamed
}

/// Servers that do not sync folders, or will not open one like a file, are taken as they are.
fn sync_folder(session: &Session, path: &str) {
    if let Ok(handle) = session.open_to_read(path) {
        let synced = session.sync(&handle);
        if let Err(error) = synced.and(session.close(&handle)) {
            tracing::debug!(path, %error, "a folder was not synced");
        }
    }
}

/// An unfinished file that stays is waste, and no more.
fn forget(session: &Session, path: &str) {
    if let Err(error) = session.remove(path) {
        tracing::debug!(path, %error, "an unfinished file was not removed");
    }
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((parent, _)) if !parent.is_empty() => parent,
        _ => "/",
    }
}

impl Destination {
    fn command(&self, stall: Duration) -> Command {
        let mut command = Command::new("ssh");
        if let Some(config) = &self.config {
            command.arg("-F").arg(config);
        }
        let alive = (stall.as_secs() / 4).max(1);
        for option in [
            // Nobody is there to answer questions.
            "BatchMode=yes",
            "ClearAllForwardings=yes",
            "ServerAliveCountMax=4",
            &format!("ServerAliveInterval={alive}"),
            &format!("ConnectTimeout={}", stall.as_secs().clamp(1, 30)),
        ] {
            command.args(["-o", option]);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        command.args(["-s", "--", &self.host, "sftp"]);
        command
    }
}

impl Store for SftpStore {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.run(Operation::Read, key.as_str(), |session| {
            let path = self.path(key.as_str());
            let size = session.attributes(&path)?.size;
            let size = size.ok_or_else(packet::malformed)?;
            let mut content = vec![0; usize::try_from(size).map_err(io::Error::other)?];
            read_into(session, &path, 0, &mut content)?;
            Ok(content)
        })
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        self.run(Operation::Read, key.as_str(), |session| {
            read_into(session, &self.path(key.as_str()), offset, buffer)
        })
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.run(Operation::Create, key.as_str(), |session| {
            self.create_on(session, key.as_str(), content)
        })
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.run(Operation::Replace, key.as_str(), |session| {
            self.replace_on(session, key.as_str(), content)
        })
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.run(Operation::Delete, key.as_str(), |session| {
            session.remove(&self.path(key.as_str()))
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.run(Operation::List, folder, |session| {
            self.list_on(session, folder)
        })
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        self.run(Operation::Read, key.as_str(), |session| {
            let modified = session.attributes(&self.path(key.as_str()))?.modified;
            Ok(modified.and_then(|seconds| Timestamp::from_second(seconds.into()).ok()))
        })
    }

    fn distance(&self) -> Distance {
        Distance::Far
    }
}

fn read_into(session: &Session, path: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let handle = session.open_to_read(path)?;
    let read = session.fill(&handle, offset, buffer);
    let closed = session.close(&handle);
    read.and(closed)
}
