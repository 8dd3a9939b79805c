//! Indexes, tasks and keys.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{StandInOptions, dump, http::Answer};
use crate::TestingError;

/// May do everything.
pub const ADMIN_KEY: &str = "stand-in-admin-key";
/// May read documents, settings, indexes, statistics and tasks, and change nothing.
pub const LIMITED_KEY: &str = "stand-in-limited-key";
const LIMITED: [&str; 6] = [
    "documents.get",
    "settings.get",
    "indexes.get",
    "stats.get",
    "tasks.get",
    "version",
];

#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) primary_key: Option<String>,
    pub(super) created: String,
    pub(super) updated: String,
    pub(super) settings: Map<String, Value>,
    /// By the value of their primary key.
    pub(super) documents: BTreeMap<String, Value>,
}

impl Index {
    fn new(primary_key: Option<String>) -> Self {
        Self {
            primary_key,
            created: now(),
            updated: now(),
            settings: default_settings(),
            documents: BTreeMap::new(),
        }
    }
}

fn default_settings() -> Map<String, Value> {
    let settings = json!({
        "displayedAttributes": ["*"], "searchableAttributes": ["*"], "filterableAttributes": [],
        "sortableAttributes": [], "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
        "stopWords": [], "synonyms": {}, "distinctAttribute": null,
    });
    settings.as_object().cloned().unwrap_or_default()
}

/// What a task does.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Dump,
    Snapshot,
    CreateIndex { primary_key: Option<String> },
    DeleteIndex,
    Settings { settings: Value },
    Documents { documents: Vec<Value> },
    Swap { pairs: Vec<(String, String)> },
}

impl Work {
    const fn name(&self) -> &'static str {
        match self {
            Self::Dump => "dumpCreation",
            Self::Snapshot => "snapshotCreation",
            Self::CreateIndex { .. } => "indexCreation",
            Self::DeleteIndex => "indexDeletion",
            Self::Settings { .. } => "settingsUpdate",
            Self::Documents { .. } => "documentAdditionOrUpdate",
            Self::Swap { .. } => "indexSwap",
        }
    }
}

struct Task {
    index: Option<String>,
    work: Work,
    status: &'static str,
    details: Value,
    error: Value,
    enqueued: String,
}

/// All that the server knows, kept in memory; the directory `data.ms` says that there is a database.
pub(super) struct Database {
    directory: PathBuf,
    version: &'static str,
    has_keys: bool,
    pub(super) indexes: BTreeMap<String, Index>,
    tasks: Vec<Task>,
    failing: Option<(String, String)>,
    until_failure: Option<u64>,
    hanging: Option<String>,
    cut_bytes: u64,
}

