//! The async runtime of this crate's connections, which waits for sockets and does nothing else.

use std::future::Future;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// Runs `work` to its end on the thread that calls. Any number of threads may do so at once.
///
/// # Errors
/// If the runtime cannot be made: no threads, no file descriptors.
pub(crate) fn wait_for<T>(work: impl Future<Output = T>) -> io::Result<T> {
    Ok(runtime()?.block_on(work))
}

/// Lets `work` go on by itself.
///
/// # Errors
/// As [`wait_for`].
pub(crate) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<tokio::task::JoinHandle<T>> {
    Ok(runtime()?.spawn(work))
}

fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    // One thread carries the bytes between sockets and those who wait.
    let made = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("rekindle-runtimes")
        .enable_all()
        .build()?;
    // Of two threads that came here at once, one keeps its runtime; the other's has no work yet.
    if let Err(surplus) = RUNTIME.set(made) {
        surplus.shutdown_background();
    }
    RUNTIME.get().ok_or_else(|| io::ErrorKind::Other.into())
}
