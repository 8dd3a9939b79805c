//! A client that writes all the time, and remembers what was acknowledged to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::TestingError;
use crate::postgres::{Client, Postgres};

/// Writes numbered rows, one transaction each, and changes older ones, until it is stopped.
///
/// The rows are in table `ledger (n, at, filler)` of one database. Every number up to
/// [`acknowledged`](Self::acknowledged) was committed before anyone learnt of it.
pub struct Writer {
    client: Client,
    database: String,
    stopping: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    started: Instant,
    child: Child,
    thread: Option<JoinHandle<u64>>,
}

/// What a writer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Rows whose commit the server acknowledged: 1 to this number, without a gap.
    pub acknowledged: u64,
    /// Rows that were sent; at most one more, which may or may not be there.
    pub sent: u64,
    /// How long it wrote.
    pub took: Duration,
    /// True if the server stopped answering before the writer was stopped.
    pub cut_off: bool,
}

const LEDGER: &str = "create table if not exists ledger
    (n bigint primary key, at timestamptz not null default clock_timestamp(), filler text not null)";

impl Writer {
    /// Starts to write into database `postgres`.
    ///
    /// # Errors
    /// [`TestingError`] if the table cannot be made or psql does not start.
    pub fn start(postgres: &Postgres) -> Result<Self, TestingError> {
        Self::start_in(postgres, "postgres")
    }

    /// Starts to write into `database`; goes on after the highest number that is there.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_in(postgres: &Postgres, database: &str) -> Result<Self, TestingError> {
        let client = postgres.client().clone();
        client.try_psql(database, LEDGER)?;
        let highest = client.try_psql(database, "select coalesce(max(n), 0) from ledger")?;
        let first: u64 = highest.parse().map_err(|_| TestingError::Unexpected {
            what: "a number from the ledger",
            found: highest,
        })?;
        let mut psql = client.psql_command(database);
        psql.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let failed = |source| TestingError::Run {
            program: "psql".into(),
            source,
        };
        let mut child = psql.spawn().map_err(failed)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(first));
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (told, done) = (Arc::clone(&stopping), Arc::clone(&acknowledged));
        let thread =
            pipes.map(|(to, from)| std::thread::spawn(move || write(to, from, &told, &done)));
        let (database, started) = (database.to_owned(), Instant::now());
        Ok(Self {
            client,
            database,
            stopping,
            acknowledged,
            started,
            child,
            thread,
        })
    }

    /// The highest number whose commit the server acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Waits until the server acknowledged `more` further rows.
    ///
    /// # Errors
    /// [`TestingError::Unexpected`] if that takes more than a minute.
    pub fn wait_for(&self, more: u64) -> Result<u64, TestingError> {
        let wanted = self.acknowledged() + more;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.acknowledged() < wanted {
            if Instant::now() > deadline {
                let found = format!("{} of {wanted}", self.acknowledged());
                return Err(TestingError::Unexpected {
                    what: "rows to be written",
                    found,
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(self.acknowledged())
    }

    /// Waits until the server's end has ended the writing.
    ///
    /// # Errors
    /// [`TestingError::Unexpected`] if that takes more than a minute.
    pub fn wait_until_cut_off(&self) -> Result<(), TestingError> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self
            .thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
        {
            if Instant::now() > deadline {
                return Err(TestingError::Unexpected {
                    what: "a writer without a server to end",
                    found: "it goes on".to_owned(),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Stops writing and says what was done.
    pub fn stop(mut self) -> Summary {
        let took = self.started.elapsed();
        let sent = self.finish();
        let acknowledged = self.acknowledged();
        Summary {
            acknowledged,
            sent,
            took,
            cut_off: sent != acknowledged,
        }
    }

    /// How to reach the server and database that this writes to.
    pub fn target(&self) -> (&Client, &str) {
        (&self.client, &self.database)
    }

    fn finish(&mut self) -> u64 {
        self.stopping.store(true, Ordering::Release);
        let sent = self.thread.take().and_then(|thread| thread.join().ok());
        // Its input is closed by now; the kill is for a psql that hangs on a dead server.
        let _ = self.child.kill();
        let _ = self.child.wait();
        sent.unwrap_or_else(|| self.acknowledged())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // Unblocks the thread, which may wait for an answer that will not come.
            let _ = self.child.kill();
            self.finish();
        }
    }
}

/// Counts the numbers from 1 to `acknowledged` that are not in the ledger of `database`: rows that
/// a client was promised and that are lost.
///
/// # Errors
/// [`TestingError`] if the query fails.
pub fn lost_rows(client: &Client, database: &str, acknowledged: u64) -> Result<u64, TestingError> {
    let counted = client.try_psql(
        database,
        &format!("select count(*) from ledger where n <= {acknowledged}"),
    )?;
    let present: u64 = counted.parse().map_err(|_| TestingError::Unexpected {
        what: "a count",
        found: counted,
    })?;
    Ok(acknowledged.saturating_sub(present))
}

/// Sends one row at a time and waits for its number to come back; returns the last one sent.
fn write(mut to: ChildStdin, from: ChildStdout, told: &AtomicBool, done: &AtomicU64) -> u64 {
    let mut answers = BufReader::new(from).lines();
    let mut sent = done.load(Ordering::Acquire);
    while !told.load(Ordering::Acquire) {
        let next = sent + 1;
        let changed = next.wrapping_mul(7_919) % next;
        let sql = format!(
            "begin; update ledger set filler = repeat(md5('{next}u'), 6) where n = {changed};
             insert into ledger (n, filler) values ({next}, repeat(md5('{next}'), 6)); commit;
             select {next};\n"
        );
        if to.write_all(sql.as_bytes()).is_err() {
            break;
        }
        sent = next;
        match answers.next() {
            Some(Ok(answer)) if answer == next.to_string() => done.store(next, Ordering::Release),
            _ => break,
        }
    }
    sent
}
