//! What a restored data directory is told, so that its server recovers to the target by itself.

use std::{fs, io, path::Path};

use rekindle_postgres::layout::TimelineHistory;
use rekindle_vault::durable;

use super::target::{RecoveryTarget, RestoreAtRequest, TargetAction, utc};

/// The settings that name a target. A server refuses to start when two of them are set, also when
/// one of them is left from an earlier recovery.
/// Source: PostgreSQL manual, "Recovery Target".
const TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
];

/// Settings that would act on this recovery, and were made for another one.
const OVERRIDDEN: [(&str, &str); 3] = [
    ("recovery_end_command", ""),
    ("archive_cleanup_command", ""),
    ("recovery_min_apply_delay", "0"),
];

/// All WAL that is needed lies in `pg_wal`, where a server looks when its command finds nothing:
/// an ordinary failure says just that. Source: PostgreSQL manual, "restore_command".
const NOTHING_MORE: &str = "false";

/// The settings as `name`, `value`.
pub(super) fn settings(
    request: &RestoreAtRequest,
    target: &RecoveryTarget,
    lineage: &TimelineHistory,
    raised: &[(String, u32)],
) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: String| all.push((name.to_owned(), value));
    set("restore_command", NOTHING_MORE.to_owned());
    set(
        "recovery_target_timeline",
        match target {
            // A consistent base backup lies on its own timeline by definition.
            RecoveryTarget::Consistent => "current".to_owned(),
            _ => lineage.timeline().to_string(),
        },
    );
    if let Some((name, value)) = setting_of(target) {
        set(name, value);
        let inclusive = if request.inclusive { "on" } else { "off" };
        set("recovery_target_inclusive", inclusive.to_owned());
        set("recovery_target_action", action(request.action).to_owned());
    }
    for (name, value) in OVERRIDDEN {
        set(name, value.to_owned());
    }
    if !request.keeps_archiving {
        set("archive_mode", "off".to_owned());
    }
    // A server that answers in the middle of its recovery shows a moment that nobody asked for, and
    // `pg_ctl -w` takes it for ready.
    if request.action != TargetAction::Pause {
        set("hot_standby", "off".to_owned());
    }
    // A server that pauses has to be readable, and then insists on as many as the source had.
    for (name, value) in raised {
        set(name, value.to_string());
    }
    all
}

/// Has the server of a directory replay what lies in its own `pg_wal`, and begin a timeline.
pub(crate) fn write_recovery_of_its_own(directory: &Path) -> io::Result<()> {
    let mut settings = vec![
        ("restore_command".to_owned(), NOTHING_MORE.to_owned()),
        ("recovery_target_timeline".to_owned(), "current".to_owned()),
    ];
    let overridden = OVERRIDDEN.map(|(name, value)| (name.to_owned(), value.to_owned()));
    settings.extend(overridden);
    write(directory, &settings, &RecoveryTarget::Latest)
}

fn setting_of(target: &RecoveryTarget) -> Option<(&'static str, String)> {
    Some(match target {
        RecoveryTarget::Latest => return None,
        RecoveryTarget::Consistent => ("recovery_target", "immediate".to_owned()),
        RecoveryTarget::Time(time) => ("recovery_target_time", utc(*time)),
        RecoveryTarget::Lsn(lsn) => ("recovery_target_lsn", lsn.to_string()),
        RecoveryTarget::Transaction(xid) => ("recovery_target_xid", xid.to_string()),
        RecoveryTarget::RestorePoint(name) => ("recovery_target_name", name.clone()),
    })
}

const fn action(action: TargetAction) -> &'static str {
    match action {
        TargetAction::Promote => "promote",
        TargetAction::Pause => "pause",
        TargetAction::Shutdown => "shutdown",
    }
}

/// Begins the settings of a recovery in `postgresql.auto.conf`; all that follows belongs to them,
/// until a server writes the file anew.
pub(crate) const TITLE: &str = "\n# Recovery to ";

