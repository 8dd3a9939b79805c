//! `restore_command`: one file at a time as PostgreSQL asks, the next ones already on their way.
//!
//! The first call starts a [fetcher](fetch_ahead) in the background, which holds the archive open
//! and fetches ahead; the next calls only rename what it has fetched. Whenever the fetcher cannot
//! answer, the call does the work alone and tells what went wrong: the fetcher saves time and
//! decides nothing but "here it is" and "the archive does not have it".

mod board;
mod client;
mod error;
mod fetcher;
mod protocol;
mod source;
mod window;

use std::{fs, path::Path};

use rekindle_stack::Stack;

pub use client::StartFetcher;
pub use error::GetError;
pub use fetcher::fetch_ahead;

use super::{
    door::Door,
    names::WalName,
    place::{Cluster, Place},
    state,
};
use crate::vault::store_of;
use protocol::{Answer, Ask};
use rekindle_postgres::layout::WalFileKind;
use source::Source;

/// One call of `restore_command`.
#[derive(Clone, Copy)]
pub struct GetRequest<'a> {
    /// The `%f` of `restore_command`.
    pub file: &'a str,
    /// The `%p` of `restore_command`.
    pub to: &'a Path,
    /// The cluster's system identifier; that of the data directory around if not given.
    pub system: Option<u64>,
    /// Take an unfinished segment where there is no finished one.
    pub partial: bool,
    /// How to start a fetcher; without it every call fetches for itself.
    pub fetcher: Option<StartFetcher<'a>>,
}

/// What became of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// It lies where it was wanted.
    Found,
    /// The archive does not have it. For PostgreSQL the archive ends here.
    NotFound,
}

/// Brings one file out of the archive.
///
/// # Errors
/// [`GetError`] if it could not be told whether the archive has it, or it could not be brought.
/// Recovery has to be stopped then: what looks like the end of the archive ends it.
pub fn get(stack: &Stack, request: &GetRequest<'_>) -> Result<Got, GetError> {
    let not_wal = || GetError::NotWal {
        name: request.file.to_owned(),
    };
    let name = WalName::parse(request.file).ok_or_else(not_wal)?;
    let place = Place::of(request.to).map_err(GetError::io("find", request.to))?;
    let cluster = cluster_of(&place)?;
    let door = Door::new(store_of(&stack.vault)?, &stack.vault.password, None);
    if let Some(got) = by_fetcher(request, &name, &place, cluster, &door) {
        return Ok(got);
    }
    let source = Source::new(door.full()?, cluster, request.system)?;
    let content = match source.read(&name)? {
        None if request.partial && name.kind == WalFileKind::Segment => {
            source.read_partial(&name)?
        }
        content => content,
    };
    let Some(content) = content else {
        return Ok(Got::NotFound);
    };
    source::place(&content, request.to).map_err(GetError::io("write", request.to))?;
    Ok(Got::Found)
}

/// The cluster whose data directory the file is for, else the one that we stand in.
fn cluster_of(place: &Place) -> Result<Option<Cluster>, GetError> {
    let here = || Place::of(Path::new("pg_wal/x")).ok()?.cluster();
    place
        .cluster()
        .or_else(here)
        .transpose()
        .map_err(GetError::ControlFile)
}

/// `None` if it has to be done without one.
fn by_fetcher(
    request: &GetRequest<'_>,
    name: &WalName,
    place: &Place,
    cluster: Option<Cluster>,
    door: &Door<'_>,
) -> Option<Got> {
    let start = request
        .fetcher
        .filter(|_| !request.partial && place.is_pg_wal())?;
    let system = cluster?.system;
    if request.system.is_some_and(|wanted| wanted != system) {
        return None;
    }
    let ask = Ask {
        file: name.text.clone(),
        system,
        vault: door.mark()?,
    };
    let ours = place.ours();
    let answer = state::make_folder(&ours).and_then(|()| client::ask(&ours, &ask, start));
    match answer {
        Ok(Answer::Here) => {
            let fetched = fetcher::folder_of(&ours).join(&name.text);
            fs::rename(fetched, request.to).ok().map(|()| Got::Found)
        }
        Ok(Answer::Absent) => Some(Got::NotFound),
        Ok(Answer::Failed) => None,
        Err(error) => {
            tracing::debug!(%error, "the fetcher did not answer");
            None
        }
    }
}
