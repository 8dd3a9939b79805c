//! How far the copies are.

use jiff::{SignedDuration, Timestamp};
use rekindle_datasets::with_causes;
use rekindle_stack::{Stack, VaultCopy};
use rekindle_vault::{CopiedSnapshots, CopyRecord, Snapshot, Vault};
use serde::Serialize;

use super::{
    open::{WhenAbsent, enter, open_copy},
    removes_wal,
    worth::worth_having,
};
use crate::RecoveryError;

/// A copy may be behind for so long before that is an alarm: a large first copy takes its time.
const LATE_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How far one copy is.
#[derive(Clone, Debug, Serialize)]
pub struct CopyStatus {
    /// The copy's name.
    pub name: String,
    /// Where it lies.
    pub location: String,
    /// How many of the vault's points it has.
    pub points: u64,
    /// How many it lacks.
    pub missing_points: u64,
    /// How much more would be lost, were it all that is left: seconds from its newest point to the
    /// vault's newest. `None` if it has no point of the vault, or one of the two cannot be asked.
    pub lag_seconds: Option<u64>,
    /// When the oldest point was made that it lacks.
    pub missing_since: Option<Timestamp>,
    /// WAL files that it lacks; `None` if the vault has no WAL, or cannot be asked.
    pub missing_wal_files: Option<u64>,
    /// When it was complete, last.
    pub last_success: Option<Timestamp>,
    /// When a run last failed, or copied only in part.
    pub last_failure: Option<Timestamp>,
    /// Why.
    pub last_error: Option<String>,
    /// Why it cannot be asked.
    pub problem: Option<String>,
    /// What to do about that.
    pub hint: Option<String>,
    /// Whether it is there and lacks nothing that it should have by now.
    pub ok: bool,
}

impl CopyStatus {
    /// How many of a hundred points it has, rounded down; 100 if there is none to have.
    #[must_use]
    pub const fn completeness_percent(&self) -> u64 {
        let all = self.points + self.missing_points;
        match (self.points * 100).checked_div(all) {
            Some(percent) => percent,
            None => 100,
        }
    }
}

/// What a copy is held against.
enum Main<'a> {
    /// The main vault cannot be opened: only the copies are looked at.
    Absent,
    /// Its points cannot be listed, and why.
    Unlisted(&'a Vault, String),
    /// The vault and its points.
    Listed(&'a Vault, Vec<Snapshot>),
}

/// Looks at all copies. Whatever is down is told and not in the way; without the main vault only
/// the copies are looked at.
#[must_use]
pub fn copies_status(main: Option<&Vault>, stack: &Stack) -> Vec<CopyStatus> {
    let main = main.map_or(Main::Absent, Main::look);
    let of = |copy| one(&main, stack, copy, Timestamp::now());
    stack.vault.copies.iter().map(of).collect()
}

impl<'a> Main<'a> {
    fn look(vault: &'a Vault) -> Self {
        match vault.readable_snapshots() {
            Ok((points, _)) => Self::Listed(vault, points),
            Err(error) => Self::Unlisted(vault, with_causes(&error)),
        }
    }

    const fn vault(&self) -> Option<&'a Vault> {
        match self {
            Self::Absent => None,
            Self::Unlisted(vault, _) | Self::Listed(vault, _) => Some(vault),
        }
    }
}

fn one(main: &Main<'_>, stack: &Stack, copy: &VaultCopy, now: Timestamp) -> CopyStatus {
    let mut status = CopyStatus::unknown(&copy.name, &copy.at);
    match main.vault().map(|main| main.copy_record(&copy.name)) {
        Some(Ok(Some(record))) => status.remember(record),
        // Whoever enters the copy to compare it tells this, too.
        Some(Err(_)) if matches!(main, Main::Listed(..)) => {}
        Some(Err(error)) => status.problem(format!(
            "what is remembered of it cannot be read: {}",
            with_causes(&error)
        )),
        None | Some(Ok(None)) => {}
    }
    match look(main, stack, copy, &mut status) {
        Ok(()) => status.ok = status.problem.is_none() && status.is_well(now),
        Err(error) => {
            status.hint = error.hint();
            status.problem(with_causes(&error));
        }
    }
    status
}

