//! A whole base backup over the wire: data on one connection, WAL on another.

use std::thread::{self, Scope, ScopedJoinHandle};

use crossbeam_channel::{Sender, bounded};

use super::base_backup::{self, Place, Taken, Watcher};
use super::wal::{self, Piece, Signals, WalConnection};
use super::{BackupError, BackupRequest, BackupResult, Progress};
use crate::client::{Client, Mode};
use crate::error::Error;
use crate::identity::{ServerIdentity, identity};
use crate::layout::{SegmentSize, Timeline};
use crate::options::ConnectOptions;
use crate::sink::PgdataSink;

/// Pieces of WAL, each up to 128 KiB, that may wait for a slow sink.
const WAL_PIECES_AHEAD: usize = 64;

/// Takes a base backup of the server at `options`: the data directory into `base`, and at the same
/// time, from another thread, the WAL that makes it consistent into `wal` as files under `pg_wal/`.
///
/// A temporary physical replication slot holds back the WAL from before the backup begins, so the
/// server keeps all WAL written during the backup. Needs two free walsenders, one free slot and the
/// REPLICATION attribute.
///
/// Damaged pages do not end the backup; they are listed in the result.
///
/// # Errors
/// [`BackupError::Postgres`] if the server refuses or goes away or WAL is missing,
/// [`BackupError::Sink`] if either sink fails. What the sinks hold then is not a backup.
pub fn take<B, W>(
    options: &ConnectOptions,
    request: &BackupRequest,
    base: &mut B,
    wal: &mut W,
) -> Result<BackupResult, BackupError<B::Error>>
where
    B: PgdataSink,
    B::Error: Send,
    W: PgdataSink<Error = B::Error> + Send,
{
    let start_time = jiff::Timestamp::now();
    let (mut client, connection) = open(options)?;
    let identity = identity(&mut client)?;
    let (taken, wal_segments) = run(client, connection, &identity, request, base, wal)?;
    tracing::info!(start = %taken.start.lsn, stop = %taken.stop.lsn, "base backup received");
    Ok(BackupResult {
        identity,
        label: request.label.clone(),
        start_lsn: taken.start.lsn,
        stop_lsn: taken.stop.lsn,
        start_timeline: taken.start.timeline,
        start_time,
        stop_time: jiff::Timestamp::now(),
        tablespaces: taken.tablespaces,
        backup_label: taken.backup_label,
        tablespace_map: taken.tablespace_map,
        wal_segments,
        checksum_failures: taken.checksum_failures,
    })
}

/// Opens both connections before anything is copied, so that a server that cannot do it says so in
/// the first second.
fn open(options: &ConnectOptions) -> Result<(Client, WalConnection), Error> {
    let open = || {
        let client = Client::connect(options, Mode::Replication)?;
        let connection = WalConnection::reserve(Client::connect(options, Mode::Replication)?)?;
        Ok((client, connection))
    };
    open().map_err(|error| explained(options, error))
}

/// With `wal_level = minimal` a server has no walsenders, and says that all zero of them are in
/// use. Looks whether that is the reason.
fn explained(options: &ConnectOptions, error: Error) -> Error {
    let Error::NothingFree { source } = error.root() else {
        return error;
    };
    let wal_level =
        Client::connect(options, Mode::Sql).and_then(|mut client| client.show("wal_level"));
    match wal_level {
        Ok(level) if level == "minimal" => {
            let mut source = source.clone();
            source.detail = Some("wal_level is minimal".to_owned());
            Error::WalLevelTooLow { source }
        }
        _ => error,
    }
}

