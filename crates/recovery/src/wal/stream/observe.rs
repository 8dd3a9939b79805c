//! How archiving is doing, seen from outside: what the receiver says, what the server says, what is wrong.

use std::time::Duration;

use jiff::Timestamp;
use rekindle_datasets::with_causes;
use rekindle_postgres::{
    self as pg, Client, ConnectOptions, Lsn, Mode,
    wal::receive::{SlotName, SlotState, Spool, inspect_slot},
};
use rekindle_stack::{Stack, WalMode};
use rekindle_vault::Vault;
use serde::Serialize;

use super::record::{StreamRecord, StreamState};
use super::settings::with_wal;
use super::{Gap, StreamSettings, gaps};
use crate::{RecoveryError, runtime::cluster_at, wal::bases::Bases};

/// A vault that is further behind than this is told of.
const LATE: Duration = Duration::from_secs(60);

/// How archiving the WAL of one service is doing.
#[derive(Clone, Debug, Serialize)]
pub struct WalHealth {
    /// The service.
    pub service: String,
    /// `stream` or `push`.
    pub mode: &'static str,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// What is wrong, the gravest first.
    pub problems: Vec<String>,
    /// With `wal: stream`: what the receiver says.
    pub receiver: Option<ReceiverView>,
    /// What the server says; `None` if it cannot be asked.
    pub server: Option<ServerView>,
    /// WAL that could not be had.
    pub gaps: Vec<GapView>,
}

/// What is known of the receiver.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiverView {
    /// Whether it runs.
    pub is_running: bool,
    /// What it wrote last; `None` if it never ran.
    pub last: Option<StreamRecord>,
}

/// A gap, and whether a later base backup makes up for it.
#[derive(Clone, Debug, Serialize)]
pub struct GapView {
    /// The gap.
    #[serde(flatten)]
    pub gap: Gap,
    /// Whether a base backup begins after it; `None` if the vault cannot be read.
    pub is_covered: Option<bool>,
}

/// What the server says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct ServerView {
    /// Its version.
    pub version: String,
    /// Where its WAL ends.
    pub wal_end: Lsn,
    /// The slot; `None` if there is none.
    pub slot: Option<SlotView>,
    /// How its `archive_command` is doing, if it has one.
    pub push: Option<PushView>,
}

/// A replication slot.
#[derive(Clone, Debug, Serialize)]
pub struct SlotView {
    /// Its name.
    pub name: String,
    /// From where on it keeps WAL.
    pub restart_lsn: Option<Lsn>,
    /// Whether somebody is connected to it.
    pub is_active: bool,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<&'static str>,
    /// Bytes of WAL that the server keeps for it.
    pub retained_bytes: Option<u64>,
    /// Bytes of WAL until it may be given up; `None` without `max_slot_wal_keep_size`.
    pub safe_wal_size: Option<i64>,
    /// In how long that is, at the rate since the receiver last spoke.
    pub seconds_to_full: Option<u64>,
}

/// `pg_stat_archiver`.
#[derive(Clone, Debug, Serialize)]
pub struct PushView {
    /// The last file that was archived.
    pub last_archived: Option<String>,
    /// How long ago, in seconds.
    pub last_archived_seconds: Option<i64>,
    /// The last file whose archiving failed.
    pub last_failed: Option<String>,
    /// How long ago, in seconds.
    pub last_failed_seconds: Option<i64>,
    /// How many attempts failed since the statistics were reset.
    pub failed_count: u64,
    /// Whether the last attempt failed.
    pub is_failing: bool,
}

/// Looks at archiving of all services with `wal:`, or of one. Works with the server, the receiver or the vault down.
///
/// # Errors
/// If the configuration has no such service, or its settings cannot be used.
pub fn wal_status(
    stack: &Stack,
    service: Option<&str>,
    vault: Result<&Vault, &RecoveryError>,
) -> Result<Vec<WalHealth>, RecoveryError> {
    let is_wanted = |name: &String| service.is_none_or(|wanted| wanted == name);
    let names = |mode| {
        with_wal(stack, mode)
            .into_iter()
            .map(|(name, _)| name)
            .filter(is_wanted)
    };
    let streaming: Vec<String> = names(WalMode::Stream).collect();
    let pushing: Vec<String> = names(WalMode::Push).collect();
    if streaming.is_empty() && pushing.is_empty() {
        let known: Vec<String> = [WalMode::Stream, WalMode::Push]
            .into_iter()
            .flat_map(|mode| with_wal(stack, mode))
            .map(|(name, _)| name)
            .collect();
        return Err(RecoveryError::NotStreaming {
            wanted: service.map(str::to_owned),
            known: match known.is_empty() {
                true => "none".to_owned(),
                false => known.join(", "),
            },
        });
    }
    let mut all = Vec::new();
    for service in streaming {
        all.push(streaming_health(
            &StreamSettings::of(stack, Some(&service))?,
            vault,
        ));
    }
    for service in pushing {
        all.push(pushing_health(stack, &service)?);
    }
    if let Err(error) = vault {
        let text = format!("the vault cannot be opened: {}", with_causes(error));
        all.iter_mut()
            .for_each(|health| health.problem(text.clone()));
    }
    Ok(all)
}

