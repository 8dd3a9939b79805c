//! A TCP connection that breaks on command.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use crate::TestingError;
use crate::listening::Listening;

/// Which way bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What the proxy does to connections, also to those already open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Accepts and closes at once; open connections are closed too.
    Refuse,
    /// Closes a connection once it carried exactly so many bytes in that direction.
    Cut {
        /// The direction that is counted.
        direction: Direction,
        /// How many bytes pass, counted from the connection's start.
        after: u64,
        /// With a TCP reset instead of an orderly end.
        reset: bool,
    },
    /// Forwards nothing more in that direction, and keeps the connection open.
    Stall {
        /// The direction that is counted and stalled.
        direction: Direction,
        /// How many bytes pass, counted from the connection's start.
        after: u64,
    },
    /// Waits so long before each piece of at most 16 KiB.
    Delay(Duration),
}

/// Forwards TCP connections to a port of 127.0.0.1, until told otherwise.
pub struct Proxy {
    shared: Arc<Shared>,
    listening: Listening,
}

struct Shared {
    fault: Mutex<Fault>,
    stopping: AtomicBool,
    /// Raised by one to close all connections that were opened before.
    generation: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
}

/// How often a quiet connection looks whether its fault changed.
const TICK: Duration = Duration::from_millis(20);

impl Proxy {
    /// Starts to forward to `target`.
    ///
    /// # Errors
    /// [`TestingError::Run`] if no port can be listened on.
    pub fn to(target: u16) -> Result<Self, TestingError> {
        let shared = Arc::new(Shared {
            fault: Mutex::new(Fault::None),
            stopping: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let mut pumps = Pumps {
            target,
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        let listening = Listening::start("the proxy", move |client| pumps.serve(client))?;
        Ok(Self { shared, listening })
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.listening.port()
    }

    /// Sets what happens to connections from now on.
    pub fn set(&self, fault: Fault) {
        *self
            .shared
            .fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Closes all open connections; new ones are welcome.
    pub fn close_all(&self) {
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// How many bytes all connections carried in one direction.
    pub fn forwarded(&self, direction: Direction) -> u64 {
        self.shared.counter(direction).load(Ordering::Acquire)
    }

    /// How many connections were accepted, refused ones included.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The pumps look at it; who listens ends, and waits for them, after this.
        self.shared.stopping.store(true, Ordering::Release);
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// True once a connection of `generation` has to go whatever it carries.
    fn must_close(&self, generation: u64) -> bool {
        self.stopping.load(Ordering::Acquire)
            || self.generation.load(Ordering::Acquire) != generation
            || self.fault() == Fault::Refuse
    }
}

/// The threads that carry bytes; waited for when dropped.
struct Pumps {
    target: u16,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pumps {
    fn serve(&mut self, client: TcpStream) {
        self.shared.connections.fetch_add(1, Ordering::AcqRel);
        if self.shared.fault() != Fault::Refuse {
            // A server that cannot be reached looks to the client like one that hangs up.
            let pair = connect(client, self.target, &self.shared);
            let _ = pair.map(|pair| self.threads.extend(pair));
        }
    }
}

impl Drop for Pumps {
    fn drop(&mut self) {
        let threads = self.threads.drain(..);
        threads.for_each(|pump| drop(pump.join()));
    }
}

fn connect(
    client: TcpStream,
    target: u16,
    shared: &Arc<Shared>,
) -> io::Result<[JoinHandle<()>; 2]> {
    let server = TcpStream::connect(("127.0.0.1", target))?;
    let generation = shared.generation.load(Ordering::Acquire);
    for stream in [&client, &server] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
    }
    let ended = Arc::new(AtomicBool::new(false));
    let start = |direction, from: &TcpStream, to: &TcpStream| -> io::Result<JoinHandle<()>> {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (shared, ended) = (Arc::clone(shared), Arc::clone(&ended));
        let pump = Pump {
            direction,
            from,
            to,
            shared,
            ended,
            generation,
            carried: 0,
        };
        Ok(spawn(move || pump.run()))
    };
    let up = start(Direction::Up, &client, &server)?;
    Ok([up, start(Direction::Down, &server, &client)?])
}

/// One direction of one connection.
struct Pump {
    direction: Direction,
    from: TcpStream,
    to: TcpStream,
    shared: Arc<Shared>,
    /// Shared by both directions: one of them closed the connection.
    ended: Arc<AtomicBool>,
    generation: u64,
    carried: u64,
}

impl Pump {
    fn run(mut self) {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if self.shared.must_close(self.generation) {
                return self.close(false);
            }
            let room = match self.room() {
                Room::Bytes(0) => {
                    sleep(TICK);
                    continue;
                }
                Room::Bytes(most) => usize::try_from(most)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len()),
                Room::Cut { reset } => return self.close(reset),
            };
            match self.from.read(&mut buffer[..room]) {
                Ok(0) => return self.pass_end_on(),
                Ok(read) => {
                    if let Fault::Delay(pause) = self.shared.fault() {
                        sleep(pause);
                    }
                    if self.forward(&buffer[..read]).is_err() {
                        return self.close(false);
                    }
                }
                Err(error) if is_timeout(&error) => {}
                Err(_) => return self.close(false),
            }
        }
    }

    /// How much may pass now.
    fn room(&self) -> Room {
        match self.shared.fault() {
            Fault::Cut {
                direction,
                after,
                reset,
            } if direction == self.direction => match after.saturating_sub(self.carried) {
                0 => Room::Cut { reset },
                left => Room::Bytes(left),
            },
            Fault::Stall { direction, after } if direction == self.direction => {
                Room::Bytes(after.saturating_sub(self.carried))
            }
            _ => Room::Bytes(u64::MAX),
        }
    }

    /// Writes all of `bytes`, but looks up now and then: a peer that reads nothing must not keep
    /// us from ending.
    fn forward(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.count(u64::try_from(written).unwrap_or(u64::MAX));
                }
                Err(error) if !is_timeout(&error) => return Err(error),
                Err(_) if self.shared.must_close(self.generation) => {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn count(&mut self, written: u64) {
        self.carried += written;
        self.shared
            .counter(self.direction)
            .fetch_add(written, Ordering::AcqRel);
    }

    /// Tells the receiver that the sender is done, unless it was us who ended the connection.
    fn pass_end_on(&self) {
        if !self.ended.load(Ordering::Acquire) {
            let _ = self.to.shutdown(Shutdown::Write);
        }
    }

    fn close(&self, reset: bool) {
        self.ended.store(true, Ordering::Release);
        for stream in [&self.from, &self.to] {
            if reset {
                // Linger of zero: what is unsent is dropped, and the last handle's close sends
                // RST. The end of reading wakes the other direction, so that its handle goes too.
                let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
                let _ = stream.shutdown(Shutdown::Read);
            } else {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

enum Room {
    Bytes(u64),
    Cut { reset: bool },
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
