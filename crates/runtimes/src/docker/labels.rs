//! What Compose wrote onto its containers. Source: `pkg/api/labels.go` of docker/compose.

use std::collections::HashMap;

use crate::{Condition, Dependency};

/// The project a container belongs to.
pub(super) const PROJECT: &str = "com.docker.compose.project";
/// The service it is of.
pub(super) const SERVICE: &str = "com.docker.compose.service";
/// Which of the service's containers it is, from 1.
pub(super) const NUMBER: &str = "com.docker.compose.container-number";
/// `True` for what `compose run` made.
pub(super) const ONEOFF: &str = "com.docker.compose.oneoff";
/// What it waits for: `db:service_healthy:true,cache:service_started:false`. Compose 1 does not write it.
pub(super) const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// The Compose files, separated by commas.
pub(super) const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
/// The directory that paths in them are relative to.
pub(super) const WORKING_DIR: &str = "com.docker.compose.project.working_dir";

/// The labels of one container.
pub(super) type Labels = HashMap<String, String>;

/// The service that a container is of, if it is one of this project's own: the name counts as a whole, and what
/// was run once by hand does not.
pub(super) fn service_in<'a>(labels: &'a Labels, project: &str) -> Option<&'a str> {
    let is_of_project = labels.get(PROJECT).is_some_and(|name| name == project);
    let is_oneoff = labels
        .get(ONEOFF)
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if !is_of_project || is_oneoff {
        return None;
    }
    labels.get(SERVICE).map(String::as_str)
}

/// Which of its service's containers it is; the first, if it does not say.
pub(super) fn number(labels: &Labels) -> u64 {
    labels
        .get(NUMBER)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
}

/// What a container waits for, as its label says; `None` without the label.
pub(super) fn depends_on(labels: &Labels) -> Option<Vec<Dependency>> {
    let label = labels.get(DEPENDS_ON)?;
    let parts = label.split(',').filter(|part| !part.is_empty());
    Some(parts.map(dependency).collect())
}

fn dependency(part: &str) -> Dependency {
    let mut fields = part.split(':');
    let service = fields.next().unwrap_or_default().to_owned();
    Dependency {
        service,
        condition: condition(fields.next().unwrap_or_default()),
    }
}

/// What Compose calls a condition; one that we do not know is taken for that a service has started.
pub(super) fn condition(name: &str) -> Condition {
    match name {
        "service_healthy" => Condition::Healthy,
        "service_completed_successfully" => Condition::CompletedSuccessfully,
        _ => Condition::Started,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn a_project_whose_name_begins_alike_is_another_one() {
        let of = |project| labels(&[(PROJECT, project), (SERVICE, "db")]);
        assert_eq!(service_in(&of("shop"), "shop"), Some("db"));
        for other in ["shop2", "sho", "shop-staging", "Shop", ""] {
            assert_eq!(service_in(&of(other), "shop"), None, "{other}");
        }
    }

    #[test]
    fn what_was_run_once_by_hand_is_no_service() {
        for (value, counts) in [("True", false), ("true", false), ("False", true)] {
            let labels = labels(&[(PROJECT, "shop"), (SERVICE, "db"), (ONEOFF, value)]);
            assert_eq!(service_in(&labels, "shop").is_some(), counts, "{value}");
        }
    }

    #[test]
    fn dependencies_are_read_from_the_label() {
        let label = "db:service_healthy:true,cache:service_started:false,migrate:service_completed_successfully:false";
        let found = depends_on(&labels(&[(DEPENDS_ON, label)])).unwrap();
        let found: Vec<_> = found
            .into_iter()
            .map(|need| (need.service, need.condition))
            .collect();
        let expected = [
            ("db", Condition::Healthy),
            ("cache", Condition::Started),
            ("migrate", Condition::CompletedSuccessfully),
        ];
        assert_eq!(
            found,
            expected.map(|(name, condition)| (name.to_owned(), condition))
        );
        assert_eq!(depends_on(&labels(&[(DEPENDS_ON, "")])).unwrap().len(), 0);
        assert!(depends_on(&labels(&[])).is_none());
    }
}
