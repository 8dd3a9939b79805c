//! One RDB into a running server: it becomes our replica, takes the RDB, and is its own master again.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::address::RedisOptions;
use super::client::Client;
use super::error::RedisError;
use super::info::Info;
use super::link::Speech;
use super::master::{Master, Serving};
use super::rdb::RdbSummary;
use super::tls;

const TICK: Duration = Duration::from_millis(50);
/// A server comes to its new master within a second or two.
const REACH_LIMIT: Duration = Duration::from_secs(30);
/// While it neither takes bytes nor loads them, for so long, it is stuck.
const STUCK_LIMIT: Duration = Duration::from_secs(120);

/// How a server is to come to us.
pub struct Meeting {
    master: Master,
    /// The address that it is told.
    pub address: SocketAddr,
    token: Option<String>,
    /// Whether it has no word of its own, and must be given ours.
    pub sets_masterauth: bool,
}

impl Meeting {
    /// Listens where the server can reach us, and agrees on a word with it, so that nobody else is given the data.
    ///
    /// # Errors
    /// If the server cannot be asked, or nothing can be listened on.
    pub fn arrange(client: &mut Client, options: &RedisOptions) -> Result<Self, RedisError> {
        let speech = speech(client, options)?;
        let own = client.setting("masterauth")?;
        let (token, sets_masterauth) = match own {
            Some(word) if !word.is_empty() => (Some(word), false),
            Some(_) => (Some(random_word()?), true),
            None => (None, false),
        };
        let seen = seen_address(client)?;
        let (listen_at, told, only) = match client.addresses() {
            None => (LOCAL, LOCAL, Some(LOCAL)),
            Some((ours, theirs)) => match seen {
                // Between us addresses are translated: it sees us by another one than we do.
                Some(seen) if seen != ours.ip() => (any_like(seen), seen, None),
                _ => (ours.ip(), ours.ip(), Some(theirs.ip())),
            },
        };
        if token.is_none() && only.is_none() {
            let why = "the server may not be asked for `masterauth`, and reaches us over another network: the data could \
                       not be kept from others";
            return Err(RedisError::Unsuitable(why.to_owned()));
        }
        let listening = Master::listen(listen_at, token.clone(), only, speech);
        let master = listening.map_err(RedisError::Unreachable)?;
        let port = master.address().map_err(RedisError::Unreachable)?.port();
        Ok(Self {
            master,
            address: SocketAddr::new(told, port),
            token,
            sets_masterauth,
        })
    }
}

/// How the server will speak with its master, which we are then.
///
/// # Errors
/// If that is by TLS, and we have no certificate, or it cannot be read.
pub fn speech(client: &mut Client, options: &RedisOptions) -> Result<Speech, RedisError> {
    let ours = options.identity.as_ref().map(tls::of_master);
    let ours = ours.transpose()?.map(Arc::new);
    match (client.setting("tls-replication")?.as_deref(), ours) {
        (Some("yes"), Some(config)) => Ok(Speech::TlsOnly(config)),
        (Some("yes"), None) => Err(RedisError::NoCertificate),
        (_, ours) => Ok(Speech::AsItComes(ours)),
    }
}

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn any_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

fn random_word() -> Result<String, RedisError> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|_| {
        RedisError::Unsuitable("this machine has no random numbers to give".to_owned())
    })?;
    Ok(hex::encode(bytes))
}

/// The address by which the server sees us; `None` over a socket, or if it does not say.
fn seen_address(client: &mut Client) -> Result<Option<IpAddr>, RedisError> {
    let Some(reply) = client.try_call(&["CLIENT", "INFO"])? else {
        return Ok(None);
    };
    let text = reply.text();
    let address = text.split(' ').find_map(|part| part.strip_prefix("addr="));
    let address = address.and_then(|address| address.parse::<SocketAddr>().ok());
    Ok(address.map(|address| address.ip()))
}

