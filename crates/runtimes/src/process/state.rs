//! How a service is, as its supervisor wrote it down and as `/proc` shows it.

use super::{
    ProcessRuntime, failure,
    launch::is_watched,
    place::Place,
    record::{Phase, Policy, Record},
    services::Described,
};
use crate::{RunState, RuntimeError, ServiceState};

impl ProcessRuntime {
    pub(super) fn look(&self, service: &Described) -> Result<ServiceState, RuntimeError> {
        let mut state = ServiceState::absent(&service.name);
        state.depends_on.clone_from(&service.depends_on);
        let Some(run) = &service.run else {
            state.run = RunState::Unknown;
            state.why = Some("something else runs it".to_owned());
            return Ok(state);
        };
        state.restart_policy = Some(run.restart.to_string());
        let place = Place::of(&self.directory, &service.name);
        let told = observe(&place).map_err(failure("look at", &service.name))?;
        Ok(match told {
            None => ServiceState {
                run: RunState::Created,
                ..state
            },
            Some((record, is_watched)) => filled(state, &record, is_watched),
        })
    }
}

/// The record, and whether its supervisor lives, of one moment.
pub(super) fn observe(place: &Place) -> std::io::Result<Option<(Record, bool)>> {
    loop {
        let is_watched_before = is_watched(place)?;
        let record = Record::read(place)?;
        // It ended in between, and its last word may be newer than what was read.
        if is_watched_before && !is_watched(place)? {
            continue;
        }
        return Ok(record.map(|record| (record, is_watched_before)));
    }
}

pub(super) fn filled(mut state: ServiceState, record: &Record, is_watched: bool) -> ServiceState {
    let child = record.child.as_ref();
    let lives = child.is_some_and(|child| child.is_alive());
    state.since = Some(record.since);
    state.exit_code = record.exit_code;
    state.restarts = record.restarts;
    state.why.clone_from(&record.why);
    if let Some(child) = child.filter(|_| lives) {
        state.unit = format!("process {}", child.pid);
        // The code of an earlier end says nothing of what runs now.
        state.exit_code = None;
    }
    state.restart_policy = Some(
        match record.policy {
            Policy::No => "no",
            Policy::OnFailure => "on-failure",
            Policy::Always => "always",
        }
        .to_owned(),
    );
    state.run = match record.phase {
        Phase::Waiting if is_watched => RunState::Restarting,
        Phase::Running if lives && child.is_some_and(|child| child.is_stopped()) => {
            RunState::Paused
        }
        // It ended this moment, and its supervisor is about to say so.
        Phase::Running if lives || is_watched => RunState::Running,
        Phase::Running | Phase::Waiting => unwatched(&mut state, record),
        Phase::Stopped => RunState::Stopped,
        Phase::Failed => RunState::Failed,
    };
    if lives && !is_watched {
        state.why =
            Some("it runs, but its supervisor was killed: nobody would start it again".into());
    }
    state
}

/// The supervisor did not live to say how it ended.
fn unwatched(state: &mut ServiceState, record: &Record) -> RunState {
    state.exit_code = None;
    if record.supervisor.is_of_this_boot() {
        state.why = Some("its supervisor was killed, and it ended since".to_owned());
        RunState::Failed
    } else {
        state.why = Some("the machine was started anew since it ran".to_owned());
        RunState::Stopped
    }
}
