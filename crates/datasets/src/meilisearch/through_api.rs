//! Everything that the API gives, made into a dump: for servers whose dump directory cannot be reached from here.

use std::{
    fs::File,
    io::{BufWriter, Seek as _, Write},
};

use jiff::Timestamp;
use rekindle_vault::Progress;
use serde_json::Value;

use super::{
    DUMP_FILE, MeilisearchDump, MeilisearchError, MeilisearchIndex,
    client::{Client, IndexInfo},
    dump::{DUMP_VERSION, DumpMetadata, IndexMetadata, write::DumpWriter},
    record::settings_hash,
};

/// An index that changes while it is read is read so often at most.
const ATTEMPTS: u32 = 3;
/// A page of documents should have about so many bytes.
const PAGE_BYTES: u64 = 8 << 20;
const FIRST_PAGE: u64 = 100;
const LONGEST_PAGE: u64 = 10_000;

/// A dump that was read through the API.
#[derive(Debug)]
pub(super) struct Read {
    /// What is in it. Its length is not known here.
    pub(super) dump: MeilisearchDump,
    /// What a person should know of it.
    pub(super) warnings: Vec<String>,
    /// What may be missing from it.
    pub(super) partly: Vec<String>,
}

/// Reads everything, and writes a dump to `out`. Documents of one index at a time lie in a temporary file.
///
/// # Errors
/// [`MeilisearchError`]; `out` is of no use then.
pub(super) fn write_dump<W: Write>(
    client: &Client,
    version: &str,
    out: W,
    progress: &Progress,
) -> Result<(W, Read), MeilisearchError> {
    let now = Timestamp::now();
    let mut read = Read {
        dump: MeilisearchDump {
            file: DUMP_FILE.to_owned(),
            version: DUMP_VERSION.to_owned(),
            server_version: version.to_owned(),
            made: now.to_string(),
            bytes: 0,
            keys: 0,
            indexes: Vec::new(),
        },
        warnings: Vec::new(),
        partly: Vec::new(),
    };
    let mut dump = DumpWriter::new(out, now).map_err(MeilisearchError::Temporary)?;
    let mut add = |path: &str, bytes: &[u8]| dump.add(path, bytes);
    let metadata = DumpMetadata {
        dump_version: DUMP_VERSION.to_owned(),
        db_version: version.to_owned(),
        dump_date: now.to_string(),
    };
    let keys = keys(client, &mut read)?;
    let wrote = add("metadata.json", &json(&metadata)?)
        .and_then(|()| add("keys.jsonl", &keys))
        .and_then(|()| add("tasks/queue.jsonl", b""));
    wrote.map_err(MeilisearchError::Temporary)?;
    // An old server has none of them, and a key may not be allowed to ask.
    match client.experimental_features() {
        Ok(features) => add("experimental-features.json", &json(&features)?)
            .map_err(MeilisearchError::Temporary)?,
        Err(error) => tracing::debug!(%error, "no experimental features are told"),
    }
    let made = dump.add_directory("indexes");
    made.map_err(MeilisearchError::Temporary)?;
    for index in client.indexes()? {
        add_index(client, index, &mut dump, &mut read, progress)?;
    }
    let out = dump.finish().map_err(MeilisearchError::Temporary)?;
    Ok((out, read))
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, MeilisearchError> {
    serde_json::to_vec(value).map_err(|source| MeilisearchError::Answer {
        what: "a question".to_owned(),
        source,
    })
}

/// Keys as a dump has them: other names of fields, and no value, which the server makes of its master key and the uid.
fn keys(client: &Client, read: &mut Read) -> Result<Vec<u8>, MeilisearchError> {
    let keys = match client.keys() {
        Ok(keys) => keys,
        // Without a master key there are none.
        Err(MeilisearchError::Refused { status: 401, .. }) => return Ok(Vec::new()),
        Err(MeilisearchError::Refused { status: 403, .. }) => {
            read.warnings.push(
                "the server's API keys are not in the point: the key of the configuration may not list them (`keys.get`)"
                    .to_owned(),
            );
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut lines = Vec::new();
    for key in keys {
        let renamed = serde_json::json!({
            "description": key["description"], "name": key["name"], "uid": key["uid"], "actions": key["actions"],
            "indexes": key["indexes"], "expires_at": key["expiresAt"], "created_at": key["createdAt"],
            "updated_at": key["updatedAt"],
        });
        lines.extend(json(&renamed)?);
        lines.push(b'\n');
        read.dump.keys += 1;
    }
    Ok(lines)
}

fn add_index<W: Write>(
    client: &Client,
    mut index: IndexInfo,
    dump: &mut DumpWriter<W>,
    read: &mut Read,
    progress: &Progress,
) -> Result<(), MeilisearchError> {
    let mut attempt = 1;
    let (settings, mut documents) = loop {
        let mut settings = client.settings(&index.uid)?;
        let with_vectors = settings["embedders"]
            .as_object()
            .is_some_and(|embedders| !embedders.is_empty());
        let masked = without_masked_keys(&mut settings);
        let documents = documents(client, &index.uid, with_vectors, progress)?;
        let after = client.index(&index.uid)?.ok_or_else(|| gone(&index.uid))?;
        if after == index {
            if masked {
                read.warnings.push(format!(
                    "the API keys of the embedders of `{}` are not in the point: the server does not tell them",
                    index.uid
                ));
            }
            break (settings, documents);
        }
        index = after;
        if attempt == ATTEMPTS {
            read.partly.push(format!(
                "`{}` was written to while it was read through the API: what changed meanwhile may be missing or there twice",
                index.uid
            ));
            break (settings, documents);
        }
        attempt += 1;
    };
    let metadata = IndexMetadata {
        uid: index.uid.clone(),
        primary_key: index.primary_key.clone(),
        created_at: index.created_at,
        updated_at: index.updated_at,
    };
    let at = format!("indexes/{}", index.uid);
    let (metadata, settings) = (json(&metadata)?, json(&settings)?);
    read.dump.indexes.push(MeilisearchIndex {
        uid: index.uid.clone(),
        primary_key: index.primary_key,
        documents: documents.count,
        settings_sha256: settings_hash(&settings).unwrap_or_default(),
    });
    let wrote = dump
        .add_directory(&at)
        .and_then(|()| dump.add(&format!("{at}/metadata.json"), &metadata))
        .and_then(|()| dump.add(&format!("{at}/settings.json"), &settings))
        .and_then(|()| documents.file.rewind())
        .and_then(|()| {
            let (bytes, file) = (documents.bytes, &documents.file);
            dump.add_file(&format!("{at}/documents.jsonl"), bytes, file)
        });
    wrote.map_err(MeilisearchError::Temporary)
}

fn gone(uid: &str) -> MeilisearchError {
    MeilisearchError::Refused {
        what: format!("GET /indexes/{uid}"),
        status: 404,
        code: "index_not_found".to_owned(),
        message: "the index was deleted while it was read".to_owned(),
    }
}

/// A server answers with `XXX` in place of a key; written back, it would take that for the key.
fn without_masked_keys(settings: &mut Value) -> bool {
    let embedders = settings.get_mut("embedders");
    let Some(embedders) = embedders.and_then(Value::as_object_mut) else {
        return false;
    };
    let mut found = false;
    for embedder in embedders.values_mut() {
        if let Some(fields) = embedder.as_object_mut() {
            found |= fields.remove("apiKey").is_some_and(|key| key.is_string());
        }
    }
    found
}

/// All documents of an index, one in each line, in a file that has no name.
struct Documents {
    file: File,
    bytes: u64,
    count: u64,
}

fn documents(
    client: &Client,
    uid: &str,
    with_vectors: bool,
    progress: &Progress,
) -> Result<Documents, MeilisearchError> {
    let file = tempfile::tempfile().map_err(MeilisearchError::Temporary)?;
    let mut out = BufWriter::new(file);
    let (mut offset, mut bytes, mut limit) = (0, 0, FIRST_PAGE);
    loop {
        let page = client.documents(uid, offset, limit, with_vectors)?;
        if page.results.is_empty() {
            break;
        }
        offset += page.results.len() as u64;
        let mut page_bytes = 0;
        for document in &page.results {
            // A line break in JSON can only stand between values.
            let line = document.get().replace(['\n', '\r'], " ");
            page_bytes += line.len() as u64 + 1;
            let wrote = out
                .write_all(line.as_bytes())
                .and_then(|()| out.write_all(b"\n"));
            wrote.map_err(MeilisearchError::Temporary)?;
        }
        bytes += page_bytes;
        progress.did_bytes(page_bytes);
        let fitting = PAGE_BYTES * page.results.len() as u64 / page_bytes.max(1);
        limit = fitting.clamp(1, (limit * 4).min(LONGEST_PAGE));
    }
    let file = out.into_inner().map_err(|error| error.into_error());
    Ok(Documents {
        file: file.map_err(MeilisearchError::Temporary)?,
        bytes,
        count: offset,
    })
}
