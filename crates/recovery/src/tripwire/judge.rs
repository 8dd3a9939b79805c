//! The judgement: pure, and the same for the same figures.

use std::fmt;

use serde::Serialize;

use super::{Figures, Limits, Verdict};

/// What was added is looked at from so many bytes on: the compression of less says nothing.
const TELLING_BYTES: u64 = 16 << 10;
/// Stored bytes in percent of plain ones above which data count as such that do not compress.
/// Encrypted data are at 100, and at 76 if they are written in Base64.
const INCOMPRESSIBLE: u64 = 70;
/// By so many points it must be above what is usual.
const ABOVE_USUAL: u64 = 25;
/// What is done slowly is added up over so many points.
const LONGEST_WINDOW: usize = 10;
/// So many files of one new ending, and so many in a hundred of all, are no accident.
const RENAMED_FILES: u64 = 20;
const RENAMED_PERCENT: u64 = 10;

/// Why a point is suspicious, with the figures. Shares are in percent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Suspicion {
    /// Much was replaced by what does not compress, as if somebody had encrypted it.
    Encrypted {
        /// Of what was there, so much was replaced.
        replaced: u64,
        /// What was added compresses to this share of its size.
        compresses_to: u64,
        /// What was added usually compresses to this share.
        usually: u64,
        /// In how many of the last points this was found.
        points: usize,
    },
    /// Much more was replaced than usual.
    Changed {
        /// Of what was there, so much was replaced.
        replaced: u64,
        /// This is usual; `None` if nothing is known yet.
        usually: Option<u64>,
        /// Files whose content changed, or that are gone.
        files: u64,
        /// Of so many.
        of: u64,
    },
    /// Much is gone.
    Gone {
        /// Files before.
        files_before: u64,
        /// Files now.
        files: u64,
        /// Bytes before.
        bytes_before: u64,
        /// Bytes now.
        bytes: u64,
    },
    /// Many files have names with one ending that there was not before.
    Renamed {
        /// The ending.
        extension: String,
        /// How many.
        files: u64,
    },
}

/// Holds a point's figures against those of the points before it, oldest first. Says nothing of a
/// first point.
///
/// What is usual is the median of what was not suspicious, and at least what a person has accepted:
/// data that never compress, or always change, do not trip. What is suspicious and not accepted is
/// never usual.
#[must_use]
pub fn judge(history: &[Figures], now: &Figures, limits: &Limits) -> Vec<Suspicion> {
    if now.change.is_none() {
        return Vec::new();
    }
    let found = [
        encrypted(history, now, limits),
        changed(history, now, limits),
        gone(history, now, limits),
        renamed(now),
    ];
    found.into_iter().flatten().collect()
}

fn encrypted(history: &[Figures], now: &Figures, limits: &Limits) -> Option<Suspicion> {
    let usually = usual_value(history, |figures| compresses_to(&[figures]))?;
    let least = INCOMPRESSIBLE.max(usually + ABOVE_USUAL);
    let is_noise = |figures: &&Figures| compresses_to(&[figures]).is_some_and(|s| s >= least);
    // An innocent point after a wave is no new wave.
    Some(now).filter(is_noise)?;
    let usual: Vec<&Figures> = history.iter().filter(is(Verdict::Usual)).collect();
    let recent = usual.iter().rev().take(LONGEST_WINDOW - 1).rev().copied();
    let wave: Vec<&Figures> = recent.filter(is_noise).chain([now]).collect();
    // Where data that do not compress come along with the usual changes, nothing is encrypted.
    let usually_replaced = usual_value(history, replaced_ppm).unwrap_or(0);
    let excess = |figures: &&Figures| {
        replaced_ppm(figures)
            .unwrap_or(0)
            .saturating_sub(usually_replaced)
    };
    let excess: u64 = wave.iter().map(excess).sum();
    (excess >= u64::from(limits.encrypted) * 10_000).then_some(Suspicion::Encrypted {
        replaced: replaced_over(&wave)?,
        compresses_to: compresses_to(&wave)?,
        usually,
        points: wave.len(),
    })
}

fn changed(history: &[Figures], now: &Figures, limits: &Limits) -> Option<Suspicion> {
    let change = now.change.as_ref()?;
    let replaced = replaced_over(&[now])?;
    let usually = usual_value(history, |figures| replaced_over(&[figures]));
    let trips = replaced >= u64::from(limits.changed?) && replaced >= 2 * usually.unwrap_or(0);
    trips.then_some(Suspicion::Changed {
        replaced,
        usually,
        files: change.files_changed + change.files_gone,
        of: change.files_before,
    })
}

