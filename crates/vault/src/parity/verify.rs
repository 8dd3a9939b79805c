//! Whether the parity itself is sound, and how far it reaches.

use std::collections::HashSet;

use serde::Serialize;

use super::{found::Found, scheme::ParityScheme, there::There};
use crate::{
    check::{CheckReport, Thoroughness},
    error::VaultError,
    id::Id,
    progress::Progress,
    vault::Vault,
};

/// A parity object that is damaged or gone.
pub(super) struct DamagedParity {
    /// Its group, if it could be told.
    pub group: Option<Id>,
    pub text: String,
}

/// How far parity reaches in a vault.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ParityStatus {
    /// Of most groups; `None` without parity.
    pub scheme: Option<ParityScheme>,
    /// How many groups there are.
    pub groups: u64,
    /// Protected files that count.
    pub protected_files: u64,
    /// Their bytes.
    pub protected_bytes: u64,
    /// Files that could be protected and are not.
    pub unprotected_files: u64,
    /// Their bytes.
    pub unprotected_bytes: u64,
    /// Bytes of all parity objects.
    pub parity_bytes: u64,
    /// Groups that can bring back less than they should, because files of theirs are gone or parity of theirs is
    /// damaged.
    pub weakened_groups: u64,
    /// Parity objects that are damaged or gone, as far as can be told without reading them whole.
    pub damaged: Vec<String>,
}

impl Vault {
    /// Says how far parity reaches. Reads the heads of parity objects and the index.
    ///
    /// # Errors
    /// [`VaultError::Locked`], or as the store failed.
    pub fn parity_status(&self) -> Result<ParityStatus, VaultError> {
        let vault = self.without_cache();
        let _lock = vault.lock_for_reading()?;
        let (found, there) = (Found::load(&*vault.store)?, There::look(&vault)?);
        let mut status = ParityStatus {
            scheme: found.scheme(),
            groups: found.groups.len() as u64,
            parity_bytes: found.bytes,
            ..ParityStatus::default()
        };
        let damaged = vault.damaged_parity(&found, false, &Progress::default())?;
        status
            .damaged
            .extend(damaged.into_iter().map(|damage| damage.text));
        let mut protected = HashSet::new();
        for found in &found.groups {
            let members = &found.group.members;
            let is_there = |key: &str, bytes| there.files.get(key) == Some(&bytes);
            let lacks = members.iter().any(|m| !is_there(&m.key, m.bytes));
            status.weakened_groups += u64::from(lacks || !found.is_sound());
            protected.extend(members.iter().map(|member| member.key.as_str()));
        }
        for (key, bytes) in there.living() {
            let (files, sum) = if protected.contains(key) {
                (&mut status.protected_files, &mut status.protected_bytes)
            } else {
                (&mut status.unprotected_files, &mut status.unprotected_bytes)
            };
            *files += 1;
            *sum += bytes;
        }
        Ok(status)
    }

    /// Parity objects that are damaged or gone; those whose damage only shows when they are read whole, if `read`.
    pub(super) fn damaged_parity(
        &self,
        found: &Found,
        read: bool,
        progress: &Progress,
    ) -> Result<Vec<DamagedParity>, VaultError> {
        let unreadable = found.unreadable.iter().map(|(key, why)| DamagedParity {
            group: None,
            text: format!("parity object {key} is damaged: {why}"),
        });
        let mut damaged: Vec<_> = unreadable.collect();
        for group in &found.groups {
            let lacking = usize::from(group.group.parity).saturating_sub(group.shards.len());
            if lacking > 0 {
                damaged.push(DamagedParity {
                    group: Some(group.id),
                    text: format!("parity group {} lacks {lacking} of its objects", group.id),
                });
            }
            for shard in &group.shards {
                let fault = match &shard.fault {
                    Some(fault) => Some(fault.clone()),
                    None if read => {
                        progress.did_bytes(shard.size_bytes);
                        shard.body(&*self.store)?.err()
                    }
                    None => None,
                };
                damaged.extend(fault.map(|why| DamagedParity {
                    group: Some(group.id),
                    text: format!("parity object {} is damaged: {why}", shard.key),
                }));
            }
        }
        Ok(damaged)
    }

    /// Tells of damaged parity. No recovery point is hit by it.
    pub(crate) fn check_parity(
        &self,
        thoroughness: Thoroughness,
        progress: &Progress,
        report: &mut CheckReport,
    ) -> Result<(), VaultError> {
        let found = Found::load(&*self.store)?;
        let read = thoroughness == Thoroughness::AllData;
        if read {
            progress.expect_bytes(found.bytes);
        }
        for damage in self.damaged_parity(&found, read, progress)? {
            report.oddity(format!(
                "{}; `rekindle vault heal` makes it anew",
                damage.text
            ));
        }
        for newer in &found.newer {
            report.oddity(format!(
                "parity object {newer} was made by a newer version of this program"
            ));
        }
        Ok(())
    }
}
