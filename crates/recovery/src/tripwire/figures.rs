//! What is recorded of each dataset of each point.

use jiff::Timestamp;
use rekindle_vault::{AddedBytes, TreeChange};
use serde::{Deserialize, Serialize};

/// Points of which the figures are remembered.
const MOST_HISTORY: usize = 20;

/// What became of a point's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing was found.
    #[default]
    Usual,
    /// The tripwire was tripped, and nobody has said that it is fine.
    Suspicious,
    /// It was tripped, and somebody ended the hold: such a thing happens here.
    Accepted,
}

/// What changed in one dataset from one point to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// When the backup began.
    pub time: Timestamp,
    /// Files of the dataset.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that the vault did not have, before they were compressed.
    pub added_bytes: u64,
    /// The same, as they are stored.
    pub added_stored_bytes: u64,
    /// Against the point before; `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<TreeChange>,
    /// What became of them.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub verdict: Verdict,
}

/// A dataset's figures in a manifest, with those of the points before it, so that what is usual is
/// known whatever was forgotten since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TripwireRecord {
    /// Figures of this point.
    pub now: Option<Figures>,
    /// Figures of the points before it, oldest first, 20 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Figures>,
    /// What was suspicious, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspicions: Vec<String>,
}

const fn is_usual(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Usual)
}

impl Figures {
    pub(super) fn new(
        time: Timestamp,
        (files, bytes): (u64, u64),
        added: AddedBytes,
        change: Option<TreeChange>,
    ) -> Self {
        Self {
            time,
            files,
            bytes,
            added_bytes: added.plain_bytes,
            added_stored_bytes: added.stored_bytes,
            change,
            verdict: Verdict::Usual,
        }
    }
}

impl TripwireRecord {
    /// What the next point's history is. Where no hold stands any more, somebody has accepted what
    /// was suspicious.
    pub(super) fn history_of_next(&self, is_held: bool) -> Vec<Figures> {
        let mut all: Vec<Figures> = self.history.iter().chain(&self.now).cloned().collect();
        all.drain(..all.len().saturating_sub(MOST_HISTORY));
        for figures in &mut all {
            if figures.verdict == Verdict::Suspicious && !is_held {
                figures.verdict = Verdict::Accepted;
            }
        }
        all
    }
}
