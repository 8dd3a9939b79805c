//! How a service is, from what the engine says of its containers. No I/O.

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status,
    HealthStatusEnum as HealthStatus,
};

use super::failure::cut;
use crate::{Dependency, Health, RunState, ServiceState};

/// Of a health check's output, so many characters are told.
const HEALTH_WORDS: usize = 300;

/// How one service is, whose containers these are: in the order of their numbers, at least one.
pub(super) fn state_of(
    name: &str,
    containers: &[ContainerInspectResponse],
    depends_on: Vec<Dependency>,
) -> ServiceState {
    let mut whole = ServiceState::absent(name);
    whole.depends_on = depends_on;
    // The one that is worst off tells how the service is.
    let Some(worst) = containers.iter().min_by_key(|container| rank(container)) else {
        return whole;
    };
    let (run, why) = run_of(worst);
    let state = worst.state.clone().unwrap_or_default();
    whole.run = run;
    whole.health = health_of(&state, run);
    whole.unit = containers
        .iter()
        .map(name_of)
        .collect::<Vec<_>>()
        .join(", ");
    whole.image = worst
        .config
        .as_ref()
        .and_then(|config| config.image.clone());
    whole.image_digest = worst.image.clone();
    whole.since = since(&state, run);
    whole.exit_code = state.exit_code.filter(|_| {
        matches!(
            run,
            RunState::Stopped | RunState::Failed | RunState::Restarting
        )
    });
    whole.restarts = containers
        .iter()
        .filter_map(|one| one.restart_count)
        .filter_map(|n| u64::try_from(n).ok())
        .sum();
    whole.restart_policy = Some(policy_of(worst));
    whole.why = why.or_else(|| match &whole.health {
        Health::Unhealthy { why } => Some(format!("its health check fails: {why}")),
        _ => None,
    });
    let like_it = containers
        .iter()
        .filter(|one| rank(one) == rank(worst))
        .count();
    if like_it < containers.len() {
        let why = whole
            .why
            .take()
            .unwrap_or_else(|| "not as the others".into());
        whole.why = Some(format!(
            "{like_it} of {} containers: {why}",
            containers.len()
        ));
    }
    whole
}

/// Whether a container runs, and why not, if it should. What the engine would have started again, and has not, was
/// stopped by somebody, however it ended.
pub(super) fn run_of(container: &ContainerInspectResponse) -> (RunState, Option<String>) {
    let (run, why) = run_of_state(container.state.as_ref());
    let is_kept_up = matches!(policy_of(container).as_str(), "always" | "unless-stopped");
    let has_exit_code = run == RunState::Failed
        && container.state.as_ref().is_some_and(|state| {
            state.status == Some(Status::EXITED)
                && state.oom_killed != Some(true)
                && !has_error(state)
        });
    if is_kept_up && has_exit_code {
        return (RunState::Stopped, None);
    }
    (run, why)
}

fn has_error(state: &ContainerState) -> bool {
    state.error.as_ref().is_some_and(|words| !words.is_empty())
}

fn run_of_state(state: Option<&ContainerState>) -> (RunState, Option<String>) {
    let Some(state) = state else {
        return (RunState::Unknown, None);
    };
    let error = state.error.clone().filter(|words| !words.is_empty());
    let code = state.exit_code.unwrap_or(0);
    match state.status {
        // What could not be started stays "created", and says why.
        Some(Status::CREATED) if error.is_some() => (RunState::Failed, error),
        Some(Status::CREATED) => (RunState::Created, None),
        // What is about to stop still does its work.
        Some(Status::RUNNING | Status::STOPPING) => (RunState::Running, None),
        Some(Status::PAUSED) => (RunState::Paused, None),
        Some(Status::RESTARTING) => (RunState::Restarting, Some(ended(state, code))),
        Some(Status::REMOVING) => (RunState::Failed, Some("it is being removed".into())),
        Some(Status::DEAD) => {
            let why = error.unwrap_or_else(|| "the engine could not remove it whole".into());
            (RunState::Failed, Some(why))
        }
        Some(Status::EXITED) if state.oom_killed == Some(true) || error.is_some() => {
            (RunState::Failed, error.or_else(|| Some(ended(state, code))))
        }
        // 0, or the signals by which services are stopped: SIGINT, SIGTERM. What was killed may have been stopped, too,
        // but then it was deaf; that it crashed must not be overlooked.
        Some(Status::EXITED) if [0, 130, 143].contains(&code) => (RunState::Stopped, None),
        Some(Status::EXITED) => (RunState::Failed, Some(ended(state, code))),
        _ => (RunState::Unknown, error),
    }
}

