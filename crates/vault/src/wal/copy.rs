//! Archived WAL into another vault's archive, which is sealed to another key.
//!
//! Files are not compressed anew: their frames are opened, held against their checksums, and sealed
//! to the other recipient. Histories come first, then segments from the oldest on, so that a copy
//! that was cut short has no holes.

use std::collections::BTreeMap;

use super::{SealedWal, WalArchive, WalArchiveError, WalFile, WalListed, frame};
use crate::{age, copy::CopyToError, error::VaultError, progress::Progress, together};

/// Stored bytes of what is made durable together.
const TOGETHER_BYTES: u64 = 64 << 20;

/// What came of copying an archive.
#[derive(Clone, Debug, Default)]
pub struct WalCopyReport {
    /// Files that were stored.
    pub copied: u64,
    /// Bytes of their objects in the archive that was read.
    pub copied_bytes: u64,
    /// Files that are damaged in the archive that was read, and why. Where the other archive lacks
    /// them it has a hole.
    pub damaged: Vec<(WalFile, String)>,
    /// Files that the other archive did not take, and why.
    pub refused: Vec<(WalFile, String)>,
}

impl WalCopyReport {
    /// Whether the other archive has everything.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.damaged.is_empty() && self.refused.is_empty()
    }
}

/// A file on its way.
enum Taken {
    Sealed(SealedWal),
    Vanished,
    Damaged(String),
}

impl WalArchive {
    /// What another archive lacks of this one, in the order in which it should get it. With
    /// `not_older`, segments older than the oldest one there are not wanted: they were removed.
    ///
    /// # Errors
    /// As one of the two could not be listed.
    pub fn lacking(&self, to: &Self, not_older: bool) -> Result<Vec<WalListed>, CopyToError> {
        let (source_failed, target_failed) = failures(self, to);
        let mut lacking = Vec::new();
        for system in self
            .systems()
            .map_err(|error| source_failed(error.into()))?
        {
            let ours = self
                .list(system)
                .map_err(|error| source_failed(error.into()))?;
            let theirs = to
                .list(system)
                .map_err(|error| target_failed(error.into()))?;
            lacking.extend(choose(&ours, &theirs, not_older));
        }
        Ok(lacking)
    }

    /// Stores in another archive what it lacks of this one; see [`WalArchive::lacking`]. Files that
    /// are damaged, or that the other archive refuses, are told, and the others are copied.
    ///
    /// # Errors
    /// [`CopyToError`]; what was copied until then stays.
    pub fn copy_to(
        &self,
        to: &Self,
        not_older: bool,
        progress: &Progress,
    ) -> Result<WalCopyReport, CopyToError> {
        let lacking = self.lacking(to, not_older)?;
        progress.expect_bytes(lacking.iter().map(|listed| listed.stored_bytes).sum());
        let mut report = WalCopyReport::default();
        let (partials, whole): (Vec<_>, Vec<_>) = lacking
            .into_iter()
            .partition(|listed| listed.file.is_partial());
        for some in together_bounded(&whole) {
            self.copy_whole(to, some, &mut report)?;
            some.iter()
                .for_each(|listed| progress.did_bytes(listed.stored_bytes));
        }
        for listed in &partials {
            self.copy_partial(to, listed, &mut report)?;
            progress.did_bytes(listed.stored_bytes);
        }
        Ok(report)
    }

    fn copy_whole(
        &self,
        to: &Self,
        files: &[WalListed],
        report: &mut WalCopyReport,
    ) -> Result<(), CopyToError> {
        let (source_failed, target_failed) = failures(self, to);
        let mut sealed = Vec::new();
        let taken = together::each(files, |listed| self.resealed(to, &listed.file));
        for (listed, taken) in files.iter().zip(taken) {
            match taken.map_err(|error| source_failed(error.into()))? {
                Taken::Sealed(file) => sealed.push((listed, file)),
                Taken::Vanished => {}
                Taken::Damaged(reason) => report.damaged.push((listed.file.clone(), reason)),
            }
        }
        let (listed, sealed): (Vec<_>, Vec<_>) = sealed.into_iter().unzip();
        for (listed, outcome) in listed.into_iter().zip(to.put_all(sealed)) {
            match outcome {
                Ok(_) => report.count(listed),
                Err(error) if is_about_one_file(&error) => {
                    report
                        .refused
                        .push((listed.file.clone(), error.to_string()));
                }
                Err(error) => return Err(target_failed(error.into())),
            }
        }
        Ok(())
    }