fn run<B, W>(
    mut client: Client,
    connection: WalConnection,
    identity: &ServerIdentity,
    request: &BackupRequest,
    base: &mut B,
    wal: &mut W,
) -> Result<(Taken, Vec<String>), BackupError<B::Error>>
where
    B: PgdataSink,
    B::Error: Send,
    W: PgdataSink<Error = B::Error> + Send,
{
    let signals = Signals::default();
    let size = identity.wal_segment_size;
    thread::scope(|scope| {
        let (sender, receiver) = bounded(WAL_PIECES_AHEAD);
        let delivery = scope.spawn(move || wal::deliver(&receiver, size, wal));
        let mut watch = Watch {
            scope,
            signals: &signals,
            size,
            idle: Some((connection, sender)),
            streaming: None,
            progress: request.progress.as_deref(),
            is_ended_by_wal: false,
        };
        let taken = base_backup::run(&mut client, request, base, &mut watch);
        match &taken {
            Ok(taken) => signals.stop_at(taken.stop.lsn),
            Err(_) => signals.give_up(),
        }
        // Hangs up on the delivery if streaming never began.
        drop(watch.idle.take());
        let streamed = watch.streaming.take().map(joined);
        joined(delivery).map_err(BackupError::Sink)?;
        match (taken, streamed) {
            (Ok(taken), Some(Ok(segments))) => Ok((complete(taken)?, segments)),
            (Ok(_), None) => Err(Error::protocol("the backup has no start").into()),
            (Ok(_), Some(Err(wal))) => Err(wal.into()),
            (Err(_), Some(Err(wal))) if watch.is_ended_by_wal => Err(wal.into()),
            (Err(error), _) => Err(error),
        }
    })
}

/// A promotion in the middle makes the stop another timeline's; the server refuses that itself.
fn complete(taken: Taken) -> Result<Taken, Error> {
    match taken.start.timeline == taken.stop.timeline && taken.start.lsn <= taken.stop.lsn {
        true => Ok(taken),
        false => Err(Error::protocol(
            "the backup stops on another timeline than it began on",
        )),
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Starts the WAL stream as soon as the backup's start is known, and ends the backup when the
/// stream has failed: copying on for hours would be for nothing.
struct Watch<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    signals: &'env Signals,
    size: SegmentSize,
    idle: Option<(WalConnection, Sender<Piece>)>,
    streaming: Option<ScopedJoinHandle<'scope, Result<Vec<String>, Error>>>,
    progress: Option<&'env Progress>,
    is_ended_by_wal: bool,
}

impl Watcher for Watch<'_, '_> {
    fn started(&mut self, start: Place) -> Result<(), Error> {
        let Some((mut connection, sender)) = self.idle.take() else {
            return Err(Error::protocol("the backup began twice"));
        };
        let (signals, size) = (self.signals, self.size);
        self.streaming = Some(self.scope.spawn(move || {
            send_history(&mut connection, start.timeline, &sender);
            connection.stream(start, size, signals, &sender)
        }));
        Ok(())
    }

    fn advanced(&mut self, bytes: u64) -> Result<(), Error> {
        if let Some(progress) = self.progress {
            progress.add(bytes);
        }
        if self
            .streaming
            .as_ref()
            .is_some_and(|streaming| streaming.is_finished())
        {
            self.is_ended_by_wal = true;
            return Err(Error::WalMissing {
                reason: "the WAL stream ended early".to_owned(),
            });
        }
        Ok(())
    }

    fn sized(&mut self, estimated_bytes: u64) {
        if let Some(progress) = self.progress {
            progress.expect(estimated_bytes);
        }
    }
}

/// The ancestry of a timeline that is not the first. A server started from the tree does not need
/// it to become consistent, so one that is lost on the source is no reason to have no backup.
fn send_history(connection: &mut WalConnection, timeline: Timeline, sender: &Sender<Piece>) {
    if timeline <= Timeline::FIRST {
        return;
    }
    match connection.history(timeline) {
        // If nobody takes it, the stream fails next and says why.
        Ok((name, content)) => drop(sender.send(Piece::File(name, content))),
        Err(error) => {
            tracing::warn!(%timeline, %error, "the timeline's history file cannot be had")
        }
    }
}
