//! A vault's archive of one cluster, opened and listed.

use std::collections::BTreeSet;

use rekindle_postgres::{
    SegmentName, SegmentSize, Timeline,
    layout::WalFileKind,
    wal::receive::{Held, Spool},
};
use rekindle_vault::{WalArchive, WalArchiveError, WalEffort, WalFile};

use super::settings::VaultSettings;
use super::{StreamError, fill};
use crate::open_vault;

/// What may be in memory at once of segments that are stored together.
const TOGETHER_BYTES: u64 = 64 << 20;

/// An archive of one cluster.
pub(super) struct Opened {
    pub(super) archive: WalArchive,
    pub(super) system: u64,
    pub(super) size: SegmentSize,
    /// The vault's name, for messages.
    name: String,
    /// Segments of which an unfinished part is there.
    partials: BTreeSet<SegmentName>,
    /// Those of them that an earlier receiver stored: what comes now has yet to be held against them.
    unverified: BTreeSet<SegmentName>,
    pub(super) complete: BTreeSet<SegmentName>,
}

/// What was found on opening.
pub(super) struct Inventory {
    pub(super) held: Held,
    pub(super) surely_held: Held,
    pub(super) stored_bytes: u64,
}

impl Opened {
    /// Opens the vault and lists what it has of `system`.
    pub(super) fn open(
        vault: &VaultSettings,
        system: u64,
        size: SegmentSize,
    ) -> Result<(Self, Inventory), StreamError> {
        let opened = open_vault(&vault.settings).map_err(|source| StreamError::Open {
            vault: vault.name.clone(),
            source: Box::new(source),
        })?;
        let failed = |source| StreamError::Archive {
            vault: vault.name.clone(),
            source,
        };
        let archive = opened.wal_archive().map_err(failed)?;
        Self::list(archive, vault.name.clone(), system, size)
    }

    fn list(
        archive: WalArchive,
        name: String,
        system: u64,
        size: SegmentSize,
    ) -> Result<(Self, Inventory), StreamError> {
        let mut opened = Self {
            archive,
            system,
            size,
            name,
            partials: BTreeSet::new(),
            unverified: BTreeSet::new(),
            complete: BTreeSet::new(),
        };
        let listed = opened
            .archive
            .list(system)
            .map_err(|error| opened.failed(error))?;
        let mut stored_bytes = 0;
        for file in &listed {
            stored_bytes += file.stored_bytes;
            match fill::segment_of(&file.file, size) {
                Some((segment, WalFileKind::Segment)) => drop(opened.complete.insert(segment)),
                Some((segment, WalFileKind::Partial)) => drop(opened.partials.insert(segment)),
                _ => {}
            }
        }
        opened.unverified.clone_from(&opened.partials);
        let (held, surely_held) = opened.held()?;
        let inventory = Inventory {
            held,
            surely_held,
            stored_bytes,
        };
        Ok((opened, inventory))
    }

    /// Lengths are asked of the unfinished segments at the ends of timelines; others decide nothing.
    fn held(&self) -> Result<(Held, Held), StreamError> {
        let mut held = Held::new();
        self.complete.iter().for_each(|segment| held.add(*segment));
        let mut surely = held.clone();
        for partial in &self.partials {
            let of_timeline = |other: &&SegmentName| other.timeline() == partial.timeline();
            let all = self.complete.iter().chain(&self.partials);
            if all.filter(of_timeline).any(|other| other > partial) {
                continue;
            }
            let Some(content) = self.get_partial(*partial)? else {
                continue;
            };
            held.add_partial(*partial, content.len() as u64);
            surely.add_partial(*partial, without_zeros(&content) as u64);
        }
        Ok((held, surely))
    }

    pub(super) fn failed(&self, source: WalArchiveError) -> StreamError {
        StreamError::Archive {
            vault: self.name.clone(),
            source,
        }
    }

    fn file(&self, timeline: Timeline, name: String) -> WalFile {
        WalFile {
            system: self.system,
            timeline: timeline.number(),
            name,
        }
    }

    pub(super) fn segment_file(&self, segment: SegmentName) -> WalFile {
        self.file(segment.timeline(), segment.to_string())
    }

    fn partial_file(&self, segment: SegmentName) -> WalFile {
        self.file(segment.timeline(), format!("{segment}.partial"))
    }

    /// What there is of a segment that is not complete.
    pub(super) fn get_partial(&self, segment: SegmentName) -> Result<Option<Vec<u8>>, StreamError> {
        let got = self.archive.get(&self.partial_file(segment));
        got.map_err(|error| self.failed(error))
    }

    /// What there is of a segment, complete or not.
    pub(super) fn get_any(&self, segment: SegmentName) -> Result<Option<Vec<u8>>, StreamError> {
        if self.complete.contains(&segment) {
            let got = self.archive.get(&self.segment_file(segment));
            return got.map_err(|error| self.failed(error));
        }
        match self.partials.contains(&segment) {
            true => self.get_partial(segment),
            false => Ok(None),
        }
    }

