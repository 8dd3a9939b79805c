//! How a service is said to be, from what systemd says of its unit. Nothing is asked here.

use super::facts::Facts;
use crate::{Condition, Dependency, Health, RunState, ServiceState};

/// The state of a service. `units` are the services of the stack with their units.
pub(super) fn state_of(
    service: &str,
    unit: &str,
    facts: &Facts,
    units: &[(String, String)],
) -> ServiceState {
    let mut state = ServiceState::absent(service);
    if facts.is_absent() {
        state.why = Some(format!("there is no unit {unit}"));
        return state;
    }
    state.run = run_of(facts);
    unit.clone_into(&mut state.unit);
    if is_starting(facts) {
        state.health = Health::Starting;
    }
    state.since = facts.moment("StateChangeTimestamp");
    state.exit_code =
        exit_code(facts).filter(|_| facts.is_down() || state.run == RunState::Restarting);
    state.restarts = u64::try_from(facts.number("NRestarts")).unwrap_or_default();
    let policy = facts.text("Restart");
    state.restart_policy = (!policy.is_empty()).then(|| policy.to_owned());
    state.depends_on = needs(service, facts, units);
    state.why = why(unit, facts, state.run);
    state
}

fn run_of(facts: &Facts) -> RunState {
    match (facts.text("ActiveState"), facts.text("SubState")) {
        ("activating", "auto-restart" | "auto-restart-queued") => RunState::Restarting,
        ("active" | "reloading" | "refreshing" | "activating" | "deactivating", _)
            if facts.is_frozen() =>
        {
            RunState::Paused
        }
        (
            "active" | "reloading" | "refreshing" | "activating" | "deactivating" | "maintenance",
            _,
        ) => RunState::Running,
        ("failed", _) => RunState::Failed,
        // Of one that rests and that nobody needs, systemd forgets that it ever ran.
        _ => RunState::Stopped,
    }
}

/// It said that it is not ready yet, or its `ExecStartPre` runs.
fn is_starting(facts: &Facts) -> bool {
    facts.text("ActiveState") == "activating" && run_of(facts) == RunState::Running
}

/// How its main process ended last, as shells count. Source: waitid(2): 1 for an exit, 2 and 3 for a signal.
fn exit_code(facts: &Facts) -> Option<i64> {
    facts.moment("ExecMainExitTimestamp")?;
    let status = facts.number("ExecMainStatus");
    match facts.number("ExecMainCode") {
        1 => Some(status),
        2 | 3 => Some(128 + status),
        _ => None,
    }
}

/// The services of the stack that its unit waits for. What it needs without an order (`Requires=` alone) systemd starts
/// beside it, and so nobody has to wait.
fn needs(service: &str, facts: &Facts, units: &[(String, String)]) -> Vec<Dependency> {
    let mut needs: Vec<Dependency> = Vec::new();
    for after in facts.texts("After") {
        let named = units
            .iter()
            .filter(|(name, unit)| unit == after && name != service);
        needs.extend(named.map(|(name, _)| Dependency {
            service: name.clone(),
            condition: Condition::Started,
        }));
    }
    needs.sort_by(|a, b| a.service.cmp(&b.service));
    needs
}

/// Why it is not as it should be, in one sentence.
fn why(unit: &str, facts: &Facts, run: RunState) -> Option<String> {
    let load = facts.text("LoadState");
    match (load, run) {
        ("masked", RunState::Running | RunState::Paused) => None,
        ("masked", _) => Some(format!("{unit} is masked: nobody can start it")),
        ("loaded" | "merged", RunState::Failed | RunState::Restarting) => Some(ended(facts)),
        ("loaded" | "merged", RunState::Stopped) if is_skipped(facts) => Some(SKIPPED.to_owned()),
        ("loaded" | "merged", RunState::Running) if is_starting(facts) => {
            Some(format!("it is starting ({})", facts.text("SubState")))
        }
        ("loaded" | "merged", _) => None,
        _ => {
            let words = facts
                .list("LoadError")
                .get(1)
                .and_then(serde_json::Value::as_str);
            let words = words.filter(|words| !words.is_empty()).unwrap_or(load);
            Some(format!("systemd cannot use {unit}: {words}"))
        }
    }
}

const SKIPPED: &str = "it was not started: a condition of its unit is not met";

/// Its start was asked for, and a `Condition…=` said no.
pub(super) fn is_skipped(facts: &Facts) -> bool {
    facts.moment("ConditionTimestamp").is_some() && !facts.is("ConditionResult") && facts.is_down()
}

