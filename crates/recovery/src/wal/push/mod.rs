//! `archive_command`: one file at a time as PostgreSQL asks, many at a time as it is fast.
//!
//! PostgreSQL calls for one segment after the other. The first call archives all that are ready,
//! together, and leaves a note about each ([`markers`]); the next calls find the note and are done.
//! Nothing is noted, or answered, before the archive said that it is durable.

mod copies;
mod error;
mod examine;
mod failure;
mod group;
mod identity;
mod markers;
mod ready;

use std::{path::Path, time::Duration};

use rekindle_stack::{self as stack, Stack, WalMode};
use rekindle_vault::{WalArchive, WalEffort};

pub use copies::CopyTrouble;
pub use error::PushError;
pub use failure::last_failure;

pub(crate) use examine::check_segment;

use super::{
    door::Door,
    names::WalName,
    place::{Cluster, Place},
    state::{self, FileLock},
};
use crate::{RecoveryError, vault::store_of};
use copies::{Copy, Delivery};
use group::{Fate, Group};
use markers::Markers;

/// At most so many files are archived by one call. The server's archiver looks at as many at once.
const GROUP_FILES: usize = 64;

/// And at most so many bytes, but always one file.
const GROUP_BYTES: u64 = 1 << 30;

/// With more files than this waiting, speed counts and not size.
const BACKLOG: usize = 4;

/// How long to wait for another call that works in the same `pg_wal`.
const PATIENCE: Duration = Duration::from_secs(30);

/// One call of `archive_command`.
#[derive(Clone, Copy, Debug)]
pub struct PushRequest<'a> {
    /// The `%p` of `archive_command`.
    pub path: &'a Path,
    /// The service whose server calls; checked, not needed.
    pub service: Option<&'a str>,
}

/// What a call did.
#[derive(Debug, Default)]
pub struct PushReport {
    /// The file that was asked for.
    pub file: String,
    /// Whether an earlier call had archived it already.
    pub was_archived: bool,
    /// Other files that were archived at the same time.
    pub others: Vec<String>,
    /// Other files that could not be, and why. The server will ask for them.
    pub refused: Vec<(String, PushError)>,
    /// Copies of the vault that lack files.
    pub copies: Vec<CopyTrouble>,
}

/// Archives one file of `pg_wal`, and with it those that are ready too. When it returns `Ok`, the
/// file that was asked for is durable in the vault.
///
/// The report is filled whatever happens to the file that was asked for.
///
/// # Errors
/// [`PushError`]; the file is not known to be archived then, and PostgreSQL must ask again.
pub fn push(
    stack: &Stack,
    request: &PushRequest<'_>,
    report: &mut PushReport,
) -> Result<(), PushError> {
    let not_wal = || PushError::NotWal {
        path: request.path.display().to_string(),
    };
    let text = request
        .path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(not_wal)?;
    let name = WalName::parse(text).ok_or_else(not_wal)?;
    text.clone_into(&mut report.file);
    ensure_pushing(stack, request.service)?;
    let place = Place::of(request.path).map_err(PushError::io("find", request.path))?;
    let outcome = Push::new(stack, &place).and_then(|push| push.run(name, report));
    if place.is_pg_wal() {
        match &outcome {
            Ok(()) if report.was_archived => {}
            Ok(()) => failure::forget(&place),
            Err(error) => failure::note(&place, error),
        }
    }
    outcome
}

/// Whoever runs this command without the setting would believe in windows that nobody looks after.
fn ensure_pushing(stack: &Stack, service: Option<&str>) -> Result<(), PushError> {
    let pushes = |service: &stack::Service| {
        service.datasets.iter().any(|dataset| {
            matches!(dataset, stack::Dataset::Postgres(settings) if settings.wal == WalMode::Push)
        })
    };
    let Some(name) = service else {
        let someone = stack.services.iter().any(pushes);
        return someone.then_some(()).ok_or(PushError::NobodyPushes);
    };
    match stack.service(name) {
        Some(service) if pushes(service) => Ok(()),
        Some(_) => Err(PushError::DoesNotPush {
            service: name.to_owned(),
        }),
        None => Err(RecoveryError::UnknownService {
            name: name.to_owned(),
            known: crate::backup::names(stack),
        }
        .into()),
    }
}

/// One call at work.
struct Push<'a> {
    stack: &'a Stack,
    place: &'a Place,
    main: Door<'a>,
}

impl<'a> Push<'a> {
    fn new(stack: &'a Stack, place: &'a Place) -> Result<Self, PushError> {
        let cache = place.is_pg_wal().then(|| place.ours().join("recipient"));
        let main = Door::new(store_of(&stack.vault)?, &stack.vault.password, cache);
        Ok(Self { stack, place, main })
    }

    fn run(&self, name: WalName, report: &mut PushReport) -> Result<(), PushError> {
        // Elsewhere than in a pg_wal nothing of ours may be left lying about.
        if !self.place.is_pg_wal() {
            return self.push_group(vec![name], None, report);
        }
        if self.is_noted(&name, report) {
            return Ok(());
        }
        let lock = self.lock();
        // The call that was waited for may have done it.
        if self.is_noted(&name, report) {
            return Ok(());
        }
        let names = match &lock {
            Some(_) => self.group(name),
            None => vec![name],
        };
        self.push_group(names, lock.as_ref(), report)
    }

    fn is_noted(&self, name: &WalName, report: &mut PushReport) -> bool {
        let Some(markers) = self.markers() else {
            return false;
        };
        report.was_archived = markers.is_archived(&name.text, &self.place.pg_wal.join(&name.text));
        report.was_archived
    }

