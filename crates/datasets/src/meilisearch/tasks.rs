//! Waiting for tasks: the server queues them, and may be restarted meanwhile.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    MeilisearchError,
    client::{Client, Task},
};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A server that is being restarted answers again within this.
const RESTART: Duration = Duration::from_secs(120);

/// Waits until a task has succeeded, at most `limit`, and returns it with its details. A server that does not answer
/// for a while is asked again: tasks survive its restart.
pub(super) fn wait_for(
    client: &Client,
    task: &Task,
    limit: Duration,
) -> Result<Task, MeilisearchError> {
    let begun = Instant::now();
    let mut answered = Instant::now();
    let mut last = task.clone();
    let mut pause = FIRST_PAUSE;
    loop {
        match last.status.as_str() {
            "succeeded" => return Ok(last),
            "failed" | "canceled" => return Err(failed(&last)),
            _ if begun.elapsed() > limit => {
                return Err(MeilisearchError::TaskTooLong {
                    task: last.uid,
                    kind: last.kind,
                    status: last.status,
                    limit_seconds: limit.as_secs(),
                });
            }
            _ => {}
        }
        sleep(pause.min(limit.saturating_sub(begun.elapsed())));
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        match client.task(task.uid) {
            Ok(task) => (last, answered) = (task, Instant::now()),
            Err(error) if error.may_pass() && answered.elapsed() < RESTART.min(limit) => {
                tracing::debug!(%error, "the server does not tell of its task; asked again");
            }
            Err(error) => return Err(error),
        }
    }
}

fn failed(task: &Task) -> MeilisearchError {
    let error = task.error.as_ref();
    let message = error.and_then(|error| error["message"].as_str());
    MeilisearchError::Task {
        task: task.uid,
        kind: task.kind.clone(),
        status: task.status.clone(),
        message: message.unwrap_or("it does not say why").to_owned(),
    }
}