/// As MeiliSearch writes times, to the nanosecond, so that no two are the same.
pub(super) fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (seconds, nanos) = (since.as_secs(), since.subsec_nanos());
    // Any day does for a stand-in, as long as the order is right.
    let of_day = seconds % 86_400;
    let days = seconds / 86_400 - 20_000;
    format!(
        "2024-{:02}-{:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
        1 + (days / 28) % 12,
        1 + days % 28,
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

impl Database {
    pub(super) fn open(directory: &Path, options: &StandInOptions) -> Result<Self, TestingError> {
        let data = directory.join("data.ms");
        let mut database = Self {
            directory: directory.to_owned(),
            version: options.version,
            has_keys: options.has_keys,
            indexes: BTreeMap::new(),
            tasks: Vec::new(),
            failing: None,
            until_failure: None,
            hanging: None,
            cut_bytes: 0,
        };
        if let Some(from) = &options.import_dump {
            if data.exists() {
                return Err(TestingError::Server {
                    data_dir: data.clone(),
                    why: format!(
                        "database already exists at {}, try to delete it or rename it",
                        data.display()
                    ),
                    log: String::new(),
                });
            }
            database.indexes = dump::read(from)?;
        }
        fs::create_dir_all(&data).map_err(TestingError::file("create", &data))?;
        let dumps = database.dump_directory();
        fs::create_dir_all(&dumps).map_err(TestingError::file("create", &dumps))?;
        Ok(database)
    }

    pub(super) fn dump_directory(&self) -> PathBuf {
        self.directory.join("dumps")
    }

    pub(super) fn may(&self, key: Option<&str>, action: &str) -> Result<(), Answer> {
        if !self.has_keys || key == Some(ADMIN_KEY) {
            return Ok(());
        }
        match key {
            None => Err(Answer::refused(
                401,
                "missing_authorization_header",
                "The Authorization header is missing. It must use the bearer authorization method.",
            )),
            Some(LIMITED_KEY) if LIMITED.contains(&action) => Ok(()),
            Some(_) => Err(Answer::refused(
                403,
                "invalid_api_key",
                "The provided API key is invalid.",
            )),
        }
    }

    pub(super) fn version(&self) -> Value {
        json!({ "commitSha": super::BANNER, "commitDate": now(), "pkgVersion": self.version })
    }

    pub(super) const fn version_text(&self) -> &'static str {
        self.version
    }

    pub(super) fn keys_page(&self) -> Value {
        json!({ "results": [key()], "offset": 0, "limit": 20, "total": 1 })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.indexes.keys().cloned().collect()
    }

    pub(super) fn index(&self, uid: &str) -> Option<Value> {
        let index = self.indexes.get(uid)?;
        Some(json!({
            "uid": uid, "createdAt": index.created, "updatedAt": index.updated, "primaryKey": index.primary_key,
        }))
    }

    pub(super) fn index_stats(&self, uid: &str) -> Option<Value> {
        let index = self.indexes.get(uid)?;
        let documents = index.documents.len();
        Some(
            json!({ "numberOfDocuments": documents, "isIndexing": false, "fieldDistribution": {} }),
        )
    }

    pub(super) fn stats(&self) -> Value {
        let of_each = self.indexes.keys();
        let indexes: Map<String, Value> = of_each
            .filter_map(|uid| Some((uid.clone(), self.index_stats(uid)?)))
            .collect();
        json!({ "databaseSize": 1 << 20, "usedDatabaseSize": 1 << 19, "lastUpdate": now(), "indexes": indexes })
    }

    pub(super) fn documents(&self, uid: &str) -> Option<Vec<Value>> {
        Some(self.indexes.get(uid)?.documents.values().cloned().collect())
    }

    pub(super) fn settings(&self, uid: &str) -> Option<Value> {
        Some(Value::Object(self.indexes.get(uid)?.settings.clone()))
    }

    pub(super) fn put(&mut self, uid: &str, primary_key: &str, documents: &[Value]) {
        let new = || Index::new(Some(primary_key.to_owned()));
        let index = self.indexes.entry(uid.to_owned()).or_insert_with(new);
        add(index, documents.to_vec()).unwrap_or_default();
    }

    pub(super) fn set_settings(&mut self, uid: &str, settings: &Value) {
        if let (Some(index), Some(wanted)) = (self.indexes.get_mut(uid), settings.as_object()) {
            merge(index, wanted);
        }
    }

    pub(super) fn fail_next(&mut self, task: &str, why: &str) {
        self.failing = Some((task.to_owned(), why.to_owned()));
    }

    pub(super) const fn fail_after(&mut self, tasks: u64) {
        self.until_failure = Some(tasks);
    }

    pub(super) const fn has_failed(&self) -> bool {
        self.until_failure.is_none()
    }

    /// Whether it is this task's turn to fail.
    fn is_the_one(&mut self) -> bool {
        let left = self.until_failure;
        self.until_failure = left.and_then(|left| left.checked_sub(1));
        left == Some(0)
    }

    pub(super) fn hang(&mut self, task: Option<&str>) {
        self.hanging = task.map(str::to_owned);
    }

    pub(super) const fn cut_dumps(&mut self, bytes: u64) {
        self.cut_bytes = bytes;
    }

    pub(super) fn restarted(&mut self) {
        for task in &mut self.tasks {
            if task.status == "processing" {
                task.status = "enqueued";
            }
        }
    }

    pub(super) fn count_tasks(&self, kind: &str) -> usize {
        let of_kind = self.tasks.iter().filter(|task| task.work.name() == kind);
        of_kind.count()
    }

    pub(super) fn enqueue(&mut self, index: Option<&str>, work: Work) -> Value {
        let task = Task {
            index: index.map(str::to_owned),
            status: "enqueued",
            details: Value::Null,
            error: Value::Null,
            enqueued: now(),
            work,
        };
        self.tasks.push(task);
        let uid = self.tasks.len() - 1;
        let task = &self.tasks[uid];
        json!({
            "taskUid": uid, "indexUid": task.index, "status": "enqueued", "type": task.work.name(),
            "enqueuedAt": task.enqueued,
        })
    }

    pub(super) fn task(&self, uid: usize) -> Option<Value> {
        let task = self.tasks.get(uid)?;
        Some(json!({
            "uid": uid, "indexUid": task.index, "status": task.status, "type": task.work.name(),
            "details": task.details, "error": task.error, "enqueuedAt": task.enqueued,
        }))
    }

    pub(super) fn all_tasks(&self) -> Vec<Value> {
        (0..self.tasks.len())
            .filter_map(|uid| self.task(uid))
            .collect()
    }

    /// One step of the first task that is not finished.
    pub(super) fn go_on(&mut self) {
        let is_open = |task: &Task| matches!(task.status, "enqueued" | "processing");
        let Some(at) = self.tasks.iter().position(is_open) else {
            return;
        };
        if self.tasks[at].status == "enqueued" {
            self.tasks[at].status = "processing";
            return;
        }
        let work = self.tasks[at].work.clone();
        if self.hanging.as_deref() == Some(work.name()) {
            return;
        }
        let unlucky = self.is_the_one().then(|| "made up for a test".to_owned());
        let fails = self
            .failing
            .take_if(|(kind, _)| kind == work.name())
            .map(|(_, why)| why)
            .or(unlucky);
        let index = self.tasks[at].index.clone().unwrap_or_default();
        let done = match fails {
            Some(why) => Err(why),
            None => self.perform(&index, work),
        };
        let task = &mut self.tasks[at];
        match done {
            Ok(details) => (task.status, task.details) = ("succeeded", details),
            Err(why) => {
                task.status = "failed";
                task.error =
                    json!({ "message": why, "code": "internal", "type": "internal", "link": "" });
            }
        }
    }

    fn perform(&mut self, uid: &str, work: Work) -> Result<Value, String> {
        let missing = || format!("Index `{uid}` not found.");
        match work {
            Work::Dump => {
                let name = dump::write(self).map_err(|error| format!("{error:?}"))?;
                Ok(json!({ "dumpUid": name }))
            }
            Work::Snapshot => Ok(Value::Null),
            Work::CreateIndex { primary_key } => {
                if self.indexes.contains_key(uid) {
                    return Err(format!("Index `{uid}` already exists."));
                }
                self.indexes.insert(uid.to_owned(), Index::new(primary_key));
                Ok(Value::Null)
            }
            Work::DeleteIndex => {
                let gone = self.indexes.remove(uid).ok_or_else(missing)?;
                Ok(json!({ "deletedDocuments": gone.documents.len() }))
            }
            Work::Settings { settings } => {
                let new = || Index::new(None);
                let index = self.indexes.entry(uid.to_owned()).or_insert_with(new);
                merge(index, settings.as_object().ok_or("no object")?);
                Ok(settings)
            }
            Work::Documents { documents } => {
                let new = || Index::new(None);
                let index = self.indexes.entry(uid.to_owned()).or_insert_with(new);
                let count = documents.len();
                add(index, documents)?;
                Ok(json!({ "receivedDocuments": count, "indexedDocuments": count }))
            }
            Work::Swap { pairs } => self.swap(&pairs),
        }
    }

    /// All or nothing, as the real one does: what was created when goes with the content.
    fn swap(&mut self, pairs: &[(String, String)]) -> Result<Value, String> {
        let names = pairs.iter().flat_map(|(one, other)| [one, other]);
        let missing: Vec<_> = names
            .filter(|name| !self.indexes.contains_key(*name))
            .collect();
        if let Some(first) = missing.first() {
            return Err(format!("Index `{first}` not found."));
        }
        for (one, other) in pairs {
            let first = self.indexes.remove(one);
            let second = self.indexes.remove(other);
            self.indexes
                .extend(second.map(|index| (one.clone(), index)));
            self.indexes
                .extend(first.map(|index| (other.clone(), index)));
        }
        let swaps = pairs.iter().map(|(a, b)| json!({ "indexes": [a, b] }));
        Ok(json!({ "swaps": swaps.collect::<Vec<_>>() }))
    }

    pub(super) const fn bytes_to_cut(&self) -> u64 {
        self.cut_bytes
    }
}

