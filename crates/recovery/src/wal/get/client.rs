//! Asking the fetcher in the background; starting it where there is none.

use std::{
    fs::File,
    io,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::protocol::{self, Answer, Ask};

/// How long a fetcher may take to start listening.
const START: Duration = Duration::from_secs(3);

/// How long an answer may take. Then the file is fetched without the fetcher.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a fetcher in the background and returns at once.
pub type StartFetcher<'a> = &'a dyn Fn() -> io::Result<()>;

/// Asks the fetcher that works in `ours`.
///
/// # Errors
/// If there is none and none can be started, or it goes away: it has to be done without it then.
pub(super) fn ask(ours: &Path, ask: &Ask, start: StartFetcher<'_>) -> io::Result<Answer> {
    let mut stream = connect(ours, start)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    protocol::say(&mut stream, ask)?;
    protocol::hear(&stream)
}

fn connect(ours: &Path, start: StartFetcher<'_>) -> io::Result<UnixStream> {
    let folder = File::open(ours)?;
    let socket = protocol::socket_path(&folder);
    if let Ok(stream) = UnixStream::connect(&socket) {
        return Ok(stream);
    }
    start()?;
    let deadline = Instant::now() + START;
    loop {
        match UnixStream::connect(&socket) {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            other => return other,
        }
    }
}
