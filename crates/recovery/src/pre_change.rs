//! A recovery point before a risky change, and the way back to it.

use std::sync::Arc;

use rekindle_datasets::DatasetRecord;
use rekindle_stack::Stack;
use rekindle_vault::{Progress, Vault};
use serde::Serialize;

use crate::{
    BackupOutcome, BackupRequest, RecoveryError, backup, manifest::Manifest, retention::PRE_CHANGE,
};

/// How one dataset comes back, as arguments of `rekindle restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WayBack {
    /// Whose.
    pub service: String,
    /// The arguments, the point first.
    pub arguments: Vec<String>,
    /// Whether it puts the former state back by itself. Otherwise it brings it back beside what is there.
    pub is_in_place: bool,
}

/// Makes a point of these services (of all, if none is named) with the tag `pre-change`, by which `retention.pre_change`
/// keeps it for a while, and these further tags.
///
/// # Errors
/// As [`backup`].
pub fn before_change(
    vault: &Vault,
    stack: &Stack,
    services: &[String],
    tags: &[String],
    progress: Arc<Progress>,
) -> Result<BackupOutcome, RecoveryError> {
    let mut all = vec![PRE_CHANGE.to_owned()];
    all.extend(tags.iter().filter(|tag| *tag != PRE_CHANGE).cloned());
    backup(
        vault,
        &BackupRequest {
            stack,
            services: services.to_vec(),
            tags: all,
            progress,
        },
    )
}

/// The ways back to a point, dataset by dataset, in the order in which they were captured: databases first.
#[must_use]
pub fn ways_back(point: &str, manifest: &Manifest) -> Vec<WayBack> {
    let mut ways = Vec::new();
    for entry in &manifest.datasets {
        let of = |more: &[&str]| {
            let mut arguments = vec![
                point.to_owned(),
                "--service".to_owned(),
                entry.service.clone(),
            ];
            arguments.extend(more.iter().map(|&word| word.to_owned()));
            arguments
        };
        let service = entry.service.clone();
        match &entry.record {
            DatasetRecord::Postgres(record) if record.physical.is_none() => {
                // Of dumps alone, each database comes back beside the live one.
                for database in record.logical.iter().flat_map(|logical| &logical.databases) {
                    let name = database.database.name.as_str();
                    let new_name = format!("{name}_before");
                    ways.push(WayBack {
                        service: service.clone(),
                        arguments: of(&["--database", name, "--as", &new_name]),
                        is_in_place: false,
                    });
                }
            }
            DatasetRecord::Redis(record) if record.cluster.is_some() => {
                // No cluster is restored in place; its shards come back as directories for new nodes.
                let to = format!("{service}-before");
                ways.push(WayBack {
                    service,
                    arguments: of(&["--to", &to]),
                    is_in_place: false,
                });
            }
            record => {
                let same = manifest.datasets.iter();
                let several = same.filter(|other| other.service == entry.service).count() > 1;
                let kind = record.kind();
                ways.push(WayBack {
                    service,
                    arguments: match several {
                        true => of(&["--kind", kind, "--in-place", "--yes"]),
                        false => of(&["--in-place", "--yes"]),
                    },
                    is_in_place: true,
                });
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rekindle_datasets::{
        files::FilesRecord,
        redis::{ClusterRecord, RedisRecord},
    };

    use super::*;
    use crate::DatasetEntry;

    #[test]
    fn each_dataset_has_a_way_back_and_kinds_are_named_where_a_service_has_several() {
        let mut manifest = Manifest::new("shop", Timestamp::UNIX_EPOCH);
        let mut add = |service: &str, record| {
            let path = format!("{service}/x");
            let started = Timestamp::UNIX_EPOCH;
            let entry = DatasetEntry::imported(service.to_owned(), path, started, record);
            manifest.datasets.push(entry);
        };
        add("cache", DatasetRecord::Redis(RedisRecord::default()));
        add("index", DatasetRecord::Files(FilesRecord::default()));
        add("index", DatasetRecord::Redis(RedisRecord::default()));
        let cluster = RedisRecord {
            cluster: Some(ClusterRecord::default()),
            ..RedisRecord::default()
        };
        add("shards", DatasetRecord::Redis(cluster));
        let ways = ways_back("1f0c", &manifest);
        let lines: Vec<_> = ways.iter().map(|way| way.arguments.join(" ")).collect();
        assert_eq!(
            lines,
            [
                "1f0c --service cache --in-place --yes",
                "1f0c --service index --kind files --in-place --yes",
                "1f0c --service index --kind redis --in-place --yes",
                "1f0c --service shards --to shards-before",
            ]
        );
        assert_eq!(ways.iter().filter(|way| !way.is_in_place).count(), 1);
    }
}
