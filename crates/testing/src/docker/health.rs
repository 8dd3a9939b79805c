//! Health checks of Podman's containers. Podman itself runs none: it makes a timer of systemd for each, which asks it
//! to. Where no systemd runs, somebody else must.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// More often than any check of tests asks for.
const PAUSE: Duration = Duration::from_millis(300);

/// A check is given up after this long; an engine that hangs must not hold the thread for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the health checks of all containers that run, as the timers would, until it is dropped.
pub(super) struct HealthChecks(Arc<AtomicBool>);

impl HealthChecks {
    /// Those of the engine on this socket, also when that goes away and comes again.
    pub(super) fn of(socket: PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        // It ends by itself within moments of being told, so nobody waits for it.
        thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                check_all(&socket, &told);
                thread::sleep(PAUSE);
            }
        });
        Self(is_over)
    }
}

impl Drop for HealthChecks {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn check_all(socket: &Path, is_over: &AtomicBool) {
    let Some(Value::Array(containers)) = ask(socket, "/containers/json") else {
        return;
    };
    let ids = containers.iter().filter_map(|one| one["Id"].as_str());
    for id in ids.take_while(|_| !is_over.load(Ordering::Relaxed)) {
        // One without a check is refused, which is fine.
        let _ = ask(
            socket,
            &format!("/v4.0.0/libpod/containers/{id}/healthcheck"),
        );
    }
}

fn ask(socket: &Path, path: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    let (_, body) = said.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}
