//! The segment that is not complete yet, in a vault.

use rekindle_postgres::{SegmentName, wal::receive::Spool};
use rekindle_vault::{WalEffort, wal_frame};

use super::StreamError;
use super::opened::{Opened, agrees};

/// With more frames than this, all is compressed into one again: each costs a few bytes, and compresses badly alone.
const MOST_FRAMES: usize = 64;

/// What a vault has of the growing segment.
pub(super) struct Growing {
    segment: SegmentName,
    epoch: u64,
    /// Compressed, one frame for each time something was added.
    frames: Vec<Vec<u8>>,
    /// How much of the segment is in `frames`, or was found to be in `archived`.
    bytes: u64,
    /// What an earlier receiver archived of it, as long as that may be more than what was received since.
    archived: Option<Vec<u8>>,
}

impl Growing {
    /// Begins with what the vault has of `segment`.
    pub(super) fn load(
        opened: &Opened,
        segment: SegmentName,
        epoch: u64,
    ) -> Result<Self, StreamError> {
        Ok(Self {
            segment,
            epoch,
            frames: Vec::new(),
            bytes: 0,
            archived: opened.get_any(segment)?,
        })
    }

    pub(super) fn is(&self, segment: SegmentName, epoch: u64) -> bool {
        (self.segment, self.epoch) == (segment, epoch)
    }

    /// Makes the vault have the first `written` bytes. Never replaces what is archived by less.
    pub(super) fn store(
        &mut self,
        opened: &mut Opened,
        spool: &Spool,
        written: u64,
    ) -> Result<(), StreamError> {
        if written <= self.bytes {
            return Ok(());
        }
        let new = spool.read(self.segment, self.bytes, written)?;
        if let Some(archived) = &self.archived {
            if !agrees(archived, self.bytes as usize, &new) {
                return Err(opened.diverged(self.segment));
            }
            if written <= archived.len() as u64 {
                self.bytes = written;
                return Ok(());
            }
        }
        let is_first = self.frames.is_empty();
        if is_first || self.frames.len() >= MOST_FRAMES {
            let all = match is_first && self.bytes == 0 {
                true => new,
                false => spool.read(self.segment, 0, written)?,
            };
            let frame = wal_frame(&all, WalEffort::Fast);
            opened.replace_partial(self.segment, &[&frame])?;
            self.frames = vec![frame];
        } else {
            self.frames.push(wal_frame(&new, WalEffort::Fast));
            let frames: Vec<&[u8]> = self.frames.iter().map(Vec::as_slice).collect();
            if let Err(error) = opened.replace_partial(self.segment, &frames) {
                self.frames.pop();
                return Err(error);
            }
        }
        self.archived = None;
        self.bytes = written;
        Ok(())
    }
}
