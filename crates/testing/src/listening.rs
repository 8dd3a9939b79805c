//! A port of one's own, and a thread that waits for connections to it.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use crate::TestingError;

/// Hands each connection to somebody, until it is dropped.
pub(crate) struct Listening {
    port: u16,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Listening {
    /// Listens on a free port of 127.0.0.1. `serve` is called by one thread, so it must not take long;
    /// it is dropped when listening ends. `program` is for the error.
    ///
    /// # Errors
    /// [`TestingError::Run`] if no port can be listened on.
    pub fn start(
        program: &str,
        mut serve: impl FnMut(TcpStream) + Send + 'static,
    ) -> Result<Self, TestingError> {
        let failed = |source| TestingError::Run {
            program: program.into(),
            source,
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        listener.set_nonblocking(true).map_err(failed)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stopping);
        let acceptor = spawn(move || {
            while !ends.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((client, _)) => serve(client),
                    Err(_) => sleep(Duration::from_millis(2)),
                }
            }
        });
        Ok(Self {
            port,
            stopping,
            acceptor: Some(acceptor),
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}
