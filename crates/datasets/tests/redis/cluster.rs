//! Clusters of masters, captured whole and started anew.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rekindle_datasets::redis::{ClusterRecord, RedisError, prepare_point};
use rekindle_datasets::{CaptureError, Dataset, InPlaceError};
use rekindle_testing::redis::{Cluster, Flavour, Redis};
use rekindle_testing::skip::unless_available;
use rekindle_testing::temp_dir;
use rekindle_vault::{Progress, TreePath};

use super::common::{AT, Point, Remembered, capture, described, new_vault, server};

const FLAVOURS: [Flavour; 2] = [Flavour::Redis7, Flavour::Valkey9];

fn filled(flavour: Flavour) -> Option<Cluster> {
    unless_available(flavour.program())?;
    Some(fill(Cluster::start(flavour, 3).unwrap()))
}

fn fill(cluster: Cluster) -> Cluster {
    for number in 0..90 {
        let answer = cluster.call(&format!("SET key:{number} value-{number}"));
        assert_eq!(answer.unwrap().text(), "OK");
    }
    cluster
}

fn record(point: &Point) -> &ClusterRecord {
    point.redis().cluster.as_ref().unwrap()
}

/// A new cluster on what was restored of a shard each, as the guide has it.
fn started_anew(point: &Point, flavour: Flavour, append_only: &str) -> Cluster {
    let dir = temp_dir().unwrap();
    let restored = dir.path().join("restored");
    point.restore_to(&restored);
    prepare_point(&restored, point.redis()).unwrap();
    let mut nodes = Vec::new();
    for shard in &record(point).shards {
        let node = Redis::node(flavour).unwrap();
        let mut node = node.setting("appendonly", append_only).start().unwrap();
        node.kill();
        fs::remove_dir_all(node.data_dir()).unwrap();
        copy(&restored.join(&shard.directory), &node.data_dir());
        node.start().unwrap();
        assert_eq!(node.call("CLUSTER MYID").unwrap().text(), shard.node);
        nodes.push(node);
    }
    Cluster::meet(nodes).unwrap()
}

