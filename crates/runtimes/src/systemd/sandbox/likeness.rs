//! What a second instance takes over from a unit, and what cannot be. Nothing is asked here.

use serde_json::Value;
use zbus::Variant;

use crate::systemd::{bus::Property, exec::other_root, facts::Facts};

/// The program's settings, as a transient unit is given them. Which are taken over is a list: what systemd learns to say of a
/// unit some day is not let into a sandbox unseen.
pub(super) fn settings(facts: &Facts) -> Vec<Property> {
    let texts = ["User", "Group", "NotifyAccess"].map(|name| (name, text(facts, name)));
    let lists = ["SupplementaryGroups", "Environment", "UnsetEnvironment"];
    let lists = lists.map(|name| (name, words(facts, name)));
    let numbers = NUMBERS.map(|name| (name, number(facts, name)));
    let small = ["UMask"].map(|name| (name, mask(facts, name)));
    let more = [
        ("EnvironmentFiles", environment_files(facts)),
        ("WorkingDirectory", directory(facts)),
        (
            "NoNewPrivileges",
            facts.is("NoNewPrivileges").then(|| true.into()),
        ),
    ];
    let all = texts.into_iter().chain(lists).chain(numbers).chain(small);
    let all = all.chain(more);
    all.filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// Limits and rights, each a number of 64 bits.
const NUMBERS: [&str; 8] = [
    "LimitNOFILE",
    "LimitNPROC",
    "LimitMEMLOCK",
    "LimitCORE",
    "CapabilityBoundingSet",
    "AmbientCapabilities",
    "MemoryMax",
    "TasksMax",
];

/// How it is started, with its own program and what comes before it.
pub(super) fn program(facts: &Facts) -> Vec<Property> {
    let kind = match facts.text("Type") {
        // Its name on the bus belongs to the live one.
        "dbus" | "" => "simple",
        kind => kind,
    };
    let mut all = vec![("Type", kind.to_owned().into())];
    if facts.is("RemainAfterExit") {
        all.push(("RemainAfterExit", true.into()));
    }
    for name in ["ExecStartPreEx", "ExecStartEx"] {
        let commands: Vec<Command> = facts.list(name).iter().filter_map(command).collect();
        if !commands.is_empty() {
            all.push((name, commands.into()));
        }
    }
    all
}

/// Path, arguments from the program's name on, flags.
type Command = (String, Vec<String>, Vec<String>);

fn command(written: &Value) -> Option<Command> {
    let list = |index: usize| -> Option<Vec<String>> {
        let texts = written.get(index)?.as_array()?.iter();
        Some(texts.filter_map(Value::as_str).map(str::to_owned).collect())
    };
    Some((written.get(0)?.as_str()?.to_owned(), list(1)?, list(2)?))
}

/// Why there can be no sandbox of a unit; `own_program` says whether its own program is to be run.
pub(super) fn refusal(facts: &Facts, own_program: bool) -> Option<String> {
    if let Some(root) = other_root(facts) {
        return Some(format!("its files are in a root of its own ({root})"));
    }
    if facts.is("DynamicUser") {
        return Some("its user exists only while it runs (DynamicUser=)".to_owned());
    }
    let credentials = ["LoadCredential", "LoadCredentialEncrypted", "SetCredential"];
    if credentials.iter().any(|name| !facts.list(name).is_empty()) {
        return Some("it is given credentials, which belong to the live unit alone".to_owned());
    }
    if !own_program {
        return None;
    }
    if facts.list("ExecStartEx").is_empty() {
        return Some("systemd does not tell what it runs (systemd 243 or newer does)".to_owned());
    }
    let mut commands = facts
        .list("ExecStartPreEx")
        .iter()
        .chain(facts.list("ExecStartEx"))
        .filter_map(command);
    let free = commands.find(|(_, _, flags)| flags.iter().any(|flag| flag == "privileged"));
    free.map(|(path, ..)| format!("it runs {path} with `+`, which no sandbox would hold"))
}

fn text(facts: &Facts, name: &str) -> Option<Variant<'static>> {
    let text = facts.text(name);
    (!text.is_empty()).then(|| text.to_owned().into())
}

fn words(facts: &Facts, name: &str) -> Option<Variant<'static>> {
    let words: Vec<String> = facts.texts(name).map(str::to_owned).collect();
    (!words.is_empty()).then(|| words.into())
}

