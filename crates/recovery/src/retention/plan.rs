//! The choice: pure, and the same for the same facts in any order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, tz::TimeZone};
use rekindle_stack::Retention;
use rekindle_vault::Id;
use serde::Serialize;

use super::{ForgetGuard, PRE_CHANGE, Reason, RetentionPolicy, periods::Rule};
use crate::Level;

/// What is known of a point before it is decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetentionPoint {
    /// restic's snapshot id.
    pub id: Id,
    /// When the backup began.
    pub time: Timestamp,
    /// What is in it: `<service>/<kind>`.
    pub datasets: Vec<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// How far it is proven.
    pub level: Level,
    /// Whether it is made of dumps from elsewhere.
    pub is_imported: bool,
    /// The holds on it.
    #[serde(skip)]
    pub holds: Vec<String>,
    /// Why moments within `retention.wal` need it.
    #[serde(skip)]
    pub wal: Vec<String>,
}

impl RetentionPoint {
    fn services(&self) -> Vec<&str> {
        let mut services: Vec<_> = self.datasets.iter().map(|path| service_of(path)).collect();
        services.dedup();
        services
    }

    /// Whether it counts as a state of its services at its time.
    fn counts(&self, now: Timestamp) -> bool {
        !self.is_imported && self.time <= now
    }
}

fn service_of(dataset: &str) -> &str {
    dataset
        .split_once('/')
        .map_or(dataset, |(service, _)| service)
}

/// What else is true when it is decided.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The time.
    pub now: Timestamp,
    /// Where days begin and end.
    pub zone: TimeZone,
    /// The services of the configuration that have datasets.
    pub services: BTreeSet<String>,
    /// What stands in the way of forgetting anything: holds on the vault, open recoveries.
    pub blocks: Vec<Block>,
}

/// Something that stands in the way of forgetting any point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Block {
    /// The guard, by whose name a person may override it for single points; `None` if nobody may.
    pub guard: Option<ForgetGuard>,
    /// What it is.
    pub text: String,
}

/// A point and why it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedPoint {
    /// The point.
    #[serde(flatten)]
    pub point: RetentionPoint,
    /// Every reason to keep it, the gravest first; none, and it goes.
    pub reasons: Vec<Reason>,
}

impl PlannedPoint {
    /// Whether it stays.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// What the retention would do with each point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PointPlan {
    /// All points, oldest first.
    pub points: Vec<PlannedPoint>,
    /// Why nothing goes; empty if something may.
    pub blocks: Vec<Block>,
}

impl PointPlan {
    /// The points that go, oldest first.
    #[must_use]
    pub fn to_forget(&self) -> Vec<Id> {
        let gone = self.points.iter().filter(|planned| !planned.is_kept());
        gone.map(|planned| planned.point.id).collect()
    }
}

/// Decides for each point whether it stays, with every reason.
///
/// Rules are counted for each dataset by itself, with the rules of its service, over the points that
/// hold it: of the newest so many periods that have such a point, the newest point of each stays.
/// Imported points and points from the future are kept and not counted. Of each service, also one
/// that the configuration has no more, the newest point stays, and the newest of those that are
/// proven furthest. A policy without a count keeps all; one by which nothing would stay is a
/// [`Block`].
#[must_use]
pub fn decide(
    points: &[RetentionPoint],
    policy: &RetentionPolicy,
    circumstances: &Circumstances,
) -> PointPlan {
    let mut newest_first: Vec<&RetentionPoint> = points.iter().collect();
    newest_first.sort_by_key(|point| std::cmp::Reverse((point.time, point.id)));
    let mut reasons = Reasons::default();
    for point in &newest_first {
        reasons.of_its_own(point, policy, circumstances);
    }
    let counting: Vec<_> = newest_first
        .iter()
        .copied()
        .filter(|point| point.counts(circumstances.now))
        .collect();
    reasons.protect(&counting, circumstances);
    let mut blocks = circumstances.blocks.clone();
    let datasets: BTreeSet<&String> = counting.iter().flat_map(|point| &point.datasets).collect();
    for dataset in datasets {
        let service = service_of(dataset);
        if !circumstances.services.contains(service) {
            continue;
        }
        let having: Vec<_> = counting
            .iter()
            .copied()
            .filter(|point| point.datasets.contains(dataset))
            .collect();
        if !reasons.by_rules(
            dataset,
            &having,
            policy.for_service(service),
            &circumstances.zone,
        ) {
            blocks.push(Block {
                guard: None,
                text: format!("the retention of `{service}` would keep no point of {dataset}"),
            });
        }
    }
    blocks.sort();
    let planned = newest_first.into_iter().rev().map(|point| PlannedPoint {
        reasons: reasons.taken(&point.id, !blocks.is_empty()),
        point: point.clone(),
    });
    PointPlan {
        points: planned.collect(),
        blocks,
    }
}

#[derive(Default)]
struct Reasons {
    plain: BTreeMap<Id, Vec<Reason>>,
    /// What several datasets give the same reason for is told once.
    shared: BTreeMap<(Id, Shared), Vec<String>>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    Newest,
    LastProven(Level),
    Last { place: u32, of: u32 },
    Period(Rule, String),
    NoRule,
}

