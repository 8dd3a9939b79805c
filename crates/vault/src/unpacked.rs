//! Files of their own that hold sealed JSON: index, snapshot, lock and configuration.
//!
//! In version 2 all but the configuration are compressed before they are sealed, after a leading
//! byte 2. Source: restic's design document, "Unpacked Data Format".

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    crypto::Key,
    error::VaultError,
    id::Id,
    store::{FileKind, ObjectKey, Store},
};

const COMPRESSED: u8 = 2;
/// A file that says it grows beyond this is not believed: restic's own are a few MiB.
const MOST_PLAIN_BYTES: usize = 1 << 30;
/// Nor one that says it grows to more than so many times its length: ids are hashes, which do not shrink.
const MOST_RATIO: u64 = 1000;

/// Writes a value; returns its name.
pub(crate) fn save<T: Serialize>(
    store: &dyn Store,
    key: &Key,
    kind: FileKind,
    value: &T,
) -> Result<Id, VaultError> {
    save_bytes(store, key, kind, &serde_json::to_vec(value)?)
}

/// Writes JSON text; returns its name.
pub(crate) fn save_bytes(
    store: &dyn Store,
    key: &Key,
    kind: FileKind,
    json: &[u8],
) -> Result<Id, VaultError> {
    let (id, sealed) = seal(key, kind, json)?;
    store.create(&ObjectKey::of(kind, &id), &sealed)?;
    Ok(id)
}

/// Makes a file of JSON text, to be written under the name that is returned.
pub(crate) fn seal(key: &Key, kind: FileKind, json: &[u8]) -> Result<(Id, Vec<u8>), VaultError> {
    let sealed = match kind {
        FileKind::Config => key.seal(json)?,
        _ => key.seal(&compressed(json)?)?,
    };
    Ok((Id::of(&sealed), sealed))
}

/// Reads a value.
pub(crate) fn load<T: DeserializeOwned>(
    store: &dyn Store,
    key: &Key,
    kind: FileKind,
    id: &Id,
) -> Result<T, VaultError> {
    parsed(key, kind, id, store.read(&ObjectKey::of(kind, id))?)
}

/// The value in a file that was read; its bytes must have the hash that is their name.
pub(crate) fn parsed<T: DeserializeOwned>(
    key: &Key,
    kind: FileKind,
    id: &Id,
    sealed: Vec<u8>,
) -> Result<T, VaultError> {
    let json = opened(key, kind, id, sealed)?;
    serde_json::from_slice(&json).map_err(|error| VaultError::damaged(kind, id, error))
}

fn opened(key: &Key, kind: FileKind, id: &Id, mut sealed: Vec<u8>) -> Result<Vec<u8>, VaultError> {
    if kind != FileKind::Config && Id::of(&sealed) != *id {
        return Err(VaultError::damaged(kind, id, "its hash is not its name"));
    }
    let plain = key
        .open_in_place(&mut sealed)
        .map_err(|error| VaultError::unsealable(kind, id, &error))?;
    match plain.first() {
        Some(b'{' | b'[') => Ok(plain.to_vec()),
        Some(&COMPRESSED) => zstd::bulk::decompress(&plain[1..], capacity(&plain[1..]))
            .map_err(|error| VaultError::damaged(kind, id, error)),
        _ => Err(VaultError::damaged(
            kind,
            id,
            "it is neither JSON nor compressed JSON",
        )),
    }
}

fn compressed(json: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut out = vec![COMPRESSED];
    let body = zstd::bulk::compress(json, 3).map_err(|_| VaultError::Compress("no memory"))?;
    out.extend_from_slice(&body);
    Ok(out)
}

/// Room for the plain text: what the frame says, or (restic's streams do not say) a wide guess; never more than what JSON
/// of our kinds can shrink from.
fn capacity(frame: &[u8]) -> usize {
    let stated = zstd::zstd_safe::get_frame_content_size(frame)
        .ok()
        .flatten();
    let stored = frame.len() as u64;
    let guess = stored.saturating_mul(64).max(1 << 20);
    let most = stored.saturating_mul(MOST_RATIO).max(1 << 20);
    usize::try_from(stated.unwrap_or(guess).min(most))
        .unwrap_or(MOST_PLAIN_BYTES)
        .min(MOST_PLAIN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn what_was_saved_loads() {
        let (store, key) = (MemoryStore::new(), Key::random().unwrap());
        let value = vec!["a".repeat(5000)];
        let id = save(&store, &key, FileKind::Index, &value).unwrap();
        assert_eq!(
            load::<Vec<String>>(&store, &key, FileKind::Index, &id).unwrap(),
            value
        );
        let size = store
            .read(&ObjectKey::of(FileKind::Index, &id))
            .unwrap()
            .len();
        assert!(size < 500, "it is compressed: {size}");
    }

    #[test]
    fn a_file_that_says_it_grows_a_thousandfold_is_not_believed() {
        let key = Key::random().unwrap();
        for plain_bytes in [100 << 10, 100 << 20] {
            let json = format!("\"{}\"", "0".repeat(plain_bytes));
            let (id, sealed) = seal(&key, FileKind::Index, json.as_bytes()).unwrap();
            let opened = parsed::<String>(&key, FileKind::Index, &id, sealed);
            assert_eq!(opened.is_ok(), plain_bytes < 1 << 20);
        }
    }

    #[test]
    fn changed_bytes_are_damage_with_a_name() {
        let (store, key) = (MemoryStore::new(), Key::random().unwrap());
        let id = save(&store, &key, FileKind::Snapshot, &1).unwrap();
        let object = ObjectKey::of(FileKind::Snapshot, &id);
        let mut bytes = store.read(&object).unwrap();
        bytes[20] ^= 1;
        store.overwrite(&object, bytes);
        let error = load::<u8>(&store, &key, FileKind::Snapshot, &id).unwrap_err();
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }
}