fn number(facts: &Facts, name: &str) -> Option<Variant<'static>> {
    facts.0.get(name)?.as_u64().map(Into::into)
}

fn mask(facts: &Facts, name: &str) -> Option<Variant<'static>> {
    let mask = u32::try_from(facts.0.get(name)?.as_u64()?).ok()?;
    Some(mask.into())
}

/// Read with `!` before one that may be absent, and written with `-`.
fn directory(facts: &Facts) -> Option<Variant<'static>> {
    let written = facts.text("WorkingDirectory");
    let written = match written.strip_prefix('!') {
        Some(path) => format!("-{path}"),
        None => written.to_owned(),
    };
    (!written.is_empty()).then(|| written.into())
}

fn environment_files(facts: &Facts) -> Option<Variant<'static>> {
    let files = pairs(facts);
    (!files.is_empty()).then(|| files.into())
}

/// Files with variables, and whether each may be absent.
pub(super) fn pairs(facts: &Facts) -> Vec<(String, bool)> {
    let files = facts.list("EnvironmentFiles").iter();
    files
        .filter_map(|file| Some((file.get(0)?.as_str()?.to_owned(), file.get(1)?.as_bool()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(value: Value) -> Facts {
        Facts(serde_json::from_value(value).unwrap())
    }

    fn named<'a>(all: &'a [Property], name: &str) -> Option<&'a Variant<'static>> {
        all.iter().find(|(is, _)| *is == name).map(|(_, it)| it)
    }

    #[test]
    fn settings_of_the_program_are_taken_over_and_no_others() {
        let facts = facts(json!({
            "User": "www-data", "Environment": ["A=b c"], "LimitNOFILE": u64::MAX, "UMask": 18,
            "WorkingDirectory": "!/srv/web", "EnvironmentFiles": [["/etc/web", true]], "Type": "dbus", "BusName": "org.web",
            "StateDirectory": ["web"], "RuntimeDirectory": ["web"], "PIDFile": "/run/web.pid", "Slice": "web.slice",
            "ExecStartEx": [["/usr/bin/web", ["web", "$ARGS"], ["ignore-failure"], 0, 0, 0, 0, 0, 0, 0]],
        }));
        let all = [settings(&facts), program(&facts)].concat_all();
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let expected = [
            "User",
            "Environment",
            "LimitNOFILE",
            "UMask",
            "EnvironmentFiles",
            "WorkingDirectory",
            "Type",
            "ExecStartEx",
        ];
        assert_eq!(names, expected);
        assert_eq!(named(&all, "WorkingDirectory"), Some(&"-/srv/web".into()));
        assert_eq!(named(&all, "Type"), Some(&"simple".into()));
        assert_eq!(named(&all, "LimitNOFILE"), Some(&u64::MAX.into()));
    }

    trait ConcatAll {
        fn concat_all(self) -> Vec<Property>;
    }

    impl ConcatAll for [Vec<Property>; 2] {
        fn concat_all(self) -> Vec<Property> {
            self.into_iter().flatten().collect()
        }
    }

    #[test]
    fn what_no_sandbox_would_hold_is_refused_with_the_reason() {
        let run = |flags: &[&str]| json!([["/bin/web", ["web"], flags, 0, 0, 0, 0, 0, 0, 0]]);
        for (value, words) in [
            (json!({"RootDirectory": "/srv/root"}), "root of its own"),
            (json!({"DynamicUser": true}), "DynamicUser="),
            (
                json!({"LoadCredential": [["key", "/etc/key"]]}),
                "credentials",
            ),
            (
                json!({"ExecStartEx": run(&["privileged"])}),
                "/bin/web with `+`",
            ),
            (
                json!({"ExecStartEx": run(&[]), "ExecStartPreEx": run(&["privileged"])}),
                "with `+`",
            ),
            (json!({}), "does not tell what it runs"),
        ] {
            let why = refusal(&facts(value), true).unwrap();
            assert!(why.contains(words), "{why}");
        }
        assert_eq!(
            refusal(&facts(json!({"ExecStartEx": run(&[])})), true),
            None
        );
        let privileged = json!({"ExecStartEx": run(&["privileged"])});
        assert_eq!(refusal(&facts(privileged), false), None, "it is not run");
    }
}
