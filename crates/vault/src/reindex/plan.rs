//! What is wrong with the index, held against the packs' own headers.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Files, ReindexPlan, UnreadablePack};
use crate::{
    error::VaultError,
    id::Id,
    index::{Index, Location, StoredIndex},
    pack::PackedBlob,
    progress::Progress,
    store::FileKind,
    unpacked,
    vault::Vault,
};

/// Headers read between two looks at what they say, so that few are in memory.
const BATCH: usize = 256;

/// What the index files say of the packs.
struct Listed {
    index: Index,
    files: Vec<ListingFile>,
    /// How many blobs are said to lie in a pack; `None` if files contradict each other.
    counts: HashMap<Id, Option<usize>>,
    /// Packs on their way out.
    leaving: HashSet<Id>,
}

struct ListingFile {
    id: Id,
    packs: Vec<Id>,
}

/// Reads every index file and every header. Changes nothing.
pub(super) fn make(
    vault: &Vault,
    may_be_empty: bool,
    progress: &Progress,
) -> Result<(ReindexPlan, Files), VaultError> {
    let mut plan = ReindexPlan::default();
    let mut files = Files::default();
    let listed = read_index(vault, &mut plan, &mut files)?;
    // After the index, so that a pack that somebody stores meanwhile is at worst listed twice.
    let sizes = pack_sizes(vault)?;
    if sizes.is_empty() && !may_be_empty && !listed.counts.is_empty() {
        return Err(VaultError::Damaged {
            kind: FileKind::Pack,
            name: format!("folder of {}", vault.location()),
            reason: format!(
                "the index names {} packs and none is there; is all of the vault mounted?",
                listed.counts.len()
            ),
        });
    }
    plan.packs = sizes.len();
    progress.expect_bytes(sizes.values().sum());
    let mut wrong: HashSet<Id> = HashSet::new();
    for pack in listed.counts.keys().filter(|id| !sizes.contains_key(id)) {
        plan.packs_gone.push(*pack);
        wrong.insert(*pack);
    }
    let packs: Vec<(Id, u64)> = sizes.iter().map(|(id, size)| (*id, *size)).collect();
    for batch in packs.chunks(BATCH) {
        let headers = vault.each(batch, |(id, size)| vault.read_pack_header(id, *size));
        for ((id, size), header) in batch.iter().zip(headers) {
            progress.did_bytes(*size);
            match header {
                Ok(blobs) => {
                    plan.blobs += blobs.len();
                    judge(&listed, id, &blobs, &mut plan, &mut wrong);
                }
                Err(error) if error.is_damage_or_missing() => {
                    plan.unreadable_packs.push(UnreadablePack {
                        id: *id,
                        size_bytes: *size,
                        reason: error.in_full(),
                        known_blobs: 0,
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }
    add_known_blobs(&listed, &mut plan, &mut files);
    choose(&listed, &wrong, &sizes, &mut plan, &mut files);
    Ok((plan, files))
}

/// The index files; those that are damaged are told.
fn read_index(
    vault: &Vault,
    plan: &mut ReindexPlan,
    files: &mut Files,
) -> Result<Listed, VaultError> {
    let mut listed = Listed {
        index: Index::default(),
        files: Vec::new(),
        counts: HashMap::new(),
        leaving: HashSet::new(),
    };
    for id in vault.list_ids(FileKind::Index)? {
        let loaded = unpacked::load::<StoredIndex>(&*vault.store, &vault.key, FileKind::Index, &id);
        match loaded {
            Ok(stored) => {
                for pack in &stored.packs {
                    let count = Some(pack.blobs.len());
                    let known = listed.counts.entry(pack.id).or_insert(count);
                    if *known != count {
                        *known = None;
                    }
                }
                listed.index.add_unsorted(&stored.packs);
                let leaving = stored.packs_to_delete.iter().map(|pack| pack.id);
                listed.leaving.extend(leaving);
                listed.index.add_leaving(&stored.packs_to_delete);
                let packs = stored.named_packs().map(|(pack, _)| pack.id).collect();
                listed.files.push(ListingFile { id, packs });
            }
            // Removed by somebody since the listing, who wrote what it said into another one.
            Err(error) if error.is_not_found() => {}
            Err(error) if error.is_damage_or_missing() => {
                plan.damaged_index_files.push(error.in_full());
                files.damaged.push(id);
            }
            Err(error) => return Err(error),
        }
    }
    listed.index.sort();
    plan.index_files = listed.files.len();
    Ok(listed)
}

/// The lengths of all packs, by id.
pub(crate) fn pack_sizes(vault: &Vault) -> Result<BTreeMap<Id, u64>, VaultError> {
    let listed = vault.store.list(FileKind::Pack.folder())?;
    let sized = listed.iter().filter_map(|object| {
        let id = object.key.name().parse().ok()?;
        Some((id, object.size_bytes))
    });
    Ok(sized.collect())
}

/// Whether the index says of a pack what the pack says of itself.
fn judge(
    listed: &Listed,
    pack: &Id,
    blobs: &[PackedBlob],
    plan: &mut ReindexPlan,
    wrong: &mut HashSet<Id>,
) {
    let Some(count) = listed.counts.get(pack) else {
        if !listed.leaving.contains(pack) {
            plan.packs_unlisted.push(*pack);
        }
        return;
    };
    let is_listed = |blob: &PackedBlob| {
        let places = listed.index.find_all(blob.kind, &blob.id);
        let here = Location {
            pack: *pack,
            blob: *blob,
        };
        places.contains(&here)
    };
    if *count != Some(blobs.len()) || !blobs.iter().all(is_listed) {
        plan.packs_listed_wrongly.push(*pack);
        wrong.insert(*pack);
    }
}

/// What the index knows of packs whose headers are damaged: their blobs may be whole.
fn add_known_blobs(listed: &Listed, plan: &mut ReindexPlan, files: &mut Files) {
    let unreadable: HashSet<Id> = plan.unreadable_packs.iter().map(|pack| pack.id).collect();
    if unreadable.is_empty() {
        return;
    }
    files.known = listed.index.blobs_in(&unreadable);
    for pack in &mut plan.unreadable_packs {
        if let Some(blobs) = files.known.get_mut(&pack.id) {
            let is_inside = |blob: &PackedBlob| {
                u64::from(blob.offset) + u64::from(blob.length) <= pack.size_bytes
            };
            blobs.retain(is_inside);
            pack.known_blobs = blobs.len();
            plan.blobs += blobs.len();
        }
    }
}

/// Index files that say nothing wrong stay. All others are replaced, and what they said rightly is said anew.
fn choose(
    listed: &Listed,
    wrong: &HashSet<Id>,
    sizes: &BTreeMap<Id, u64>,
    plan: &mut ReindexPlan,
    files: &mut Files,
) {
    let mut covered: HashSet<Id> = HashSet::new();
    for file in &listed.files {
        if file.packs.iter().any(|pack| wrong.contains(pack)) {
            files.superseded.push(file.id);
        } else {
            covered.extend(&file.packs);
        }
    }
    let is_known = |id: &Id| files.known.get(id).is_none_or(|blobs| !blobs.is_empty());
    let unreadable: HashSet<Id> = plan.unreadable_packs.iter().map(|pack| pack.id).collect();
    let to_list = sizes.iter().filter(|(id, _)| {
        !covered.contains(*id)
            && (!unreadable.contains(*id) || (files.known.contains_key(*id) && is_known(id)))
    });
    files.to_list = to_list.map(|(id, size)| (*id, *size)).collect();
    plan.packs_to_list = files.to_list.len();
    plan.index_files_to_replace = files.superseded.len();
}
