//! One connection: the system's SSH client, and the requests that are under way on it.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::packet::{In, MOST_BYTES, Out, kind, malformed};

/// An answer: its kind, and what comes after the request's number.
pub(super) struct Answer {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

type Waiting = HashMap<u32, Sender<(u32, Answer)>>;

/// A connection that answers, or did.
pub(super) struct Session {
    client: Mutex<Child>,
    input: Mutex<ChildStdin>,
    shared: Arc<Shared>,
    next: AtomicU32,
    extensions: Vec<String>,
    patience: Duration,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// `None` once the connection has ended.
    waiting: Mutex<Option<Waiting>>,
    /// The last lines that the SSH client printed.
    said: Mutex<VecDeque<u8>>,
    has_ended: AtomicBool,
    /// Answers so far, to whomever: a slow line that many transfers share still moves.
    heard: AtomicU64,
}

/// Enough for a client's complaint.
const MOST_SAID: usize = 2000;

impl Session {
    /// Starts the SSH client of `command` and waits for the server's greeting. Nobody answers for
    /// `patience`: the connection is given up.
    pub(super) fn start(command: &mut Command, patience: Duration) -> io::Result<Self> {
        let mut client = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: what is to be tidied up afterwards needs the connection.
            .process_group(0)
            .spawn()?;
        let (Some(input), Some(output), Some(errors)) = (
            client.stdin.take(),
            client.stdout.take(),
            client.stderr.take(),
        ) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let shared = Arc::new(Shared::default());
        *lock(&shared.waiting) = Some(Waiting::new());
        let (greeting, greeted) = channel();
        let listen = {
            let shared = Arc::clone(&shared);
            move || shared.listen(errors)
        };
        let receive = {
            let shared = Arc::clone(&shared);
            move || shared.receive(output, &greeting)
        };
        let mut session = Self {
            client: Mutex::new(client),
            input: Mutex::new(input),
            threads: vec![thread::spawn(listen), thread::spawn(receive)],
            shared,
            next: AtomicU32::new(0),
            extensions: Vec::new(),
            patience,
        };
        session.send(&Out::new(kind::INIT).u32(3).finish())?;
        let greeting = greeted.recv_timeout(patience).map_err(|_| session.end())?;
        session.extensions = extensions(&greeting)?;
        Ok(session)
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.shared.has_ended.load(Ordering::Acquire)
    }

    pub(super) fn has_extension(&self, name: &str) -> bool {
        self.extensions.iter().any(|known| known == name)
    }

    /// Requests that are answered to one place, in any order.
    pub(super) fn requests(&self) -> Requests<'_> {
        let (sender, answers) = channel();
        Requests {
            session: self,
            sender,
            answers,
        }
    }

    fn send(&self, packet: &[u8]) -> io::Result<()> {
        let mut input = lock(&self.input);
        let sent = input.write_all(packet).and_then(|()| input.flush());
        drop(input);
        sent.map_err(|_| self.end())
    }

    /// Ends the connection; why, in the SSH client's own words where it has some.
    fn end(&self) -> io::Error {
        // A client that ends by itself still says why; one that hangs is stopped.
        let patience = Duration::from_millis(10);
        for _ in 0..50 {
            if self.shared.has_ended.load(Ordering::Acquire) {
                break;
            }
            thread::sleep(patience);
        }
        let _ = lock(&self.client).kill();
        self.shared.finish();
        self.shared.why()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut client = lock(&self.client);
        let _ = client.kill();
        let _ = client.wait();
        drop(client);
        // Both end with the pipes of the client.
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Some requests of one caller.
pub(super) struct Requests<'a> {
    session: &'a Session,
    sender: Sender<(u32, Answer)>,
    answers: Receiver<(u32, Answer)>,
}

impl Requests<'_> {
    /// Sends a request of `kind`, whose fields `fill` adds; its number.
    pub(super) fn send(&self, kind: u8, fill: impl FnOnce(Out) -> Out) -> io::Result<u32> {
        let number = self.session.next.fetch_add(1, Ordering::Relaxed);
        match lock(&self.session.shared.waiting).as_mut() {
            Some(waiting) => waiting.insert(number, self.sender.clone()),
            None => return Err(self.session.shared.why()),
        };
        self.session
            .send(&fill(Out::new(kind).u32(number)).finish())?;
        Ok(number)
    }