/// Why a server did not take an RDB.
#[derive(Debug)]
pub struct NotLoaded {
    pub error: RedisError,
    /// Whether it is its own master again, and was given nothing: it holds what it held.
    pub is_untouched: bool,
}

/// Gives the server an RDB, which takes the place of all that it holds, and waits until it is its own master again.
///
/// # Errors
/// If it does not take it. It is no replica then, unless it cannot be reached any more.
pub fn load(
    options: &RedisOptions,
    meeting: &Meeting,
    rdb: &Path,
    summary: &RdbSummary,
) -> Result<(), NotLoaded> {
    let serving = Serving::default();
    let (outcome, freed) = std::thread::scope(|scope| {
        scope.spawn(|| meeting.master.serve(rdb, &serving));
        let outcome = follow(options, meeting, summary, &serving);
        let freed = free(options, meeting.address, meeting.sets_masterauth);
        serving.is_over.store(true, Ordering::Release);
        (outcome, freed)
    });
    // Not before the thread has ended, which may have given it something until then.
    let is_untouched = freed.is_ok() && serving.requests.load(Ordering::Acquire) == 0;
    let loaded = outcome.and(freed);
    let loaded = loaded.and_then(|()| compare(options, summary));
    loaded.map_err(|error| NotLoaded {
        error,
        is_untouched,
    })
}

/// Makes the server our replica and waits until it has loaded the RDB.
fn follow(
    options: &RedisOptions,
    meeting: &Meeting,
    summary: &RdbSummary,
    serving: &Serving,
) -> Result<(), RedisError> {
    let mut client = Client::connect(options)?;
    if let (true, Some(token)) = (meeting.sets_masterauth, &meeting.token) {
        client.call(&["CONFIG", "SET", "masterauth", token])?;
    }
    let host = meeting.address.ip().to_string();
    let port = meeting.address.port().to_string();
    client.call(&["REPLICAOF", &host, &port])?;
    // Whoever was kept waiting is told now that this is a replica.
    client.try_call(&["CLIENT", "UNPAUSE"])?;
    let mut watch = Watch::begin();
    loop {
        let info = client.info("replication")?;
        let persistence = client.info("persistence")?;
        let sent = serving.sent.load(Ordering::Acquire);
        let requests = serving.requests.load(Ordering::Acquire);
        if requests > 0 && info.is("master_link_status", "up") && sent >= summary.bytes {
            return Ok(());
        }
        if requests > 1 {
            let why = "the server asked for the RDB a second time: it could not load it; its log tells why";
            return Err(RedisError::NotRestored(why.to_owned()));
        }
        if let Some(why) = serving.refusal() {
            return Err(RedisError::NotTrusted(why.to_owned()));
        }
        if !info.is("master_port", &port) {
            let why =
                "something else told the server to follow another master (Sentinel, an operator?)";
            return Err(RedisError::NotRestored(why.to_owned()));
        }
        let loaded = persistence.number("loading_loaded_bytes").unwrap_or(0);
        watch.look(sent + loaded, serving, meeting)?;
        sleep(TICK);
    }
}

/// When something moved last.
struct Watch {
    progress: u64,
    since: Instant,
}

impl Watch {
    fn begin() -> Self {
        Self {
            progress: 0,
            since: Instant::now(),
        }
    }

    fn look(
        &mut self,
        progress: u64,
        serving: &Serving,
        meeting: &Meeting,
    ) -> Result<(), RedisError> {
        if progress != self.progress {
            self.progress = progress;
            self.since = Instant::now();
        }
        let waited = self.since.elapsed();
        if serving.requests.load(Ordering::Acquire) == 0 && waited > REACH_LIMIT {
            let came = serving.connections.load(Ordering::Acquire);
            return Err(RedisError::NotRestored(match came {
                0 => format!(
                    "the server could not reach us at {} within {} s: is there a firewall or another network between?",
                    meeting.address,
                    REACH_LIMIT.as_secs()
                ),
                _ => "the server came and did not ask for the RDB; its log tells why".to_owned(),
            }));
        }
        if waited > STUCK_LIMIT {
            return Err(RedisError::Silent {
                doing: "giving the server the RDB".to_owned(),
                after: STUCK_LIMIT,
            });
        }
        Ok(())
    }
}

