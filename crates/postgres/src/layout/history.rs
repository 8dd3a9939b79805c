//! The ancestry of a timeline.

use std::fmt;

use super::{Lsn, ParseLayoutError, Timeline};

/// The ancestors of a timeline, as its history file tells them. The first timeline has none, and no
/// history file either.
///
/// Source: PostgreSQL manual, "Timelines"; format as written by `writeTimeLineHistory`: one line
/// per ancestor, `<timeline> TAB <switch location> TAB <reason>`, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineHistory {
    timeline: Timeline,
    entries: Vec<HistoryEntry>,
}

/// A stretch of history that ended with the birth of the next timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The ancestor.
    pub timeline: Timeline,
    /// Where it was left: the first place that is not part of this history any more.
    pub end: Lsn,
    /// Why, for a person: `no recovery target specified`, `before 2026-11-21 14:30:00+00`.
    pub reason: String,
}

impl TimelineHistory {
    /// The history of the first timeline, which has no ancestors.
    pub const fn first() -> Self {
        Self {
            timeline: Timeline::FIRST,
            entries: Vec::new(),
        }
    }

    /// Reads the history file of `timeline`.
    ///
    /// # Errors
    /// If a line cannot be read, ancestors are not in ascending order, or one is not below
    /// `timeline`.
    pub fn parse(timeline: Timeline, text: &str) -> Result<Self, ParseLayoutError> {
        let mut entries: Vec<HistoryEntry> = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refuse = || ParseLayoutError::new("line of a timeline history", line);
            let mut fields = line.splitn(3, |c: char| c.is_ascii_whitespace());
            let ancestor: Timeline = fields.next().ok_or_else(refuse)?.parse()?;
            let end: Lsn = fields.next().ok_or_else(refuse)?.parse()?;
            let reason = fields.next().unwrap_or_default().trim().to_owned();
            let ascends = entries
                .last()
                .is_none_or(|before| before.timeline < ancestor && before.end <= end);
            if !ascends || ancestor >= timeline {
                return Err(refuse());
            }
            entries.push(HistoryEntry {
                timeline: ancestor,
                end,
                reason,
            });
        }
        match timeline > Timeline::FIRST && entries.is_empty() {
            true => Err(ParseLayoutError::new(
                "timeline history",
                text.get(..40).unwrap_or(text),
            )),
            false => Ok(Self { timeline, entries }),
        }
    }

    /// Whose history it is.
    pub const fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// The ancestors, oldest first.
    pub fn entries(&self) -> &[HistoryEntry] {
        &self.entries
    }

    /// The timeline that wrote the byte at `lsn`, seen from the end of this history.
    pub fn timeline_at(&self, lsn: Lsn) -> Timeline {
        self.entries
            .iter()
            .find(|entry| lsn < entry.end)
            .map_or(self.timeline, |entry| entry.timeline)
    }

    /// Where `timeline` begins in this history; `None` if it is not part of it. The oldest one
    /// begins at zero.
    pub fn begin_of(&self, timeline: Timeline) -> Option<Lsn> {
        let all = self.entries.iter().map(|entry| entry.timeline);
        let position = all
            .chain([self.timeline])
            .position(|known| known == timeline)?;
        Some(match position {
            0 => Lsn::INVALID,
            later => self.entries[later - 1].end,
        })
    }

    /// Where `timeline` was left in this history; `None` if it is the last one or not part of it.
    pub fn end_of(&self, timeline: Timeline) -> Option<Lsn> {
        self.entries
            .iter()
            .find(|entry| entry.timeline == timeline)
            .map(|entry| entry.end)
    }

    /// Whether the place `lsn` on `timeline` lies on this history.
    pub fn contains(&self, timeline: Timeline, lsn: Lsn) -> bool {
        match self.begin_of(timeline) {
            None => false,
            Some(begin) => lsn >= begin && self.end_of(timeline).is_none_or(|end| lsn <= end),
        }
    }
}

/// As the server writes it.
impl fmt::Display for TimelineHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{}\t{}\t{}", entry.timeline, entry.end, entry.reason)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "1\t0/5000000\tno recovery target specified\n\n# a remark\n3\t0/7000028\tbefore 2026-11-21 14:30:00+00\n";

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_belongs_to_the_timeline_that_wrote_it() {
        let history = TimelineHistory::parse(Timeline::new(5), TEXT).unwrap();
        let at = |text| history.timeline_at(lsn(text)).number();
        assert_eq!(
            (
                at("0/4FFFFFF"),
                at("0/5000000"),
                at("0/7000027"),
                at("0/7000028")
            ),
            (1, 3, 3, 5)
        );
        assert_eq!(history.begin_of(Timeline::new(3)), Some(lsn("0/5000000")));
        assert_eq!(history.end_of(Timeline::new(3)), Some(lsn("0/7000028")));
        assert_eq!(history.begin_of(Timeline::new(2)), None);
        assert!(history.contains(Timeline::FIRST, lsn("0/5000000")));
        assert!(!history.contains(Timeline::FIRST, lsn("0/5000001")));
        assert!(history.contains(Timeline::new(5), lsn("9/0")));
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        let history = TimelineHistory::parse(Timeline::new(5), TEXT).unwrap();
        let again = TimelineHistory::parse(Timeline::new(5), &history.to_string()).unwrap();
        assert_eq!(again, history);
    }

    #[test]
    fn what_is_no_history_is_refused() {
        for text in [
            "",
            "x\t0/1\t",
            "1\tnowhere\t",
            "2\t0/2\t\n1\t0/3\t",
            "1\t0/3\t\n2\t0/2\t",
            "5\t0/1\t",
        ] {
            assert!(
                TimelineHistory::parse(Timeline::new(5), text).is_err(),
                "{text:?}"
            );
        }
    }
}
