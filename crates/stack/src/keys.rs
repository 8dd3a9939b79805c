//! The keys of `rekindle.yaml`, by what may be shown of their values.

/// Keys whose value may be shown in an error. A key that is not here, misspelt ones above all,
/// may hold a secret, and its value is shown as `***`.
pub(crate) const OPEN_KEYS: &[&str] = &[
    "after_backup",
    "allow",
    "at",
    "before_backup",
    "bin_dir",
    "buckets",
    "bus",
    "ca_file",
    "cert_file",
    "changed",
    "command",
    "compression",
    "context",
    "credentials_env",
    "credentials_file",
    "daily",
    "data_directory",
    "database",
    "days",
    "depends_on",
    "directory",
    "do",
    "download_limit",
    "dump_directory",
    "during_backup",
    "encrypted",
    "encryption",
    "endpoint",
    "env_file",
    "escrow",
    "every",
    "exclude",
    "expect",
    "file",
    "files",
    "gone",
    "hook_limit",
    "hourly",
    "http",
    "include",
    "keep_tags",
    "key_env",
    "key_file",
    "kind",
    "last",
    "level",
    "log",
    "logical",
    "method",
    "mode",
    "monthly",
    "name",
    "namespace",
    "object_lock",
    "on",
    "one_file_system",
    "optional",
    "optional_paths",
    "pack_size",
    "parity",
    "password_env",
    "password_file",
    "path_style",
    "paths",
    "physical",
    "pid_file",
    "point",
    "pre_change",
    "priority",
    "project",
    "reach",
    "rebuild",
    "region",
    "restart",
    "retry_for",
    "role",
    "rpo",
    "rto",
    "scenario",
    "service",
    "sql",
    "ssh_config",
    "stack",
    "start_command",
    "start_limit",
    "stateless",
    "stop_command",
    "stop_signal",
    "storage_class",
    "tags",
    "task_limit",
    "tcp",
    "unit",
    "upload_limit",
    "url",
    "user",
    "versions",
    "wal",
    "wal_slot",
    "wal_spool",
    "wal_spool_limit",
    "wal_synchronous",
    "webhook_env",
    "webhook_file",
    "weekly",
    "yearly",
];

/// Keys that hold nothing but other keys.
pub(crate) const SECTION_KEYS: &[&str] = &[
    "checks",
    "contacts",
    "copies",
    "datasets",
    "env",
    "equals",
    "health",
    "notify",
    "retention",
    "run",
    "runtime",
    "schedule",
    "services",
    "store",
    "tripwire",
    "vault",
];

/// Keys that hold a secret.
pub(crate) const SECRET_KEYS: &[&str] = &["credentials", "key", "password", "webhook"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_lists_are_those_of_the_schema() {
        fn keys(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
            if let Some(properties) = value.get("properties").and_then(|p| p.as_object()) {
                found.extend(properties.keys().cloned());
            }
            match value {
                serde_json::Value::Object(map) => map.values().for_each(|value| keys(value, found)),
                serde_json::Value::Array(items) => {
                    items.iter().for_each(|value| keys(value, found))
                }
                _ => {}
            }
        }
        let mut in_schema = std::collections::BTreeSet::new();
        keys(&crate::json_schema(), &mut in_schema);
        let lists = [OPEN_KEYS, SECTION_KEYS, SECRET_KEYS].concat();
        assert_eq!(
            in_schema,
            lists.iter().map(|key| (*key).to_owned()).collect()
        );
    }
}
