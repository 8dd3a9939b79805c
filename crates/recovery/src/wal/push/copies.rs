//! The same files into the vault's copies, which may be away for a while.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use rekindle_stack::{self as stack, VaultCopy};
use rekindle_vault::{WalArchive, WalEffort, durable};

use super::{
    PushError,
    group::{Fate, Group},
};
use crate::vault::store_of;
use crate::wal::{
    door::Door,
    names::WalName,
    place::{Cluster, Place},
};

/// At most so many files that were missed earlier are brought to a copy by one call.
const CATCH_UP_FILES: usize = 64;

/// What a copy does not have yet, and why.
#[derive(Debug)]
pub struct CopyTrouble {
    /// The copy's name in the configuration.
    pub copy: String,
    /// How many files it lacks.
    pub missing: usize,
    /// Why; absent if there were only too many for one call.
    pub error: Option<PushError>,
}

/// One copy, and what is owed to it.
pub(super) struct Copy<'a> {
    settings: &'a VaultCopy,
    door: Result<Door<'a>, PushError>,
    owed: Owed,
    before: BTreeSet<String>,
}

/// What all copies get.
pub(super) struct Delivery<'a> {
    pub(super) place: &'a Place,
    pub(super) cluster: Option<Cluster>,
    pub(super) effort: WalEffort,
    pub(super) main: &'a Door<'a>,
}

impl<'a> Copy<'a> {
    /// The copies of a vault.
    pub(super) fn all(vault: &'a stack::Vault, ours: &Path) -> Vec<Self> {
        let of = |settings: &'a VaultCopy| {
            let name = settings.name.as_str();
            let cache = Some(ours.join(format!("recipient-{name}")));
            let owed = Owed(ours.join(format!("owed-{name}")));
            let password = settings.password.as_ref().unwrap_or(&vault.password);
            Self {
                settings,
                door: store_of(&vault.of_copy(settings))
                    .map(|store| Door::new(store, password, cache))
                    .map_err(PushError::from),
                before: owed.read(),
                owed,
            }
        };
        vault.copies.iter().map(of).collect()
    }

    /// Notes that the copy will lack these files. Durable before they can be gone from `pg_wal`.
    pub(super) fn promise(&self, names: &[WalName]) -> io::Result<()> {
        let mut all = self.before.clone();
        all.extend(names.iter().map(|name| name.text.clone()));
        self.owed.write(&all)
    }

    /// Brings the files that were `archived` just now, and those that were missed before.
    pub(super) fn deliver(
        self,
        archived: &[WalName],
        delivery: &Delivery<'_>,
    ) -> Result<(), CopyTrouble> {
        let mut missing = self.before;
        missing.extend(archived.iter().map(|name| name.text.clone()));
        let outcome = self.door.and_then(|door| {
            delivery.bring_new(&door, archived, &mut missing)?;
            delivery.catch_up(&door, &mut missing)
        });
        let noted = self
            .owed
            .write(&missing)
            .map_err(PushError::io("write", &self.owed.0));
        let error = outcome.and(noted).err();
        if missing.is_empty() && error.is_none() {
            return Ok(());
        }
        Err(CopyTrouble {
            copy: self.settings.name.to_string(),
            missing: missing.len(),
            error,
        })
    }
}

impl Delivery<'_> {
    fn bring_new(
        &self,
        door: &Door<'_>,
        archived: &[WalName],
        missing: &mut BTreeSet<String>,
    ) -> Result<(), PushError> {
        let push = |archive: &WalArchive, names: &[WalName], missing: &mut BTreeSet<String>| {
            let group = Group {
                place: self.place,
                cluster: self.cluster,
                archive,
                effort: self.effort,
            };
            group.push(names, |name, _| {
                missing.remove(&name.text);
            })
        };
        let fates = push(&door.public()?, archived, missing);
        if !fates.iter().any(Fate::needs_password) {
            return first_error(fates);
        }
        let again: Vec<WalName> = super::needing_password(archived, &fates);
        first_error(push(&door.full()?, &again, missing))
    }

    /// What is not in `pg_wal` any more comes out of the vault.
    fn catch_up(&self, door: &Door<'_>, missing: &mut BTreeSet<String>) -> Result<(), PushError> {
        let Some(cluster) = self.cluster else {
            return Ok(());
        };
        if missing.is_empty() {
            return Ok(());
        }
        let (main, copy) = (self.main.full()?, door.full()?);
        let names: Vec<String> = missing.iter().take(CATCH_UP_FILES).cloned().collect();
        for text in names {
            let file = WalName::parse(&text).map(|name| name.of_system(cluster.system));
            if let Some(file) = file {
                let content = main
                    .get(&file)
                    .map_err(|source| PushError::of_archive(&main, source))?;
                // What the vault does not have was never archived, and is owed again once it is.
                if let Some(content) = content {
                    copy.put(&file, &content, WalEffort::Fast)
                        .map_err(|source| PushError::of_archive(&copy, source))?;
                }
            }
            missing.remove(&text);
        }
        Ok(())
    }
}

fn first_error(fates: Vec<Fate>) -> Result<(), PushError> {
    fates
        .into_iter()
        .find_map(|fate| match fate {
            Fate::Failed(error) => Some(Err(error)),
            _ => None,
        })
        .unwrap_or(Ok(()))
}

/// A list of names in a file, one in a line.
struct Owed(PathBuf);

impl Owed {
    fn read(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn write(&self, names: &BTreeSet<String>) -> io::Result<()> {
        if *names == self.read() {
            return Ok(());
        }
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        durable::replace(&self.0, text.as_bytes(), 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let owed = Owed(dir.path().join("owed-offsite"));
        assert!(owed.read().is_empty());
        let names: BTreeSet<String> = ["b", "a"].map(str::to_owned).into();
        owed.write(&names).unwrap();
        assert_eq!(owed.read(), names);
        owed.write(&BTreeSet::new()).unwrap();
        assert!(owed.read().is_empty());
    }
}