/// How it ended, in one sentence. Source: systemd.exec(5), "$SERVICE_RESULT".
pub(super) fn ended(facts: &Facts) -> String {
    let status = facts.number("ExecMainStatus");
    match facts.text("Result") {
        "exit-code" => match special(status) {
            Some(words) => format!("ended with exit code {status}: {words}"),
            None => format!("ended with exit code {status}"),
        },
        "signal" => format!("was killed by signal {status}"),
        "core-dump" => format!("crashed by signal {status}, and left a core dump"),
        "timeout" => {
            "took longer to start or to stop than its unit allows, and was ended".to_owned()
        }
        "watchdog" => {
            "did not say in time that it is alive (WatchdogSec=), and was ended".to_owned()
        }
        "oom-kill" => "was killed since memory ran out".to_owned(),
        "start-limit-hit" => "failed so often in a short time that systemd gave it up".to_owned(),
        "protocol" => "did not do what the Type= of its unit promises".to_owned(),
        "resources" => "could not be run: something that its unit asks for is missing".to_owned(),
        "exec-condition" => "its ExecCondition= said that it should not run".to_owned(),
        "" | "success" => "failed".to_owned(),
        other => format!("failed: {other}"),
    }
}

/// Exit codes of systemd's own, before the program ran. Source: systemd.exec(5), "Process Exit Codes".
fn special(status: i64) -> Option<&'static str> {
    Some(match status {
        200 => "its WorkingDirectory= cannot be entered",
        203 => "its program cannot be run",
        209 => "its StandardOutput= cannot be opened",
        216 => "its Group= does not exist",
        217 => "its User= does not exist",
        226 => "its mounts and namespaces could not be made",
        238 => "its StateDirectory= could not be made",
        243 => "its credentials could not be read",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(facts: Value) -> ServiceState {
        let units = [("db", "pg.service"), ("web", "web.service")];
        let units = units.map(|(name, unit)| (name.to_owned(), unit.to_owned()));
        let mut all = json!({"LoadState": "loaded", "StateChangeTimestamp": 1_000_000});
        let entries = facts.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(entries);
        let facts = Facts(serde_json::from_value(all).unwrap());
        state_of("web", "web.service", &facts, &units)
    }

    #[test]
    fn states_are_those_of_the_unit() {
        for (active, sub, run) in [
            ("active", "running", RunState::Running),
            ("active", "exited", RunState::Running),
            ("reloading", "reload", RunState::Running),
            ("activating", "start", RunState::Running),
            ("activating", "auto-restart", RunState::Restarting),
            ("deactivating", "stop-sigterm", RunState::Running),
            ("inactive", "dead", RunState::Stopped),
            ("failed", "failed", RunState::Failed),
        ] {
            let found = state(json!({"ActiveState": active, "SubState": sub}));
            assert_eq!(found.run, run, "{active} {sub}");
        }
        let frozen = json!({"ActiveState": "active", "FreezerState": "frozen"});
        assert_eq!(state(frozen).run, RunState::Paused);
        let starting = state(json!({"ActiveState": "activating", "SubState": "start"}));
        assert_eq!(starting.health, Health::Starting);
        assert!(starting.why.unwrap().contains("start"));
    }

    #[test]
    fn a_failed_unit_says_how_it_ended() {
        for (result, code, status, exit, words) in [
            ("exit-code", 1, 3, Some(3), "exit code 3"),
            ("exit-code", 1, 203, Some(203), "cannot be run"),
            ("signal", 2, 9, Some(137), "signal 9"),
            ("core-dump", 3, 11, Some(139), "core dump"),
            ("oom-kill", 2, 9, Some(137), "memory"),
            ("start-limit-hit", 1, 1, Some(1), "gave it up"),
        ] {
            let found = state(json!({
                "ActiveState": "failed", "Result": result, "ExecMainCode": code,
                "ExecMainStatus": status, "ExecMainExitTimestamp": 5,
            }));
            assert_eq!(found.exit_code, exit, "{result}");
            assert!(found.why.as_ref().unwrap().contains(words), "{found:?}");
        }
    }

    #[test]
    fn absent_masked_wrong_and_skipped_units_are_told_apart() {
        assert_eq!(
            state(json!({"LoadState": "not-found"})).run,
            RunState::Absent
        );
        let masked = state(json!({"LoadState": "masked", "ActiveState": "inactive"}));
        assert!(masked.why.unwrap().contains("masked"));
        let running = state(json!({"LoadState": "masked", "ActiveState": "active"}));
        assert!(running.why.is_none());
        let wrong = state(json!({
            "LoadState": "bad-setting", "ActiveState": "inactive",
            "LoadError": ["org.freedesktop.systemd1.BadUnitSetting", "no ExecStart="],
        }));
        assert!(wrong.why.unwrap().contains("no ExecStart="));
        let skipped = state(json!({
            "ActiveState": "inactive", "ConditionTimestamp": 5, "ConditionResult": false,
        }));
        assert!(skipped.why.unwrap().contains("condition"));
    }

    #[test]
    fn needs_are_the_units_of_the_stack_that_it_comes_after() {
        let found = state(json!({
            "ActiveState": "active", "Requires": ["other.service"],
            "After": ["basic.target", "pg.service", "web.service"],
        }));
        let names: Vec<&str> = found
            .depends_on
            .iter()
            .map(|need| need.service.as_str())
            .collect();
        assert_eq!(names, ["db"]);
    }
}