/// Makes the server its own master again, if it follows us, and takes back what it was told.
///
/// # Errors
/// If it cannot be reached; it follows a master that is not there then.
pub fn free(
    options: &RedisOptions,
    master: SocketAddr,
    masterauth_set: bool,
) -> Result<(), RedisError> {
    let mut client = Client::connect(options)?;
    client.try_call(&["CLIENT", "UNPAUSE"])?;
    let info = client.info("replication")?;
    if follows(&info, master) {
        client.call(&["REPLICAOF", "NO", "ONE"])?;
    }
    if masterauth_set {
        client.call(&["CONFIG", "SET", "masterauth", ""])?;
    }
    Ok(())
}

/// Whether the server's master is us.
pub fn follows(info: &Info, master: SocketAddr) -> bool {
    info.is("role", "slave")
        && info.is("master_host", &master.ip().to_string())
        && info.is("master_port", &master.port().to_string())
}

/// Holds what the server has now against what it was given.
fn compare(options: &RedisOptions, summary: &RdbSummary) -> Result<(), RedisError> {
    if !summary.is_counted() {
        return Ok(());
    }
    let mut client = Client::connect(options)?;
    let found = client.info("keyspace")?.keys();
    let expected: BTreeMap<u64, _> = summary
        .databases
        .iter()
        .map(|counts| (counts.database, counts))
        .collect();
    let databases = found.keys().chain(expected.keys());
    for database in databases {
        let found = found.get(database).copied().unwrap_or(0);
        let (most, least) = expected
            .get(database)
            .map_or((0, 0), |counts| (counts.keys, counts.keys - counts.expired));
        // Clients may write again, so that there may be more; fewer there cannot be but by time.
        if found < least {
            return Err(RedisError::NotRestored(format!(
                "database {database} has {found} keys, and was given {most}"
            )));
        }
    }
    Ok(())
}

/// Makes what the server holds the thing that it loads when it starts again. Returns what a person should know.
///
/// # Errors
/// If its append-only files could not be written anew: what it would load is the old data.
pub fn persist(options: &RedisOptions) -> Result<Vec<String>, RedisError> {
    let mut client = Client::connect(options)?;
    let info = client.info("persistence")?;
    if info.is("aof_enabled", "1") {
        settled(&mut client)?;
        client.call(&["BGREWRITEAOF"])?;
        let info = settled(&mut client)?;
        if !info.is("aof_last_bgrewrite_status", "ok") {
            let why = "the server holds the data, but could not write its append-only files anew: after a restart it would \
                       have the old data";
            return Err(RedisError::NotRestored(why.to_owned()));
        }
    }
    settled(&mut client)?;
    let saved = client.call(&["BGSAVE"]);
    let info = settled(&mut client)?;
    if saved.is_ok() && info.is("rdb_last_bgsave_status", "ok") {
        return Ok(Vec::new());
    }
    Ok(vec![
        "the server holds the data, but its BGSAVE failed: where it keeps no append-only files, it has the data only \
         until it is restarted"
            .to_owned(),
    ])
}

/// Waits until the server writes nothing in the background.
fn settled(client: &mut Client) -> Result<Info, RedisError> {
    loop {
        let info = client.info("persistence")?;
        let is_quiet = [
            "aof_rewrite_in_progress",
            "aof_rewrite_scheduled",
            "rdb_bgsave_in_progress",
        ]
        .iter()
        .all(|name| info.is(name, "0"));
        if is_quiet {
            return Ok(info);
        }
        sleep(TICK);
    }
}
