//! Real bytes for fuzzers to begin with, made by the engine itself.

use std::sync::Arc;

use super::IDENTITY;
use crate::{
    BackupOptions, Chunking, Node, NodeKind, ParityScheme, Password, SnapshotDraft, TreePath,
    Vault, WalEffort, age,
    blob::{Compression, Compressor, DataClass},
    error::VaultError,
    goquote,
    id::Id,
    parity,
    store::{FileKind, MemoryStore, ObjectKey, Store},
    wal::{WalPublic, wal_frame},
};

/// The name of a target, and bytes for it.
///
/// # Errors
/// As the engine fails in memory, which only a lack of randomness explains.
pub fn corpus() -> Result<Vec<(&'static str, Vec<u8>)>, VaultError> {
    let store = Arc::new(MemoryStore::new());
    let vault = Vault::create(Arc::clone(&store) as Arc<dyn Store>, &Password::new("x"))?;
    let tree = small_backup(&vault)?;
    let _lock = vault.lock(crate::LockMode::Shared)?;
    let mut seeds = Vec::new();
    for (name, kind) in [
        ("lock", FileKind::Lock),
        ("snapshot", FileKind::Snapshot),
        ("index", FileKind::Index),
    ] {
        for id in vault.list_ids(kind)? {
            let mut bytes = store.read(&ObjectKey::of(kind, &id))?;
            let plain = vault.key.open_in_place(&mut bytes).unwrap_or_default();
            let json = zstd::stream::decode_all(plain.get(1..).unwrap_or_default());
            // As text, and as it lies compressed.
            seeds.push((name, json.unwrap_or_default()));
            seeds.push((name, plain.to_vec()));
        }
    }
    vault.update_parity(ParityScheme::of_percent(10), &Arc::default())?;
    for object in store.list("rekindle/parity/groups")? {
        let object = store.read(&object.key)?;
        let text = parity::fuzz_text(&object).unwrap_or_default();
        seeds.push(("parity", text.to_vec()));
        seeds.push(("parity", object));
    }
    let mut config = store.read(&ObjectKey::config())?;
    let config = vault.key.open_in_place(&mut config).unwrap_or_default();
    seeds.push(("config", config.to_vec()));
    for key in store.list("keys")? {
        seeds.push(("key", store.read(&key.key)?));
    }
    seeds.push(("tree", tree));
    seeds.extend(packs(&vault)?);
    seeds.extend(others()?);
    Ok(seeds)
}

fn small_backup(vault: &Vault) -> Result<Vec<u8>, VaultError> {
    let failed = |_| VaultError::Compress("a backup in memory failed");
    let backup = vault.start_backup(BackupOptions::default())?;
    for (name, content) in [("a/b \u{e4}\n", vec![1; 9000]), ("c", b"small".to_vec())] {
        let path = TreePath::new(name).map_err(|_| VaultError::Compress("a bad path"))?;
        let node = Node {
            kind: NodeKind::File,
            mode: 0o640,
            ..Node::default()
        };
        let mut file = backup.file_writer(path, node, Chunking::ContentDefined);
        file.write(&content).map_err(failed)?;
        file.finish().map_err(failed)?;
    }
    let point = backup.finish(SnapshotDraft::default()).map_err(failed)?;
    let index = vault.load_index()?;
    vault.read_blob(&index, crate::BlobKind::Tree, &point.stored.tree)
}

/// Whole packs, and their headers as they are before they are sealed.
fn packs(vault: &Vault) -> Result<Vec<(&'static str, Vec<u8>)>, VaultError> {
    let mut seeds = Vec::new();
    for id in vault.list_ids(FileKind::Pack)? {
        let whole = vault.store.read(&ObjectKey::of(FileKind::Pack, &id))?;
        if let Some((rest, length)) = whole.split_last_chunk::<4>() {
            let start = rest.len() - u32::from_le_bytes(*length) as usize;
            let mut header = rest[start..].to_vec();
            let plain = vault.key.open_in_place(&mut header).unwrap_or_default();
            seeds.push(("pack", plain.to_vec()));
        }
        seeds.push(("pack", whole));
    }
    Ok(seeds)
}

fn others() -> Result<Vec<(&'static str, Vec<u8>)>, VaultError> {
    let plain = b"one row and another row and ".repeat(300);
    let mut compressor = Compressor::new(Compression::Default, DataClass::General)?;
    let mut blob = (plain.len() as u32).to_le_bytes().to_vec();
    blob.extend(compressor.compress(&plain)?.unwrap_or_default());
    let recipient = IDENTITY.recipient();
    let file = age::seal(std::slice::from_ref(&recipient), plain.clone())
        .map_err(|_| VaultError::Compress("age"))?;
    let public = WalPublic {
        vault_id: "0123456789abcdef".to_owned(),
        config_hash: Id::of(b"config"),
        recipients: vec![recipient],
    };
    let name = "rekindle/wal/7300000000000000001/0000000A/0000000A000000FF000000FE.partial.zst.age";
    Ok(vec![
        ("blob", blob),
        ("age", file),
        ("age_key", IDENTITY.to_text().as_bytes().to_vec()),
        ("age_key", recipient.to_string().into_bytes()),
        ("wal_frames", wal_frame(&plain, WalEffort::Fast)),
        (
            "goquote",
            goquote::quote(b"a \"b\" \xff\n\\").as_bytes().to_vec(),
        ),
        ("wal_name", name.as_bytes().to_vec()),
        ("wal_public", public.to_string().into_bytes()),
    ])
}
