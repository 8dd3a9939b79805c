//! Which request is answered how.

use serde_json::{Value, json};

use super::database::{Database, Work};
use super::http::{Answer, Request};

pub(super) fn answer(database: &mut Database, request: &Request) -> Answer {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let method = request.method.as_str();
    if path == ["health"] {
        return Answer::ok(json!({ "status": "available" }));
    }
    if let Err(refused) = database.may(request.bearer.as_deref(), action(method, &path)) {
        return refused;
    }
    match (method, path.as_slice()) {
        ("GET", ["version"]) => Answer::ok(database.version()),
        ("GET", ["stats"]) => Answer::ok(database.stats()),
        ("GET", ["keys"]) => Answer::ok(database.keys_page()),
        ("GET", ["experimental-features"]) => Answer::ok(json!({ "metrics": false })),
        ("GET", ["tasks"]) => Answer::ok(tasks(database, request)),
        ("GET", ["tasks", uid]) => match uid.parse().ok().and_then(|uid| database.task(uid)) {
            Some(task) => Answer::ok(task),
            None => Answer::refused(404, "task_not_found", &format!("Task `{uid}` not found.")),
        },
        ("POST", ["dumps"]) => Answer::accepted(database.enqueue(None, Work::Dump)),
        ("POST", ["snapshots"]) => Answer::accepted(database.enqueue(None, Work::Snapshot)),
        ("POST", ["swap-indexes"]) => swap(database, request),
        ("GET", ["indexes"]) => Answer::ok(indexes(database, request)),
        ("POST", ["indexes"]) => create(database, request),
        (_, ["indexes", index, below @ ..]) => of_index(database, request, index, below),
        _ => Answer::refused(404, "not_found", "there is no such route"),
    }
}

/// What a key must allow. Source: "Keys", "actions".
fn action(method: &str, path: &[&str]) -> &'static str {
    match (method, path) {
        (_, ["version"]) => "version",
        (_, ["stats"] | ["indexes", _, "stats"]) => "stats.get",
        (_, ["keys", ..]) => "keys.get",
        (_, ["tasks", ..]) => "tasks.get",
        (_, ["dumps"]) => "dumps.create",
        (_, ["snapshots"]) => "snapshots.create",
        (_, ["swap-indexes"]) => "indexes.swap",
        ("GET", ["indexes"] | ["indexes", _]) => "indexes.get",
        ("POST", ["indexes"]) => "indexes.create",
        ("DELETE", ["indexes", _]) => "indexes.delete",
        ("GET", [_, _, "settings"]) => "settings.get",
        (_, [_, _, "settings"]) => "settings.update",
        ("GET", [_, _, "documents", ..]) => "documents.get",
        (_, [_, _, "documents", ..]) => "documents.add",
        _ => "experimental.get",
    }
}

fn tasks(database: &Database, request: &Request) -> Value {
    let (types, statuses) = (request.words("types"), request.words("statuses"));
    let fits = |wanted: &Option<Vec<String>>, value: &Value| {
        let text = value.as_str().unwrap_or_default();
        wanted
            .as_ref()
            .is_none_or(|wanted| wanted.iter().any(|word| word == text))
    };
    let all = database.all_tasks();
    let found: Vec<Value> = all
        .into_iter()
        .rev()
        .filter(|task| fits(&types, &task["type"]) && fits(&statuses, &task["status"]))
        .collect();
    let limit = request.number("limit", 20);
    let total = found.len();
    let page: Vec<Value> = found.into_iter().take(limit).collect();
    json!({ "results": page, "total": total, "limit": limit, "from": null, "next": null })
}

fn page(all: Vec<Value>, request: &Request) -> Value {
    let (offset, limit) = (request.number("offset", 0), request.number("limit", 20));
    let total = all.len();
    let results: Vec<Value> = all.into_iter().skip(offset).take(limit).collect();
    json!({ "results": results, "offset": offset, "limit": limit, "total": total })
}

fn indexes(database: &Database, request: &Request) -> Value {
    let names = database.names();
    let all = names.iter().filter_map(|name| database.index(name));
    page(all.collect(), request)
}

fn create(database: &mut Database, request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let Some(uid) = body["uid"].as_str() else {
        return Answer::refused(400, "missing_index_uid", "Missing field `uid`");
    };
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if uid.is_empty() || uid.len() > 400 || !uid.chars().all(is_fine) {
        return Answer::refused(400, "invalid_index_uid", "that is no uid of an index");
    }
    let primary_key = body["primaryKey"].as_str().map(str::to_owned);
    Answer::accepted(database.enqueue(Some(uid), Work::CreateIndex { primary_key }))
}

fn swap(database: &mut Database, request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let pair = |swap: &Value| {
        let names = swap["indexes"].as_array()?;
        let [one, other] = names.as_slice() else {
            return None;
        };
        Some((one.as_str()?.to_owned(), other.as_str()?.to_owned()))
    };
    let pairs: Option<Vec<_>> = body
        .as_array()
        .map(|swaps| swaps.iter().map(pair).collect())
        .unwrap_or_default();
    match pairs {
        Some(pairs) => Answer::accepted(database.enqueue(None, Work::Swap { pairs })),
        None => Answer::refused(400, "bad_request", "pairs of indexes are wanted"),
    }
}

fn of_index(database: &mut Database, request: &Request, index: &str, below: &[&str]) -> Answer {
    let missing = || {
        let said = format!("Index `{index}` not found.");
        Answer::refused(404, "index_not_found", &said)
    };
    match (request.method.as_str(), below) {
        ("GET", []) => database.index(index).map_or_else(missing, Answer::ok),
        ("GET", ["stats"]) => database.index_stats(index).map_or_else(missing, Answer::ok),
        ("GET", ["settings"]) => database.settings(index).map_or_else(missing, Answer::ok),
        ("GET", ["documents"]) => match database.documents(index) {
            Some(all) => Answer::ok(page(all, request)),
            None => missing(),
        },
        ("DELETE", []) => Answer::accepted(database.enqueue(Some(index), Work::DeleteIndex)),
        ("PATCH", ["settings"]) => match serde_json::from_slice(&request.body) {
            Ok(settings) => {
                Answer::accepted(database.enqueue(Some(index), Work::Settings { settings }))
            }
            Err(error) => Answer::refused(400, "malformed_payload", &error.to_string()),
        },
        ("POST", ["documents"]) => match documents(request) {
            Ok(documents) => {
                Answer::accepted(database.enqueue(Some(index), Work::Documents { documents }))
            }
            Err(error) => Answer::refused(400, "malformed_payload", &error.to_string()),
        },
        _ => Answer::refused(404, "not_found", "there is no such route"),
    }
}

fn documents(request: &Request) -> Result<Vec<Value>, serde_json::Error> {
    if request.content_type.starts_with("application/x-ndjson") {
        let values = serde_json::Deserializer::from_slice(&request.body).into_iter();
        return values.collect();
    }
    serde_json::from_slice(&request.body)
}
