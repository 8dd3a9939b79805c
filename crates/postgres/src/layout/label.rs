//! The backup label.

use super::{Lsn, ParseLayoutError, Timeline};

/// What a `backup_label` says about where recovery begins.
///
/// Source: PostgreSQL manual, "Making a Base Backup Using the Low Level API".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where replay begins: the REDO location of the backup's checkpoint.
    pub start: Lsn,
    /// Where that checkpoint's record lies; not before `start`.
    pub checkpoint: Lsn,
    /// The timeline of `start`.
    pub timeline: Timeline,
    /// What the backup was called.
    pub label: String,
    /// When it began, as the server wrote it: local time with the zone's abbreviation.
    pub start_time: String,
    /// Whether it was taken from a standby.
    pub from_standby: bool,
}

impl BackupLabel {
    /// Reads the text of a `backup_label`.
    ///
    /// # Errors
    /// If one of the lines that recovery depends on is missing or unreadable.
    pub fn parse(text: &str) -> Result<Self, ParseLayoutError> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::trim_end)
        };
        let needed = |name| field(name).ok_or_else(|| ParseLayoutError::new("backup label", text));
        // The location is followed by "(file 0000…)".
        let first_word = |value: &str| value.split(' ').next().unwrap_or_default().to_owned();
        Ok(Self {
            start: first_word(needed("START WAL LOCATION")?).parse()?,
            checkpoint: first_word(needed("CHECKPOINT LOCATION")?).parse()?,
            timeline: needed("START TIMELINE")?.parse()?,
            label: field("LABEL").unwrap_or_default().to_owned(),
            start_time: field("START TIME").unwrap_or_default().to_owned(),
            from_standby: field("BACKUP FROM") == Some("standby"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-21 04:00:00 UTC\nLABEL: nightly one\nSTART TIMELINE: 1\n";

    #[test]
    fn a_label_tells_where_replay_begins() {
        let label = BackupLabel::parse(LABEL).unwrap();
        assert_eq!(label.start.to_string(), "0/2000028");
        assert_eq!(label.checkpoint.to_string(), "0/2000060");
        assert_eq!(label.timeline, Timeline::FIRST);
        assert_eq!(label.label, "nightly one");
        assert!(!label.from_standby);
    }

    #[test]
    fn a_label_cut_short_is_refused() {
        let whole = LABEL.len() - "START TIMELINE: 1\n".len();
        assert!(BackupLabel::parse(&LABEL[..whole]).is_err());
        assert!(BackupLabel::parse("").is_err());
    }
}
