//! What happened: commits, and what they did to which table, out of the archive's WAL.
//!
//! WAL knows relations by number. Their names come from the catalogs in a base backup, so that they
//! are known when the server is dead; what was made later is named by the server, if it answers.

mod ahead;
mod happening;
mod loss;
mod names;
mod span;

pub use happening::{Happening, TableHappening};
pub(super) use loss::loss_of;
pub use loss::{Loss, loss};
pub use rekindle_postgres::wal::catalog::TableFate;

use jiff::Timestamp;
use rekindle_postgres::{
    Lsn, Timeline,
    wal::{
        Record,
        reader::{EndReason, Reader, Segment},
        scan::Activity,
    },
};
use rekindle_stack::Stack;
use rekindle_vault::Vault;
use serde::Serialize;

use super::{Moment, TimelineChoice};
use crate::RecoveryError;
use names::Names;
use span::{Run, Span};

/// Commits are nearly in the order of their times; one that is so much later than asked for ends
/// the search.
const OUT_OF_ORDER: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// Where to look for what happened.
pub struct FindRequest<'a> {
    /// The stack; its server is asked for names that no base backup knows.
    pub stack: &'a Stack,
    /// A service with a PostgreSQL dataset.
    pub service: String,
    /// From when on; `None` for a day before [`until`](Self::until), or before the end of the WAL.
    pub since: Option<Timestamp>,
    /// Until when; `None` for the end of the WAL.
    pub until: Option<Timestamp>,
    /// Only what is committed by a record that begins here or later: what an exclusive recovery to
    /// this place leaves out. Stands in for `since`.
    pub after: Option<Lsn>,
    /// On which history.
    pub timeline: TimelineChoice,
}

/// What was looked at, and how much there was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// The service.
    pub service: String,
    /// The history that was looked at.
    pub timeline: Timeline,
    /// Whether it is the newest one, to which a restore goes unless told otherwise.
    pub is_newest: bool,
    /// From when on.
    pub since: Option<Timestamp>,
    /// Where reading began.
    pub from: Lsn,
    /// Where the WAL ended, or the search; and the last commit.
    pub to: Moment,
    /// Transactions that changed something, from `since` on.
    pub transactions: u64,
    /// What a person should know: holes, damage, names that are missing.
    pub problems: Vec<String>,
}

/// Reads the WAL of a span and gives what the committed transactions did that `wants` takes, in the
/// order of commits. `wants` may be asked twice, because a name may be learnt late.
///
/// # Errors
/// If there is no base backup or no archive, or a segment cannot be read. Holes are among the
/// problems of the result.
pub fn find(
    vault: &Vault,
    request: &FindRequest<'_>,
    wants: impl Fn(&Happening) -> bool,
) -> Result<(Found, Vec<Happening>), RecoveryError> {
    let mut kept = Vec::new();
    let mut keep = |happening: Happening| {
        if wants(&happening) || happening.has_strangers() {
            kept.push(happening);
        }
    };
    let (found, names) = search(vault, request, &mut keep)?;
    names.fill_in(kept.iter_mut().flat_map(|one| &mut one.tables));
    kept.retain(wants);
    Ok((found, kept))
}

/// Reads the span and gives every happening in it.
fn search(
    vault: &Vault,
    request: &FindRequest<'_>,
    each: &mut dyn FnMut(Happening),
) -> Result<(Found, Names), RecoveryError> {
    let span = Span::choose(vault, request)?;
    let mut search = Search {
        names: Names::of(vault, request, &span)?,
        since: span.since,
        until: request.until,
        after: request.after.unwrap_or(Lsn::INVALID),
        found: Found {
            service: request.service.clone(),
            timeline: span.lineage.timeline(),
            is_newest: span.is_newest,
            since: span.since,
            from: span.from(),
            to: Moment {
                lsn: span.from(),
                time: None,
            },
            transactions: 0,
            problems: span.problems.clone(),
        },
        each,
        is_over: false,
    };
    search.found.problems.extend(search.names.problems());
    for run in &span.runs {
        search.read(&span, run)?;
        if search.is_over {
            break;
        }
    }
    Ok((search.found, search.names))
}

struct Search<'a> {
    each: &'a mut dyn FnMut(Happening),
    after: Lsn,
    names: Names,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    found: Found,
    is_over: bool,
}

impl Search<'_> {
    fn read(&mut self, span: &Span, run: &Run) -> Result<(), RecoveryError> {
        ahead::segments(span, run, |segments| {
            let mut reader = Reader::new(segments);
            let mut activity = Activity::new();
            while let Some(record) = reader.next_record()? {
                self.record(&mut activity, &record);
                if self.is_over {
                    return Ok(());
                }
            }
            if let Some(end) = reader.end() {
                self.found.to.lsn = end.at;
                self.note_end(&end.reason, end.at);
            }
            Ok(())
        })
    }

    fn record(&mut self, activity: &mut Activity, record: &Record<'_>) {
        let Some(transaction) = activity.add(record) else {
            return;
        };
        let happening = self.names.happening(&transaction);
        let time = transaction.commit.time;
        let is_after = |limit: Timestamp| time > limit;
        if self
            .until
            .is_some_and(|until| is_after(until.saturating_add(OUT_OF_ORDER).unwrap_or(until)))
        {
            self.is_over = true;
        }
        self.found.to = Moment {
            lsn: transaction.commit.lsn_end,
            time: Some(time),
        };
        let is_wanted = transaction.commit.lsn >= self.after
            && self.since.is_none_or(|since| time >= since)
            && !self.until.is_some_and(is_after);
        if is_wanted {
            self.found.transactions += 1;
            (self.each)(happening);
        }
    }

    fn note_end(&mut self, reason: &EndReason, at: Lsn) {
        if !reason.is_ordinary() {
            self.found.problems.push(format!(
                "the WAL cannot be read beyond {at}: {reason}; what was committed later is not listed"
            ));
        }
    }
}

/// A segment as the reader takes it, or why it cannot be had.
type Fetched = Result<Segment<Vec<u8>>, RecoveryError>;
