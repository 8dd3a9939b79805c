//! A dump back into a running server: new indexes are filled beside the live ones, then all change names in one task.
//!
//! Which content stands under which name is told by when its index was made, which a change of names takes along: so undo
//! and discard need not know how far a restore had come.

mod fill;

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use jiff::{Timestamp, tz::TimeZone};
use rekindle_vault::Node;
use serde::{Deserialize, Serialize};

use super::{
    MeilisearchError, MeilisearchRecord, MeilisearchServer,
    client::{Client, IndexInfo},
    tasks,
};
use crate::{
    Aside, DatasetRecord, InPlaceError, InPlaceSteps, Journal, PointSource, RestoredInPlace,
};
use fill::Contents;

/// The longest name of an index. Source: MeiliSearch's API reference, "Index uid".
const LONGEST_NAME: usize = 400;

/// What a restore in place set aside: enough to bring it back. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeilisearchAside {
    /// Where, without secrets.
    pub url: String,
    /// The indexes that change names.
    pub indexes: Vec<SwappedIndex>,
}

/// An index and the one beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwappedIndex {
    /// The name that everybody uses.
    pub live: String,
    /// The other one: of what is restored until the names change, of what was there from then on.
    pub aside: String,
    /// Whether there was no live index, so that an empty one was made to change names with.
    pub was_absent: bool,
    /// When the index with what is restored was made, as the server writes it; `None` until it is filled.
    pub restored_at: Option<String>,
}

impl MeilisearchAside {
    /// Names change only when all indexes are filled, and the journal says so before.
    pub(crate) fn is_untouched(&self) -> bool {
        self.indexes.iter().all(|index| index.restored_at.is_none())
    }

    /// How far it has come.
    pub(crate) fn in_words(&self) -> String {
        let names: Vec<_> = self
            .indexes
            .iter()
            .map(|index| format!("`{}`", index.live))
            .collect();
        let names = names.join(", ");
        match self.is_untouched() {
            true => format!("new indexes were being filled beside {names}, which are as they were"),
            false => format!(
                "{names} may have changed names with the new indexes, all in one task or none"
            ),
        }
    }
}

pub(super) fn own(aside: &Aside) -> Result<&MeilisearchAside, InPlaceError> {
    match aside {
        Aside::Meilisearch(own) => Ok(own),
        _ => Err(InPlaceError::Unsupported {
            kind: "meilisearch",
        }),
    }
}

fn record<'a>(source: &PointSource<'a>) -> Result<&'a MeilisearchRecord, InPlaceError> {
    match source.record {
        DatasetRecord::Meilisearch(record) => Ok(record),
        _ => Err(InPlaceError::Unsupported {
            kind: "meilisearch",
        }),
    }
}

fn refused(reason: impl Into<String>, hint: impl Into<String>) -> InPlaceError {
    InPlaceError::Refused {
        reason: reason.into(),
        hint: Some(hint.into()),
    }
}

/// A restore that may be done.
struct Planned {
    client: Client,
    node: Node,
    contents: Contents,
    live: BTreeMap<String, IndexInfo>,
    /// Bytes of the dump.
    bytes: u64,
    warnings: Vec<String>,
}

impl Planned {
    fn new(server: &MeilisearchServer, source: &PointSource<'_>) -> Result<Self, InPlaceError> {
        let record = record(source)?;
        let Some(dump) = &record.dump else {
            let hint = "choose another point";
            return Err(refused("the point holds no dump of MeiliSearch", hint));
        };
        let client = server.client().map_err(Box::new)?;
        let failed = |error| InPlaceError::from(Box::new(server.failed(error)));
        let version = client.version().map_err(failed)?;
        let mut warnings = Vec::new();
        match is_older(&version, &dump.server_version) {
            Some(true) => {
                return Err(failed(MeilisearchError::OlderServer {
                    data: dump.server_version.clone(),
                    server: version,
                }));
            }
            Some(false) => {}
            None => warnings.push(format!(
                "the server says that its version is `{version}`, which cannot be compared with {}",
                dump.server_version
            )),
        }
        let path = format!("{}/{}", source.at, dump.file);
        let found = source
            .vault
            .find_node(source.index, source.snapshot, &path)?;
        let node = found.ok_or_else(|| refused("the point has no dump", "choose another point"))?;
        let reader = source.vault.file_reader(source.index, &node);
        let mut contents = Contents::read(reader, &path).map_err(failed)?;
        if let Some(part) = &source.part {
            contents.keep_only(&String::from_utf8_lossy(part.as_bytes()))?;
        }
        let live = client.indexes().map_err(failed)?;
        let live: BTreeMap<_, _> = live.into_iter().map(|one| (one.uid.clone(), one)).collect();
        let beside = live
            .keys()
            .filter(|uid| !contents.indexes.contains_key(*uid));
        let beside: Vec<_> = beside.map(|uid| format!("`{uid}`")).collect();
        if !beside.is_empty() {
            let names = beside.join(", ");
            warnings.push(format!(
                "not in what is restored, and left as they are: {names}"
            ));
        }
        if dump.keys > 0 {
            warnings.push(
                "API keys are not restored into a running server; those of the dump come back where a server imports it"
                    .to_owned(),
            );
        }
        Ok(Self {
            client,
            bytes: node.size,
            node,
            contents,
            live,
            warnings,
        })
    }

