//! Stores anew what can be had, and takes damaged packs out of the way.

use std::{collections::HashSet, sync::Arc};

use super::{
    HealOptions, HealReport,
    find::Findings,
    of_packer,
    sources::{Source, find_blob},
};
use crate::{
    backup::{
        failure::Failure,
        packer::{Packer, Tools},
    },
    blob::{BlobKind, Compressor, DataClass},
    error::VaultError,
    id::Id,
    index::{Location, StoredIndex},
    lock::Lock,
    set_aside::SetAside,
    store::{FileKind, ObjectKey, StoreErrorKind},
    together, unpacked,
    vault::Vault,
};

/// Blobs that are fetched at a time, and in memory.
const AT_ONCE: usize = 32;

pub(super) fn run(
    vault: &Vault,
    lock: &Lock,
    findings: Findings,
    sources: &[Source],
    options: &HealOptions,
    aside: &SetAside,
    report: &mut HealReport,
) -> Result<(), VaultError> {
    let Findings {
        index,
        suspects,
        missing,
        ..
    } = findings;
    if suspects.is_empty() && missing.is_empty() {
        return Ok(());
    }
    let inside = index.blobs_in(&suspects);
    // From here on nothing counts on damaged packs, so that what is in them may be stored again.
    index.forget_packs(&suspects);
    let index = Arc::new(index);
    let failure = Arc::new(Failure::default());
    let (packer, mut uploads) = Packer::start(
        vault.clone(),
        Arc::clone(&index),
        failure,
        Arc::clone(&options.progress),
        options.pack_bytes,
        1,
    );
    let compressor = Compressor::new(options.compression, DataClass::General)?;
    let mut store = Storing {
        packer: &packer,
        tools: Tools::new(compressor, 0),
    };
    let places = inside.into_iter().flat_map(|(pack, blobs)| {
        let place = move |blob| Location { pack, blob };
        blobs.into_iter().map(place)
    });
    let stored = store
        .rescue(vault, places, report)
        .and_then(|()| {
            let missing: Vec<_> = missing.into_iter().collect();
            store.fetch(&missing, |id| index.contains(id.0, &id.1), sources, report)
        })
        .and_then(|()| packer.flush().map_err(of_packer));
    packer.close();
    let finished = uploads.finish().map_err(of_packer);
    stored?;
    finished?;
    lock.ensure_held()?;
    unlist(vault, &suspects)?;
    for pack in &suspects {
        lock.ensure_held()?;
        put_aside(vault, aside, &ObjectKey::of(FileKind::Pack, pack), report)?;
    }
    Ok(())
}

struct Storing<'a> {
    packer: &'a Packer,
    tools: Tools,
}

impl Storing<'_> {
    /// Stores what can still be read of damaged packs.
    fn rescue(
        &mut self,
        vault: &Vault,
        places: impl Iterator<Item = Location>,
        report: &mut HealReport,
    ) -> Result<(), VaultError> {
        let places: Vec<Location> = places.collect();
        for some in places.chunks(AT_ONCE) {
            let read = together::each(some, |place| vault.read_blob_at(place));
            for (place, plain) in some.iter().zip(read) {
                match plain {
                    Ok(plain) => {
                        let stored = self.store(place.blob.kind, place.blob.id, &plain)?;
                        report.blobs_rescued += u64::from(stored);
                    }
                    Err(error) if error.is_damage_or_missing() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Stores what a source has of what is missing.
    fn fetch(
        &mut self,
        missing: &[(BlobKind, Id)],
        is_there: impl Fn(&(BlobKind, Id)) -> bool + Sync,
        sources: &[Source],
        report: &mut HealReport,
    ) -> Result<(), VaultError> {
        for some in missing.chunks(AT_ONCE) {
            let found = together::each(some, |(kind, id)| find_blob(sources, *kind, id));
            for (blob, plain) in some.iter().zip(found) {
                let healed = match plain {
                    Some(plain) => {
                        self.store(blob.0, blob.1, &plain)?;
                        true
                    }
                    // What was said to be bad, and could be read after all.
                    None => is_there(blob),
                };
                report.blobs_healed += u64::from(healed);
            }
        }
        Ok(())
    }

    fn store(&mut self, kind: BlobKind, id: Id, plain: &[u8]) -> Result<bool, VaultError> {
        if !self.packer.claim(kind, &id) {
            return Ok(false);
        }
        let stored = self.packer.store(kind, id, plain, &mut self.tools);
        stored.map(|_| true).map_err(of_packer)
    }
}

/// Replaces the index files that name these packs by ones that do not.
fn unlist(vault: &Vault, packs: &HashSet<Id>) -> Result<(), VaultError> {
    if packs.is_empty() {
        return Ok(());
    }
    for id in vault.list_ids(FileKind::Index)? {
        let loaded = unpacked::load(&*vault.store, &vault.key, FileKind::Index, &id);
        let mut stored: StoredIndex = match loaded {
            Ok(stored) => stored,
            Err(error) if error.is_damage_or_missing() => continue,
            Err(error) => return Err(error),
        };
        let before = stored.pack_count();
        stored.forget(packs);
        if stored.pack_count() == before {
            continue;
        }
        if stored.pack_count() > 0 {
            unpacked::save(&*vault.store, &vault.key, FileKind::Index, &stored)?;
        }
        match vault.store.delete(&ObjectKey::of(FileKind::Index, &id)) {
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// Sets a damaged file aside; one that cannot be read at all stays, and is told.
pub(crate) fn put_aside(
    vault: &Vault,
    aside: &SetAside,
    object: &ObjectKey,
    report: &mut HealReport,
) -> Result<(), VaultError> {
    match aside.take(&*vault.store, object) {
        Ok(to) => report.set_aside.extend(to.map(|key| key.to_string())),
        Err(error) if error.is_damage_or_missing() => {
            report.left.push(format!("{object}: {}", error.in_full()));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
