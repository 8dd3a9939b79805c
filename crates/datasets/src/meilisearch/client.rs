//! MeiliSearch's public HTTP API, as far as it is needed here. Source: its API reference.

use std::{net::SocketAddr, time::Duration};

use rekindle_stack::Secret;
use rekindle_stores::{HttpAnswer, HttpApi, HttpCall};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::MeilisearchError;

/// Longer than any honest pause of a server that indexes.
const STALL: Duration = Duration::from_secs(60);
/// Answers but those with documents.
const SMALL: usize = 16 << 20;
/// A page of documents. The server makes it in memory as well, so it stays far below this.
const LARGE: usize = 256 << 20;

/// A connection to one server.
#[derive(Clone, Debug)]
pub(super) struct Client {
    api: HttpApi,
}

/// Part of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) results: Vec<T>,
    #[serde(default)]
    pub(super) total: u64,
}

/// An index, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IndexInfo {
    pub(super) uid: String,
    #[serde(default)]
    pub(super) primary_key: Option<String>,
    /// As the server writes it. It belongs to the content, so a swap of names takes it along.
    pub(super) created_at: String,
    pub(super) updated_at: String,
}

/// A task.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Task {
    #[serde(alias = "taskUid")]
    pub(super) uid: u64,
    pub(super) status: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) details: Option<Value>,
    #[serde(default)]
    pub(super) error: Option<Value>,
    #[serde(default, rename = "startedAt")]
    pub(super) started_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    pkg_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexStats {
    number_of_documents: u64,
}

impl Client {
    pub(super) fn new(
        url: &str,
        at: Option<SocketAddr>,
        key: Option<Secret>,
    ) -> Result<Self, MeilisearchError> {
        let api = HttpApi::new(url, at, None, STALL)?;
        Ok(Self {
            api: match key {
                Some(key) => api.with_bearer(key),
                None => api,
            },
        })
    }

    /// The server's version, `1.12.0`.
    pub(super) fn version(&self) -> Result<String, MeilisearchError> {
        Ok(self.get::<Version>("version")?.pkg_version)
    }

    /// All indexes, by name.
    pub(super) fn indexes(&self) -> Result<Vec<IndexInfo>, MeilisearchError> {
        let mut all = self.all::<IndexInfo>("indexes")?;
        all.sort_by(|a, b| a.uid.cmp(&b.uid));
        Ok(all)
    }

