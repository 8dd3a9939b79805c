//! From the nodes of a running cluster into a backup.

use std::collections::BTreeSet;
use std::thread;

use rekindle_vault::TreePath;

use super::layout::{ClusterNode, Layout, SlotRange, missing, short};
use super::{ClusterRecord, NODES_FILE, SHARDS, ShardRecord};
use crate::postgres::{join, private_directory, private_file};
use crate::redis::RedisServer;
use crate::redis::address::Endpoint;
use crate::redis::capture::Capture;
use crate::redis::client::Client;
use crate::redis::error::RedisError;
use crate::redis::info::ServerVersion;
use crate::redis::settings::Settings;
use crate::{CaptureContext, CaptureError};
use rekindle_vault::Backup;

/// So many shards are captured at the same time, so that their moments lie close together.
const AT_ONCE: usize = 16;

/// A shard that is to be captured, by its master's own words.
struct Shard {
    server: RedisServer,
    client: Client,
    node: ClusterNode,
    replicas: u64,
    directory: String,
}

impl RedisServer {
    /// Captures every shard of the cluster that this server is a node of.
    pub(in crate::redis) fn capture_cluster(
        &self,
        client: &mut Client,
        backup: &Backup,
        context: &CaptureContext<'_>,
    ) -> Result<ClusterRecord, CaptureError> {
        let layout = layout(client).map_err(|error| self.failed(error))?;
        let known = layout.shards().into_iter();
        let mut shards = Vec::new();
        for node in known.filter(|node| !node.has_failed()) {
            let directory = format!("{SHARDS}/{}", shards.len());
            shards.push(self.shard(node, layout.replicas_of(&node.id), directory)?);
        }
        if shards.is_empty() {
            return Err(self.failed(RedisError::NoShards));
        }
        let at = join(&context.at, SHARDS)?;
        backup.add_node(&at, private_directory())?;
        let newest = layout.0.iter().map(|node| node.epoch).max();
        let mut captured = Vec::new();
        let mut moving = BTreeSet::new();
        while !shards.is_empty() {
            let later = shards.split_off(shards.len().min(AT_ONCE));
            for outcome in side_by_side(shards, backup, context, newest.unwrap_or(0)) {
                let (record, unsettled) = outcome?;
                captured.push(record);
                moving.extend(unsettled);
            }
            shards = later;
        }
        let served = captured
            .iter()
            .flat_map(|shard| shard.slots.iter().copied());
        Ok(ClusterRecord {
            uncovered: missing(served),
            moving: ranges(&moving),
            shards: captured,
        })
    }

    /// Goes to a master, and asks it who it is: behind the address that it has in its own network another may be here.
    fn shard(
        &self,
        node: &ClusterNode,
        replicas: u64,
        directory: String,
    ) -> Result<Shard, CaptureError> {
        let server = self.at_node(node);
        let mut client = Client::connect(&server.options).map_err(|error| {
            server.failed(match error {
                RedisError::Unreachable(source) => RedisError::NodeUnreachable(source),
                other => other,
            })
        })?;
        let own = myself(&mut client).map_err(|error| server.failed(error))?;
        if own.id != node.id || !own.is_master() {
            let what = format!(
                "node {} of the cluster is expected there, and there is {} {}",
                short(&node.id),
                if own.is_master() { "master" } else { "replica" },
                short(&own.id)
            );
            return Err(server.failed(RedisError::ClusterChanged(what)));
        }
        Ok(Shard {
            server,
            client,
            node: own,
            replicas,
            directory,
        })
    }

    /// The server that a node is, reached where the node says that it is.
    fn at_node(&self, node: &ClusterNode) -> Self {
        let mut server = self.clone();
        // The files of one server cannot be those of all.
        server.data_directory = None;
        if node.is_myself() || node.host.is_empty() {
            return server;
        }
        let host = node.hostname.as_ref().unwrap_or(&node.host);
        server.options.shown = format!("{host}:{} (a node of {})", node.port, self.options.shown);
        server.options.tls_name = None;
        server.options.endpoint = Endpoint::Tcp {
            host: host.clone(),
            port: node.port,
        };
        server
    }
}

type Outcome = Result<(ShardRecord, Vec<u16>), CaptureError>;

