//! Names of buckets, as far as a project tells them.

use std::collections::BTreeSet;

use crate::compose::{Project, Service};

/// Buckets that the store is told to make, that another service makes with `mc mb` or `aws s3 mb`, or that a variable
/// of another service names (`S3_BUCKET`, `UPLOADS_BUCKET_NAME`, …).
pub(super) fn of(project: &Project, store: &Service) -> Vec<String> {
    let mut buckets = BTreeSet::new();
    for list in ["MINIO_DEFAULT_BUCKETS", "RUSTFS_DEFAULT_BUCKETS"] {
        let list = store.value(list).unwrap_or_default();
        let names = list
            .split([',', ' '])
            .filter_map(|entry| entry.split(':').next());
        buckets.extend(names.filter(|name| is_bucket(name)).map(str::to_owned));
    }
    for service in &project.services {
        buckets.extend(made_by(&service.command));
        let names = service
            .environment
            .iter()
            .filter(|(name, _)| name.to_uppercase().contains("BUCKET"));
        let values = names.filter_map(|(_, variable)| variable.value.as_ref());
        let values = values
            .map(|value| value.expose())
            .filter(|value| is_bucket(value));
        buckets.extend(values.map(str::to_owned));
    }
    buckets.into_iter().collect()
}

/// Buckets after `mb` in a command line.
fn made_by(command: &[String]) -> Vec<String> {
    let words = command
        .iter()
        .flat_map(|word| word.split([' ', '\t', '\n', ';', '&']));
    let mut words = words.filter(|word| !word.is_empty());
    let mut buckets = Vec::new();
    while let Some(word) = words.next() {
        if word != "mb" {
            continue;
        }
        let Some(target) = words.by_ref().find(|word| !word.starts_with('-')) else {
            break;
        };
        let path = target.trim_matches(['"', '\'']);
        let path = path
            .strip_prefix("s3://")
            .or_else(|| Some(path.split_once('/')?.1));
        let name = path
            .unwrap_or_default()
            .split('/')
            .next()
            .unwrap_or_default();
        if is_bucket(name) {
            buckets.push(name.to_owned());
        }
    }
    buckets
}

/// Whether a text can be the name of a bucket. `true` and other settings of a store are none.
/// Source: Amazon S3, "Bucket naming rules".
fn is_bucket(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let edges = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    (3..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && edges(text.bytes().next())
        && edges(text.bytes().next_back())
        && !["true", "false", "auto", "path", "virtual", "none"].contains(&text)
        && !text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{Origin, Variable, Words};

    #[test]
    fn buckets_are_found_where_people_write_them() {
        let mut project = Project::new("p", "/p");
        let mut store = Service::new("minio");
        let variable = |text: &str| Variable::new(text, Origin::Written);
        store.environment.insert(
            "MINIO_DEFAULT_BUCKETS".into(),
            variable("first,second:public"),
        );
        let mut app = Service::new("app");
        app.environment
            .insert("AWS_STORAGE_BUCKET_NAME".into(), variable("media"));
        app.environment
            .insert("S3_BUCKET_LOOKUP".into(), variable("true"));
        app.environment
            .insert("BUCKET_URL".into(), variable("http://minio:9000/x"));
        let mut maker = Service::new("maker");
        let line = "mc alias set local http://minio:9000 a b && mc mb --ignore-existing local/made; exit 0";
        maker.command = Words(vec!["sh".into(), "-c".into(), line.into()]);
        project.services = vec![store.clone(), app, maker];
        assert_eq!(of(&project, &store), ["first", "made", "media", "second"]);
    }
}