pub(super) fn key() -> Value {
    json!({
        "name": "Stand-in admin", "description": null, "key": ADMIN_KEY, "uid": "9aec34f4-e44c-4917-86c2-9c9403abb3b6",
        "actions": ["*"], "indexes": ["*"], "expiresAt": null, "createdAt": "2024-01-01T00:00:00Z",
        "updatedAt": "2024-01-01T00:00:00Z",
    })
}

fn merge(index: &mut Index, wanted: &Map<String, Value>) {
    for (key, value) in wanted {
        let value = match (value, default_settings().remove(key)) {
            (Value::Null, Some(default)) => default,
            (value, _) => value.clone(),
        };
        index.settings.insert(key.clone(), value);
    }
    index.updated = now();
}

fn add(index: &mut Index, documents: Vec<Value>) -> Result<(), String> {
    let key = index.primary_key.get_or_insert_with(|| "id".to_owned());
    for document in documents {
        let id = match &document[key.as_str()] {
            Value::String(text) => text.clone(),
            Value::Number(number) => format!("{number:0>20}"),
            _ => {
                return Err(format!(
                    "Document doesn't have a `{key}` attribute: `{document}`."
                ));
            }
        };
        index.documents.insert(id, document);
    }
    index.updated = now();
    Ok(())
}
