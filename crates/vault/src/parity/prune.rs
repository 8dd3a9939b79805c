//! What a prune and parity have to do with each other: a pack that leaves is first taken out of its group, while it can
//! still be read, and no pack is removed that others are counted on to come back by.

use std::collections::{HashMap, HashSet};

use super::{found::Found, update::Known};
use crate::{
    error::VaultError,
    id::Id,
    lock::Lock,
    progress::Progress,
    store::{FileKind, ObjectKey},
    vault::Vault,
};

impl Vault {
    /// Takes packs that are about to be removed out of their groups, and protects what is new. Does nothing without
    /// parity.
    pub(crate) fn release_from_parity(
        &self,
        lock: &Lock,
        leaving: HashSet<Id>,
        progress: &Progress,
    ) -> Result<(), VaultError> {
        let Some(scheme) = self.parity_scheme()? else {
            return Ok(());
        };
        let known = Known {
            leaving,
            ..Known::default()
        };
        let report = self.update_parity_under(lock, scheme, &known, progress)?;
        if !report.left_out.is_empty() {
            tracing::warn!(
                files = report.left_out.len(),
                "damaged files cannot be protected by parity"
            );
        }
        Ok(())
    }

    /// Those of these packs that a group needs to bring back files that stay.
    pub(crate) fn needed_by_parity(&self, going: &[Id]) -> Result<HashSet<Id>, VaultError> {
        let mut needed = HashSet::new();
        if going.is_empty() {
            return Ok(needed);
        }
        let found = Found::load(&*self.store)?;
        let keys = going
            .iter()
            .map(|id| (ObjectKey::of(FileKind::Pack, id), *id));
        let keys: HashMap<String, Id> = keys
            .map(|(key, id)| (key.as_str().to_owned(), id))
            .collect();
        for group in &found.groups {
            let members = group.group.members.iter();
            let (go, stay): (Vec<_>, Vec<_>) = members.partition(|m| keys.contains_key(&m.key));
            if !stay.is_empty() {
                needed.extend(go.iter().filter_map(|member| keys.get(&member.key)));
            }
        }
        Ok(needed)
    }
}
