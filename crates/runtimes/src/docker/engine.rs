//! The connection to an engine: every question has a limit, and every answer is a [`RuntimeError`] or what was asked.

use std::future::Future;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker as Client};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::failure::{self, Failure, refusal};
use crate::RuntimeError;
use crate::net::wait_for;

/// How long an engine may think about a question that needs no work.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a stream may be silent before the engine is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(15);

/// How long an engine may take to say that it is there.
const PING: Duration = Duration::from_secs(10);

/// An engine that is asked when something is wanted, and not before.
#[derive(Debug)]
pub(super) struct Engine {
    endpoint: Endpoint,
    client: OnceLock<Client>,
    is_podman: OnceLock<bool>,
}

/// What is being done, for the error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing<'a> {
    /// `start`, `run pg_dump in`.
    pub(super) what: &'a str,
    /// With which service.
    pub(super) service: &'a str,
}

impl Engine {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            client: OnceLock::new(),
            is_podman: OnceLock::new(),
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// `Docker at unix:///var/run/docker.sock`.
    pub(super) fn name(&self) -> String {
        let kind = match self.is_podman.get() {
            Some(true) => "Podman",
            Some(false) => "Docker",
            None => self.endpoint.maker().name(),
        };
        format!("{kind} at {}", self.endpoint)
    }

    /// Whether it is Podman, which answers as Docker does, but not in everything. Asked once.
    pub(super) fn is_podman(&self, doing: Doing<'_>) -> Result<bool, RuntimeError> {
        if let Some(known) = self.is_podman.get() {
            return Ok(*known);
        }
        let is_podman = match self.try_within(PATIENCE, async |client| client.version().await)? {
            Ok(version) => {
                let mut parts = version.components.into_iter().flatten();
                parts.any(|part| part.name.contains("Podman"))
            }
            // A proxy before the socket may not let this through.
            Err(failure) if refusal(&failure).is_some() => self.endpoint.maker().name() == "Podman",
            Err(failure) => return Err(self.explain(doing, failure)),
        };
        Ok(*self.is_podman.get_or_init(|| is_podman))
    }

    /// Asks a question that the engine answers at once.
    pub(super) fn ask<T, F>(
        &self,
        doing: Doing<'_>,
        question: impl FnOnce(Client) -> F,
    ) -> Result<T, RuntimeError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.ask_within(PATIENCE, doing, question)
    }

    /// Asks for something that takes at most so long.
    pub(super) fn ask_within<T, F>(
        &self,
        limit: Duration,
        doing: Doing<'_>,
        question: impl FnOnce(Client) -> F,
    ) -> Result<T, RuntimeError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let answer = self.try_within(limit, question)?;
        answer.map_err(|failure| self.explain(doing, failure))
    }

    /// As [`Self::ask_within`], with the engine's own words, for those who expect some of them.
    pub(super) fn try_within<T, F>(
        &self,
        limit: Duration,
        question: impl FnOnce(Client) -> F,
    ) -> Result<Result<T, Failure>, RuntimeError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        // The client has a limit of its own for the beginning of an answer.
        let client = self.client()?.with_timeout(limit);
        let work = async { timeout(limit, question(client)).await };
        let answer = wait_for(work).map_err(|source| failure::threads(&self.name(), source))?;
        Ok(answer.unwrap_or(Err(Failure::RequestTimeoutError)))
    }

    /// The next part of a stream; `None` at its end. A stream may be silent for as long as the engine answers.
    pub(super) async fn next<T>(
        &self,
        stream: &mut (impl Stream<Item = Result<T, Failure>> + Unpin),
    ) -> Option<Result<T, Failure>> {
        loop {
            if let Ok(item) = timeout(SILENCE, stream.next()).await {
                return item;
            }
            if let Err(failure) = self.ping().await {
                return Some(Err(failure));
            }
        }
    }

    async fn ping(&self) -> Result<(), Failure> {
        let Ok(client) = self.client() else {
            return Err(Failure::SocketNotFoundError(self.endpoint.to_string()));
        };
        match timeout(PING, client.ping()).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(Failure::RequestTimeoutError),
        }
    }

    pub(super) fn explain(&self, doing: Doing<'_>, failure: Failure) -> RuntimeError {
        failure::explain(&self.name(), self.endpoint.maker(), doing, failure)
    }

    /// The client; made when it is first wanted, so that an engine may come up later than we do.
    pub(super) fn client(&self) -> Result<Client, RuntimeError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let made = connect(&self.endpoint).map_err(|failure| {
            failure::unreachable(&self.name(), self.endpoint.maker(), failure)
        })?;
        Ok(self.client.get_or_init(|| made).clone())
    }
}

/// Nothing is sent yet. Requests name no version of the API, so that an engine of any age answers in its own.
fn connect(endpoint: &Endpoint) -> Result<Client, Failure> {
    let limit = PATIENCE.as_secs();
    match endpoint {
        Endpoint::Socket(path) => {
            Client::connect_with_unix(&path.to_string_lossy(), limit, API_DEFAULT_VERSION)
        }
        Endpoint::Tcp(address) => Client::connect_with_http(address, limit, API_DEFAULT_VERSION),
        Endpoint::Tls {
            address,
            certificates,
        } => connect_with_tls(address, certificates, limit),
    }
}

fn connect_with_tls(address: &str, certificates: &Path, limit: u64) -> Result<Client, Failure> {
    let file = |name: &str| {
        let path = certificates.join(name);
        // Asked for here, because a missing one would show as a refusal by the engine later.
        std::fs::File::open(&path)
            .map(|_| path.clone())
            .map_err(|_| Failure::CertPathError { path })
    };
    let (key, certificate, authority) = (file("key.pem")?, file("cert.pem")?, file("ca.pem")?);
    // The first to install one wins, and all of ours install the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::connect_with_ssl(
        address,
        &key,
        &certificate,
        &authority,
        limit,
        API_DEFAULT_VERSION,
    )
}

impl Engine {
    /// Waits for work that goes on by itself, for as long as the engine answers.
    pub(super) async fn until_done<T>(
        &self,
        work: &mut JoinHandle<Result<T, Failure>>,
    ) -> Result<T, Failure> {
        loop {
            match timeout(SILENCE, &mut *work).await {
                Ok(Ok(done)) => return done,
                Ok(Err(panicked)) => {
                    return Err(Failure::IOError {
                        err: std::io::Error::other(panicked),
                    });
                }
                Err(_) => {
                    if let Err(failure) = self.ping().await {
                        work.abort();
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Sends a piece to such work, for as long as the engine answers; false if it will never be taken.
    pub(super) async fn hand_over<T>(
        &self,
        sender: &mpsc::Sender<std::io::Result<T>>,
        piece: T,
    ) -> bool {
        loop {
            match timeout(SILENCE, sender.reserve()).await {
                Ok(Ok(place)) => {
                    place.send(Ok(piece));
                    return true;
                }
                Ok(Err(_)) => return false,
                Err(_) if self.ping().await.is_err() => return false,
                Err(_) => (),
            }
        }
    }
}
