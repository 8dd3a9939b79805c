//! Redis clusters of one's own: masters that share the slots.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Builder, Flavour, PATIENCE, Redis, Value};
use crate::TestingError;
use crate::process::free_port;

const SLOTS: usize = 16384;

/// Masters without replicas that know each other and serve every slot. Ended, by their ids, when dropped.
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Redis {
    /// Begins to describe a node of a cluster that knows no other one. Not to be had of Redis 6, whose second port
    /// cannot be chosen.
    ///
    /// # Errors
    /// [`TestingError::Run`] if no port is free.
    pub fn node(flavour: Flavour) -> Result<Builder, TestingError> {
        let bus = free_port()?.to_string();
        let builder = Self::builder(flavour).setting("cluster-enabled", "yes");
        // A node that is slow on a busy machine is not one that has failed.
        let builder = builder.setting("cluster-node-timeout", "60000");
        Ok(builder.setting("cluster-port", &bus))
    }
}

impl Cluster {
    /// Starts so many nodes, of which each gets its share of the slots, side by side.
    ///
    /// # Errors
    /// As [`Builder::start`], or if they do not come together.
    pub fn start(flavour: Flavour, masters: usize) -> Result<Self, TestingError> {
        let mut nodes = Vec::new();
        for number in 0..masters {
            let node = Redis::node(flavour)?.start()?;
            let (first, next) = (SLOTS * number / masters, SLOTS * (number + 1) / masters);
            for command in [
                format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1),
                format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1),
            ] {
                accepted(&node, &command)?;
            }
            nodes.push(node);
        }
        Self::meet(nodes)
    }

    /// Makes nodes known to each other, and waits until they serve every slot together.
    ///
    /// # Errors
    /// If they do not within a minute.
    pub fn meet(nodes: Vec<Redis>) -> Result<Self, TestingError> {
        let cluster = Self { nodes };
        let (first, others) = cluster.nodes.split_at(1);
        for node in others {
            let bus = node.setting("cluster-port");
            let command = format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port());
            accepted(&first[0], &command)?;
        }
        let known = format!("cluster_known_nodes:{}", cluster.nodes.len());
        for node in &cluster.nodes {
            node.wait("its cluster did not come together", |node| {
                let text = node.call("CLUSTER INFO").map(|info| info.text());
                text.is_ok_and(|text| text.contains(&known) && text.contains("cluster_state:ok"))
            })?;
        }
        Ok(cluster)
    }

    /// Its nodes, in the order of their slots if it was started here.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// Its nodes, to stop them.
    pub fn nodes_mut(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// Sends a command of words to the node that serves its key.
    ///
    /// # Errors
    /// If none does.
    pub fn call(&self, command: &str) -> Result<Value, TestingError> {
        let mut answer = Value::Nil;
        for node in &self.nodes {
            answer = node.call(command)?;
            if !matches!(&answer, Value::Error(said) if said.starts_with("MOVED")) {
                return Ok(answer);
            }
        }
        Ok(answer)
    }

    /// Every key and its value, sorted, of keys that are texts.
    ///
    /// # Errors
    /// As [`Redis::call`].
    pub fn content(&self) -> Result<Vec<String>, TestingError> {
        let mut content = Vec::new();
        for node in &self.nodes {
            for key in node.call("KEYS *")?.items() {
                let key = key.text();
                content.push(format!(
                    "{key}={}",
                    node.call(&format!("GET {key}"))?.text()
                ));
            }
        }
        content.sort();
        Ok(content)
    }

    /// Waits until a node tells of another as failed, and of all the rest as well.
    ///
    /// # Errors
    /// If it does not within a minute.
    pub fn wait_for_failure(&self, of: usize) -> Result<(), TestingError> {
        let port = format!(":{}@", self.nodes[of].port());
        let start = Instant::now();
        for node in self.nodes.iter().filter(|node| node.id().is_some()) {
            loop {
                let text = node.call("CLUSTER NODES")?.text();
                let is_failed = |line: &str| line.contains(",fail ") || line.contains(" fail ");
                let mut lines = text.lines();
                if lines.all(|line| is_failed(line) == line.contains(&port)) {
                    break;
                }
                if start.elapsed() > PATIENCE {
                    return Err(node.broken("it does not tell of a failed node"));
                }
                sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

fn accepted(node: &Redis, command: &str) -> Result<(), TestingError> {
    match node.call(command)? {
        Value::Error(found) => Err(TestingError::Unexpected {
            what: "every command that makes a cluster is accepted",
            found,
        }),
        _ => Ok(()),
    }
}
