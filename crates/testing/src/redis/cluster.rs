//! Redis clusters of one's own: masters that share the slots.

use std::net::TcpListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Builder, Flavour, Leaf, PATIENCE, Redis, Value};
use crate::TestingError;
use crate::process::free_port;

const SLOTS: usize = 16384;

/// So far above a node's port is that for the others, unless another one is chosen (from Redis 7 on).
const BUS: u16 = 10_000;

/// Masters without replicas that know each other and serve every slot. Ended, by their ids, when dropped.
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Redis {
    /// Begins to describe a node of a cluster that knows no other one.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if no port is free.
    pub fn node(flavour: Flavour) -> Result<Builder, TestingError> {
        let builder = Self::builder(flavour).setting("cluster-enabled", "yes");
        // A node that is slow on a busy machine is not one that has failed.
        let builder = builder.setting("cluster-node-timeout", "60000");
        if flavour == Flavour::Redis6 {
            return Ok(builder.port(port_below_its_bus()?));
        }
        let bus = free_port()?.to_string();
        Ok(builder.setting("cluster-port", &bus))
    }
}

/// A port whose second one is free as well: the second port of Redis 6 cannot be chosen.
fn port_below_its_bus() -> Result<u16, TestingError> {
    loop {
        let port = free_port()?;
        if TcpListener::bind(("127.0.0.1", port + BUS)).is_ok() {
            return Ok(port);
        }
    }
}

impl Cluster {
    /// Starts so many nodes, of which each gets its share of the slots, side by side.
    ///
    /// # Errors
    /// As [`Builder::start`], or if they do not come together.
    pub fn start(flavour: Flavour, masters: usize) -> Result<Self, TestingError> {
        let nodes = (0..masters).map(|_| Redis::node(flavour)?.start());
        Self::share(nodes.collect::<Result<_, _>>()?)
    }

    /// As [`Cluster::start`], of nodes that speak nothing but TLS, also with each other, and all have the certificates
    /// of the first. Only Debian's Redis can.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with_tls(masters: usize) -> Result<Self, TestingError> {
        let node = || Ok(Redis::node(Flavour::Redis7)?.tls_only(Leaf::Good));
        let first = node()?.setting("tls-cluster", "yes").start()?;
        let mut nodes = vec![first];
        while nodes.len() < masters {
            let mut node = node()?.setting("tls-cluster", "yes");
            for name in ["tls-cert-file", "tls-key-file", "tls-ca-cert-file"] {
                // Of two lines the later one counts.
                node = node.setting(name, nodes[0].setting(name));
            }
            nodes.push(node.start()?);
        }
        Self::share(nodes)
    }

    /// Gives each its share of the slots, side by side.
    fn share(nodes: Vec<Redis>) -> Result<Self, TestingError> {
        for (number, node) in nodes.iter().enumerate() {
            let share = SLOTS * number / nodes.len()..SLOTS * (number + 1) / nodes.len();
            let slots: Vec<_> = share.map(|slot| slot.to_string()).collect();
            // A range at once is known from Redis 7 on.
            accepted(node, &format!("CLUSTER ADDSLOTS {}", slots.join(" ")))?;
            accepted(node, &format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1))?;
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
            let port = node.tls_port().unwrap_or(node.port());
            let bus = match node.flavour() {
                Flavour::Redis6 => (port + BUS).to_string(),
                _ => node.setting("cluster-port").to_owned(),
            };
            let command = format!("CLUSTER MEET 127.0.0.1 {port} {bus}");
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