fn ended(state: &ContainerState, code: i64) -> String {
    if state.oom_killed == Some(true) {
        return "it was killed because its memory was used up".into();
    }
    format!("it ended with exit code {code}")
}

fn health_of(state: &ContainerState, run: RunState) -> Health {
    if run != RunState::Running {
        return Health::Unchecked;
    }
    let Some(health) = &state.health else {
        return Health::Unchecked;
    };
    match health.status {
        Some(HealthStatus::STARTING) => Health::Starting,
        Some(HealthStatus::HEALTHY) => Health::Healthy,
        Some(HealthStatus::UNHEALTHY) => {
            let last = health.log.as_ref().and_then(|log| log.last());
            let output = last
                .and_then(|check| check.output.as_deref())
                .unwrap_or_default();
            let code = last.and_then(|check| check.exit_code);
            let why = match (cut(output, HEALTH_WORDS), code) {
                (words, _) if !words.is_empty() => words,
                (_, Some(code)) => format!("exit code {code}"),
                (_, None) => "it said nothing".into(),
            };
            Health::Unhealthy { why }
        }
        _ => Health::Unchecked,
    }
}

/// 0 is worst.
fn rank(container: &ContainerInspectResponse) -> (u8, u8) {
    let (run, _) = run_of(container);
    let first = match run {
        RunState::Failed => 0,
        RunState::Restarting => 1,
        RunState::Paused => 2,
        RunState::Stopped => 3,
        RunState::Created => 4,
        RunState::Running => 5,
        RunState::Absent | RunState::Unknown => 6,
    };
    let state = container.state.clone().unwrap_or_default();
    let second = match health_of(&state, run) {
        Health::Unhealthy { .. } => 0,
        Health::Starting => 1,
        Health::Healthy | Health::Unchecked => 2,
    };
    (first, second)
}

fn since(state: &ContainerState, run: RunState) -> Option<jiff::Timestamp> {
    let text = match run {
        RunState::Running | RunState::Paused => state.started_at.as_ref(),
        RunState::Stopped | RunState::Failed | RunState::Restarting => state.finished_at.as_ref(),
        RunState::Absent | RunState::Created | RunState::Unknown => None,
    };
    let time: jiff::Timestamp = text?.parse().ok()?;
    // What never happened is told as the year 1.
    (time > jiff::Timestamp::UNIX_EPOCH).then_some(time)
}

/// The container's name without the engine's leading slash.
pub(super) fn name_of(container: &ContainerInspectResponse) -> String {
    let name = container.name.as_deref().unwrap_or_default();
    name.trim_start_matches('/').to_owned()
}