    fn documents(&self) -> u64 {
        self.contents
            .indexes
            .values()
            .map(|one| one.documents)
            .sum()
    }

    /// Names beside all that is restored.
    fn aside(&self, server: &MeilisearchServer) -> Result<MeilisearchAside, InPlaceError> {
        let now = Timestamp::now().to_zoned(TimeZone::UTC);
        let suffix = now.strftime("__rekindle_%Y%m%d%H%M%S").to_string();
        let mut indexes = Vec::new();
        for uid in self.contents.indexes.keys() {
            let aside = format!("{uid}{suffix}");
            if aside.len() > LONGEST_NAME || self.live.contains_key(&aside) {
                let reason = format!(
                    "an index beside `{uid}` would have the name `{aside}`, which it cannot have"
                );
                return Err(refused(
                    reason,
                    "restore the dump to a directory, and import it",
                ));
            }
            indexes.push(SwappedIndex {
                live: uid.clone(),
                aside,
                was_absent: !self.live.contains_key(uid),
                restored_at: None,
            });
        }
        let url = server.url.to_string();
        Ok(MeilisearchAside { url, indexes })
    }
}

pub(super) fn plan(
    server: &MeilisearchServer,
    source: &PointSource<'_>,
) -> Result<InPlaceSteps, InPlaceError> {
    if let Some(command) = &record(source)?.rebuild {
        return Ok(InPlaceSteps {
            steps: vec![format!("run `{command}`, which makes the indexes anew")],
            warnings: vec!["nothing is set aside: what the command does is its own".to_owned()],
            ..InPlaceSteps::default()
        });
    }
    let planned = Planned::new(server, source)?;
    let aside = planned.aside(server)?;
    let mut steps = Vec::new();
    for index in &aside.indexes {
        let documents = planned.contents.indexes[&index.live].documents;
        let SwappedIndex { aside, .. } = index;
        steps.push(format!(
            "fill a new index `{aside}` with {documents} document(s), and count them"
        ));
    }
    steps.push(
        "let all of them change names with the live ones, in one task of the server's".to_owned(),
    );
    let kept = aside.indexes.iter().filter(|index| !index.was_absent);
    Ok(InPlaceSteps {
        set_aside: kept
            .map(|index| format!("the index `{}`, as `{}`", index.live, index.aside))
            .collect(),
        steps,
        entries: planned.documents(),
        bytes: planned.bytes,
        warnings: planned.warnings,
        stop_after: None,
    })
}

pub(super) fn restore(
    server: &MeilisearchServer,
    source: &PointSource<'_>,
    journal: &mut dyn Journal,
) -> Result<RestoredInPlace, InPlaceError> {
    if let Some(command) = &record(source)?.rebuild {
        return rebuild(server, command);
    }
    let planned = Planned::new(server, source)?;
    let failed = |error| InPlaceError::from(Box::new(server.failed(error)));
    let mut aside = planned.aside(server)?;
    journal.write(&Aside::Meilisearch(aside.clone()))?;
    let reader = source.vault.file_reader(source.index, &planned.node);
    planned
        .contents
        .fill(
            &planned.client,
            reader,
            &aside,
            server.task_limit,
            source.progress,
        )
        .map_err(failed)?;
    for index in &mut aside.indexes {
        let made = planned.client.index(&index.aside).map_err(failed)?;
        let Some(made) = made else {
            let reason = format!("the new index `{}` is gone again", index.aside);
            return Err(refused(reason, "who deleted it? Try again"));
        };
        index.restored_at = Some(made.created_at);
    }
    // From here on, undo can tell the two contents apart.
    journal.write(&Aside::Meilisearch(aside.clone()))?;
    swap(server, &planned.client, &aside.indexes).map_err(failed)?;
    for index in &aside.indexes {
        if !is_swapped(&planned.client, index).map_err(failed)? {
            let reason = format!(
                "the server says that names were changed, and `{}` is still the old index",
                index.live
            );
            return Err(refused(reason, "undo, and restore the dump to a directory"));
        }
    }
    let kept = aside.indexes.iter().filter(|index| !index.was_absent);
    Ok(RestoredInPlace {
        entries: planned.documents(),
        bytes: planned.bytes,
        set_aside: kept
            .map(|index| format!("the former `{}` is the index `{}`", index.live, index.aside))
            .collect(),
        warnings: planned.warnings,
    })
}

