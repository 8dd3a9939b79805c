//! Whose rules count for which points.

use std::collections::BTreeMap;

use rekindle_stack::{Period, Retention, Stack};

/// The rules of one vault or copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    general: Retention,
    services: BTreeMap<String, Retention>,
}

impl RetentionPolicy {
    /// The rules of the stack's own vault: those of a service where it has some, else the stack's.
    #[must_use]
    pub fn of(stack: &Stack) -> Self {
        let own = stack.services.iter().filter_map(|service| {
            let retention = service.retention.clone()?;
            Some((service.name.to_string(), retention))
        });
        Self {
            general: stack.retention.clone(),
            services: own.collect(),
        }
    }

    /// The same rules for all services, as for a copy that has rules of its own.
    #[must_use]
    pub const fn for_all(general: Retention) -> Self {
        Self {
            general,
            services: BTreeMap::new(),
        }
    }

    /// With rules for one service.
    #[must_use]
    pub fn with_service(mut self, service: impl Into<String>, retention: Retention) -> Self {
        self.services.insert(service.into(), retention);
        self
    }

    /// The rules for the points of a service.
    #[must_use]
    pub fn for_service(&self, service: &str) -> &Retention {
        self.services.get(service).unwrap_or(&self.general)
    }

    /// How far back every moment of a service stays restorable; `None` if all its WAL is kept.
    #[must_use]
    pub fn wal_of(&self, service: &str) -> Option<Period> {
        self.for_service(service).wal
    }

    /// The tags that keep a point of these services.
    pub(super) fn keeps_tag(&self, tag: &str, services: &[&str]) -> bool {
        let of_services = services.iter().map(|service| self.for_service(service));
        of_services
            .chain([&self.general])
            .any(|rules| rules.keep_tags.iter().any(|kept| kept == tag))
    }
}