    /// A file of this archive, ready to be stored in the other one.
    fn resealed(&self, to: &Self, file: &WalFile) -> Result<Taken, WalArchiveError> {
        let key = file.key()?;
        let frames = match self.read_frames(&key) {
            Ok(Some(frames)) => frames,
            Ok(None) => return Ok(Taken::Vanished),
            Err(error) if error.is_damage() => return Ok(Taken::Damaged(error.to_string())),
            Err(error) => return Err(error),
        };
        let plain_bytes = match frame::decompress(&frames) {
            Ok(plain) => plain.len() as u64,
            Err(reason) => return Ok(Taken::Damaged(self.damaged(&key, reason).to_string())),
        };
        let (object, file_key) = age::seal_and_tell_key(&to.public.recipients, frames)?;
        Ok(Taken::Sealed(SealedWal {
            file: file.clone(),
            key,
            plain_bytes,
            file_key,
            object,
        }))
    }

    /// The beginning of a segment takes the place of a shorter one, and of nothing else.
    fn copy_partial(
        &self,
        to: &Self,
        listed: &WalListed,
        report: &mut WalCopyReport,
    ) -> Result<(), CopyToError> {
        let (source_failed, target_failed) = failures(self, to);
        let file = &listed.file;
        let theirs = match to.get(file) {
            Ok(theirs) => theirs,
            Err(error) if error.store_kind().is_some() && !error.is_damage() => {
                return Err(target_failed(error.into()));
            }
            Err(error) => {
                report.refused.push((file.clone(), error.to_string()));
                return Ok(());
            }
        };
        let Some(theirs) = theirs else {
            return self.copy_whole(to, std::slice::from_ref(listed), report);
        };
        let ours = match self.get(file) {
            Ok(Some(ours)) => ours,
            Ok(None) => return Ok(()),
            Err(error) if error.is_damage() => {
                report.damaged.push((file.clone(), error.to_string()));
                return Ok(());
            }
            Err(error) => return Err(source_failed(error.into())),
        };
        match compare(&ours, &theirs) {
            Beginning::Same => Ok(()),
            Beginning::Longer => {
                let frame = super::wal_frame(&ours, super::WalEffort::Default);
                to.replace_partial(file, &[&frame])
                    .map_err(|error| target_failed(error.into()))?;
                report.count(listed);
                Ok(())
            }
            Beginning::Other => {
                let reason = format!("{file} is there with another content");
                report.refused.push((file.clone(), reason));
                Ok(())
            }
        }
    }
}

impl WalCopyReport {
    fn count(&mut self, listed: &WalListed) {
        self.copied += 1;
        self.copied_bytes += listed.stored_bytes;
    }
}

/// How the beginning of a segment that is here stands to the one that is there.
#[derive(Debug, PartialEq, Eq)]
enum Beginning {
    /// There is all of it, or more.
    Same,
    /// It goes on where the other one ends.
    Longer,
    /// They are not of one segment.
    Other,
}

/// A beginning may be filled up with zeros, which say nothing.
fn compare(ours: &[u8], theirs: &[u8]) -> Beginning {
    let (ours, theirs) = (without_zeros(ours), without_zeros(theirs));
    if theirs.starts_with(ours) {
        Beginning::Same
    } else if ours.starts_with(theirs) {
        Beginning::Longer
    } else {
        Beginning::Other
    }
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != 0);
    &bytes[..end.map_or(0, |at| at + 1)]
}