fn copy(from: &Path, to: &Path) {
    let mut command = std::process::Command::new("cp");
    let copied = command.arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

fn captured_whole_and_started_anew(flavour: Flavour) {
    for append_only in ["no", "yes"] {
        let Some(cluster) = filled(flavour) else {
            return;
        };
        let what = format!("{flavour}, appendonly {append_only}");
        for node in cluster.nodes() {
            let set = format!("CONFIG SET appendonly {append_only}");
            node.call(&set).unwrap();
        }
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let before = cluster.content().unwrap();
        let point = capture(&vault, &server(&cluster.nodes()[1], "", dir.path())).unwrap();
        let captured = point.captured();
        assert_eq!(captured.partly, Vec::<String>::new(), "{what}");
        assert_eq!(captured.warnings, Vec::<String>::new(), "{what}");
        assert!(captured.as_of.is_some());
        assert!(point.redis().rdb.is_none() && point.redis().aof.is_none());
        let record = record(&point);
        assert_eq!(record.keys(), 90, "{what}");
        let slots: Vec<_> = record
            .shards
            .iter()
            .map(|shard| shard.slots[0].to_string())
            .collect();
        assert_eq!(slots, ["0-5460", "5461-10921", "10922-16383"], "{what}");
        drop(cluster);
        let anew = started_anew(&point, flavour, append_only);
        assert_eq!(anew.content().unwrap(), before, "{what}");
    }
}

#[test]
fn a_cluster_of_redis_is_captured_whole_from_any_node_and_its_shards_make_a_new_one() {
    captured_whole_and_started_anew(Flavour::Redis7);
}

#[test]
fn a_cluster_of_redis_6_is_captured_whole_from_any_node_and_its_shards_make_a_new_one() {
    captured_whole_and_started_anew(Flavour::Redis6);
}

#[test]
fn a_cluster_of_valkey_is_captured_whole_from_any_node_and_its_shards_make_a_new_one() {
    captured_whole_and_started_anew(Flavour::Valkey9);
}

#[test]
fn a_cluster_that_speaks_nothing_but_tls_is_captured_whole_and_its_shards_make_a_new_one() {
    let Some(_) = unless_available(Flavour::Redis7.program()) else {
        return;
    };
    let cluster = fill(Cluster::start_with_tls(3).unwrap());
    let dir = temp_dir().unwrap();
    let vault = new_vault(&dir.path().join("vault"));
    let before = cluster.content().unwrap();
    let node = &cluster.nodes()[2];
    let url = format!("rediss://localhost:{}", node.tls_port().unwrap());
    let ca_file = cluster.nodes()[0].ca_file();
    let trusted = format!(", ca_file: \"{}\"", ca_file.display());
    let point = capture(&vault, &described(&url, &trusted, dir.path())).unwrap();
    assert_eq!(point.captured().partly, Vec::<String>::new());
    assert_eq!(record(&point).keys(), 90);
    // The certificate of another authority is none, at whichever node it is shown.
    let other = format!(", ca_file: \"{}\"", node.ca_file().display());
    let error = capture(&vault, &described(&url, &other, dir.path())).err();
    let CaptureError::Redis { source, .. } = error.unwrap() else {
        panic!("of Redis");
    };
    assert!(matches!(source, RedisError::Tls(_)), "{source:?}");
    drop(cluster);
    let anew = started_anew(&point, Flavour::Redis7, "no");
    assert_eq!(anew.content().unwrap(), before);
}

#[test]
fn slots_that_nobody_serves_or_that_are_being_moved_make_a_point_partial() {
    for flavour in FLAVOURS {
        let Some(cluster) = filled(flavour) else {
            continue;
        };
        let nodes = cluster.nodes();
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let (from, to) = (&nodes[0], &nodes[2]);
        let id = |node: &Redis| node.call("CLUSTER MYID").unwrap().text();
        let moves = [
            (from, format!("CLUSTER SETSLOT 77 MIGRATING {}", id(to))),
            (to, format!("CLUSTER SETSLOT 77 IMPORTING {}", id(from))),
            (&nodes[1], "CLUSTER DELSLOTSRANGE 6000 6999".to_owned()),
        ];
        for (node, command) in moves {
            assert_eq!(node.call(&command).unwrap().text(), "OK", "{command}");
        }
        let point = capture(&vault, &server(to, "", dir.path())).unwrap();
        let partly = &point.captured().partly;
        assert!(
            partly[0].contains("slots 6000-6999 are served by no node"),
            "{partly:?}"
        );
        assert!(
            partly[1].contains("slots 77 were being moved"),
            "{partly:?}"
        );
        assert_eq!(record(&point).shards.len(), 3);
    }
}

#[test]
fn a_node_that_is_gone_is_told_and_when_all_know_it_the_others_are_captured() {
    let Some(mut cluster) = filled(Flavour::Redis7) else {
        return;
    };
    let dir = temp_dir().unwrap();
    let vault = new_vault(&dir.path().join("vault"));
    // Nobody gives it up until told to.
    let patience = |cluster: &Cluster, milliseconds: u32| {
        for node in &cluster.nodes()[..2] {
            let set = format!("CONFIG SET cluster-node-timeout {milliseconds}");
            assert_eq!(node.call(&set).unwrap().text(), "OK");
        }
    };
    patience(&cluster, 3_600_000);
    cluster.nodes_mut()[2].kill();
    let described = server(&cluster.nodes()[0], "", dir.path());
    let error = capture(&vault, &described).err().unwrap();
    let CaptureError::Redis { address, source } = &error else {
        panic!("{error:?}");
    };
    assert!(
        matches!(source, RedisError::NodeUnreachable(_)),
        "{source:?}"
    );
    let port = cluster.nodes()[2].port().to_string();
    assert!(address.contains(&port), "{address}");
    assert!(error.hint().unwrap().contains("cluster-announce-ip"));
    assert!(vault.snapshots().unwrap().is_empty());
    patience(&cluster, 2_000);
    cluster.wait_for_failure(2).unwrap();
    let point = capture(&vault, &described).unwrap();
    let partly = &point.captured().partly;
    assert!(
        partly[0].contains("slots 10922-16383 are served by no node"),
        "{partly:?}"
    );
    let shards = &record(&point).shards;
    assert_eq!(shards.len(), 2);
    assert_eq!(shards[1].directory, "shards/1");
}

#[test]
fn a_cluster_is_not_restored_in_place_and_its_append_only_files_are_not_captured() {
    let Some(cluster) = filled(Flavour::Redis7) else {
        return;
    };
    let dir = temp_dir().unwrap();
    let vault = new_vault(&dir.path().join("vault"));
    let node = &cluster.nodes()[0];
    let described = server(node, "", dir.path());
    let mut point = capture(&vault, &described).unwrap();
    let single = Redis::builder(Flavour::Redis7).start().unwrap();
    let progress = Arc::new(Progress::default());
    for target in [&described, &server(&single, "", dir.path())] {
        let mut journal = Remembered::default();
        for error in [
            target
                .plan_in_place(&point.source(&progress))
                .err()
                .unwrap(),
            target
                .restore_in_place(&point.source(&progress), &mut journal)
                .err()
                .unwrap(),
        ] {
            assert!(matches!(error, InPlaceError::Refused { .. }), "{error}");
            assert!(error.to_string().contains("3 shards"), "{error}");
            assert!(error.hint().unwrap().contains("`restore --to DIR`"));
        }
        assert!(journal.0.is_empty());
    }
    // Nor is a point of one server.
    single.call("SET a b").unwrap();
    point = capture(&vault, &server(&single, "", dir.path())).unwrap();
    let error = described.plan_in_place(&point.source(&progress)).err();
    let error = error.unwrap();
    assert!(error.to_string().contains("a node of a cluster"), "{error}");
    let with_files = server(node, ", include: [rdb, aof]", dir.path());
    let error = capture(&vault, &with_files).err().unwrap();
    assert!(error.hint().unwrap().contains("remove `aof`"), "{error}");
}

#[test]
fn what_a_shard_left_in_the_vault_is_what_a_node_starts_on_without_us() {
    let Some(cluster) = filled(Flavour::Redis7) else {
        return;
    };
    let dir = temp_dir().unwrap();
    let vault = new_vault(&dir.path().join("vault"));
    let point = capture(&vault, &server(&cluster.nodes()[0], "", dir.path())).unwrap();
    let place = dir.path().join("shard");
    let at = TreePath::new(format!("{AT}/shards/2")).unwrap();
    point
        .vault
        .restore(&point.snapshot, &at, &place, &Default::default())
        .unwrap();
    let file = fs::read_to_string(place.join("nodes.conf")).unwrap();
    let id = &record(&point).shards[2].node;
    let own = format!("{id} :0@0 myself,master - 0 0 3 connected 10922-16383\n");
    assert!(file.starts_with(&own), "{file}");
    assert_eq!(file.lines().count(), 2, "no other node is known: {file}");
    assert!(place.join("dump.rdb").exists());
}
