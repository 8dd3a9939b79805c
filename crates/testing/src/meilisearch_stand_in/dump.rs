//! Dumps of version 6: a directory, packed by the system's `tar`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::database::{Database, Index, key, now};
use crate::process::run;
use crate::{TestingError, temp_dir};

/// Writes a dump into the dump directory; returns its name without `.dump`.
pub(super) fn write(database: &Database) -> Result<String, TestingError> {
    let digits: String = now().chars().filter(char::is_ascii_digit).collect();
    let name = format!("{}-{}", &digits[..8], &digits[8..17]);
    let work = temp_dir()?;
    let root = work.path();
    let version = database.version_text();
    put(
        root,
        "metadata.json",
        &json!({ "dumpVersion": "V6", "dbVersion": version, "dumpDate": now() }).to_string(),
    )?;
    put(
        root,
        "instance_uid.uuid",
        "e04ef0a5-53f5-4a0e-8f1c-1a1a3fd0b0e1",
    )?;
    let mut stored = key();
    let fields = stored.as_object_mut();
    // A dump holds no key: it is made of the master key and the uid.
    fields.map(|fields| fields.remove("key"));
    put(root, "keys.jsonl", &format!("{stored}\n"))?;
    put(root, "tasks/queue.jsonl", "")?;
    fs::create_dir_all(root.join("indexes")).map_err(TestingError::file("create", root))?;
    for (uid, index) in &database.indexes {
        write_index(root, uid, index)?;
    }
    let file = database.dump_directory().join(format!("{name}.dump"));
    run(Command::new("tar")
        .arg("-czf")
        .arg(&file)
        .arg("-C")
        .arg(root)
        .arg("."))?;
    if database.bytes_to_cut() > 0 {
        cut(&file, database.bytes_to_cut()).map_err(TestingError::file("cut", &file))?;
    }
    Ok(name)
}

fn cut(file: &Path, bytes: u64) -> io::Result<()> {
    let file = File::options().write(true).open(file)?;
    file.set_len(file.metadata()?.len().saturating_sub(bytes))
}

fn write_index(root: &Path, uid: &str, index: &Index) -> Result<(), TestingError> {
    let at = format!("indexes/{uid}");
    let metadata = json!({
        "uid": uid, "primaryKey": index.primary_key, "createdAt": index.created, "updatedAt": index.updated,
    });
    put(root, &format!("{at}/metadata.json"), &metadata.to_string())?;
    let settings = Value::Object(index.settings.clone());
    put(root, &format!("{at}/settings.json"), &settings.to_string())?;
    let lines = index
        .documents
        .values()
        .map(|document| format!("{document}\n"));
    put(
        root,
        &format!("{at}/documents.jsonl"),
        &lines.collect::<String>(),
    )
}

fn put(root: &Path, name: &str, text: &str) -> Result<(), TestingError> {
    let path = root.join(name);
    let parent = path.parent().unwrap_or(root);
    fs::create_dir_all(parent).map_err(TestingError::file("create", parent))?;
    fs::write(&path, text).map_err(TestingError::file("write", &path))
}

/// The indexes of a dump; what the real one needs must be there.
pub(super) fn read(file: &Path) -> Result<BTreeMap<String, Index>, TestingError> {
    let work = temp_dir()?;
    let root = work.path();
    run(Command::new("tar")
        .arg("-xzf")
        .arg(file)
        .arg("-C")
        .arg(root))?;
    for needed in ["metadata.json", "keys.jsonl", "tasks/queue.jsonl"] {
        text(&root.join(needed))?;
    }
    let version = json(&root.join("metadata.json"))?;
    if version["dumpVersion"] != "V6" {
        return Err(TestingError::Unexpected {
            what: "a dump of version 6",
            found: version.to_string(),
        });
    }
    let folder = root.join("indexes");
    let listed = fs::read_dir(&folder).map_err(TestingError::file("list", &folder))?;
    let mut indexes = BTreeMap::new();
    for entry in listed {
        let entry = entry.map_err(TestingError::file("list", &folder))?;
        let (uid, index) = read_index(&entry.path())?;
        indexes.insert(uid, index);
    }
    Ok(indexes)
}

fn read_index(folder: &Path) -> Result<(String, Index), TestingError> {
    let metadata = json(&folder.join("metadata.json"))?;
    let word = |name: &str| metadata[name].as_str().map(str::to_owned);
    let (Some(uid), Some(created), Some(updated)) =
        (word("uid"), word("createdAt"), word("updatedAt"))
    else {
        return Err(TestingError::Unexpected {
            what: "metadata of an index",
            found: metadata.to_string(),
        });
    };
    let primary_key = word("primaryKey");
    let key = primary_key.clone().unwrap_or_else(|| "id".to_owned());
    let settings = json(&folder.join("settings.json"))?;
    let mut documents = BTreeMap::new();
    for line in text(&folder.join("documents.jsonl"))?.lines() {
        let document: Value =
            serde_json::from_str(line).map_err(|error| TestingError::Unexpected {
                what: "a document",
                found: error.to_string(),
            })?;
        let id = match &document[key.as_str()] {
            Value::Number(number) => format!("{number:0>20}"),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        documents.insert(id, document);
    }
    let index = Index {
        primary_key,
        created,
        updated,
        settings: settings.as_object().cloned().unwrap_or_default(),
        documents,
    };
    Ok((uid, index))
}

fn text(path: &Path) -> Result<String, TestingError> {
    fs::read_to_string(path).map_err(TestingError::file("read", path))
}

fn json(path: &Path) -> Result<Value, TestingError> {
    serde_json::from_str(&text(path)?).map_err(|error| TestingError::Unexpected {
        what: "JSON",
        found: error.to_string(),
    })
}