impl Reasons {
    fn keep(&mut self, id: Id, reason: Reason) {
        self.plain.entry(id).or_default().push(reason);
    }

    fn share(&mut self, id: Id, reason: Shared, whose: &str) {
        let all = self.shared.entry((id, reason)).or_default();
        all.push(whose.to_owned());
    }

    /// What the point says of itself.
    fn of_its_own(
        &mut self,
        point: &RetentionPoint,
        policy: &RetentionPolicy,
        circumstances: &Circumstances,
    ) {
        let services = point.services();
        for hold in &point.holds {
            self.keep(point.id, Reason::Hold(hold.clone()));
        }
        for text in &point.wal {
            self.keep(point.id, Reason::Wal(text.clone()));
        }
        if point.time > circumstances.now {
            self.keep(point.id, Reason::Future);
        }
        for tag in &point.tags {
            if policy.keeps_tag(tag, &services) {
                self.keep(point.id, Reason::Tag(tag.clone()));
            }
        }
        if point.tags.iter().any(|tag| tag == PRE_CHANGE)
            && let Some(until) = kept_after_change(point, policy)
            && until > circumstances.now
        {
            self.keep(point.id, Reason::PreChange(until));
        }
        if point.is_imported {
            self.keep(point.id, Reason::Imported);
        }
        if !services
            .iter()
            .any(|service| circumstances.services.contains(*service))
        {
            self.keep(point.id, Reason::NotOurs);
        }
    }

    /// What no policy forgets.
    fn protect(&mut self, newest_first: &[&RetentionPoint], circumstances: &Circumstances) {
        let services: BTreeSet<&str> = newest_first
            .iter()
            .flat_map(|point| point.services())
            .collect();
        for service in services {
            let mut of_it: Vec<_> = newest_first
                .iter()
                .filter(|point| point.services().contains(&service))
                .collect();
            if let Some(newest) = of_it.first() {
                self.share(newest.id, Shared::Newest, service);
            }
            // A stable sort: of those that are proven furthest, the newest stays first.
            of_it.sort_by_key(|point| std::cmp::Reverse(point.level));
            if let Some(proven) = of_it.first() {
                self.share(proven.id, Shared::LastProven(proven.level), service);
            }
        }
        let has_all = |point: &&&RetentionPoint| {
            let services = point.services();
            circumstances
                .services
                .iter()
                .all(|service| services.contains(&service.as_str()))
        };
        if let Some(whole) = newest_first.iter().find(has_all) {
            self.keep(whole.id, Reason::NewestWhole);
        }
    }

    /// The rules for one dataset. Whether they keep anything.
    fn by_rules(
        &mut self,
        dataset: &str,
        newest_first: &[&RetentionPoint],
        rules: &Retention,
        zone: &TimeZone,
    ) -> bool {
        if rules.keeps_all_points() {
            for point in newest_first {
                self.share(point.id, Shared::NoRule, dataset);
            }
            return true;
        }
        let mut keeps = false;
        if let Some(of) = rules.last {
            for (place, point) in (1..=of).zip(newest_first) {
                self.share(point.id, Shared::Last { place, of }, dataset);
                keeps = true;
            }
        }
        for rule in Rule::ALL {
            let mut left = rule.count(rules).unwrap_or(0);
            let mut current = None;
            for point in newest_first {
                let period = rule.period(point.time, zone);
                if left == 0 {
                    break;
                }
                if current.as_ref() != Some(&period) {
                    current = Some(period.clone());
                    left -= 1;
                    self.share(point.id, Shared::Period(rule, period), dataset);
                    keeps = true;
                }
            }
        }
        keeps
    }

    fn taken(&mut self, id: &Id, is_blocked: bool) -> Vec<Reason> {
        let mut all = self.plain.remove(id).unwrap_or_default();
        let of_it: Vec<_> = self
            .shared
            .range((*id, Shared::Newest)..)
            .take_while(|((other, _), _)| other == id)
            .map(|((_, shared), whose)| shared.reason(whose.clone()))
            .collect();
        all.extend(of_it);
        if is_blocked {
            all.push(Reason::Blocked);
        }
        all.sort();
        all.dedup();
        all
    }
}

impl Shared {
    fn reason(&self, whose: Vec<String>) -> Reason {
        match self {
            Self::Newest => Reason::Newest(whose),
            Self::LastProven(level) => Reason::LastProven(whose, *level),
            Self::Last { place, of } => Reason::Last {
                place: *place,
                of: *of,
                datasets: whose,
            },
            Self::Period(rule, period) => Reason::Period {
                rule: rule.name(),
                period: period.clone(),
                datasets: whose,
            },
            Self::NoRule => Reason::NoRule(whose),
        }
    }
}

/// Until when the longest of its services' rules keeps a point that was made before a change.
fn kept_after_change(point: &RetentionPoint, policy: &RetentionPolicy) -> Option<Timestamp> {
    let periods = point
        .services()
        .into_iter()
        .filter_map(|service| policy.for_service(service).pre_change);
    let seconds = i64::try_from(periods.max()?.as_secs()).unwrap_or(i64::MAX);
    let length = jiff::SignedDuration::from_secs(seconds);
    Some(point.time.checked_add(length).unwrap_or(Timestamp::MAX))
}
