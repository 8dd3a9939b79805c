//! What becomes of the shards of a Redis cluster.

use std::path::{Path, PathBuf};

use rekindle_datasets::redis::RedisRecord;

/// The port of the first node where commands are shown; the others follow.
const FIRST_PORT: usize = 7000;

/// The directories of the shards below what was restored; `None` of a server that was no node of a cluster.
pub(super) fn shards(record: &RedisRecord, to: &Path) -> Option<Vec<PathBuf>> {
    let cluster = record.cluster.as_ref()?;
    let directories = cluster.shards.iter().map(|shard| to.join(&shard.directory));
    Some(directories.collect())
}

/// How the nodes of a new cluster are started, here all on one machine, and made known to each other.
pub(super) fn next_steps(shards: &[PathBuf]) -> Vec<String> {
    let ports = FIRST_PORT..FIRST_PORT + shards.len();
    let start = |(directory, port): (&PathBuf, usize)| {
        let directory = directory.display();
        format!("  redis-server --cluster-enabled yes --port {port} --dir {directory}")
    };
    let mut steps = vec![
        "start a node on each, as the user who owns it; it knows its slots, and no other node:"
            .to_owned(),
    ];
    steps.extend(shards.iter().zip(ports.clone()).map(start));
    steps.push(
        "make the others known to the first, by addresses that all of them reach:".to_owned(),
    );
    let meet = |port| format!("  redis-cli -p {FIRST_PORT} cluster meet 127.0.0.1 {port}");
    steps.extend(ports.skip(1).map(meet));
    steps.push(format!(
        "  redis-cli --cluster check 127.0.0.1:{FIRST_PORT}"
    ));
    steps.push(
        "then give each its replicas (`redis-cli --cluster add-node … --cluster-slave`)".to_owned(),
    );
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_started_and_meets_the_first() {
        let shards = [0, 1, 2].map(|number| PathBuf::from(format!("/to/shards/{number}")));
        let steps = next_steps(&shards);
        let commands: Vec<_> = steps.iter().filter(|step| step.starts_with("  ")).collect();
        assert_eq!(
            commands,
            [
                "  redis-server --cluster-enabled yes --port 7000 --dir /to/shards/0",
                "  redis-server --cluster-enabled yes --port 7001 --dir /to/shards/1",
                "  redis-server --cluster-enabled yes --port 7002 --dir /to/shards/2",
                "  redis-cli -p 7000 cluster meet 127.0.0.1 7001",
                "  redis-cli -p 7000 cluster meet 127.0.0.1 7002",
                "  redis-cli --cluster check 127.0.0.1:7000",
            ]
        );
    }
}
