//! Every parser of stored bytes, as plain functions for fuzzers: whatever they are given, none may panic, and what one reads
//! must be what it writes. Bytes that are sealed in a vault are given open here, as if somebody
//! who has the key had written them.
//!
//! Driven by `tests/fuzzing.rs` with mutations of real bytes; a fuzzer that runs for hours can begin with [`corpus`] and
//! call [`TARGETS`].

mod corpus;

use std::sync::LazyLock;

pub use corpus::corpus;

use crate::{
    BlobKind,
    age::{self, Identity, Recipient},
    crypto::Key,
    goquote,
    id::Id,
    index::StoredIndex,
    keyfile::StoredKey,
    lock::LockInfo,
    opener::Opener,
    pack::{self, PackedBlob},
    parity,
    snapshot::StoredSnapshot,
    store::{FileKind, ObjectKey},
    tree::Tree,
    unpacked,
    vault::Config,
    wal::{WalFile, WalPublic, decompress_frames},
};

/// A parser and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("config", config),
    ("key", key),
    ("lock", lock),
    ("snapshot", snapshot),
    ("index", index),
    ("tree", tree),
    ("pack", pack),
    ("blob", blob),
    ("age", age_file),
    ("age_key", age_key),
    ("wal_frames", wal_frames),
    ("goquote", go_quoted),
    ("wal_name", wal_name),
    ("wal_public", wal_public),
    ("parity", parity_object),
];

static KEY: LazyLock<Key> = LazyLock::new(|| Key::from_bytes([7; 64].into()));
static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::from_bytes(&[7; 32]));

fn sealed(plain: &[u8]) -> Option<Vec<u8>> {
    KEY.seal(plain).ok()
}

fn unpacked_of<T: serde::de::DeserializeOwned + serde::Serialize>(kind: FileKind, plain: &[u8]) {
    for bytes in [Some(plain.to_vec()), sealed(plain)].into_iter().flatten() {
        let id = Id::of(&bytes);
        if let Ok(value) = unpacked::parsed::<T>(&KEY, kind, &id, bytes) {
            // What was read can be written, and says the same.
            let text = serde_json::to_string(&value).unwrap_or_default();
            let again: Option<T> = serde_json::from_str(&text).ok();
            let again = again.and_then(|value| serde_json::to_string(&value).ok());
            assert_eq!(again.as_deref(), Some(text.as_str()), "a {}", kind.noun());
        }
    }
}

/// The vault's configuration.
pub fn config(bytes: &[u8]) {
    unpacked_of::<Config>(FileKind::Config, bytes);
}

/// A key file; its cost is judged, and not paid.
pub fn key(bytes: &[u8]) {
    if let Ok(key) = serde_json::from_slice::<StoredKey>(bytes) {
        let _ = key.is_affordable();
        drop(key.info(Id::of(bytes), false));
    }
}

/// A lock.
pub fn lock(bytes: &[u8]) {
    unpacked_of::<LockInfo>(FileKind::Lock, bytes);
}

/// A snapshot.
pub fn snapshot(bytes: &[u8]) {
    unpacked_of::<StoredSnapshot>(FileKind::Snapshot, bytes);
}

/// An index file.
pub fn index(bytes: &[u8]) {
    unpacked_of::<StoredIndex>(FileKind::Index, bytes);
    if let Ok(stored) = serde_json::from_slice::<StoredIndex>(bytes) {
        let index = crate::Index::default();
        index.add_unsorted(&stored.packs);
        index.sort();
        for (id, blobs) in index.by_pack() {
            let _ = pack::least_bytes(&blobs);
            for blob in blobs {
                assert!(
                    index
                        .find_all(blob.kind, &blob.id)
                        .iter()
                        .any(|at| at.pack == id)
                );
                let _ = blob.plain_length();
            }
        }
    }
}

/// A directory's listing.
pub fn tree(bytes: &[u8]) {
    if let Ok(tree) = serde_json::from_slice::<Tree>(bytes) {
        let text = tree.to_bytes().unwrap_or_default();
        let again: Option<Tree> = serde_json::from_slice(&text).ok();
        assert_eq!(again.as_ref(), Some(&tree), "a tree");
        for node in &tree.nodes {
            let _ = (node.unix_mode(), node.link_target(), node.display_name());
        }
    }
}

/// A pack: as it is, and as a header that is sealed.
pub fn pack(bytes: &[u8]) {
    let name = Id::of(bytes);
    let _ = pack::read_header(bytes, &name, &KEY);
    if let Some(mut whole) = sealed(bytes) {
        whole.extend((whole.len() as u32).to_le_bytes());
        if let Ok(blobs) = pack::read_header(&whole, &name, &KEY) {
            let _ = pack::least_bytes(&blobs);
        }
    }
}

/// A blob whose length and compression are what its first bytes say.
pub fn blob(bytes: &[u8]) {
    let Some((length, body)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let Some(mut sealed) = sealed(body) else {
        return;
    };
    let length = u32::from_le_bytes(*length);
    for uncompressed_length in [None, Some(length)] {
        let place = PackedBlob {
            id: Id::of(body),
            kind: BlobKind::Data,
            offset: 0,
            length: sealed.len() as u32,
            uncompressed_length,
        };
        let mut copy = sealed.clone();
        let pack = Id::of(b"pack");
        let opened = Opener::default().into_opened(&KEY, &pack, &place, &mut copy);
        assert!(
            opened.is_ok() || uncompressed_length.is_some(),
            "a blob as it is"
        );
    }
    sealed.clear();
}

/// A file of age.
pub fn age_file(bytes: &[u8]) {
    let identities = std::slice::from_ref(&*IDENTITY);
    let _ = age::open(identities, bytes.to_vec());
    // A passphrase's cost is in the file, so only a wrong one is tried, and a file for identities refuses it at once.
    let recipients = [IDENTITY.recipient()];
    if let Ok(file) = age::seal(&recipients, bytes.to_vec()) {
        assert_eq!(age::open(identities, file).ok().as_deref(), Some(bytes));
    }
}

/// Keys of age as text.
pub fn age_key(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Identity::parse(text);
        let _ = Identity::find_in(text);
        if let Ok(recipient) = text.parse::<Recipient>() {
            assert_eq!(recipient.to_string().parse().ok(), Some(recipient));
        }
    }
}

/// What is in a file of the WAL archive.
pub fn wal_frames(bytes: &[u8]) {
    let _ = decompress_frames(bytes);
}

/// Names in listings.
pub fn go_quoted(bytes: &[u8]) {
    assert_eq!(
        goquote::unquote(&goquote::quote(bytes)).as_deref(),
        Some(bytes)
    );
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(name) = goquote::unquote(text)
    {
        assert_eq!(goquote::unquote(&goquote::quote(&name)), Some(name));
    }
}

/// Names of objects in the WAL archive.
pub fn wal_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(key) = ObjectKey::parse(text)
        && let Some(file) = WalFile::of_key(&key)
    {
        assert_eq!(file.key().ok(), Some(key));
    }
    let _ = WalFile::named(1, text);
}

/// A parity object, or its text.
pub fn parity_object(bytes: &[u8]) {
    parity::fuzz(bytes);
}

/// The cached recipient of a WAL archive.
pub fn wal_public(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(public) = text.parse::<WalPublic>()
    {
        assert_eq!(public.to_string().parse(), Ok(public));
    }
}
