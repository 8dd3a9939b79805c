//! New indexes filled from a dump.

use std::{collections::BTreeMap, io::Read, time::Duration};

use rekindle_vault::Progress;

use super::{MeilisearchAside, refused};
use crate::{
    InPlaceError,
    meilisearch::{
        MeilisearchError,
        client::{Client, Task},
        dump::read::{Part, each_line, walk},
        tasks,
    },
};

/// Documents that are sent together: far below the server's limit for a request (100 MB unless told otherwise).
const BATCH_BYTES: usize = 8 << 20;
const BATCH_DOCUMENTS: u64 = 20_000;

/// What is in a dump, but for the documents themselves.
pub(super) struct Contents {
    what: String,
    pub(super) indexes: BTreeMap<String, Content>,
}

/// An index of a dump.
#[derive(Default)]
pub(super) struct Content {
    pub(super) primary_key: Option<String>,
    pub(super) settings: Vec<u8>,
    pub(super) documents: u64,
}

impl Contents {
    /// Reads a dump to its end. Its parts come in any order, so the documents are read again for [`Contents::fill`].
    pub(super) fn read(dump: impl Read, what: &str) -> Result<Self, MeilisearchError> {
        let mut indexes: BTreeMap<String, Content> = BTreeMap::new();
        walk(dump, what, &mut |part| {
            match part {
                Part::Index(metadata) => {
                    indexes.entry(metadata.uid).or_default().primary_key = metadata.primary_key;
                }
                Part::Settings { index, json } => {
                    indexes.entry(index).or_default().settings = json;
                }
                Part::Documents { index, lines } => {
                    let content = indexes.entry(index).or_default();
                    each_line(lines, &mut |_| {
                        content.documents += 1;
                        Ok(())
                    })?;
                }
                _ => {}
            }
            Ok(())
        })?;
        let what = what.to_owned();
        Ok(Self { what, indexes })
    }

    /// Leaves all but one index.
    pub(super) fn keep_only(&mut self, uid: &str) -> Result<(), InPlaceError> {
        self.indexes.retain(|name, _| name == uid);
        if self.indexes.is_empty() {
            let reason = format!("the dump has no index `{uid}`");
            return Err(refused(reason, "`points show` tells which there are"));
        }
        Ok(())
    }

    /// Makes the indexes, settings before documents, and counts what is in them.
    pub(super) fn fill(
        &self,
        client: &Client,
        dump: impl Read,
        aside: &MeilisearchAside,
        limit: Duration,
        progress: &Progress,
    ) -> Result<(), MeilisearchError> {
        let wait = |task: Task| tasks::wait_for(client, &task, limit).map(drop);
        let mut names = BTreeMap::new();
        for index in &aside.indexes {
            let content = &self.indexes[&index.live];
            let primary_key = content.primary_key.as_deref();
            wait(client.create_index(&index.aside, primary_key)?)?;
            wait(client.change_settings(&index.aside, &content.settings)?)?;
            if index.was_absent {
                wait(client.create_index(&index.live, primary_key)?)?;
            }
            names.insert(index.live.as_str(), index.aside.as_str());
        }
        walk(dump, &self.what, &mut |part| {
            let Part::Documents { index, lines } = part else {
                return Ok(());
            };
            let Some(aside) = names.get(index.as_str()) else {
                return Ok(());
            };
            let mut batch = Vec::new();
            let mut count = 0;
            let send = |batch: &mut Vec<u8>| {
                let task = client.add_documents(aside, batch)?;
                progress.did_bytes(batch.len() as u64);
                batch.clear();
                wait(task)
            };
            each_line(lines, &mut |line| {
                if !batch.is_empty()
                    && (batch.len() + line.len() > BATCH_BYTES || count >= BATCH_DOCUMENTS)
                {
                    send(&mut batch)?;
                    count = 0;
                }
                batch.extend_from_slice(line);
                batch.push(b'\n');
                count += 1;
                Ok(())
            })?;
            if batch.is_empty() {
                return Ok(());
            }
            send(&mut batch)
        })?;
        for (live, aside) in names {
            let (found, expected) = (client.count(aside)?, self.indexes[live].documents);
            if found != expected {
                let index = aside.to_owned();
                return Err(MeilisearchError::Count {
                    index,
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }
}