/// Brings the former content back under the names that everybody uses, if they changed at all.
pub(super) fn undo(
    server: &MeilisearchServer,
    aside: &MeilisearchAside,
) -> Result<Vec<String>, InPlaceError> {
    let failed = |error| InPlaceError::from(Box::new(server.failed(error)));
    let client = server.client().map_err(Box::new)?;
    settle(server, &client, aside).map_err(failed)?;
    let mut swapped = Vec::new();
    for index in &aside.indexes {
        if is_swapped(&client, index).map_err(failed)? {
            swapped.push(index.clone());
        }
    }
    if swapped.is_empty() {
        return Ok(vec![
            "the live indexes are those that were there before".to_owned(),
        ]);
    }
    swap(server, &client, &swapped).map_err(failed)?;
    let told = swapped.iter().map(|index| match index.was_absent {
        false => format!("`{}` is again what it was before; what was restored is `{}`", index.live, index.aside),
        true => format!(
            "`{}` was not there before, and is empty until it is discarded; what was restored is `{}`",
            index.live, index.aside
        ),
    });
    Ok(told.collect())
}

/// Deletes what stands beside the live indexes.
pub(super) fn discard(
    server: &MeilisearchServer,
    aside: &MeilisearchAside,
) -> Result<Vec<String>, InPlaceError> {
    let failed = |error| InPlaceError::from(Box::new(server.failed(error)));
    let client = server.client().map_err(Box::new)?;
    settle(server, &client, aside).map_err(failed)?;
    let mut told = Vec::new();
    for index in &aside.indexes {
        if index.was_absent && is_empty_again(&client, index).map_err(failed)? {
            delete(server, &client, &index.live).map_err(failed)?;
            told.push(format!(
                "deleted the empty index `{}`, which was not there before",
                index.live
            ));
        }
        if client.index(&index.aside).map_err(failed)?.is_some() {
            delete(server, &client, &index.aside).map_err(failed)?;
            told.push(format!("deleted the index `{}`", index.aside));
        }
    }
    Ok(told)
}

/// Whether the live name has an index that was made to change names with, and nobody has written to it since.
fn is_empty_again(client: &Client, index: &SwappedIndex) -> Result<bool, MeilisearchError> {
    let is_there = client.index(&index.live)?.is_some();
    Ok(is_there && !is_swapped(client, index)? && client.count(&index.live)? == 0)
}

fn delete(server: &MeilisearchServer, client: &Client, uid: &str) -> Result<(), MeilisearchError> {
    let task = client.delete_index(uid)?;
    tasks::wait_for(client, &task, server.task_limit).map(drop)
}

fn swap(
    server: &MeilisearchServer,
    client: &Client,
    indexes: &[SwappedIndex],
) -> Result<(), MeilisearchError> {
    let pairs = indexes.iter();
    let pairs: Vec<_> = pairs
        .map(|index| (index.live.as_str(), index.aside.as_str()))
        .collect();
    let task = client.swap(&pairs)?;
    tasks::wait_for(client, &task, server.task_limit).map(drop)
}

/// Whether what was restored stands under the live name.
fn is_swapped(client: &Client, index: &SwappedIndex) -> Result<bool, MeilisearchError> {
    let Some(restored_at) = &index.restored_at else {
        return Ok(false);
    };
    let live = client.index(&index.live)?;
    Ok(live.is_some_and(|live| live.created_at == *restored_at))
}

/// Waits until no change of these names is under way: a program that was killed may have left one in the queue.
fn settle(
    server: &MeilisearchServer,
    client: &Client,
    aside: &MeilisearchAside,
) -> Result<(), MeilisearchError> {
    for task in client.open_swaps()? {
        let details = task.details.as_ref().map(ToString::to_string);
        let is_ours = details.is_none_or(|text| {
            let mut names = aside.indexes.iter().map(|index| &index.aside);
            names.any(|name| text.contains(&format!("\"{name}\"")))
        });
        if is_ours {
            match tasks::wait_for(client, &task, server.task_limit) {
                // Failed is as good: the names are as they were.
                Ok(_) | Err(MeilisearchError::Task { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn rebuild(server: &MeilisearchServer, command: &str) -> Result<RestoredInPlace, InPlaceError> {
    let failed =
        |said: String| InPlaceError::from(Box::new(server.failed(MeilisearchError::Rebuild(said))));
    let ran = Command::new("sh")
        .args(["-c", command])
        .current_dir(&server.surroundings.directory)
        .env("REKINDLE_SERVICE", &server.surroundings.service)
        .stdin(Stdio::null())
        .output();
    let output = ran.map_err(|error| failed(format!("could not be started: {error}")))?;
    if output.status.success() {
        return Ok(RestoredInPlace::default());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim().lines().last().unwrap_or_default().to_owned();
    Err(failed(format!("ended with {}: {last}", output.status)))
}

/// Whether the first version is older than the second; `None` if they cannot be compared.
fn is_older(version: &str, than: &str) -> Option<bool> {
    let numbers = |text: &str| {
        let release = text.trim_start_matches('v').split(['-', '+']).next()?;
        let parts: Option<Vec<u64>> = release.split('.').map(|part| part.parse().ok()).collect();
        parts.filter(|parts| parts.len() == 3)
    };
    Some(numbers(version)? < numbers(than)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(is_older("1.9.0", "1.12.0"), Some(true));
        assert_eq!(is_older("1.12.0", "1.12.0"), Some(false));
        assert_eq!(is_older("1.12.1-rc.1", "v1.12.0"), Some(false));
        assert_eq!(is_older("nightly", "1.12.0"), None);
    }
}