impl WalHealth {
    fn new(service: &str, mode: &'static str) -> Self {
        Self {
            service: service.to_owned(),
            mode,
            ok: true,
            problems: Vec::new(),
            receiver: None,
            server: None,
            gaps: Vec::new(),
        }
    }

    fn problem(&mut self, text: impl Into<String>) {
        self.ok = false;
        self.problems.push(text.into());
    }
}

fn streaming_health(settings: &StreamSettings, vault: Result<&Vault, &RecoveryError>) -> WalHealth {
    let mut health = WalHealth::new(&settings.service, "stream");
    look_at_gaps(&mut health, settings, vault);
    look_at_receiver(&mut health, settings);
    match ServerView::ask(
        &settings.options,
        Some(&settings.slot),
        health.receiver.as_ref(),
    ) {
        Ok(server) => {
            look_at_slot(&mut health, settings, &server);
            health.server = Some(server);
        }
        Err(error) => health.problem(format!(
            "the server cannot be asked: {}",
            with_causes(&error)
        )),
    }
    health
}

fn look_at_gaps(
    health: &mut WalHealth,
    settings: &StreamSettings,
    vault: Result<&Vault, &RecoveryError>,
) {
    let known = match gaps::known(&settings.spool) {
        Ok(known) => known,
        Err(error) => return health.problem(format!("the list of gaps cannot be read: {error}")),
    };
    if known.is_empty() {
        return;
    }
    let bases = vault
        .ok()
        .and_then(|vault| Bases::read(vault, &settings.service).ok());
    for gap in known {
        let covers = |bases: &Bases| {
            let of_system = bases
                .points
                .iter()
                .filter(|base| base.system.to_string() == gap.system);
            of_system.into_iter().any(|base| base.start >= gap.to)
        };
        let is_covered = bases.as_ref().map(covers);
        if is_covered != Some(true) {
            let (from, to, timeline) = (gap.from, gap.to, gap.timeline);
            health.problem(format!(
                "WAL is missing from {from} to {to} on timeline {timeline}, and no base backup begins after it: make one"
            ));
        }
        health.gaps.push(GapView { gap, is_covered });
    }
}

fn look_at_receiver(health: &mut WalHealth, settings: &StreamSettings) {
    let last = match StreamRecord::read(&settings.spool) {
        Ok(last) => last,
        Err(error) => {
            health.problem(format!("the receiver's status cannot be read: {error}"));
            None
        }
    };
    let is_running = Spool::is_in_use(&settings.spool);
    if let Some(last) = last.as_ref().filter(|_| is_running) {
        look_at_record(health, last);
    }
    if !is_running {
        let since = last
            .as_ref()
            .map_or_else(String::new, |last| format!(" since {:.0}", last.updated));
        health.problem(format!("no receiver runs{since}: nothing is archived"));
        let said = last
            .as_ref()
            .filter(|last| last.state == StreamState::Failed);
        if let Some(said) = said.and_then(|last| last.last_error.as_ref()) {
            health.problem(format!("it ended because of: {}", said.text));
        }
    }
    health.receiver = Some(ReceiverView { is_running, last });
}

/// What is wrong with the receiver of these settings, as far as it says so itself.
pub(crate) fn receiver_problems(settings: &StreamSettings) -> Vec<String> {
    let mut health = WalHealth::new(&settings.service, "stream");
    look_at_receiver(&mut health, settings);
    health.problems
}

fn look_at_record(health: &mut WalHealth, record: &StreamRecord) {
    let age = Timestamp::now().duration_since(record.updated);
    if age.as_secs() > 15 {
        health.problem(format!(
            "the receiver (process {}) has been stuck for {} s",
            record.pid,
            age.as_secs()
        ));
    }
    match record.state {
        StreamState::Connecting => {
            let why = record
                .last_error
                .as_ref()
                .map_or("", |said| said.text.as_str());
            health.problem(format!("the receiver is not connected: {why}"));
        }
        StreamState::WaitingForRoom => {
            health.problem("the spool is full, or its disk nearly is: receiving pauses, and the server keeps its WAL");
        }
        _ => {}
    }
    for vault in &record.vaults {
        if let Some(seconds) = vault.failing_seconds {
            let why = vault
                .last_error
                .as_ref()
                .map_or("", |said| said.text.as_str());
            health.problem(format!(
                "{} has been failing for {seconds} s: {why}",
                vault.name
            ));
        } else if vault.lag_seconds > LATE.as_secs_f64() {
            health.problem(format!(
                "{} is {:.0} s behind",
                vault.name, vault.lag_seconds
            ));
        }
    }
}

