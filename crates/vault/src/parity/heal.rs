//! The part of healing that needs no other vault.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use super::{
    found::Found,
    kind::{self, Kind},
    rebuild::{Beyond, Rebuilt},
    update::{Known, ParityReport},
};
use crate::{
    error::VaultError,
    heal::{self, HealOptions, HealReport},
    id::Id,
    lock::{Lock, LockMode},
    set_aside::SetAside,
    store::{FileKind, ObjectKey},
    together,
    vault::Vault,
    wal::WalFile,
};

/// Small files that are read at a time.
const AT_ONCE: usize = 16;

/// What parity did for a vault that is being healed.
#[derive(Clone, Debug, Default)]
pub struct ParityHealed {
    /// Files that were brought back, byte for byte.
    pub rebuilt: Vec<String>,
    /// Files that are damaged beyond what their parity brings back: name, and how far.
    pub beyond: Vec<String>,
    /// Parity objects that are damaged, and how.
    pub damaged: Vec<String>,
    /// What of the parity was made anew.
    pub update: ParityReport,
}

/// The parity of a vault that is being healed.
pub(crate) struct Healer<'a> {
    vault: &'a Vault,
    found: Found,
}

impl<'a> Healer<'a> {
    /// `None` if there is no parity.
    pub fn open(vault: &'a Vault) -> Result<Option<Self>, VaultError> {
        let found = Found::load(&*vault.store)?;
        let is_some = !found.groups.is_empty() || !found.unreadable.is_empty();
        Ok(is_some.then_some(Self { vault, found }))
    }

    /// Index files, recovery points and holds that are there and damaged. What is gone was forgotten, as far as anybody
    /// can tell.
    fn damaged_files(&self) -> Result<Vec<String>, VaultError> {
        let mut there = BTreeSet::new();
        for folder in ["index", "snapshots", "rekindle/holds"] {
            let listed = self.vault.store.list(folder)?;
            there.extend(listed.into_iter().map(|object| object.key));
        }
        let members = self
            .found
            .groups
            .iter()
            .flat_map(|found| &found.group.members);
        let mut files: Vec<_> = members
            .filter_map(|member| match kind::kind(&member.key) {
                Some(Kind::Named(id)) => Some((member.object()?, id)),
                _ => None,
            })
            .filter(|(object, _)| there.contains(object))
            .collect();
        files.sort_unstable();
        files.dedup();
        let mut damaged = Vec::new();
        for some in files.chunks(AT_ONCE) {
            let read = together::each(some, |(object, _)| self.vault.store.read(object));
            for ((object, id), bytes) in some.iter().zip(read) {
                match bytes.map_err(VaultError::from) {
                    Ok(bytes) if Id::of(&bytes) == *id => {}
                    Err(error) if error.is_not_found() => {}
                    Err(error) if !error.is_damage_or_missing() => return Err(error),
                    _ => damaged.push(object.as_str().to_owned()),
                }
            }
        }
        Ok(damaged)
    }

    /// Brings back these files, as far as parity can. Damaged ones are set aside.
    fn bring(
        &self,
        lock: &Lock,
        aside: &SetAside,
        keys: impl IntoIterator<Item = String>,
        report: &mut HealReport,
    ) -> Result<(), VaultError> {
        for key in keys {
            let Some(object) = ObjectKey::parse(&key) else {
                continue;
            };
            let bytes = match self.found.rebuild(&*self.vault.store, &key)? {
                Rebuilt::Whole(bytes) => {
                    report.parity.rebuilt.push(key);
                    bytes
                }
                Rebuilt::Beyond(beyond) => {
                    report.parity.beyond.push(told(&key, &beyond));
                    let is_pack = matches!(kind::kind(&key), Some(Kind::Pack(_)));
                    // What of a pack came back holds whole pieces, which are stored anew next.
                    let Some(better) = beyond.better.filter(|_| is_pack) else {
                        continue;
                    };
                    better
                }
                Rebuilt::Unprotected => continue,
            };
            lock.ensure_held()?;
            heal::replace(self.vault, aside, &object, &bytes, report)?;
        }
        Ok(())
    }

