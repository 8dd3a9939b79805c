//! What a copy lacks, brought from the main vault.

use std::collections::VecDeque;

use rekindle_postgres::{SegmentName, SegmentSize, layout::WalFileKind};
use rekindle_vault::{WalArchive, WalEffort, WalFile, wal_frame};

use super::StreamError;
use super::opened::Opened;

/// Files that a copy lacks, oldest first.
pub(super) struct Filling {
    missing: VecDeque<WalFile>,
}

impl Filling {
    /// Compares the listings. What is older than anything the copy has was deleted from it on purpose, unless it has
    /// nothing at all.
    pub(super) fn look(opened: &Opened, main: &WalArchive) -> Result<Self, StreamError> {
        let failed = |error| opened.failed(error);
        let there = opened.archive.list(opened.system).map_err(failed)?;
        let wanted = main.list(opened.system).map_err(failed)?;
        let segments = |file: &WalFile| segment_of(file, opened.size);
        let oldest = there
            .iter()
            .filter_map(|listed| segments(&listed.file))
            .min_by_key(|(s, _)| *s);
        let has = |file: &WalFile| there.iter().any(|listed| listed.file == *file);
        let complete = |segment: SegmentName| {
            let name = segment.to_string();
            wanted.iter().any(|listed| listed.file.name == name)
        };
        let is_wanted = |file: &WalFile| match segments(file) {
            // A part that still grows is the lane's own business.
            Some((segment, WalFileKind::Partial)) => {
                let is_last = !wanted
                    .iter()
                    .filter_map(|l| segments(&l.file))
                    .any(|(s, _)| s > segment);
                !complete(segment) && !is_last
            }
            Some((segment, _)) => oldest.is_none_or(|(first, _)| segment >= first),
            None => true,
        };
        let files = wanted.iter().map(|listed| &listed.file);
        let mut missing: Vec<WalFile> = files
            .filter(|file| !has(file) && is_wanted(file))
            .cloned()
            .collect();
        // Histories before segments.
        missing.sort_by_key(|file| (segments(file).is_some(), file.timeline, file.name.clone()));
        Ok(Self {
            missing: missing.into(),
        })
    }

    pub(super) fn is_done(&self) -> bool {
        self.missing.is_empty()
    }

    /// What is lacking, for people.
    pub(super) fn summary(&self) -> Option<String> {
        let (first, last) = (self.missing.front()?, self.missing.back()?);
        Some(match self.missing.len() {
            1 => first.name.clone(),
            count => format!("{count} files, {} to {}", first.name, last.name),
        })
    }

    /// Brings one file over.
    pub(super) fn step(
        &mut self,
        opened: &mut Opened,
        main: &WalArchive,
    ) -> Result<(), StreamError> {
        let Some(file) = self.missing.front() else {
            return Ok(());
        };
        let failed = |error| opened.failed(error);
        // What has gone from the main vault in the meantime is not wanted any more.
        if let Some(plain) = main.get(file).map_err(failed)? {
            if file.is_partial() {
                let frame = wal_frame(&plain, WalEffort::Default);
                opened
                    .archive
                    .replace_partial(file, &[&frame])
                    .map_err(failed)?;
            } else {
                opened
                    .archive
                    .put(file, &plain, WalEffort::Default)
                    .map_err(failed)?;
            }
        }
        if let Some((segment, WalFileKind::Segment)) = segment_of(file, opened.size) {
            opened.complete.insert(segment);
        }
        self.missing.pop_front();
        Ok(())
    }
}

/// The segment that a file holds, wholly or in part.
pub(super) fn segment_of(file: &WalFile, size: SegmentSize) -> Option<(SegmentName, WalFileKind)> {
    let kind = file.name.parse().ok()?;
    match kind {
        WalFileKind::Segment | WalFileKind::Partial => {
            let segment = SegmentName::parse(file.name.get(..24)?, size).ok()?;
            Some((segment, kind))
        }
        WalFileKind::History | WalFileKind::BackupHistory => None,
    }
}
