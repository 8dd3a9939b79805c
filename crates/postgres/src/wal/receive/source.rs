//! A server whose WAL is received: who it is, and what came before.

use std::time::Duration;

use super::slot::{self, SlotName, SlotState};
use crate::client::{Client, Mode};
use crate::error::{Doing, Error};
use crate::identity::{ServerIdentity, identity};
use crate::layout::{Lsn, SegmentName, SegmentSize, Timeline, TimelineHistory, WalFileKind};
use crate::options::ConnectOptions;

/// How long the server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A timeline's history file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFile {
    /// Whose history it is.
    pub timeline: Timeline,
    /// The file's bytes.
    pub content: Vec<u8>,
}

/// A replication connection to a server, and what it said of itself.
pub struct Source {
    client: Client,
    slot: SlotName,
    identity: ServerIdentity,
    flushed: Lsn,
    history: TimelineHistory,
    histories: Vec<HistoryFile>,
    missing_histories: Vec<Timeline>,
    sender_timeout: Option<Duration>,
}

impl Source {
    /// Connects, and asks for the server's identity, the end of its WAL and the history of every ancestor of its timeline.
    ///
    /// The connection calls itself as the slot, so that `synchronous_standby_names` can name it.
    ///
    /// # Errors
    /// As [`Client::connect`]; and if the history of the server's own timeline is missing or makes no sense.
    pub fn connect(options: &ConnectOptions, slot: &SlotName) -> Result<Self, Error> {
        let mut options = options.clone();
        options.application_name = slot.to_string();
        // Nothing that is asked here takes long; a server that is stuck is tried anew.
        options.read_timeout = options.read_timeout.min(ANSWER_WITHIN);
        let mut client = Client::connect(&options, Mode::Replication)?;
        let mut identity = identity(&mut client)?;
        let (timeline, flushed) = end_of_wal(&mut client)?;
        identity.timeline = timeline;
        let sender_timeout = sender_timeout(&client.show("wal_sender_timeout")?);
        let mut source = Self {
            client,
            slot: slot.clone(),
            identity,
            flushed,
            history: TimelineHistory::first(),
            histories: Vec::new(),
            missing_histories: Vec::new(),
            sender_timeout,
        };
        source.fetch_histories(timeline)?;
        Ok(source)
    }

    /// The history of `newest` and of all its ancestors, oldest first.
    fn fetch_histories(&mut self, newest: Timeline) -> Result<(), Error> {
        if newest == Timeline::FIRST {
            return Ok(());
        }
        let own = self.fetch_history(newest)?;
        let text = String::from_utf8_lossy(&own.content).into_owned();
        self.history = TimelineHistory::parse(newest, &text)
            .doing(|| format!("read the history of timeline {newest}"))?;
        let ancestors = self.history.entries().iter().map(|entry| entry.timeline);
        let ancestors: Vec<Timeline> = ancestors.filter(|t| *t > Timeline::FIRST).collect();
        for ancestor in ancestors {
            match self.fetch_history(ancestor) {
                Ok(file) => self.histories.push(file),
                // Old files may have been tidied away; whether that matters, the archive knows.
                Err(error) if is_missing_file(&error) => self.missing_histories.push(ancestor),
                Err(error) => return Err(error),
            }
        }
        self.histories.push(own);
        Ok(())
    }

    fn fetch_history(&mut self, timeline: Timeline) -> Result<HistoryFile, Error> {
        let command = format!("TIMELINE_HISTORY {}", timeline.number());
        let rows = self.client.query(&command);
        let rows = rows.doing(|| format!("fetch the history of timeline {timeline}"))?;
        let content: String = rows.first()?.at(1)?;
        Ok(HistoryFile {
            timeline,
            content: content.into_bytes(),
        })
    }

    /// Who the server is. Its timeline is the one that it writes, or replays, now.
    pub fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// Where the server's WAL ended when it was asked.
    pub fn flushed(&self) -> Lsn {
        self.flushed
    }

    /// The ancestry of the server's timeline.
    pub fn history(&self) -> &TimelineHistory {
        &self.history
    }

    /// The history files of the whole ancestry, oldest first. The first timeline has none.
    pub fn histories(&self) -> &[HistoryFile] {
        &self.histories
    }

    /// Ancestors whose history file the server has lost.
    pub fn missing_histories(&self) -> &[Timeline] {
        &self.missing_histories
    }

    /// Bytes of a segment.
    pub fn segment_size(&self) -> SegmentSize {
        self.identity.wal_segment_size
    }

    /// The slot's state; `None` if this role cannot find out (before 15, without a database to log in to).
    ///
    /// # Errors
    /// Loss of the connection.
    pub fn slot_state(&mut self) -> Result<Option<SlotState>, Error> {
        let options = self.client.options().clone();
        slot::look(&options, &mut self.client, &self.slot)
    }

    /// Makes the slot.
    ///
    /// # Errors
    /// As [`slot::create_slot`].
    pub fn create_slot(&mut self) -> Result<(), Error> {
        slot::create_slot(&mut self.client, &self.slot)
    }

    /// Removes the slot.
    ///
    /// # Errors
    /// As [`slot::drop_slot`].
    pub fn drop_slot(&mut self) -> Result<(), Error> {
        slot::drop_slot(&mut self.client, &self.slot)
    }

    /// The start of the oldest segment of `timeline` that the server still has, without any promise that it stays.
    /// `None` if this role may not look (`pg_monitor`), or there is none.
    pub fn oldest_segment(&self, timeline: Timeline) -> Option<Lsn> {
        let mut client = Client::connect(self.client.options(), Mode::Sql).ok()?;
        let rows = client.query("SELECT name FROM pg_ls_waldir()").ok()?;
        let size = self.segment_size();
        let segments = rows.iter().filter_map(|row| {
            let name = row.text("name")?;
            let is_segment = name.parse() == Ok(WalFileKind::Segment);
            is_segment.then(|| SegmentName::parse(name, size).ok())?
        });
        let of_timeline = segments.filter(|segment| segment.timeline() == timeline);
        // Recycled files wait under the names of segments to come.
        let written = of_timeline.filter(|segment| segment.start() <= self.flushed);
        written.map(SegmentName::start).min()
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    pub(super) fn slot(&self) -> &SlotName {
        &self.slot
    }

    /// How long the server waits for a sign of life of ours; `None` for ever.
    pub(super) fn sender_timeout(&self) -> Option<Duration> {
        self.sender_timeout
    }
}

fn end_of_wal(client: &mut Client) -> Result<(Timeline, Lsn), Error> {
    let rows = client.query("IDENTIFY_SYSTEM")?;
    let row = rows.first()?;
    Ok((row.get("timeline")?, row.get("xlogpos")?))
}

fn is_missing_file(error: &Error) -> bool {
    error
        .server_error()
        .is_some_and(|server| server.sqlstate == "58P01")
}

/// Reads a setting such as `1min` or `500ms`; zero stands for "never".
fn sender_timeout(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|number| *number > 0)?;
    Some(match text[digits.len()..].trim() {
        "s" => Duration::from_secs(number),
        "min" => Duration::from_secs(number * 60),
        "h" => Duration::from_secs(number * 3600),
        "d" => Duration::from_secs(number * 86_400),
        _ => Duration::from_millis(number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_patience_is_read_with_its_unit() {
        assert_eq!(sender_timeout("1min"), Some(Duration::from_secs(60)));
        assert_eq!(sender_timeout("30s"), Some(Duration::from_secs(30)));
        assert_eq!(sender_timeout("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(sender_timeout("0"), None);
    }
}
