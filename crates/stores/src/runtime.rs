//! The one async runtime of the process, which waits for sockets and does nothing else.

use std::{future::Future, io, sync::OnceLock};

use tokio::runtime::{Builder, Runtime};

/// Sockets of many transfers are waited for by two threads; bodies are copied, no more.
const THREADS: usize = 2;

/// Runs `work` to its end. Any number of threads may call this at once; they wait here, the
/// runtime's own threads move the bytes.
///
/// # Errors
/// If the runtime cannot be made (no threads, no file descriptors), or as `work` failed.
pub(crate) fn wait_for<T, E: From<io::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    runtime()?.block_on(work)
}

fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("rekindle-net")
        .enable_all()
        .build()?;
    // Of two threads that came here at once, one keeps its runtime; the other's has no work yet.
    if let Err(surplus) = RUNTIME.set(made) {
        surplus.shutdown_background();
    }
    RUNTIME.get().ok_or_else(|| io::ErrorKind::Other.into())
}