fn look(
    main: &Main<'_>,
    stack: &Stack,
    copy: &VaultCopy,
    status: &mut CopyStatus,
) -> Result<(), RecoveryError> {
    let Main::Listed(main, points) = main else {
        if let Main::Unlisted(_, reason) = main {
            status.problem(format!(
                "nobody can say what it lacks: the points of the vault cannot be listed: {reason}"
            ));
        }
        let vault = open_copy(&stack.vault, copy.name.as_str())?;
        status.points = vault.readable_snapshots()?.0.len() as u64;
        return Ok(());
    };
    let opened = enter(main, &stack.vault, copy, WhenAbsent::Refuse);
    let vault = match opened {
        Ok(opened) => opened.vault,
        Err(error) if error.is_absent_copy() => {
            status.compare(points, &CopiedSnapshots::default());
            return Err(RecoveryError::CopyNotMade {
                name: copy.name.to_string(),
            });
        }
        Err(error) => return Err(error),
    };
    let copied = vault.copied_snapshots()?;
    let mut worth: Vec<_> = worth_having(copy, points, &copied)
        .into_iter()
        .cloned()
        .collect();
    worth.sort_by_key(|point| (point.stored.time, point.id));
    status.compare(&worth, &copied);
    let Some(ours) = main.existing_wal_archive()? else {
        return Ok(());
    };
    let theirs = vault.existing_wal_archive()?;
    let missing = match theirs {
        Some(theirs) => {
            let lacking = ours.lacking(&theirs, removes_wal(copy));
            let failed = |source| RecoveryError::CopyTo {
                name: copy.name.to_string(),
                source: Box::new(source),
            };
            lacking.map_err(failed)?.len() as u64
        }
        None => all_files(&ours)?,
    };
    status.missing_wal_files = Some(missing);
    Ok(())
}

fn all_files(archive: &rekindle_vault::WalArchive) -> Result<u64, RecoveryError> {
    let mut files = 0;
    for system in archive.systems()? {
        files += archive.list(system)?.len() as u64;
    }
    Ok(files)
}

impl CopyStatus {
    /// As it is before anything is known.
    fn unknown(name: &impl ToString, location: &impl ToString) -> Self {
        Self {
            name: name.to_string(),
            location: location.to_string(),
            points: 0,
            missing_points: 0,
            lag_seconds: None,
            missing_since: None,
            missing_wal_files: None,
            last_success: None,
            last_failure: None,
            last_error: None,
            problem: None,
            hint: None,
            ok: false,
        }
    }

    /// Adds to what is wrong.
    fn problem(&mut self, text: String) {
        self.problem = Some(match self.problem.take() {
            Some(known) => format!("{known}; {text}"),
            None => text,
        });
    }

    fn remember(&mut self, record: CopyRecord) {
        self.last_success = record.last_success;
        self.last_failure = record.last_failure;
        self.last_error = record.last_error;
    }

    /// Holds the vault's points, oldest first, against what there is of them in the copy.
    fn compare(&mut self, points: &[Snapshot], copied: &CopiedSnapshots) {
        let (there, missing): (Vec<&Snapshot>, Vec<&Snapshot>) = points
            .iter()
            .partition(|point| copied.find(point).is_some());
        self.points = there.len() as u64;
        self.missing_points = missing.len() as u64;
        self.missing_since = missing.first().map(|point| point.stored.time);
        let newest = points.last().zip(there.last());
        self.lag_seconds = newest.map(|(newest, copied)| {
            let behind = newest.stored.time.duration_since(copied.stored.time);
            u64::try_from(behind.as_secs()).unwrap_or(0)
        });
    }

    fn is_well(&self, now: Timestamp) -> bool {
        let is_late = self
            .missing_since
            .is_some_and(|since| now.duration_since(since) > LATE_AFTER);
        let has_failed = self.last_failure > self.last_success;
        !is_late && !has_failed
    }
}

#[cfg(test)]
mod tests {
    use super::{super::made_up::point, *};

    fn compared(copied: &[u8]) -> CopyStatus {
        let points: Vec<_> = (1..=4).map(point).collect();
        let copied = copied.iter().map(|day| point(*day)).collect();
        let mut status = CopyStatus::unknown(&"offsite", &"there");
        status.compare(&points, &CopiedSnapshots::new(copied));
        status
    }

    #[test]
    fn the_lag_is_what_more_would_be_lost_with_the_copy_alone() {
        let day = 24 * 3600;
        assert_eq!(compared(&[1, 2, 3, 4]).lag_seconds, Some(0));
        assert_eq!(compared(&[1, 2]).lag_seconds, Some(2 * day));
        // A hole in the past is no lag, and is told as missing.
        let holed = compared(&[1, 4]);
        assert_eq!((holed.lag_seconds, holed.missing_points), (Some(0), 2));
        assert_eq!(holed.completeness_percent(), 50);
        assert_eq!(compared(&[]).lag_seconds, None);
    }

    #[test]
    fn a_copy_is_not_well_once_it_lacks_something_for_a_day_or_a_run_failed() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let behind = compared(&[1, 2, 3]);
        assert!(behind.is_well(at("2026-01-04T12:00:00Z")));
        assert!(!behind.is_well(at("2026-01-05T12:00:00Z")));
        let mut whole = compared(&[1, 2, 3, 4]);
        assert!(whole.is_well(at("2027-01-01T00:00:00Z")));
        whole.last_failure = Some(at("2026-01-05T00:00:00Z"));
        assert!(!whole.is_well(at("2026-01-05T01:00:00Z")));
        whole.last_success = Some(at("2026-01-05T02:00:00Z"));
        assert!(whole.is_well(at("2026-01-05T03:00:00Z")));
    }
}
