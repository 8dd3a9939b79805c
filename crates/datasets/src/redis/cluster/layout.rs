//! What a node of a cluster knows of all of them: who serves which slots. Source: Redis' manual, "CLUSTER NODES".

use std::fmt;

use serde::{Deserialize, Serialize};

/// Slots of a cluster: every key belongs to one.
pub const SLOTS: u16 = 16384;

/// Slots side by side, both ends among them. Written `0-5460`, or `7` if it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SlotRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl SlotRange {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < SLOTS).then_some(Self { first, last })
    }
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl From<SlotRange> for String {
    fn from(range: SlotRange) -> Self {
        range.to_string()
    }
}

impl TryFrom<String> for SlotRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or(format!("`{text}` are no slots of a cluster"))
    }
}

/// Ranges as they are told to people.
pub fn in_words(ranges: &[SlotRange]) -> String {
    let words: Vec<_> = ranges.iter().map(SlotRange::to_string).collect();
    words.join(", ")
}

/// The slots that are in none of these.
pub fn missing(served: impl IntoIterator<Item = SlotRange>) -> Vec<SlotRange> {
    let mut served: Vec<_> = served.into_iter().collect();
    served.sort_unstable();
    let mut missing = Vec::new();
    let mut next = 0;
    for range in served {
        if range.first > next {
            missing.push(SlotRange {
                first: next,
                last: range.first - 1,
            });
        }
        next = next.max(range.last + 1);
    }
    if next < SLOTS {
        missing.push(SlotRange {
            first: next,
            last: SLOTS - 1,
        });
    }
    missing
}

/// A node, as another one or itself tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its name: 40 hexadecimal digits.
    pub id: String,
    /// Where it says that it is; empty if it does not know itself.
    pub host: String,
    /// For clients, of the kind that we are: with or without TLS.
    pub port: u16,
    /// The name that it is announced by (`cluster-announce-hostname`).
    pub hostname: Option<String>,
    flags: Vec<String>,
    /// The node that it is a replica of.
    pub master: Option<String>,
    /// The configuration in which it got its slots: who has the highest one is right.
    pub epoch: u64,
    /// The slots that it serves.
    pub slots: Vec<SlotRange>,
    /// Slots that are being moved from it or to it, and in words where; only itself tells.
    pub moving: Vec<(u16, String)>,
}

impl ClusterNode {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let id = words.next()?.to_owned();
        let place = words.next()?;
        let flags = words.next()?.split(',').map(str::to_owned).collect();
        let master = words.next()?;
        let epoch = words.nth(2)?.parse().ok()?;
        words.next()?;
        let mut parts = place.split(',');
        let address = parts.next()?.split('@').next()?;
        let (host, port) = address.rsplit_once(':')?;
        let hostname = parts
            .next()
            .filter(|name| !name.is_empty() && !name.contains('='));
        let (mut slots, mut moving) = (Vec::new(), Vec::new());
        for word in words {
            match word
                .strip_prefix('[')
                .and_then(|word| word.strip_suffix(']'))
            {
                Some(word) => moving.push(moved(word)?),
                None => slots.push(SlotRange::parse(word)?),
            }
        }
        Some(Self {
            id,
            host: host.to_owned(),
            port: port.parse().ok()?,
            hostname: hostname.map(str::to_owned),
            flags,
            master: (master != "-").then(|| master.to_owned()),
            epoch,
            slots,
            moving,
        })
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// Whether it is the node that told.
    pub fn is_myself(&self) -> bool {
        self.has("myself")
    }

    /// Whether it may have slots of its own.
    pub fn is_master(&self) -> bool {
        self.has("master")
    }

    /// Whether the others agree that it is gone.
    pub fn has_failed(&self) -> bool {
        self.has("fail") || self.has("noaddr")
    }
}

/// `93->-ID` is given away, `93-<-ID` is taken over.
fn moved(word: &str) -> Option<(u16, String)> {
    let (slot, rest) = word.split_once('-')?;
    let (way, node) = rest.split_once('-')?;
    let way = match way {
        ">" => "to",
        "<" => "from",
        _ => return None,
    };
    Some((slot.parse().ok()?, format!("{way} node {}", short(node))))
}

/// Enough of a node's name to tell it from others.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// All nodes, as one of them knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout(pub Vec<ClusterNode>);

impl Layout {
    /// Reads the answer to `CLUSTER NODES`; `None` if it is not understood.
    pub fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter(|line| !line.is_empty());
        lines
            .map(ClusterNode::parse)
            .collect::<Option<_>>()
            .map(Self)
    }

    /// The node that told.
    pub fn myself(&self) -> Option<&ClusterNode> {
        self.0.iter().find(|node| node.is_myself())
    }

    /// Masters with slots, in the order of these.
    pub fn shards(&self) -> Vec<&ClusterNode> {
        let of_slots = |node: &&ClusterNode| node.is_master() && !node.slots.is_empty();
        let mut shards: Vec<_> = self.0.iter().filter(of_slots).collect();
        shards.sort_by_key(|node| node.slots.iter().min().copied());
        shards
    }

    /// How many nodes follow this one.
    pub fn replicas_of(&self, id: &str) -> u64 {
        let follow = self
            .0
            .iter()
            .filter(|node| node.master.as_deref() == Some(id));
        follow.count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
07c37dfeb235213a872192d90877d0cd55635b91 127.0.0.1:30004@31004,hostname4 slave e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 0 1426238317239 4 connected
67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 127.0.0.1:30002@31002,,tls-port=0,shard-id=69bc080733d1355567173199cff4a6a039a2f024 master - 0 1426238316232 2 connected 5461-10922 [93-<-292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f]
292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f ::1:30003@31003 master,fail - 0 1426238318243 3 disconnected 10923-16382
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca :30001@31001 myself,master - 0 0 1 connected 0-92 94-5460 93 [77->-67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1]
";

    fn range(first: u16, last: u16) -> SlotRange {
        SlotRange { first, last }
    }

    #[test]
    fn nodes_are_read_as_redis_and_valkey_write_them() {
        let layout = Layout::parse(NODES).unwrap();
        let shards = layout.shards();
        let hosts: Vec<_> = shards
            .iter()
            .map(|node| (node.host.as_str(), node.port))
            .collect();
        assert_eq!(hosts, [("", 30001), ("127.0.0.1", 30002), ("::1", 30003)]);
        assert_eq!(
            shards[0].slots,
            [range(0, 92), range(94, 5460), range(93, 93)]
        );
        assert_eq!(shards[0].moving, [(77, "to node 67ed2db8".to_owned())]);
        assert_eq!(shards[1].moving, [(93, "from node 292f8b36".to_owned())]);
        assert_eq!(shards[1].hostname, None);
        assert!(shards[2].has_failed() && !shards[1].has_failed());
        assert_eq!(layout.0[0].hostname.as_deref(), Some("hostname4"));
        assert_eq!(layout.replicas_of(&shards[0].id), 1);
        assert_eq!(layout.myself().unwrap().epoch, 1);
        assert_eq!(Layout::parse("no answer of a cluster"), None);
    }

    #[test]
    fn slots_that_nobody_serves_are_found() {
        assert_eq!(missing([range(0, 16383)]), []);
        assert_eq!(missing([]), [range(0, 16383)]);
        let served = [range(200, 16382), range(5, 5), range(0, 3)];
        let left = missing(served);
        assert_eq!(left, [range(4, 4), range(6, 199), range(16383, 16383)]);
        assert_eq!(in_words(&left), "4, 6-199, 16383");
    }
}
