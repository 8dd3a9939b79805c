//! A dump, entry by entry, in whatever order they come.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::{Component, Path},
};

use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;

use super::{DUMP_VERSION, DumpMetadata, IndexMetadata};
use crate::meilisearch::MeilisearchError;

/// More than any settings or keys; documents have no limit.
const MOST_BYTES: u64 = 64 << 20;

/// Something in a dump.
pub(in crate::meilisearch) enum Part<'a> {
    Dump(DumpMetadata),
    Index(IndexMetadata),
    /// Settings of an index, as JSON.
    Settings {
        index: String,
        json: Vec<u8>,
    },
    /// Documents of an index, one in each line.
    Documents {
        index: String,
        lines: &'a mut dyn BufRead,
    },
    /// API keys, one in each line, without their values.
    Keys(Vec<u8>),
    /// What is only of use to a server that imports it.
    Other,
}

/// Hands each part of a dump to `visit`, and reads it to its end, whatever `visit` leaves. `what` is for errors.
///
/// # Errors
/// [`MeilisearchError::NotADump`] if it is none, of another version, damaged or cut; as `visit` failed.
pub(in crate::meilisearch) fn walk<R: Read>(
    gzipped: R,
    what: &str,
    visit: &mut dyn FnMut(Part<'_>) -> Result<(), MeilisearchError>,
) -> Result<(), MeilisearchError> {
    walk_tar(GzDecoder::new(gzipped), what, visit)
}

/// As [`walk`], of what is inside the gzip.
///
/// # Errors
/// As [`walk`].
pub(in crate::meilisearch) fn walk_tar<R: Read>(
    tar: R,
    what: &str,
    visit: &mut dyn FnMut(Part<'_>) -> Result<(), MeilisearchError>,
) -> Result<(), MeilisearchError> {
    let not_whole = |reason: String| MeilisearchError::NotADump {
        what: what.to_owned(),
        reason,
    };
    let unread = |error: io::Error| not_whole(error.to_string());
    let mut archive = tar::Archive::new(tar);
    let mut has_metadata = false;
    for entry in archive.entries().map_err(unread)? {
        let mut entry = entry.map_err(unread)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let names = names(&entry.path().map_err(unread)?)
            .ok_or_else(|| not_whole("an entry has a name that leads out of it".to_owned()))?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let part = match names.as_slice() {
            ["metadata.json"] => {
                let metadata: DumpMetadata = json(&mut entry).map_err(not_whole)?;
                if metadata.dump_version != DUMP_VERSION {
                    let version = &metadata.dump_version;
                    return Err(not_whole(format!(
                        "its version is {version}, and {DUMP_VERSION} is known"
                    )));
                }
                has_metadata = true;
                Part::Dump(metadata)
            }
            ["indexes", _, "metadata.json"] => Part::Index(json(&mut entry).map_err(not_whole)?),
            ["indexes", index, "settings.json"] => Part::Settings {
                index: (*index).to_owned(),
                json: bytes(&mut entry).map_err(not_whole)?,
            },
            ["indexes", index, "documents.jsonl"] => {
                let index = (*index).to_owned();
                let mut lines = BufReader::with_capacity(256 << 10, &mut entry);
                visit(Part::Documents {
                    index,
                    lines: &mut lines,
                })?;
                io::copy(&mut lines, &mut io::sink()).map_err(unread)?;
                continue;
            }
            ["keys.jsonl"] => Part::Keys(bytes(&mut entry).map_err(not_whole)?),
            _ => Part::Other,
        };
        visit(part)?;
    }
    // The checksum of the gzip comes last.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(unread)?;
    if has_metadata {
        Ok(())
    } else {
        Err(not_whole("it has no metadata.json".to_owned()))
    }
}

/// Each line that is not empty, without its end.
///
/// # Errors
/// As reading failed, or `each` did.
pub(in crate::meilisearch) fn each_line(
    lines: &mut dyn BufRead,
    each: &mut dyn FnMut(&[u8]) -> Result<(), MeilisearchError>,
) -> Result<(), MeilisearchError> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line);
        if read.map_err(MeilisearchError::ReadDocuments)? == 0 {
            return Ok(());
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            each(text)?;
        }
    }
}

fn names(path: &Path) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            _ => return None,
        }
    }
    Some(names)
}

fn bytes(entry: &mut impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = entry.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    match read {
        Err(error) => Err(error.to_string()),
        Ok(length) if length as u64 > MOST_BYTES => {
            Err("an entry is longer than any of a server's".to_owned())
        }
        Ok(_) => Ok(bytes),
    }
}

fn json<T: DeserializeOwned>(entry: &mut impl Read) -> Result<T, String> {
    serde_json::from_slice(&bytes(entry)?).map_err(|error| error.to_string())
}
