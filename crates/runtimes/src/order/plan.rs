//! The order: services in levels, each level after those it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rekindle_stack::{HealthCheck, Service, Stack};

use crate::{Condition, Dependency, ServiceState};

/// Services in an order in which they can be started. Stopping goes the other way.
#[derive(Clone, Debug)]
pub struct Plan {
    levels: Vec<Vec<Step>>,
}

/// One service of a [`Plan`].
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name.
    pub service: String,
    /// What it needs, and how far that must be.
    pub needs: Vec<Dependency>,
    /// Whether the stack is well without it.
    pub optional: bool,
    /// How long it may take from its start until it is well.
    pub limit: Duration,
    /// How it is asked whether it is well, where the runtime does not know.
    pub health: Option<HealthCheck>,
    /// When it is done.
    pub goal: Goal,
}

/// When the start of a service is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Once it is well.
    Well,
    /// Once it ended with exit code 0: others wait for that.
    Completed,
}

/// Why there is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Services need each other.
    #[error("services need each other: {}", members.join(" → "))]
    Cycle {
        /// Each needs the next; the last is the first.
        members: Vec<String>,
    },
    /// There is no service of that name.
    #[error("there is no service `{service}`; there are {known}")]
    Unknown {
        /// What was asked for.
        service: String,
        /// What there is, in words.
        known: String,
    },
}

impl OrderError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let Self::Cycle { .. } = self else {
            return None;
        };
        Some("one of them must start without the other: see `depends_on` in rekindle.yaml and in the compose file, or `After=` of the units".to_owned())
    }
}

impl Plan {
    /// All services of the configuration and of the runtime. What either of them says that a
    /// service needs counts; that something has to complete counts before that it has to be well.
    ///
    /// A need that is nowhere becomes a step as well: that it is absent shows when the plan is
    /// carried out, and keeps only those from starting that need it.
    ///
    /// # Errors
    /// [`OrderError::Cycle`].
    pub fn of(stack: &Stack, known: &[ServiceState]) -> Result<Self, OrderError> {
        let mut steps: BTreeMap<String, Step> = BTreeMap::new();
        for service in &stack.services {
            steps.insert(service.name.to_string(), step_of(service));
        }
        for state in known {
            let step = steps
                .entry(state.name.clone())
                .or_insert_with(|| bare(&state.name));
            state
                .depends_on
                .iter()
                .for_each(|need| add(&mut step.needs, need));
        }
        let named: BTreeSet<String> = needs_of(&steps).map(|need| need.service.clone()).collect();
        for name in named {
            steps.entry(name.clone()).or_insert_with(|| bare(&name));
        }
        let completing: BTreeSet<String> = needs_of(&steps)
            .filter(|need| need.condition == Condition::CompletedSuccessfully)
            .map(|need| need.service.clone())
            .collect();
        for name in &completing {
            if let Some(step) = steps.get_mut(name) {
                step.goal = Goal::Completed;
            }
        }
        Self::levelled(steps)
    }

    fn levelled(mut waiting: BTreeMap<String, Step>) -> Result<Self, OrderError> {
        let mut levels = Vec::new();
        while !waiting.is_empty() {
            let is_ready = |step: &Step| {
                !step
                    .needs
                    .iter()
                    .any(|need| waiting.contains_key(&need.service))
            };
            let ready: Vec<String> = waiting
                .values()
                .filter(|step| is_ready(step))
                .map(|step| step.service.clone())
                .collect();
            if ready.is_empty() {
                return Err(OrderError::Cycle {
                    members: cycle(&waiting),
                });
            }
            levels.push(
                ready
                    .iter()
                    .filter_map(|name| waiting.remove(name))
                    .collect(),
            );
        }
        Ok(Self { levels })
    }

    /// The levels: what is in one needs only what is in those before it.
    #[must_use]
    pub fn levels(&self) -> &[Vec<Step>] {
        &self.levels
    }