    /// The next answer to any of these requests.
    pub(super) fn receive(&self) -> io::Result<(u32, Answer)> {
        // Our own sender lives on, so that the end of the connection does not end the channel.
        let tick = Duration::from_millis(200).min(self.session.patience);
        let heard = || self.session.shared.heard.load(Ordering::Relaxed);
        let (mut waited, mut before) = (Duration::ZERO, heard());
        while waited < self.session.patience {
            match self.answers.recv_timeout(tick) {
                Ok(answer) => return Ok(answer),
                Err(_) if !self.session.is_alive() => return Err(self.session.shared.why()),
                Err(_) if heard() != before => (waited, before) = (Duration::ZERO, heard()),
                Err(_) => waited += tick,
            }
        }
        Err(self.session.end())
    }
}

impl Shared {
    fn receive(&self, mut output: ChildStdout, greeting: &Sender<Vec<u8>>) {
        // An error here is the end of the connection, and told as that.
        let _ = self.receive_all(&mut output, greeting);
        self.finish();
    }

    fn receive_all(&self, output: &mut ChildStdout, greeting: &Sender<Vec<u8>>) -> io::Result<()> {
        loop {
            let mut head = [0; 5];
            output.read_exact(&mut head)?;
            let [a, b, c, d, kind] = head;
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length == 0 || length > MOST_BYTES {
                // What a login script prints arrives here, too.
                return Err(malformed());
            }
            let mut body = vec![0; length - 1];
            output.read_exact(&mut body)?;
            if kind == kind::VERSION {
                let _ = greeting.send(body);
                continue;
            }
            self.heard.fetch_add(1, Ordering::Relaxed);
            let number = In(&body).u32()?;
            body.drain(..4);
            let mut waiting = lock(&self.waiting);
            let sender = waiting.as_mut().and_then(|waiting| waiting.remove(&number));
            drop(waiting);
            if let Some(sender) = sender {
                // The caller may have given up.
                let _ = sender.send((number, Answer { kind, body }));
            }
        }
    }

    fn listen(&self, mut errors: ChildStderr) {
        let mut buffer = [0; 512];
        while let Ok(read) = errors.read(&mut buffer) {
            if read == 0 {
                return;
            }
            let mut said = lock(&self.said);
            said.extend(&buffer[..read]);
            while said.len() > MOST_SAID {
                said.pop_front();
            }
        }
    }

    fn finish(&self) {
        *lock(&self.waiting) = None;
        self.has_ended.store(true, Ordering::Release);
    }

    fn why(&self) -> io::Error {
        // The last words may still be on their way.
        thread::sleep(Duration::from_millis(50));
        let said: Vec<u8> = lock(&self.said).iter().copied().collect();
        let said = String::from_utf8_lossy(&said)
            .trim()
            .replace(['\r', '\n'], " ");
        let kind = if said.contains("Permission denied") {
            io::ErrorKind::PermissionDenied
        } else if said.contains("Host key verification failed")
            || said.contains("Could not resolve hostname")
            || said.contains("Bad configuration option")
        {
            io::ErrorKind::InvalidInput
        } else {
            io::ErrorKind::ConnectionAborted
        };
        match said.is_empty() {
            true => io::Error::new(kind, "the SSH connection ended"),
            false => io::Error::new(kind, format!("the SSH connection ended: {said}")),
        }
    }
}

fn extensions(greeting: &[u8]) -> io::Result<Vec<String>> {
    let mut greeting = In(greeting);
    if greeting.u32()? < 3 {
        return Err(io::Error::other("the server speaks an SFTP older than 3"));
    }
    let mut names = Vec::new();
    while !greeting.is_empty() {
        names.push(String::from_utf8_lossy(greeting.bytes()?).into_owned());
        greeting.bytes()?;
    }
    Ok(names)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
