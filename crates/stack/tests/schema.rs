//! The JSON Schema in `docs/` is the one that the types give, and names the keys that are read.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up should fail"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rekindle_stack::Stack;

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rekindle.schema.json")
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    let generated = rekindle_stack::json_schema();
    if std::env::var_os("UPDATE").is_some() {
        let mut file = std::fs::File::create(committed()).unwrap();
        std::io::Write::write_all(&mut file, format!("{generated:#}\n").as_bytes()).unwrap();
    }
    let text = std::fs::read_to_string(committed()).unwrap();
    // As values: the order of keys depends on how serde_json was built.
    let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(
        stored == generated,
        "docs/rekindle.schema.json is old; run this test with UPDATE=1"
    );
}

/// Every mapping of the schema, with what is needed to get the reader to list its keys.
#[test]
fn the_reader_knows_exactly_the_keys_of_the_schema() {
    let schema = rekindle_stack::json_schema();
    let keys = |pointer: &str| {
        let properties = schema
            .pointer(pointer)
            .and_then(|v| v["properties"].as_object());
        let keys = properties
            .unwrap_or_else(|| panic!("{pointer}"))
            .keys()
            .cloned();
        keys.collect::<BTreeSet<String>>()
    };
    let base = "stack: s\nvault: {at: v, password_env: P}\n";
    let services = "services: {a: {stateless: true}}\n";
    let mut cases = vec![
        ("".to_owned(), format!("{base}{services}qqqqqq: 1")),
        (
            "/$defs/Vault".to_owned(),
            format!("stack: s\nvault: {{qqqqqq: 1}}\n{services}"),
        ),
        (
            "/$defs/VaultCopy".to_owned(),
            format!("stack: s\nvault: {{copies: [{{qqqqqq: 1}}]}}\n{services}"),
        ),
        (
            "/$defs/ObjectLock".to_owned(),
            format!("stack: s\nvault: {{object_lock: {{qqqqqq: 1}}}}\n{services}"),
        ),
        (
            "/$defs/Service".to_owned(),
            format!("{base}services: {{a: {{qqqqqq: 1}}}}"),
        ),
        (
            "/$defs/HealthCheck".to_owned(),
            format!("{base}services: {{a: {{health: {{qqqqqq: 1}}}}}}"),
        ),
        (
            "/$defs/Run".to_owned(),
            format!("{base}services: {{a: {{run: {{qqqqqq: 1}}}}}}"),
        ),
        (
            "/$defs/EqualsKeys".to_owned(),
            format!("{base}{services}checks: [{{equals: {{qqqqqq: 1}}}}]"),
        ),
        (
            "/$defs/Retention".to_owned(),
            format!("{base}{services}retention: {{qqqqqq: 1}}"),
        ),
        (
            "/$defs/TripwireLimits".to_owned(),
            format!("{base}{services}tripwire: {{qqqqqq: 1}}"),
        ),
        (
            "/$defs/EnvFile".to_owned(),
            format!("{base}{services}env: {{qqqqqq: 1}}"),
        ),
    ];
    for (list, definition) in [
        ("schedule", "ScheduledTask"),
        ("checks", "Check"),
        ("notify", "Notification"),
        ("contacts", "Contact"),
    ] {
        cases.push((
            format!("/$defs/{definition}"),
            format!("{base}{services}{list}: [{{qqqqqq: 1}}]"),
        ));
    }
    for (index, kind) in ["postgres", "redis", "s3", "meilisearch", "files"]
        .iter()
        .enumerate()
    {
        let text = format!("{base}services: {{a: {{datasets: [{{kind: {kind}, qqqqqq: 1}}]}}}}");
        cases.push((format!("/$defs/Dataset/oneOf/{index}"), text));
    }
    for (index, kind) in ["compose", "kubernetes", "systemd", "process"]
        .iter()
        .enumerate()
    {
        let text = format!("{base}{services}runtime: {{kind: {kind}, qqqqqq: 1}}");
        cases.push((format!("/$defs/Runtime/oneOf/{index}"), text));
    }
    for (pointer, text) in cases {
        let errors = Stack::parse(&text, Path::new("r.yaml")).unwrap_err();
        let unknown = errors
            .problems()
            .iter()
            .find(|p| p.message.contains("unknown key `qqqqqq`"));
        let help = unknown
            .and_then(|problem| problem.help.clone())
            .unwrap_or_else(|| panic!("{errors}"));
        let help = help
            .strip_prefix("known keys: ")
            .unwrap_or_else(|| panic!("{help}"));
        let known = help
            .split(", ")
            .map(|key| key.trim_matches('`').to_owned())
            .collect();
        assert_eq!(keys(&pointer), known, "{pointer}");
    }
}

#[test]
fn the_guide_names_every_key() {
    fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        if let Some(properties) = value.get("properties").and_then(|p| p.as_object()) {
            found.extend(properties.keys().cloned());
        }
        match value {
            serde_json::Value::Object(map) => map.values().for_each(|value| keys(value, found)),
            serde_json::Value::Array(items) => items.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let mut all = BTreeSet::new();
    keys(&rekindle_stack::json_schema(), &mut all);
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/configuration.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let absent: Vec<_> = all
        .iter()
        .filter(|key| !guide.contains(&format!("`{key}`")))
        .collect();
    assert!(
        absent.is_empty(),
        "docs/guides/configuration.md lacks {absent:?}"
    );
}

/// The examples of the guide, each the whole file or a section of it.
#[test]
fn the_examples_of_the_guide_are_right() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/configuration.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let blocks: Vec<&str> = guide
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 10, "only {} examples", blocks.len());
    for block in blocks {
        let has = |key: &str| {
            block
                .lines()
                .any(|line| line.starts_with(&format!("{key}:")))
        };
        let mut text = block.to_owned();
        for (key, rest) in [
            ("stack", "stack: s\n"),
            ("vault", "vault: {at: v, password_env: P}\n"),
            (
                "services",
                "services: {postgres: {datasets: [{kind: postgres, url: 'postgres://h'}]}}\n",
            ),
        ] {
            if !has(key) {
                text.push_str(rest);
            }
        }
        let read = Stack::parse(&text, Path::new("guide.yaml"));
        read.unwrap_or_else(|e| panic!("{e}\n{text}"));
    }
}