    /// Whether a file would come back.
    fn comes_back(&self, key: &str, report: &mut ParityHealed) -> Result<bool, VaultError> {
        Ok(match self.found.rebuild(&*self.vault.store, key)? {
            Rebuilt::Whole(_) => {
                report.rebuilt.push(key.to_owned());
                true
            }
            Rebuilt::Beyond(beyond) => {
                report.beyond.push(told(key, &beyond));
                false
            }
            Rebuilt::Unprotected => false,
        })
    }

    /// Packs that would come back, of those that are damaged or gone.
    pub fn plan_packs(
        &self,
        packs: &HashSet<Id>,
        report: &mut ParityHealed,
    ) -> Result<HashSet<Id>, VaultError> {
        let mut back = HashSet::new();
        for key in keys_of(packs) {
            if self.comes_back(&key, report)? {
                back.extend(ObjectKey::parse(&key).and_then(|key| key.name().parse::<Id>().ok()));
            }
        }
        Ok(back)
    }

    /// Other files that would come back.
    pub fn plan_files(&self, wal: &[WalFile], report: &mut ParityHealed) -> Result<(), VaultError> {
        for key in self.damaged_files()?.into_iter().chain(wal_keys(wal)) {
            self.comes_back(&key, report)?;
        }
        Ok(())
    }
}

fn told(key: &str, beyond: &Beyond) -> String {
    let Beyond { lost, of, .. } = beyond;
    format!("{key}: {lost} of its {of} blocks are beyond what its parity brings back")
}

/// Brings back index files, recovery points and holds, before anybody looks at what they say.
pub(crate) fn files(vault: &Vault, report: &mut HealReport) -> Result<(), VaultError> {
    {
        let _lock = vault.lock_for_reading()?;
        match Healer::open(vault)? {
            Some(healer) if !healer.damaged_files()?.is_empty() => {}
            _ => return Ok(()),
        }
    }
    let lock = vault.lock(LockMode::Exclusive)?;
    let aside = SetAside::at(Timestamp::now());
    let Some(healer) = Healer::open(vault)? else {
        return Ok(());
    };
    let damaged = healer.damaged_files()?;
    healer.bring(&lock, &aside, damaged, report)
}

/// Brings back packs that are damaged or gone, and damaged files of the WAL archive.
pub(crate) fn packs_and_wal(
    vault: &Vault,
    lock: &Lock,
    aside: &SetAside,
    packs: &HashSet<Id>,
    wal: impl FnOnce() -> Result<Vec<WalFile>, VaultError>,
    report: &mut HealReport,
) -> Result<(), VaultError> {
    let Some(healer) = Healer::open(vault)? else {
        return Ok(());
    };
    healer.bring(lock, aside, keys_of(packs), report)?;
    healer.bring(lock, aside, wal_keys(&wal()?), report)
}

/// Makes anew what of the parity is damaged, and protects what was stored anew.
pub(crate) fn parity(
    vault: &Vault,
    lock: &Lock,
    aside: &SetAside,
    options: &HealOptions,
    report: &mut HealReport,
) -> Result<(), VaultError> {
    let found = Found::load(&*vault.store)?;
    let damaged = vault.damaged_parity(&found, options.read_data, &options.progress)?;
    for (object, _) in &found.unreadable {
        lock.ensure_held()?;
        heal::put_aside(vault, aside, object, report)?;
    }
    let texts = damaged.iter().map(|damage| damage.text.clone());
    report.parity.damaged.extend(texts);
    let Some(scheme) = found.scheme() else {
        return Ok(());
    };
    let changed = report.wal_healed.iter().filter_map(|file| file.key().ok());
    let known = Known {
        damaged: damaged.iter().filter_map(|damage| damage.group).collect(),
        changed: changed.map(|key| key.as_str().to_owned()).collect(),
        leaving: HashSet::new(),
    };
    let update = vault.update_parity_under(lock, scheme, &known, &options.progress)?;
    report.parity.update = update;
    Ok(())
}

fn keys_of(packs: &HashSet<Id>) -> Vec<String> {
    let keys = packs.iter().map(|id| ObjectKey::of(FileKind::Pack, id));
    let mut keys: Vec<String> = keys.map(|key| key.as_str().to_owned()).collect();
    keys.sort_unstable();
    keys
}

fn wal_keys(files: &[WalFile]) -> Vec<String> {
    let keys = files.iter().filter_map(|file| file.key().ok());
    keys.map(|key| key.as_str().to_owned()).collect()
}
