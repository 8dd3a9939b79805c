//! What going back to a moment would lose, told before anything is replaced.

use jiff::Timestamp;
use rekindle_datasets::with_causes;
use rekindle_postgres::{Client, Lsn, Mode, layout::TimelineHistory};
use rekindle_stack::{self as stack, Stack};
use rekindle_vault::Vault;
use serde::Serialize;

use super::{
    choose::Chosen,
    find::{FindRequest, Happening, TableHappening, loss_of},
    plan::prepare,
    target::{RecoveryTarget, RestoreAtRequest, TimelineChoice},
    windows::Moment,
};
use crate::{RecoveryError, runtime::cluster_at};

/// What a restore to a moment would lose, as far as the archive knows.
#[derive(Clone, Debug, Serialize)]
pub struct LossPreview {
    /// The last commit that is in the archive, on the newest history.
    pub until: Moment,
    /// From the first lost commit, or the target time, to the last one; 0 if none would be lost.
    pub seconds: u64,
    /// Transactions that changed something.
    pub transactions: u64,
    /// What they did to tables, those with the most rows first.
    pub tables: Vec<TableLoss>,
    /// Databases that were removed after the moment, and would be back.
    pub databases_back: Vec<String>,
    /// Bytes of WAL that the server has written and the archive has not: what is in them is not
    /// counted. `None` if the server does not answer.
    pub unarchived_bytes: Option<u64>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What happened to a table after the moment, and would be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableLoss {
    /// `database.schema.table`, or its numbers where nobody knows its name.
    pub table: String,
    /// Rows inserted, which would be gone.
    pub inserted: u64,
    /// Rows updated, which would be as before.
    pub updated: u64,
    /// Rows deleted, which would be back.
    pub deleted: u64,
    /// Whether it was dropped, truncated or written anew.
    pub changed_as_a_whole: bool,
}

/// Reads the WAL after the moment and adds up what it says.
///
/// # Errors
/// As the moment cannot be restored, or WAL cannot be read.
pub fn loss_preview(
    vault: &Vault,
    stack: &Stack,
    request: &RestoreAtRequest,
) -> Result<LossPreview, RecoveryError> {
    let prepared = prepare(vault, request)?;
    if prepared.view.is_empty() {
        return Ok(without_archive(&prepared.chosen));
    }
    let newest = prepared
        .view
        .timelines()
        .last()
        .and_then(|timeline| prepared.view.lineage(*timeline));
    let limit = Limit::of(&prepared.chosen, newest.as_ref(), request);
    let search = FindRequest {
        stack,
        service: request.service.clone(),
        since: Some(prepared.chosen.base.stop_time),
        until: None,
        after: None,
        timeline: TimelineChoice::Latest,
    };
    let mut first = None;
    let loss = loss_of(vault, &search, &mut |happening| {
        let is_lost = limit.is_lost(happening);
        if is_lost {
            first.get_or_insert(happening.time);
        }
        is_lost
    })?;
    let found = loss.searched;
    Ok(LossPreview {
        until: found.to,
        seconds: seconds(limit.target.or(first), found.to, found.transactions),
        transactions: found.transactions,
        tables: loss.tables.iter().map(TableLoss::of).collect(),
        databases_back: loss.databases_dropped,
        unarchived_bytes: unarchived_bytes(stack, &request.service, found.to.lsn),
        notes: found.problems,
    })
}

impl TableLoss {
    fn of(table: &TableHappening) -> Self {
        Self {
            table: table.full_name(),
            inserted: table.inserted,
            updated: table.updated,
            deleted: table.deleted,
            changed_as_a_whole: table.fate.is_some(),
        }
    }
}

/// How long what would be lost took.
fn seconds(from: Option<Timestamp>, until: Moment, transactions: u64) -> u64 {
    match from.zip(until.time) {
        Some((from, until)) if transactions > 0 => {
            u64::try_from(until.duration_since(from).as_secs()).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Nothing but time can be told where no WAL is kept.
fn without_archive(chosen: &Chosen) -> LossPreview {
    let base = Moment::of_base(&chosen.base);
    let age = Timestamp::now().duration_since(chosen.base.stop_time);
    LossPreview {
        until: base,
        seconds: u64::try_from(age.as_secs()).unwrap_or(0),
        transactions: 0,
        tables: Vec::new(),
        databases_back: Vec::new(),
        unarchived_bytes: None,
        notes: vec![format!(
            "there is no WAL archive: everything committed after {base} would be lost, and nobody \
             can say what that is"
        )],
    }
}

/// Which commits come after the moment.
struct Limit {
    target: Option<Timestamp>,
    lsn: Option<Lsn>,
    inclusive: bool,
    /// From here on the newest history is another one than that of the moment.
    parted: Option<Lsn>,
}

impl Limit {
    fn of(chosen: &Chosen, newest: Option<&TimelineHistory>, request: &RestoreAtRequest) -> Self {
        let (target, lsn) = match &chosen.target {
            RecoveryTarget::Time(time) => (Some(*time), None),
            RecoveryTarget::Latest => (None, None),
            RecoveryTarget::Consistent => (None, Some(chosen.base.stop)),
            _ => (None, Some(chosen.end.lsn)),
        };
        Self {
            target,
            lsn,
            // A base backup has nothing that begins where it ends.
            inclusive: request.inclusive && chosen.target != RecoveryTarget::Consistent,
            parted: newest.and_then(|newest| parting(&chosen.lineage, newest)),
        }
    }

    fn is_lost(&self, happening: &Happening) -> bool {
        let is_behind_time = self.target.is_some_and(|target| match self.inclusive {
            true => happening.time > target,
            false => happening.time >= target,
        });
        let is_behind_place = self.lsn.is_some_and(|lsn| match self.inclusive {
            true => happening.lsn > lsn,
            false => happening.lsn >= lsn,
        });
        let is_elsewhere = self.parted.is_some_and(|parted| happening.lsn >= parted);
        is_behind_time || is_behind_place || is_elsewhere
    }
}

/// Where two histories part; `None` if the newer one goes on with the older one, or is the same.
fn parting(chosen: &TimelineHistory, newest: &TimelineHistory) -> Option<Lsn> {
    if chosen.timeline() == newest.timeline() {
        return None;
    }
    let of_newest = newest.entries().iter().map(|entry| entry.timeline);
    let common = of_newest
        .chain([newest.timeline()])
        .rfind(|timeline| chosen.begin_of(*timeline).is_some())?;
    let ends = [chosen.end_of(common), newest.end_of(common)];
    ends.into_iter().flatten().min()
}

/// WAL behind the archive's end. That the server is down is no reason to have no preview.
fn unarchived_bytes(stack: &Stack, service: &str, archived: Lsn) -> Option<u64> {
    let settings = stack
        .service(service)?
        .datasets
        .iter()
        .find_map(|dataset| match dataset {
            stack::Dataset::Postgres(settings) => Some(settings),
            _ => None,
        })?;
    let cluster = cluster_at(stack, service, settings)
        .inspect_err(|error| tracing::info!(error = with_causes(error), "not asked"))
        .ok()?;
    let flushed: String = Client::connect(cluster.options(), Mode::Sql)
        .and_then(|mut client| client.query("SELECT pg_current_wal_flush_lsn()")?.single())
        .inspect_err(|error| tracing::info!(error = with_causes(error), "the server is silent"))
        .ok()?;
    let flushed: Lsn = flushed.parse().ok()?;
    Some(flushed.offset().saturating_sub(archived.offset()))
}

#[cfg(test)]
mod tests {
    use rekindle_postgres::Timeline;

    use super::*;

    #[test]
    fn histories_part_where_the_first_of_them_left_what_they_share() {
        let history = |timeline: u32, text: &str| {
            TimelineHistory::parse(Timeline::new(timeline), text).unwrap()
        };
        let first = TimelineHistory::first();
        let second = history(2, "1\t0/5000000\t\n");
        let third = history(3, "1\t0/5000000\t\n2\t0/8000000\t\n");
        let aside = history(4, "1\t0/3000000\t\n");
        let lsn = |text: &str| text.parse::<Lsn>().ok();
        assert_eq!(parting(&third, &third), None);
        assert_eq!(parting(&first, &third), lsn("0/5000000"));
        assert_eq!(parting(&second, &third), lsn("0/8000000"));
        assert_eq!(parting(&third, &aside), lsn("0/3000000"));
        assert_eq!(parting(&aside, &third), lsn("0/3000000"));
    }
}