    /// All steps, level by level.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.levels.iter().flatten()
    }

    /// The part of the plan with these services alone, in its order.
    ///
    /// # Errors
    /// [`OrderError::Unknown`].
    pub fn only(&self, services: &[String]) -> Result<Self, OrderError> {
        services
            .iter()
            .try_for_each(|name| self.find(name).map(drop))?;
        Ok(self.part(|step| services.contains(&step.service)))
    }

    /// The part with these services, and with all that they need.
    ///
    /// # Errors
    /// [`OrderError::Unknown`].
    pub fn with_needs(&self, services: &[String]) -> Result<Self, OrderError> {
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        let mut open: Vec<String> = services.to_vec();
        while let Some(name) = open.pop() {
            let step = self.find(&name)?;
            if wanted.insert(name) {
                open.extend(step.needs.iter().map(|need| need.service.clone()));
            }
        }
        Ok(self.part(|step| wanted.contains(&step.service)))
    }

    fn find(&self, name: &str) -> Result<&Step, OrderError> {
        let found = self.steps().find(|step| step.service == name);
        found.ok_or_else(|| OrderError::Unknown {
            service: name.to_owned(),
            known: self
                .steps()
                .map(|step| step.service.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    fn part(&self, keep: impl Fn(&Step) -> bool) -> Self {
        let levels = self.levels.iter();
        let levels = levels.map(|level| level.iter().filter(|step| keep(step)).cloned().collect());
        let levels: Vec<Vec<Step>> = levels.collect();
        Self {
            levels: levels
                .into_iter()
                .filter(|level| !level.is_empty())
                .collect(),
        }
    }
}

fn needs_of(steps: &BTreeMap<String, Step>) -> impl Iterator<Item = &Dependency> {
    steps.values().flat_map(|step| &step.needs)
}

fn step_of(service: &Service) -> Step {
    Step {
        needs: crate::process::needs(service),
        optional: service.optional,
        limit: service.start_limit(),
        health: service.health.clone(),
        ..bare(&service.name)
    }
}

/// A service of which the configuration says nothing.
fn bare(name: &str) -> Step {
    Step {
        service: name.to_owned(),
        needs: Vec::new(),
        optional: false,
        limit: Service::DEFAULT_START_LIMIT,
        health: None,
        goal: Goal::Well,
    }
}

/// Adds a need, or makes one that is there the stronger of the two.
fn add(needs: &mut Vec<Dependency>, need: &Dependency) {
    let strength = |condition: Condition| match condition {
        Condition::Started => 0,
        Condition::Healthy => 1,
        Condition::CompletedSuccessfully => 2,
    };
    match needs.iter_mut().find(|known| known.service == need.service) {
        Some(known) if strength(known.condition) < strength(need.condition) => {
            known.condition = need.condition;
        }
        Some(_) => {}
        None => needs.push(need.clone()),
    }
}

/// A cycle among steps of which each waits for another one.
fn cycle(waiting: &BTreeMap<String, Step>) -> Vec<String> {
    let next = |name: &String| {
        let needs = waiting.get(name).map_or(&[][..], |step| &step.needs);
        needs
            .iter()
            .find(|need| waiting.contains_key(&need.service))
    };
    let mut path: Vec<String> = waiting.keys().take(1).cloned().collect();
    while let Some(need) = path.last().and_then(next) {
        if let Some(start) = path.iter().position(|name| *name == need.service) {
            let mut members = path.split_off(start);
            members.push(need.service.clone());
            return members;
        }
        path.push(need.service.clone());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn stack(services: &str) -> Stack {
        let text = format!("stack: s\nvault: {{at: v, password_env: P}}\nservices: {{{services}}}");
        Stack::parse(&text, Path::new("r.yaml")).unwrap().stack
    }

    fn known(name: &str, needs: &[(&str, Condition)]) -> ServiceState {
        let needs = needs.iter().map(|(service, condition)| Dependency {
            service: (*service).to_owned(),
            condition: *condition,
        });
        ServiceState {
            depends_on: needs.collect(),
            ..ServiceState::absent(name)
        }
    }

    fn names(plan: &Plan) -> Vec<Vec<&str>> {
        plan.levels()
            .iter()
            .map(|l| l.iter().map(|s| s.service.as_str()).collect())
            .collect()
    }

    const STACK: &str = "api: {stateless: true, depends_on: [db, cache]}, db: {stateless: true}, \
        cache: {stateless: true}, page: {stateless: true, depends_on: [api]}";

    #[test]
    fn each_level_needs_only_those_before_it() {
        let plan = Plan::of(&stack(STACK), &[]).unwrap();
        assert_eq!(
            names(&plan),
            [vec!["cache", "db"], vec!["api"], vec!["page"]]
        );
        let some = plan.with_needs(&["api".into()]).unwrap();
        assert_eq!(names(&some), [vec!["cache", "db"], vec!["api"]]);
        let some = plan.only(&["page".into(), "db".into()]).unwrap();
        assert_eq!(names(&some), [vec!["db"], vec!["page"]]);
        let error = plan.only(&["d".into()]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`d`; there are cache, db, api, page"),
            "{error}"
        );
    }

    #[test]
    fn what_the_runtime_knows_is_joined_with_the_configuration() {
        let migrated = Condition::CompletedSuccessfully;
        let states = [
            known("api", &[("migrate", migrated), ("db", Condition::Started)]),
            known("migrate", &[("db", Condition::Healthy)]),
        ];
        let plan = Plan::of(&stack(STACK), &states).unwrap();
        assert_eq!(
            names(&plan),
            [
                vec!["cache", "db"],
                vec!["migrate"],
                vec!["api"],
                vec!["page"]
            ]
        );
        let find = |name: &str| plan.steps().find(|step| step.service == name).unwrap();
        assert_eq!(find("migrate").goal, Goal::Completed);
        // Healthy by the configuration is more than started by the runtime.
        assert_eq!(find("api").needs[0].condition, Condition::Healthy);
    }

    #[test]
    fn a_cycle_is_told_with_its_members() {
        let states = [known("db", &[("page", Condition::Started)])];
        let error = Plan::of(&stack(STACK), &states).unwrap_err();
        let OrderError::Cycle { mut members } = error else {
            panic!("{error}");
        };
        assert_eq!(members.first(), members.last());
        members.pop();
        members.sort();
        assert_eq!(members, ["api", "db", "page"]);
    }

    #[test]
    fn a_need_that_is_nowhere_is_a_step_of_its_own() {
        let states = [known("api", &[("gone", Condition::Started)])];
        let plan = Plan::of(&stack(STACK), &states).unwrap();
        assert_eq!(names(&plan)[0], ["cache", "db", "gone"]);
    }
}
