//! A dump on its way.

use std::io::{self, Read};
use std::process::{ChildStdout, Stdio};

use super::running::Running;
use super::{DumpError, Snapshot, Tools};
use crate::options::ConnectOptions;

/// The first bytes of an archive of `pg_dump -Fc`.
const ARCHIVE_MAGIC: &[u8] = b"PGDMP";

/// What `pg_dumpall` writes when it has written everything.
const GLOBALS_END: &[u8] = b"-- PostgreSQL database cluster dump complete";

/// Of the end of a text this much is kept to look for its closing line.
const TAIL: usize = 4096;

/// How globals are dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalsOptions {
    /// Whether to take the roles' password hashes along. They are secrets, and only superusers can
    /// read them.
    pub role_passwords: bool,
}

impl Default for GlobalsOptions {
    fn default() -> Self {
        Self {
            role_passwords: true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Globals,
    Archive,
}

/// A running dump: read it to its end, then [`finish`](Self::finish) it. Only the success of that
/// says that it is whole. Dropping it ends the tool.
pub struct Dump {
    running: Running,
    stdout: ChildStdout,
    format: Format,
    what: String,
    head: Vec<u8>,
    tail: Vec<u8>,
    bytes: u64,
    has_ended: bool,
}

impl Dump {
    /// Dumps roles and tablespaces of the cluster as SQL text.
    ///
    /// # Errors
    /// [`DumpError::Start`]; what goes wrong later is told by [`Self::finish`].
    pub fn globals(
        tools: &Tools,
        options: &ConnectOptions,
        globals: GlobalsOptions,
    ) -> Result<Self, DumpError> {
        let mut arguments = vec![
            "--globals-only".to_owned(),
            "--quote-all-identifiers".to_owned(),
        ];
        arguments.push(format!("--database={}", options.database));
        if !globals.role_passwords {
            arguments.push("--no-role-passwords".to_owned());
        }
        Self::start(
            tools,
            "pg_dumpall",
            options,
            arguments,
            Format::Globals,
            "the dump of the globals".to_owned(),
        )
    }

    /// Dumps the database `name` as an archive for `pg_restore`, uncompressed, so that what stays
    /// the same from one dump to the next stays the same in its bytes. With `snapshot` it is of
    /// that state, which must be one of the same database.
    ///
    /// # Errors
    /// [`DumpError::Start`]; what goes wrong later is told by [`Self::finish`].
    pub fn database(
        tools: &Tools,
        options: &ConnectOptions,
        name: &str,
        snapshot: Option<&Snapshot>,
    ) -> Result<Self, DumpError> {
        let mut arguments = vec!["--format=custom".to_owned(), "--compress=0".to_owned()];
        arguments.push("--quote-all-identifiers".to_owned());
        arguments.extend(snapshot.map(|snapshot| format!("--snapshot={}", snapshot.id())));
        // The name goes through PGDATABASE: as an argument it might be taken for a connection string.
        let options = options
            .clone()
            .with_password_of(options)
            .with_database(name);
        let what = format!("the dump of database `{name}`");
        Self::start(tools, "pg_dump", &options, arguments, Format::Archive, what)
    }

    /// Dumps what lies in `schema` of the database that `options` name, without rights, tablespaces
    /// and publications: what is needed to have the same things once more elsewhere.
    ///
    /// # Errors
    /// [`DumpError::Start`]; what goes wrong later is told by [`Self::finish`].
    pub fn schema(
        tools: &Tools,
        options: &ConnectOptions,
        schema: &str,
    ) -> Result<Self, DumpError> {
        let mut arguments = ["--format=custom", "--compress=0", "--quote-all-identifiers"].to_vec();
        arguments.extend([
            "--no-privileges",
            "--no-tablespaces",
            "--no-security-labels",
        ]);
        arguments.extend(["--no-publications", "--no-subscriptions"]);
        // A transaction that was prepared before the dumped moment may hold a lock for ever.
        arguments.push("--lock-wait-timeout=60s");
        let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        // In quotes it is a name and no pattern. Source: PostgreSQL manual, psql, "Patterns".
        arguments.push(format!("--schema=\"{}\"", schema.replace('"', "\"\"")));
        let what = format!("the dump of schema `{schema}`");
        Self::start(tools, "pg_dump", options, arguments, Format::Archive, what)
    }

    /// Reads it as a stream that ends only if the dump is whole, and fails otherwise, so that
    /// whoever reads it cannot take a part for all of it.
    pub fn whole(self) -> WholeDump {
        WholeDump { dump: Some(self) }
    }

    fn start(
        tools: &Tools,
        tool: &'static str,
        options: &ConnectOptions,
        arguments: Vec<String>,
        format: Format,
        what: String,
    ) -> Result<Self, DumpError> {
        let mut running = Running::start(tools, tool, options, |command| {
            command
                .arg("--no-password")
                .args(arguments)
                .stdout(Stdio::piped());
        })?;
        let no_pipe = || DumpError::Start {
            tool: tools.path(tool),
            source: io::ErrorKind::BrokenPipe.into(),
        };
        let stdout = running.child().stdout.take().ok_or_else(no_pipe)?;
        let (head, tail) = (Vec::new(), Vec::new());
        Ok(Self {
            running,
            stdout,
            format,
            what,
            head,
            tail,
            bytes: 0,
            has_ended: false,
        })
    }

    /// Waits for the tool, and makes sure that the dump is whole. Returns its length in bytes.
    ///
    /// # Errors
    /// [`DumpError::ToolFailed`] with what the tool said, [`DumpError::NotWhole`] if it said that
    /// all was well and it was not, or if the dump was not read to its end.
    pub fn finish(self) -> Result<u64, DumpError> {
        let reason = match self.format {
            _ if !self.has_ended => Some("it was not read to its end"),
            Format::Archive if self.head != ARCHIVE_MAGIC => {
                Some("it does not begin as an archive does")
            }
            Format::Globals if !holds(&self.tail, GLOBALS_END) => {
                Some("its closing line is missing")
            }
            _ => None,
        };
        if !self.has_ended {
            return Err(DumpError::NotWhole {
                what: self.what,
                reason: reason.unwrap_or_default().to_owned(),
            });
        }
        drop(self.stdout);
        self.running.finish()?;
        match reason {
            None => Ok(self.bytes),
            Some(reason) => Err(DumpError::NotWhole {
                what: self.what,
                reason: reason.to_owned(),
            }),
        }
    }

    fn look_at(&mut self, bytes: &[u8]) {
        let room = ARCHIVE_MAGIC.len() - self.head.len();
        self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
        if self.format == Format::Globals {
            self.tail.extend_from_slice(bytes);
            let surplus = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..surplus);
        }
    }
}

impl Read for Dump {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stdout.read(buffer)?;
        self.has_ended |= count == 0 && !buffer.is_empty();
        self.bytes += count as u64;
        self.look_at(&buffer[..count]);
        Ok(count)
    }
}

/// A dump whose end was looked at before it is told; see [`Dump::whole`].
pub struct WholeDump {
    dump: Option<Dump>,
}

impl Read for WholeDump {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(dump) = &mut self.dump else {
            return Ok(0);
        };
        let count = dump.read(buffer)?;
        if count == 0
            && !buffer.is_empty()
            && let Some(dump) = self.dump.take()
        {
            dump.finish().map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

fn holds(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}