fn look_at_slot(health: &mut WalHealth, settings: &StreamSettings, server: &ServerView) {
    let Some(slot) = &server.slot else {
        let name = &settings.slot;
        return health.problem(format!(
            "the server has no slot `{name}`: it keeps no WAL for the receiver"
        ));
    };
    match slot.wal_status {
        Some("lost") => health.problem(format!("the slot `{}` has lost WAL", slot.name)),
        Some("unreserved") => {
            health.problem(format!("the slot `{}` is about to lose WAL", slot.name));
        }
        _ => {}
    }
    if let Some(seconds) = slot.seconds_to_full.filter(|_| !slot.is_active) {
        health.problem(format!(
            "the slot `{}` will lose WAL in about {seconds} s at the present rate",
            slot.name
        ));
    }
}

fn pushing_health(stack: &Stack, service: &str) -> Result<WalHealth, RecoveryError> {
    let mut health = WalHealth::new(service, "push");
    let pushing = with_wal(stack, WalMode::Push);
    let Some((_, dataset)) = pushing.into_iter().find(|(name, _)| name == service) else {
        return Ok(health);
    };
    let cluster =
        cluster_at(stack, service, dataset).map_err(|source| RecoveryError::Settings {
            service: service.to_owned(),
            source: Box::new(source),
        })?;
    match ServerView::ask(cluster.options(), None, None) {
        Ok(server) => {
            match &server.push {
                None => health.problem("archive_mode is off: the server pushes nothing"),
                Some(push) if push.is_failing => {
                    let file = push.last_failed.as_deref().unwrap_or_default();
                    health.problem(format!("archiving {file} fails; the server keeps its WAL"));
                }
                Some(_) => {}
            }
            health.server = Some(server);
        }
        Err(error) => health.problem(format!(
            "the server cannot be asked: {}",
            with_causes(&error)
        )),
    }
    Ok(health)
}

impl ServerView {
    fn ask(
        options: &ConnectOptions,
        slot: Option<&SlotName>,
        receiver: Option<&ReceiverView>,
    ) -> Result<Self, pg::Error> {
        let mut client = Client::connect(options, Mode::Sql)?;
        let wal_end: Lsn = client
            .query(
                "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
                 ELSE pg_current_wal_lsn() END",
            )?
            .single()?;
        let slot = match slot {
            Some(name) => SlotView::ask(&mut client, name, wal_end, receiver)?,
            None => None,
        };
        Ok(Self {
            version: client
                .parameter("server_version")
                .unwrap_or_default()
                .to_owned(),
            wal_end,
            slot,
            push: PushView::ask(&mut client)?,
        })
    }
}

impl SlotView {
    fn ask(
        client: &mut Client,
        name: &SlotName,
        wal_end: Lsn,
        receiver: Option<&ReceiverView>,
    ) -> Result<Option<Self>, pg::Error> {
        let SlotState::Present(slot) = inspect_slot(client, name)? else {
            return Ok(None);
        };
        let rate = receiver.and_then(|view| rate_since(view.last.as_ref()?, wal_end));
        let safe = slot
            .safe_wal_size
            .and_then(|bytes| u64::try_from(bytes).ok());
        Ok(Some(Self {
            name: name.to_string(),
            restart_lsn: slot.restart_lsn,
            is_active: slot.active_pid.is_some(),
            wal_status: slot.wal_status.map(pg::wal::receive::WalStatus::as_str),
            retained_bytes: slot.retained_bytes,
            safe_wal_size: slot.safe_wal_size,
            seconds_to_full: safe.zip(rate).map(|(safe, rate)| safe / rate),
        }))
    }
}

/// Bytes of WAL a second since the receiver last heard of the server's end; `None` if too little is known.
fn rate_since(record: &StreamRecord, wal_end: Lsn) -> Option<u64> {
    let seconds = Timestamp::now().duration_since(record.updated).as_secs();
    let bytes = wal_end.offset().checked_sub(record.server_end?.offset())?;
    let rate = bytes.checked_div(u64::try_from(seconds).ok()?)?;
    (rate > 0).then_some(rate)
}

impl PushView {
    fn ask(client: &mut Client) -> Result<Option<Self>, pg::Error> {
        if client.show("archive_mode")? == "off" {
            return Ok(None);
        }
        let rows = client.query(
            "SELECT last_archived_wal, extract(epoch FROM now() - last_archived_time)::bigint AS archived_ago, \
               last_failed_wal, extract(epoch FROM now() - last_failed_time)::bigint AS failed_ago, failed_count, \
               (last_failed_time IS NOT NULL AND (last_archived_time IS NULL OR last_failed_time > last_archived_time)) \
                 AS is_failing \
             FROM pg_stat_archiver",
        )?;
        let row = rows.first()?;
        Ok(Some(Self {
            last_archived: row.text("last_archived_wal").map(str::to_owned),
            last_archived_seconds: row.get("archived_ago").ok(),
            last_failed: row.text("last_failed_wal").map(str::to_owned),
            last_failed_seconds: row.get("failed_ago").ok(),
            failed_count: row.get("failed_count")?,
            is_failing: row.truth("is_failing")?,
        }))
    }
}