/// What of `ours` is to be stored beside `theirs`: histories, then everything else by name.
fn choose(ours: &[WalListed], theirs: &[WalListed], not_older: bool) -> Vec<WalListed> {
    let there: BTreeMap<&str, u64> = theirs
        .iter()
        .map(|listed| (listed.file.name.as_str(), listed.stored_bytes))
        .collect();
    let is_segment = |name: &&str| name.len() == 24;
    let oldest = there.keys().copied().find(is_segment);
    let here: BTreeMap<&str, ()> = ours
        .iter()
        .map(|listed| (listed.file.name.as_str(), ()))
        .collect();
    let is_wanted = |listed: &&WalListed| {
        let name = listed.file.name.as_str();
        if let Some(segment) = name.strip_suffix(".partial") {
            // One that has grown has another length; equal ones are not read.
            return !here.contains_key(segment)
                && !there.contains_key(segment)
                && there.get(name) != Some(&listed.stored_bytes);
        }
        let is_too_old = not_older && is_segment(&name) && oldest.is_some_and(|first| name < first);
        !there.contains_key(name) && !is_too_old
    };
    let mut wanted: Vec<WalListed> = ours.iter().filter(is_wanted).cloned().collect();
    let is_history = |listed: &WalListed| listed.file.name.ends_with(".history");
    wanted.sort_by_key(|listed| (!is_history(listed), listed.file.name.clone()));
    wanted
}

/// Neighbours, so many that they are no more than [`TOGETHER_BYTES`], and one at least.
fn together_bounded(files: &[WalListed]) -> Vec<&[WalListed]> {
    let (mut groups, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, listed) in files.iter().enumerate() {
        if at > start && bytes + listed.stored_bytes > TOGETHER_BYTES {
            groups.push(&files[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += listed.stored_bytes;
    }
    groups.extend((start < files.len()).then(|| &files[start..]));
    groups
}

fn failures(
    from: &WalArchive,
    to: &WalArchive,
) -> (
    impl Fn(VaultError) -> CopyToError + use<>,
    impl Fn(VaultError) -> CopyToError + use<>,
) {
    (
        CopyToError::source_at(from.location()),
        CopyToError::target_at(to.location()),
    )
}

/// Whether other files may be stored all the same.
const fn is_about_one_file(error: &WalArchiveError) -> bool {
    matches!(
        error,
        WalArchiveError::Differs { .. } | WalArchiveError::Damaged { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &[(&str, u64)]) -> Vec<WalListed> {
        let listed = |(name, stored_bytes): &(&str, u64)| WalListed {
            file: WalFile::named(7, *name).unwrap(),
            stored_bytes: *stored_bytes,
        };
        names.iter().map(listed).collect()
    }

    fn chosen(ours: &[(&str, u64)], theirs: &[(&str, u64)], not_older: bool) -> Vec<String> {
        let chosen = choose(&listed(ours), &listed(theirs), not_older);
        chosen.into_iter().map(|listed| listed.file.name).collect()
    }

    const ONE: (&str, u64) = ("000000010000000000000001", 100);
    const TWO: (&str, u64) = ("000000010000000000000002", 100);
    const THREE: (&str, u64) = ("000000020000000000000003", 100);
    const HISTORY: (&str, u64) = ("00000002.history", 10);
    const PARTIAL: (&str, u64) = ("000000010000000000000003.partial", 50);

    #[test]
    fn histories_come_first_and_then_the_oldest_segment() {
        let all = [ONE, TWO, PARTIAL, THREE, HISTORY];
        let order = [HISTORY.0, ONE.0, TWO.0, PARTIAL.0, THREE.0];
        assert_eq!(chosen(&all, &[], false), order);
        assert_eq!(
            chosen(&all, &[ONE, HISTORY, PARTIAL], false),
            [TWO.0, THREE.0]
        );
    }

    #[test]
    fn what_the_copy_has_removed_is_not_brought_back_if_it_removes_by_itself() {
        assert_eq!(chosen(&[ONE, TWO, THREE], &[TWO], true), [THREE.0]);
        assert_eq!(chosen(&[ONE, TWO, THREE], &[TWO], false), [ONE.0, THREE.0]);
    }

    #[test]
    fn a_part_is_wanted_while_it_grows_and_until_the_whole_is_there() {
        let grown = (PARTIAL.0, 60);
        assert_eq!(chosen(&[grown], &[PARTIAL], false), [PARTIAL.0]);
        let whole = ("000000010000000000000003", 100);
        assert!(chosen(&[grown], &[whole], false).is_empty());
        assert_eq!(chosen(&[grown, whole], &[], false), [whole.0]);
    }

    #[test]
    fn a_beginning_replaces_only_a_shorter_one_of_the_same() {
        assert_eq!(compare(b"abc\0", b"ab\0\0"), Beginning::Longer);
        assert_eq!(compare(b"ab", b"abc"), Beginning::Same);
        assert_eq!(compare(b"abd", b"abc"), Beginning::Other);
    }
}