    /// Notes about this very vault; `None` if it cannot be told which it is.
    fn markers(&self) -> Option<Markers> {
        Some(Markers::new(&self.place.ours(), self.main.mark()?))
    }

    /// Without our folder, as on a disk that is full, it works one by one: archiving is what will
    /// make room.
    fn lock(&self) -> Option<FileLock> {
        let ours = self.place.ours();
        let lock = state::make_folder(&ours)
            .and_then(|()| FileLock::take(&ours.join("push.lock"), PATIENCE));
        match lock {
            Ok(None) => {
                tracing::warn!("another `wal push` works in this pg_wal and does not end");
                None
            }
            Ok(lock) => lock,
            Err(error) => {
                tracing::warn!(folder = %ours.display(), %error, "no notes can be kept");
                None
            }
        }
    }

    /// The file, and what else is ready and not archived yet.
    fn group(&self, first: WalName) -> Vec<WalName> {
        let markers = self.markers();
        let ready = ready::ready(&self.place.pg_wal).unwrap_or_default();
        if let Some(markers) = &markers {
            let swept = markers.sweep(|name| ready.iter().any(|ready| ready == name));
            if let Err(error) = swept {
                tracing::debug!(%error, "notes that nobody needs stay");
            }
        }
        let is_noted = |name: &str| {
            let path = self.place.pg_wal.join(name);
            markers
                .as_ref()
                .is_some_and(|markers| markers.is_archived(name, &path))
        };
        let mut bytes = self.size_of(&first.text);
        let others = ready
            .iter()
            .filter(|name| **name != first.text && !is_noted(name));
        let others = others
            .filter_map(|name| WalName::parse(name))
            .take_while(|name| {
                bytes += self.size_of(&name.text);
                bytes <= GROUP_BYTES
            });
        let others: Vec<WalName> = others.take(GROUP_FILES - 1).collect();
        [first].into_iter().chain(others).collect()
    }

    fn size_of(&self, name: &str) -> u64 {
        std::fs::metadata(self.place.pg_wal.join(name)).map_or(0, |data| data.len())
    }

    fn push_group(
        &self,
        names: Vec<WalName>,
        lock: Option<&FileLock>,
        report: &mut PushReport,
    ) -> Result<(), PushError> {
        let cluster = self
            .place
            .cluster()
            .transpose()
            .map_err(PushError::ControlFile)?;
        let effort = match names.len() {
            0..=BACKLOG => WalEffort::Fast,
            _ => WalEffort::Fastest,
        };
        let copies = Copy::all(&self.stack.vault, &self.place.ours());
        for copy in &copies {
            if let Err(error) = copy.promise(&names) {
                tracing::warn!(%error, "what the copies lack cannot be noted");
            }
        }
        let fates = self.archive(&names, cluster, effort, lock.is_some())?;
        let archived: Vec<WalName> = names
            .iter()
            .zip(&fates)
            .filter(|(_, fate)| matches!(fate, Fate::Archived(_)))
            .map(|(name, _)| name.clone())
            .collect();
        let main = &self.main;
        let delivery = Delivery {
            place: self.place,
            cluster,
            effort,
            main,
        };
        let troubles = copies
            .into_iter()
            .map(|copy| copy.deliver(&archived, &delivery));
        report.copies = troubles.filter_map(Result::err).collect();
        tell(names, fates, report)
    }

    fn archive(
        &self,
        names: &[WalName],
        cluster: Option<Cluster>,
        effort: WalEffort,
        notes: bool,
    ) -> Result<Vec<Fate>, PushError> {
        let push = |archive: &WalArchive, names: &[WalName]| {
            // Asked for now: with the archive's first use its key, and with it the mark, came to be.
            let markers = self.markers().filter(|_| notes);
            let markers = markers.filter(|markers| markers.prepare().is_ok());
            let group = Group {
                place: self.place,
                cluster,
                archive,
                effort,
            };
            group.push(names, |name, identity| {
                if let Some(Err(error)) = markers
                    .as_ref()
                    .map(|markers| markers.note(&name.text, identity))
                {
                    tracing::debug!(%error, "it will be compared once more");
                }
            })
        };
        let mut fates = push(&self.main.public()?, names);
        if fates.iter().any(Fate::needs_password) {
            let again = needing_password(names, &fates);
            let mut second = push(&self.main.full()?, &again).into_iter();
            for fate in fates.iter_mut().filter(|fate| fate.needs_password()) {
                *fate = second.next().unwrap_or(Fate::NotTried);
            }
        }
        Ok(fates)
    }
}

fn needing_password(names: &[WalName], fates: &[Fate]) -> Vec<WalName> {
    let both = names.iter().zip(fates);
    both.filter(|(_, fate)| fate.needs_password())
        .map(|(name, _)| name.clone())
        .collect()
}

/// Writes the fates into the report; that of the first file is the answer.
fn tell(names: Vec<WalName>, fates: Vec<Fate>, report: &mut PushReport) -> Result<(), PushError> {
    let mut answer = Err(PushError::NotTried);
    for (number, (name, fate)) in names.into_iter().zip(fates).enumerate() {
        match (number, fate) {
            (0, Fate::Archived(_)) => answer = Ok(()),
            (0, Fate::Failed(error)) => answer = Err(error),
            (0, Fate::NotTried) | (_, Fate::NotTried) => {}
            (_, Fate::Archived(_)) => report.others.push(name.text),
            (_, Fate::Failed(error)) => report.refused.push((name.text, error)),
        }
    }
    answer
}