fn gone(history: &[Figures], now: &Figures, limits: &Limits) -> Option<Suspicion> {
    let change = now.change.as_ref()?;
    let share = gone_share(now)?;
    let usually = usual_value(history, gone_share).unwrap_or(0);
    (share >= u64::from(limits.gone) && share >= 2 * usually).then_some(Suspicion::Gone {
        files_before: change.files_before,
        files: now.files,
        bytes_before: change.bytes_before,
        bytes: now.bytes,
    })
}

fn renamed(now: &Figures) -> Option<Suspicion> {
    let change = now.change.as_ref()?;
    let new = change.new_extension.as_ref()?;
    // In the place of others: files of a new kind may come.
    let replaced = change.files_gone.min(new.files);
    let trips =
        replaced >= RENAMED_FILES && replaced * 100 >= change.files_before.max(1) * RENAMED_PERCENT;
    trips.then(|| Suspicion::Renamed {
        extension: new.extension.clone(),
        files: new.files,
    })
}

fn is(verdict: Verdict) -> impl Fn(&&Figures) -> bool {
    move |figures| figures.verdict == verdict
}

/// The median of the usual ones, or the most that was accepted, if that is more.
fn usual_value(history: &[Figures], value: impl Fn(&Figures) -> Option<u64>) -> Option<u64> {
    let usual = history.iter().filter(is(Verdict::Usual));
    let accepted = history.iter().filter(is(Verdict::Accepted));
    median(usual.filter_map(&value)).max(accepted.filter_map(&value).max())
}

/// Of an even number the lower one: what happened once of two times is not usual.
fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// What was added, as stored, in percent of what it was; `None` if it is too little to tell.
fn compresses_to(window: &[&Figures]) -> Option<u64> {
    let plain: u64 = window.iter().map(|figures| figures.added_bytes).sum();
    let stored: u64 = window
        .iter()
        .map(|figures| figures.added_stored_bytes)
        .sum();
    (plain >= TELLING_BYTES).then(|| percent(stored, plain))
}

/// What was replaced in all, in percent of what was there at first. `None` for a first point.
fn replaced_over(window: &[&Figures]) -> Option<u64> {
    let changes = || window.iter().filter_map(|figures| figures.change.as_ref());
    let there = changes().next()?.bytes_before;
    let replaced = changes().map(|change| change.replaced_bytes).sum();
    (there > 0).then(|| percent(replaced, there))
}

/// What was replaced, in millionths of what was there.
fn replaced_ppm(figures: &Figures) -> Option<u64> {
    let change = figures.change.as_ref()?;
    let share = u128::from(change.replaced_bytes) * 1_000_000;
    let share = share.checked_div(u128::from(change.bytes_before))?;
    Some(u64::try_from(share).unwrap_or(u64::MAX))
}

/// How much smaller it is, by files or bytes, whichever is more.
fn gone_share(figures: &Figures) -> Option<u64> {
    let change = figures.change.as_ref()?;
    let lost = |before: u64, now: u64| match before {
        0 => 0,
        before => percent(before.saturating_sub(now), before),
    };
    let (files, bytes) = (
        lost(change.files_before, figures.files),
        lost(change.bytes_before, figures.bytes),
    );
    Some(files.max(bytes))
}

/// To the nearest.
fn percent(part: u64, whole: u64) -> u64 {
    let whole = u128::from(whole.max(1));
    let percent = (u128::from(part) * 100 + whole / 2) / whole;
    u64::try_from(percent).unwrap_or(u64::MAX)
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encrypted {
                replaced,
                compresses_to,
                usually,
                points,
            } => {
                let over = match points {
                    1 => String::new(),
                    points => format!(" in {points} points"),
                };
                write!(
                    f,
                    "as if encrypted: {replaced} % of the data was replaced{over}, and what was \
                     added compresses to {compresses_to} % of its size, usually to {usually} %"
                )
            }
            Self::Changed {
                replaced,
                usually,
                files,
                of,
            } => {
                write!(
                    f,
                    "changed: {replaced} % of the data was replaced, in {files} of {of} files"
                )?;
                match usually {
                    Some(usually) => write!(f, "; usually {usually} %"),
                    None => Ok(()),
                }
            }
            Self::Gone {
                files_before,
                files,
                bytes_before,
                bytes,
            } => write!(
                f,
                "gone: {files} files and {bytes} bytes are left of {files_before} files and \
                 {bytes_before} bytes"
            ),
            Self::Renamed { extension, files } => write!(
                f,
                "renamed: {files} files end in `.{extension}`, and none did before"
            ),
        }
    }
}
