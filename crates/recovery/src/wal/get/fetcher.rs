//! The process in the background that fetches what the server will ask for next.
//!
//! It belongs to one `pg_wal`, holds the archive open, and ends by itself. Only it knows which
//! files in its folder are whole: whatever another process left there is thrown away.

use std::{
    fs::{self, File},
    io,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use rekindle_postgres::layout::SegmentSize;
use rekindle_stack::Stack;
use rekindle_vault::Id;

use super::{
    GetError,
    board::Board,
    protocol::{self, Answer, Ask},
    source::{self, Source},
};
use crate::vault::store_of;
use crate::wal::{
    door::Door,
    names::WalName,
    place::Place,
    state::{self, FileLock},
};

/// Nobody asked for so long: it is not needed any more.
const IDLE: Duration = Duration::from_secs(30);

/// How often it looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(250);

/// A client that says nothing for so long is gone.
const CLIENT: Duration = Duration::from_secs(10);

/// Of the disk of `pg_wal` one tenth, 1 GiB at most, stays free of what nobody asked for yet.
const FREE_PART: u64 = 10;
const MOST_FREE: u64 = 1 << 30;

/// Where fetched files lie, in our folder.
pub(super) fn folder_of(ours: &Path) -> PathBuf {
    ours.join("fetched")
}

/// Serves the `pg_wal` at `pg_wal` until nobody asks any more, its recovery has ended, or it is
/// gone. Returns at once if another fetcher serves it.
///
/// # Errors
/// [`GetError`] if it cannot begin. Whoever waits for an answer sees the connection end.
pub fn fetch_ahead(stack: &Stack, pg_wal: &Path) -> Result<(), GetError> {
    let place = Place::of(&pg_wal.join("x")).map_err(GetError::io("find", pg_wal))?;
    let ours = place.ours();
    let lock_path = ours.join("fetch.lock");
    let lock = FileLock::take(&lock_path, Duration::ZERO);
    let Some(_lock) = lock.map_err(GetError::io("lock", &lock_path))? else {
        return Ok(());
    };
    let fetched = folder_of(&ours);
    let emptied = state::make_folder(&fetched).and_then(|()| state::empty_folder(&fetched));
    emptied.map_err(GetError::io("empty", &fetched))?;
    let folder = File::open(&ours).map_err(GetError::io("open", &ours))?;
    let socket = protocol::socket_path(&folder);
    let listener = listen(&socket).map_err(GetError::io("listen in", &ours))?;
    let end = End::watch(&place);
    let outcome = serve(stack, &place, listener, &end);
    let _ = fs::remove_file(&socket);
    let _ = state::empty_folder(&fetched);
    outcome
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(socket)
}

fn serve(stack: &Stack, place: &Place, listener: UnixListener, end: &End) -> Result<(), GetError> {
    let door = Door::new(store_of(&stack.vault)?, &stack.vault.password, None);
    let cluster = place.cluster().transpose().map_err(GetError::ControlFile)?;
    let source = Source::new(door.full()?, cluster, None)?;
    let fetcher = Arc::new(Fetcher {
        board: Board::new(cluster.map_or(SegmentSize::DEFAULT, |cluster| cluster.segment_size)),
        folder: folder_of(&place.ours()),
        vault: door.mark(),
        source,
    });
    let workers: Vec<_> = (0..fetcher.threads())
        .map(|_| {
            let fetcher = Arc::clone(&fetcher);
            thread::spawn(move || fetcher.work())
        })
        .collect();
    let answering = Arc::clone(&fetcher);
    // Ends with the process: it waits for clients.
    thread::spawn(move || answering.answer_all(&listener));
    while !fetcher.board.is_idle_for(IDLE) && !end.has_come() {
        thread::sleep(LOOK);
    }
    fetcher.board.end();
    for worker in workers {
        // Its panic has been told already, and nothing is left to do.
        let _ = worker.join();
    }
    Ok(())
}

struct Fetcher {
    board: Board,
    folder: PathBuf,
    vault: Option<Id>,
    source: Source,
}

impl Fetcher {
    /// One for each core, and one where segments are so large that memory would be the price.
    fn threads(&self) -> usize {
        match self.source.segment_bytes() {
            0..=67_108_864 => thread::available_parallelism()
                .map_or(1, usize::from)
                .clamp(2, 8),
            _ => 1,
        }
    }

    fn work(&self) {
        while let Some(job) = self.board.next_job() {
            let answer = match self.has_room(job.is_ahead) {
                true => self.fetch(&job.name),
                false => Answer::Failed,
            };
            self.board.finish(&job, answer);
        }
    }

    fn fetch(&self, name: &str) -> Answer {
        let Some(name) = WalName::parse(name) else {
            return Answer::Failed;
        };
        let content = match self.source.read(&name) {
            Ok(Some(content)) => content,
            Ok(None) => return Answer::Absent,
            Err(_) => return Answer::Failed,
        };
        match source::place(&content, &self.folder.join(&name.text)) {
            Ok(()) => Answer::Here,
            Err(_) => Answer::Failed,
        }
    }

    fn has_room(&self, is_ahead: bool) -> bool {
        let Ok(disk) = rustix::fs::statvfs(&self.folder) else {
            return !is_ahead;
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let all = disk.f_blocks.saturating_mul(disk.f_frsize);
        !is_ahead
            || free.saturating_sub(self.source.segment_bytes()) >= (all / FREE_PART).min(MOST_FREE)
    }

    fn answer_all(self: &Arc<Self>, listener: &UnixListener) {
        for stream in listener.incoming().flatten() {
            let fetcher = Arc::clone(self);
            thread::spawn(move || {
                // A client that goes away goes without an answer.
                let _ = fetcher.answer_one(stream);
            });
        }
    }

    fn answer_one(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(CLIENT))?;
        let ask: Ask = protocol::hear(&stream)?;
        let is_ours = ask.system == self.source.system() && Some(ask.vault) == self.vault;
        let answer = match WalName::parse(&ask.file) {
            Some(name) if is_ours => self.board.ask(&name, |old| {
                // What stays is thrown away at the end.
                let _ = fs::remove_file(self.folder.join(old));
            }),
            _ => Answer::Failed,
        };
        protocol::say(&mut stream, &answer)
    }
}

/// What tells that the recovery that it serves is over.
struct End {
    folder: PathBuf,
    /// Those that were there at the beginning: the server removes its signal file when recovery
    /// ends, and its process file when it stops.
    signs: Vec<PathBuf>,
    postmaster: Option<PathBuf>,
}

impl End {
    fn watch(place: &Place) -> Self {
        let existing = |name: &str| {
            let path = place.pgdata.as_ref()?.join(name);
            path.exists().then_some(path)
        };
        Self {
            folder: folder_of(&place.ours()),
            signs: ["recovery.signal", "standby.signal"]
                .into_iter()
                .filter_map(existing)
                .collect(),
            postmaster: existing("postmaster.pid"),
        }
    }

    fn has_come(&self) -> bool {
        let is_recovered = !self.signs.is_empty() && !self.signs.iter().any(|path| path.exists());
        let is_stopped = self.postmaster.as_ref().is_some_and(|path| !path.exists());
        is_recovered || is_stopped || !self.folder.exists()
    }
}
