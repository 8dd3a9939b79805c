//! From where on a change is suspicious.

use rekindle_stack as stack;

/// Shares of a dataset, in percent, from which on a change is looked at with suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So much was replaced by what does not compress, though it usually does.
    pub encrypted: u8,
    /// So much was replaced by anything; `None` for data that are rewritten in the course of things,
    /// as a database is by `VACUUM FULL` or `REINDEX`, and an RDB each time it is saved.
    pub changed: Option<u8>,
    /// So much is gone.
    pub gone: u8,
}

const ENCRYPTED: u8 = 5;
const CHANGED: u8 = 50;
const GONE: u8 = 50;

impl Limits {
    /// The limits for a dataset of this kind, as far as the configuration says nothing else; `None`
    /// if the tripwire is off.
    #[must_use]
    pub fn of(settings: &stack::Tripwire, kind: &str) -> Option<Self> {
        let stack::Tripwire::On(limits) = settings else {
            return None;
        };
        let is_database = matches!(kind, "postgres" | "redis");
        let by_kind = (!is_database).then_some(CHANGED);
        Some(Self {
            encrypted: limits.encrypted.unwrap_or(ENCRYPTED),
            changed: limits.changed.or(by_kind),
            gone: limits.gone.unwrap_or(GONE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_may_rewrite_themselves() {
        let changed = |kind| {
            let on = stack::Tripwire::On(stack::TripwireLimits::default());
            Limits::of(&on, kind).unwrap().changed
        };
        for kind in ["postgres", "redis"] {
            assert_eq!(changed(kind), None, "{kind}");
        }
        for kind in ["files", "s3", "meilisearch"] {
            assert_eq!(changed(kind), Some(CHANGED), "{kind}");
        }
    }
}