    pub(super) fn put_history(
        &self,
        timeline: Timeline,
        content: &[u8],
    ) -> Result<(), StreamError> {
        let file = self.file(timeline, timeline.history_file_name());
        match self.archive.put(&file, content, WalEffort::Default) {
            Ok(_) => Ok(()),
            Err(WalArchiveError::Differs { location, .. }) => Err(StreamError::TimelineTaken {
                timeline,
                place: location,
            }),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// How many segments are stored together.
    pub(super) fn most_together(size: SegmentSize) -> usize {
        usize::try_from(TOGETHER_BYTES / size.bytes())
            .unwrap_or(1)
            .clamp(1, 16)
    }

    /// Stores complete segments of the spool, durable when this returns; says which are stored, in their order up to
    /// the first that is not.
    pub(super) fn put_segments(
        &mut self,
        spool: &Spool,
        segments: &[SegmentName],
        effort: WalEffort,
    ) -> (Vec<SegmentName>, Option<StreamError>) {
        let sealed = match self.seal_all(spool, segments, effort) {
            Ok(sealed) => sealed,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let mut stored = Vec::new();
        for (segment, outcome) in segments.iter().zip(self.archive.put_all(sealed)) {
            let outcome = match outcome {
                Err(WalArchiveError::Differs { .. }) => Err(self.diverged(*segment)),
                other => other.map_err(|error| self.failed(error)),
            };
            let finished = outcome.and_then(|_| self.forget_partial(*segment));
            if let Err(error) = finished {
                return (stored, Some(error));
            }
            self.complete.insert(*segment);
            stored.push(*segment);
        }
        (stored, None)
    }

    /// Compresses and encrypts on as many threads as there are segments and cores.
    fn seal_all(
        &self,
        spool: &Spool,
        segments: &[SegmentName],
        effort: WalEffort,
    ) -> Result<Vec<rekindle_vault::SealedWal>, StreamError> {
        let seal = |segment: &SegmentName| {
            let plain = spool.read(*segment, 0, segment.size().bytes())?;
            self.check_against_partial(*segment, &plain)?;
            let sealed = self
                .archive
                .seal(self.segment_file(*segment), &plain, effort);
            sealed.map_err(|error| self.failed(error))
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = segments
            .len()
            .div_ceil(threads.min(segments.len()).max(1))
            .max(1);
        std::thread::scope(|scope| {
            let shares = segments.chunks(share);
            let work: Vec<_> = shares
                .map(|share| scope.spawn(move || share.iter().map(seal).collect::<Vec<_>>()))
                .collect();
            let mut all = Vec::with_capacity(segments.len());
            for thread in work {
                match thread.join() {
                    Ok(sealed) => all.extend(sealed),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all.into_iter().collect()
        })
    }

    /// A segment that came at once is held against what an earlier receiver archived of it, too.
    fn check_against_partial(&self, segment: SegmentName, plain: &[u8]) -> Result<(), StreamError> {
        if !self.unverified.contains(&segment) {
            return Ok(());
        }
        match self.get_partial(segment)? {
            Some(archived) if !agrees(&archived, 0, plain) => Err(self.diverged(segment)),
            _ => Ok(()),
        }
    }

    /// The unfinished part is of no use beside the complete segment.
    fn forget_partial(&mut self, segment: SegmentName) -> Result<(), StreamError> {
        if self.partials.contains(&segment) {
            let deleted = self.archive.delete(&self.partial_file(segment));
            deleted.map_err(|error| self.failed(error))?;
            self.partials.remove(&segment);
            self.unverified.remove(&segment);
        }
        Ok(())
    }

    pub(super) fn replace_partial(
        &mut self,
        segment: SegmentName,
        frames: &[&[u8]],
    ) -> Result<(), StreamError> {
        let replaced = self
            .archive
            .replace_partial(&self.partial_file(segment), frames);
        replaced.map_err(|error| self.failed(error))?;
        self.partials.insert(segment);
        self.unverified.remove(&segment);
        Ok(())
    }

    pub(super) fn diverged(&self, segment: SegmentName) -> StreamError {
        StreamError::Diverged {
            vault: self.name.clone(),
            segment: segment.to_string(),
        }
    }
}

/// Whether `new`, which begins at `from`, is what `archived` has there. Zeros at its end may stand for anything: they
/// are what a power cut leaves of a file that was being written.
pub(super) fn agrees(archived: &[u8], from: usize, new: &[u8]) -> bool {
    let sure = without_zeros(archived);
    let common = sure.saturating_sub(from).min(new.len());
    common == 0 || archived[from..from + common] == new[..common]
}

/// The length without zeros at the end.
fn without_zeros(content: &[u8]) -> usize {
    content
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::agrees;

    #[test]
    fn only_other_bytes_are_a_contradiction() {
        let archived = b"abcdef\0\0\0";
        assert!(agrees(archived, 0, b"abc"));
        assert!(agrees(archived, 3, b"defghi"), "zeros stand for anything");
        assert!(agrees(archived, 9, b"anything"));
        assert!(agrees(archived, 12, b"anything"));
        assert!(!agrees(archived, 0, b"abX"));
        assert!(!agrees(archived, 5, b"Xgh"));
    }
}