    /// One index; `None` if there is none of this name.
    pub(super) fn index(&self, uid: &str) -> Result<Option<IndexInfo>, MeilisearchError> {
        match self.get(&format!("indexes/{}", escaped(uid))) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn count(&self, uid: &str) -> Result<u64, MeilisearchError> {
        let path = format!("indexes/{}/stats", escaped(uid));
        Ok(self.get::<IndexStats>(&path)?.number_of_documents)
    }

    pub(super) fn settings(&self, uid: &str) -> Result<Value, MeilisearchError> {
        self.get(&format!("indexes/{}/settings", escaped(uid)))
    }

    /// What the server tells of its API keys; their values it does not store.
    pub(super) fn keys(&self) -> Result<Vec<Value>, MeilisearchError> {
        self.all("keys")
    }

    pub(super) fn experimental_features(&self) -> Result<Value, MeilisearchError> {
        self.get("experimental-features")
    }

    /// Documents of an index in the server's own order.
    pub(super) fn documents(
        &self,
        uid: &str,
        offset: u64,
        limit: u64,
        with_vectors: bool,
    ) -> Result<Page<Box<serde_json::value::RawValue>>, MeilisearchError> {
        let vectors = if with_vectors {
            "&retrieveVectors=true"
        } else {
            ""
        };
        let uid = escaped(uid);
        let path = format!("indexes/{uid}/documents?offset={offset}&limit={limit}{vectors}");
        self.ask("GET", &path, None, LARGE)
    }

    pub(super) fn make_dump(&self) -> Result<Task, MeilisearchError> {
        self.ask("POST", "dumps", None, SMALL)
    }

    pub(super) fn create_index(
        &self,
        uid: &str,
        primary_key: Option<&str>,
    ) -> Result<Task, MeilisearchError> {
        let body = json!({ "uid": uid, "primaryKey": primary_key });
        self.send("POST", "indexes", &body)
    }

    pub(super) fn delete_index(&self, uid: &str) -> Result<Task, MeilisearchError> {
        self.ask("DELETE", &format!("indexes/{}", escaped(uid)), None, SMALL)
    }

    pub(super) fn change_settings(&self, uid: &str, json: &[u8]) -> Result<Task, MeilisearchError> {
        let path = format!("indexes/{}/settings", escaped(uid));
        self.ask("PATCH", &path, Some(("application/json", json)), SMALL)
    }

    /// Adds documents, one in each line.
    pub(super) fn add_documents(&self, uid: &str, lines: &[u8]) -> Result<Task, MeilisearchError> {
        let path = format!("indexes/{}/documents", escaped(uid));
        self.ask("POST", &path, Some(("application/x-ndjson", lines)), SMALL)
    }

    /// Lets pairs of indexes change names, all at once.
    pub(super) fn swap(&self, pairs: &[(&str, &str)]) -> Result<Task, MeilisearchError> {
        let swaps = pairs.iter().map(|(a, b)| json!({ "indexes": [a, b] }));
        let body = Value::Array(swaps.collect());
        self.send("POST", "swap-indexes", &body)
    }

    pub(super) fn task(&self, uid: u64) -> Result<Task, MeilisearchError> {
        self.get(&format!("tasks/{uid}"))
    }

    /// Swaps that are not finished yet.
    pub(super) fn open_swaps(&self) -> Result<Vec<Task>, MeilisearchError> {
        let path = "tasks?types=indexSwap&statuses=enqueued,processing&limit=1000";
        Ok(self.get::<Page<Task>>(path)?.results)
    }

    fn all<T: DeserializeOwned>(&self, what: &str) -> Result<Vec<T>, MeilisearchError> {
        const PAGE: u64 = 1000;
        let mut all = Vec::new();
        loop {
            let path = format!("{what}?offset={}&limit={PAGE}", all.len());
            let page: Page<T> = self.get(&path)?;
            let was_last = page.results.is_empty();
            all.extend(page.results);
            if was_last || all.len() as u64 >= page.total {
                return Ok(all);
            }
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, MeilisearchError> {
        self.ask("GET", path, None, SMALL)
    }

    fn send<T: DeserializeOwned>(
        &self,
        method: &'static str,
        path: &str,
        body: &Value,
    ) -> Result<T, MeilisearchError> {
        let body = body.to_string();
        let body = Some(("application/json", body.as_bytes()));
        self.ask(method, path, body, SMALL)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        path: &str,
        body: Option<(&'static str, &[u8])>,
        most_bytes: usize,
    ) -> Result<T, MeilisearchError> {
        let answer = self.api.call(HttpCall {
            method,
            path,
            body,
            most_bytes,
        })?;
        let what = || format!("{method} /{}", path.split('?').next().unwrap_or_default());
        if !answer.is_success() {
            return Err(refusal(what(), &answer));
        }
        serde_json::from_slice(&answer.body).map_err(|source| MeilisearchError::Answer {
            what: what(),
            source,
        })
    }
}

/// Its own words, as far as it has any. A proxy's page is not repeated.
fn refusal(what: String, answer: &HttpAnswer) -> MeilisearchError {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let word = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    MeilisearchError::Refused {
        what,
        status: answer.status,
        code: word("code"),
        message: match word("message").as_str() {
            "" => "it does not say why".to_owned(),
            words => words.chars().take(300).collect(),
        },
    }
}

/// Names of indexes are letters, digits, `-` and `_`; whatever else a damaged dump may hold does not leave its place.
fn escaped(uid: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    uid.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_name_in_a_path() {
        assert_eq!(escaped("movies-2_x"), "movies-2_x");
        assert_eq!(escaped("../keys?a"), "%2E%2E%2Fkeys%3Fa");
    }

    #[test]
    fn a_page_of_a_proxy_is_no_message() {
        let body = b"<html>secret</html>".to_vec();
        let error = refusal("GET /x".to_owned(), &HttpAnswer { status: 502, body });
        assert!(error.may_pass());
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
