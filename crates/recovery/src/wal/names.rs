//! From the names that PostgreSQL uses to those of the archive.

use rekindle_postgres::layout::{Timeline, WalFileKind};
use rekindle_vault::WalFile;

/// A name of a WAL file, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WalName {
    /// As PostgreSQL writes it.
    pub(crate) text: String,
    /// What it stands for.
    pub(crate) kind: WalFileKind,
    /// The timeline it belongs to; of a history file the one whose history it is.
    pub(crate) timeline: Timeline,
}

impl WalName {
    /// `None` if PostgreSQL has no WAL file of such a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let kind = text.parse().ok()?;
        let timeline = u32::from_str_radix(text.get(..8)?, 16).ok()?;
        Some(Self {
            text: text.to_owned(),
            kind,
            timeline: Timeline::new(timeline),
        })
    }

    /// The name of the segment that it is or is about; `None` of a history.
    pub(crate) fn segment(&self) -> Option<&str> {
        self.text.get(..24)
    }

    /// Where it lies in the archive.
    pub(crate) fn of_system(&self, system: u64) -> WalFile {
        WalFile {
            system,
            timeline: self.timeline.number(),
            name: self.text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_timeline_and_segment() {
        let segment = "000000020000000000000003";
        for text in [
            segment,
            &format!("{segment}.partial"),
            &format!("{segment}.00000028.backup"),
        ] {
            let name = WalName::parse(text).unwrap();
            assert_eq!(name.segment(), Some(segment));
            assert_eq!(name.timeline, Timeline::new(2));
        }
        let history = WalName::parse("0000000A.history").unwrap();
        assert_eq!((history.segment(), history.timeline.number()), (None, 10));
        assert_eq!(WalName::parse("RECOVERYXLOG"), None);
    }
}
