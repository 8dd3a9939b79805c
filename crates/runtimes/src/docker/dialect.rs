//! What Podman says otherwise than Docker. No I/O.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;

/// The states that Docker's API knows.
const STATES: [&str; 8] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
    "stopping",
];

/// Takes an answer about containers as it is meant, where a state in it has a name of Podman's own: `stopped` is one
/// that has ended and was not cleaned up after yet, for moments, or for good if whoever watched over it was killed.
/// Source: issues 17728 (answers about one container, up to 4.4) and 28359 (lists, later ones too) of Podman, and
/// its `libpod/define/containerstate.go`.
pub(super) fn understood<T: DeserializeOwned>(answer: Result<T, Failure>) -> Result<T, Failure> {
    let Err(Failure::JsonDataError { contents, .. }) = &answer else {
        return answer;
    };
    let Ok(mut said) = serde_json::from_str::<Value>(contents) else {
        return answer;
    };
    match &mut said {
        Value::Array(listed) => listed.iter_mut().for_each(rename),
        one => rename(one),
    }
    match serde_json::from_value(said) {
        Ok(meant) => Ok(meant),
        Err(_) => answer,
    }
}

/// A container that is listed has its state as a word; one that was asked for, in a table.
fn rename(container: &mut Value) {
    let state = match container.get_mut("State") {
        Some(Value::Object(state)) => state.get_mut("Status"),
        other => other,
    };
    if let Some(Value::String(word)) = state
        && !STATES.contains(&word.as_str())
    {
        *word = match word.as_str() {
            "stopped" => "exited",
            "configured" | "initialized" => "created",
            // Shown as unknown.
            _ => "",
        }
        .into();
    }
}

/// What Podman writes in a command's place if it could not be run. With exit code 126 or 127 it is no word of the
/// command's own. Source: `libpod/define/errors.go` and `exec_codes.go` of Podman.
pub(super) fn is_refusal(first_complaint: &[u8]) -> bool {
    let text = String::from_utf8_lossy(first_complaint);
    text.starts_with("Error: ")
        && ["OCI runtime", "OCI permission"]
            .iter()
            .any(|it| text.contains(it))
}

#[cfg(test)]
mod tests {
    use bollard::models::{
        ContainerInspectResponse, ContainerStateStatusEnum as Status, ContainerSummary,
    };
    use serde_json::json;

    use super::*;

    fn answered<T: DeserializeOwned>(said: &Value) -> Result<T, Failure> {
        understood(
            serde_json::from_value(said.clone()).map_err(|error| Failure::JsonDataError {
                message: error.to_string(),
                contents: said.to_string(),
                column: 0,
            }),
        )
    }

    fn status(word: &str) -> Option<Status> {
        let said = json!({ "Id": "7", "State": { "Status": word, "ExitCode": 3 } });
        let meant: ContainerInspectResponse = answered(&said).unwrap();
        assert_eq!(meant.state.as_ref().unwrap().exit_code, Some(3));
        meant.state.unwrap().status
    }

    #[test]
    fn states_of_podman_are_taken_as_they_are_meant() {
        assert_eq!(status("stopped"), Some(Status::EXITED));
        assert_eq!(status("initialized"), Some(Status::CREATED));
        assert_eq!(status("running"), Some(Status::RUNNING));
        assert_eq!(status("improper"), Some(Status::EMPTY));
        let listed = json!([{ "Id": "7", "State": "stopped" }, { "Id": "8", "State": "running" }]);
        let meant: Vec<ContainerSummary> = answered(&listed).unwrap();
        assert_eq!(meant.len(), 2);
    }

    #[test]
    fn another_mistake_stays_one_and_shows_nothing_of_what_was_said() {
        let said = json!({ "Config": { "Env": ["P=geheim"], "Labels": 7 } });
        let error = answered::<ContainerInspectResponse>(&said).unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }

    #[test]
    fn a_command_that_could_not_be_run_is_told_from_one_that_complains() {
        let words = "Error: runc: exec failed: … executable file not found in $PATH: OCI runtime attempted to invoke a \
                     command that was not found\n";
        assert!(is_refusal(words.as_bytes()));
        assert!(!is_refusal(b"Error: no such table\n"));
    }
}