fn policy_of(container: &ContainerInspectResponse) -> String {
    let host = container.host_config.as_ref();
    let policy = host
        .and_then(|host| host.restart_policy.as_ref())
        .and_then(|policy| policy.name);
    let name = policy.map(|policy| policy.to_string()).unwrap_or_default();
    if name.is_empty() { "no".into() } else { name }
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerConfig, HealthcheckResult};

    use super::*;

    fn container(
        status: Status,
        change: impl FnOnce(&mut ContainerState),
    ) -> ContainerInspectResponse {
        let mut state = ContainerState {
            status: Some(status),
            ..ContainerState::default()
        };
        change(&mut state);
        ContainerInspectResponse {
            name: Some("/shop_db_1".into()),
            image: Some("sha256:12".into()),
            config: Some(ContainerConfig {
                image: Some("postgres:15".into()),
                ..ContainerConfig::default()
            }),
            state: Some(state),
            ..ContainerInspectResponse::default()
        }
    }

    fn of(containers: &[ContainerInspectResponse]) -> ServiceState {
        state_of("db", containers, Vec::new())
    }

    #[test]
    fn a_stopped_service_is_told_from_one_that_failed() {
        let ended = |code| {
            of(&[container(Status::EXITED, |state| {
                state.exit_code = Some(code)
            })])
        };
        for code in [0, 130, 143] {
            assert_eq!(ended(code).run, RunState::Stopped, "{code}");
        }
        assert_eq!(ended(137).run, RunState::Failed, "killed");
        let failed = ended(1);
        assert_eq!(failed.run, RunState::Failed);
        assert_eq!(failed.exit_code, Some(1));
        assert_eq!(failed.why.unwrap(), "it ended with exit code 1");
    }

    #[test]
    fn what_the_engine_keeps_up_and_does_not_run_was_stopped_by_somebody() {
        let mut kept_up = container(Status::EXITED, |state| state.exit_code = Some(137));
        kept_up.host_config = Some(bollard::models::HostConfig {
            restart_policy: Some(bollard::models::RestartPolicy {
                name: Some(bollard::models::RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            ..Default::default()
        });
        assert_eq!(of(std::slice::from_ref(&kept_up)).run, RunState::Stopped);
        kept_up.state.as_mut().unwrap().oom_killed = Some(true);
        assert_eq!(of(&[kept_up]).run, RunState::Failed);
    }

    #[test]
    fn one_that_ran_out_of_memory_failed_and_says_so() {
        let state = of(&[container(Status::EXITED, |state| {
            state.exit_code = Some(137);
            state.oom_killed = Some(true);
        })]);
        assert_eq!(state.run, RunState::Failed);
        assert!(state.why.unwrap().contains("memory"));
    }

    #[test]
    fn one_that_could_not_be_started_says_why() {
        let state = of(&[container(Status::CREATED, |state| {
            state.error = Some("port is taken".into())
        })]);
        assert_eq!(
            (state.run, state.why.as_deref()),
            (RunState::Failed, Some("port is taken"))
        );
    }

    #[test]
    fn an_unhealthy_one_repeats_the_last_words_of_its_check() {
        let check = |words: &str| HealthcheckResult {
            output: Some(words.into()),
            ..HealthcheckResult::default()
        };
        let state = of(&[container(Status::RUNNING, |state| {
            state.health = Some(bollard::models::Health {
                status: Some(HealthStatus::UNHEALTHY),
                log: Some(vec![check("old"), check(&"x".repeat(5000))]),
                ..Default::default()
            });
        })]);
        let Health::Unhealthy { why } = &state.health else {
            panic!("{state:?}")
        };
        assert_eq!(why.chars().count(), HEALTH_WORDS + 1);
        assert!(why.starts_with("xxx"));
    }

    #[test]
    fn of_several_containers_the_one_that_is_worst_off_counts() {
        let running = || container(Status::RUNNING, |_| ());
        let state = of(&[
            running(),
            container(Status::EXITED, |state| state.exit_code = Some(3)),
            running(),
        ]);
        assert_eq!(state.run, RunState::Failed);
        assert_eq!(
            state.why.unwrap(),
            "1 of 3 containers: it ended with exit code 3"
        );
        assert_eq!(of(&[running(), running()]).run, RunState::Running);
        assert_eq!(of(&[running(), running()]).why, None);
    }

    #[test]
    fn the_year_one_is_no_time() {
        let state = of(&[container(Status::RUNNING, |state| {
            state.started_at = Some("0001-01-01T00:00:00Z".into())
        })]);
        assert_eq!(state.since, None);
    }
}
