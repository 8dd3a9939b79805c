//! WAL that could not be had any more.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rekindle_postgres::{Lsn, Timeline};
use rekindle_vault::durable;
use serde::{Deserialize, Serialize};

/// WAL that the server had removed before it was received. What is archived after it can be reached only from a base
/// backup made after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The cluster.
    pub system: String,
    /// The timeline.
    pub timeline: Timeline,
    /// The first place that is missing.
    pub from: Lsn,
    /// Where it goes on.
    pub to: Lsn,
    /// When that was noticed.
    pub noticed: Timestamp,
    /// How it came.
    pub reason: String,
}

/// The gaps of a spool, in a file beside it, so that no restart forgets them.
pub(super) struct Gaps {
    path: PathBuf,
    gaps: Vec<Gap>,
}

impl Gaps {
    pub(super) fn open(spool: &Path) -> io::Result<Self> {
        let path = spool.join("gaps.json");
        let gaps = read(&path)?;
        Ok(Self { path, gaps })
    }

    pub(super) fn all(&self) -> &[Gap] {
        &self.gaps
    }

    /// Adds one, durably. The same gap noticed again changes nothing.
    pub(super) fn add(&mut self, gap: Gap) -> io::Result<()> {
        let place = |gap: &Gap| (gap.system.clone(), gap.timeline, gap.from);
        match self
            .gaps
            .iter_mut()
            .find(|known| place(known) == place(&gap))
        {
            Some(known) => known.to = known.to.max(gap.to),
            None => self.gaps.push(gap),
        }
        let json = serde_json::to_vec_pretty(&self.gaps)?;
        durable::replace(&self.path, &json, 0o600)
    }
}

/// The gaps that are known of the spool at `root`.
pub(super) fn known(root: &Path) -> io::Result<Vec<Gap>> {
    read(&root.join("gaps.json"))
}

fn read(path: &Path) -> io::Result<Vec<Gap>> {
    match std::fs::read(path) {
        Ok(json) => Ok(serde_json::from_slice(&json)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