/// Writes the settings to the end of `postgresql.auto.conf`, which is read last, and takes back
/// whatever else names a target.
pub(super) fn write(
    directory: &Path,
    settings: &[(String, String)],
    target: &RecoveryTarget,
) -> io::Result<()> {
    let path = directory.join("postgresql.auto.conf");
    let mut text = without_targets(&read(&path)?);
    let title = format!("{TITLE}{target}, written by rekindle\n");
    text.extend_from_slice(title.as_bytes());
    for (name, value) in settings {
        let line = format!("{name} = '{}'\n", value.replace('\'', "''"));
        text.extend_from_slice(line.as_bytes());
    }
    durable::replace(&path, &text, 0o600)?;
    let path = directory.join("postgresql.conf");
    let old = read(&path)?;
    let new = without_targets(&old);
    if new != old {
        durable::replace(&path, &new, 0o600)?;
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// The text, which may be in any encoding, with every line that names a target commented out.
fn without_targets(text: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if names_target(line) {
            result.extend_from_slice(b"#rekindle# ");
        }
        result.extend_from_slice(line);
    }
    if !result.is_empty() && !result.ends_with(b"\n") {
        result.push(b'\n');
    }
    result
}

fn names_target(line: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let name: Vec<u8> = line
        .trim_ascii_start()
        .iter()
        .copied()
        .take_while(is_of_name)
        .collect();
    TARGETS
        .iter()
        .any(|target| name.eq_ignore_ascii_case(target.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::wal::TimelineChoice;

    fn request(target: &str) -> RestoreAtRequest {
        RestoreAtRequest {
            service: "db".into(),
            point: None,
            target: target.parse().unwrap(),
            timeline: TimelineChoice::Latest,
            inclusive: false,
            action: TargetAction::Pause,
            keeps_archiving: false,
            to: "/x".into(),
            ownership: None,
            progress: Arc::default(),
        }
    }

    #[test]
    fn one_target_is_set_and_all_others_are_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        let old = "work_mem = '4MB'\n recovery_target_time = 'x'\nRECOVERY_TARGET_XID=7";
        durable::create(&path("postgresql.auto.conf"), old.as_bytes(), 0o600).unwrap();
        let conf = "recovery_target_name='old'\nrecovery_target_action = 'pause'\n";
        durable::create(&path("postgresql.conf"), conf.as_bytes(), 0o600).unwrap();
        let request = request("lsn:0/3000028");
        let settings = settings(
            &request,
            &request.target,
            &TimelineHistory::first(),
            &[("max_connections".into(), 200)],
        );
        write(directory.path(), &settings, &request.target).unwrap();
        let text = fs::read_to_string(path("postgresql.auto.conf")).unwrap();
        let set: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .collect();
        assert_eq!(
            set,
            [
                "work_mem = '4MB'",
                "restore_command = 'false'",
                "recovery_target_timeline = '1'",
                "recovery_target_lsn = '0/3000028'",
                "recovery_target_inclusive = 'off'",
                "recovery_target_action = 'pause'",
                "recovery_end_command = ''",
                "archive_cleanup_command = ''",
                "recovery_min_apply_delay = '0'",
                "archive_mode = 'off'",
                "max_connections = '200'",
            ]
        );
        let conf = fs::read_to_string(path("postgresql.conf")).unwrap();
        assert_eq!(
            conf,
            "#rekindle# recovery_target_name='old'\nrecovery_target_action = 'pause'\n"
        );
    }

    #[test]
    fn a_quote_in_a_name_cannot_end_the_value() {
        let directory = tempfile::tempdir().unwrap();
        let request = request("name:it's");
        let settings = settings(&request, &request.target, &TimelineHistory::first(), &[]);
        write(directory.path(), &settings, &request.target).unwrap();
        let text = fs::read_to_string(directory.path().join("postgresql.auto.conf")).unwrap();
        assert!(text.contains("recovery_target_name = 'it''s'\n"), "{text}");
    }
}