fn side_by_side(
    shards: Vec<Shard>,
    backup: &Backup,
    context: &CaptureContext<'_>,
    newest_epoch: u64,
) -> Vec<Outcome> {
    thread::scope(|scope| {
        let capture =
            |shard: Shard| scope.spawn(move || shard.capture(backup, context, newest_epoch));
        let running: Vec<_> = shards.into_iter().map(capture).collect();
        let joined = running.into_iter().map(|running| match running.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
}

impl Shard {
    /// Captures it, and tells which of its slots were on the move meanwhile.
    fn capture(
        mut self,
        backup: &Backup,
        context: &CaptureContext<'_>,
        newest_epoch: u64,
    ) -> Outcome {
        let failed = |error| self.server.failed(error);
        let info = self.client.info("server").map_err(failed)?;
        let settings = Settings::read(&mut self.client).map_err(failed)?;
        let at = join(&context.at, &self.directory)?;
        backup.add_node(&at, private_directory())?;
        self.write_nodes_file(backup, &at, newest_epoch)?;
        let here = CaptureContext {
            at,
            label: context.label.clone(),
            previous: None,
            progress: context.progress,
        };
        let mut capture = Capture {
            server: &self.server,
            backup,
            context: &here,
            client: self.client,
            version: ServerVersion::of(&info),
            settings,
        };
        let rdb = capture.rdb()?;
        // The other connection may have been idle for longer than the server bears.
        let mut client = self.server.connect()?;
        let after = myself(&mut client).map_err(|error| self.server.failed(error))?;
        let unsettled = unsettled(&self.node, &after);
        let record = ShardRecord {
            directory: self.directory,
            address: match &self.server.options.endpoint {
                Endpoint::Tcp { host, port } => format!("{host}:{port}"),
                Endpoint::Unix(path) => path.display().to_string(),
            },
            node: self.node.id,
            slots: self.node.slots,
            epoch: self.node.epoch,
            replicas: self.replicas,
            rdb,
        };
        Ok((record, unsettled))
    }

    /// As a node writes it that never met another.
    fn write_nodes_file(
        &self,
        backup: &Backup,
        at: &TreePath,
        newest_epoch: u64,
    ) -> Result<(), CaptureError> {
        let text = nodes_file(&self.node, newest_epoch);
        let path = join(at, NODES_FILE)?;
        backup.add_bytes(&path, private_file(), text.as_bytes())?;
        Ok(())
    }
}

fn nodes_file(node: &ClusterNode, newest_epoch: u64) -> String {
    let slots: Vec<_> = node.slots.iter().map(SlotRange::to_string).collect();
    format!(
        "{} :0@0 myself,master - 0 0 {} connected {}\nvars currentEpoch {newest_epoch} lastVoteEpoch 0\n",
        node.id,
        node.epoch,
        slots.join(" ")
    )
}

/// Slots that were on their way before or after, or have another master now.
fn unsettled(before: &ClusterNode, after: &ClusterNode) -> Vec<u16> {
    let all = |node: &ClusterNode| -> BTreeSet<u16> {
        let ranges = node.slots.iter();
        ranges.flat_map(|range| range.first..=range.last).collect()
    };
    let changed = match after.is_master() {
        true => all(before)
            .symmetric_difference(&all(after))
            .copied()
            .collect(),
        // What it held when it was captured need not have been all: it had been replaced.
        false => all(before),
    };
    let moved = before.moving.iter().chain(&after.moving);
    moved.map(|(slot, _)| *slot).chain(changed).collect()
}

fn ranges(slots: &BTreeSet<u16>) -> Vec<SlotRange> {
    let mut ranges: Vec<SlotRange> = Vec::new();
    for &slot in slots {
        match ranges.last_mut() {
            Some(last) if last.last + 1 == slot => last.last = slot,
            _ => ranges.push(SlotRange {
                first: slot,
                last: slot,
            }),
        }
    }
    ranges
}

fn layout(client: &mut Client) -> Result<Layout, RedisError> {
    let text = client.call(&["CLUSTER", "NODES"])?.text();
    Layout::parse(&text).ok_or(RedisError::Protocol {
        command: "CLUSTER NODES".to_owned(),
        what: "a line is not understood",
    })
}

fn myself(client: &mut Client) -> Result<ClusterNode, RedisError> {
    let layout = layout(client)?;
    layout.myself().cloned().ok_or(RedisError::Protocol {
        command: "CLUSTER NODES".to_owned(),
        what: "the node does not tell of itself",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(line: &str) -> ClusterNode {
        let line = format!("e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca {line}");
        Layout::parse(&line).unwrap().0.remove(0)
    }

    #[test]
    fn slots_that_move_change_hands_or_lose_their_master_are_unsettled() {
        let before = node(":1@2 myself,master - 0 0 1 connected 0-5 9 [9->-67ed2db8]");
        assert_eq!(unsettled(&before, &before), [9, 9]);
        let after = node(":1@2 myself,master - 0 0 1 connected 0-4 7");
        let found: BTreeSet<_> = unsettled(&before, &after).into_iter().collect();
        assert_eq!(
            ranges(&found),
            [5, 7, 9].map(|slot| SlotRange {
                first: slot,
                last: slot
            })
        );
        let replaced = node(":1@2 myself,slave 67ed2db8 0 0 2 connected");
        assert_eq!(unsettled(&before, &replaced), [9, 0, 1, 2, 3, 4, 5, 9]);
    }

    #[test]
    fn the_file_by_which_a_node_knows_itself_names_no_other() {
        let shard = node("10.0.0.1:1@2,host myself,master - 0 0 3 connected 0-5 9 [9->-67ed2db8]");
        assert_eq!(
            nodes_file(&shard, 7),
            "e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca :0@0 myself,master - 0 0 3 connected 0-5 9\n\
             vars currentEpoch 7 lastVoteEpoch 0\n"
        );
    }
}
