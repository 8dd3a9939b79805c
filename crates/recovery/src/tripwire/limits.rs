//! From where on a change is suspicious.

use rekindle_stack as stack;

/// Shares of a dataset, in percent, from which on a change is looked at with suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So much was replaced by what does not compress, though it usually does.
    pub encrypted: u8,
    /// So much was replaced by anything; `None` for data that are rewritten in the course of things,
    /// as a database is by `VACUUM FULL` or `REINDEX`.
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
        let by_kind = (kind != "postgres").then_some(CHANGED);
        Some(Self {
            encrypted: limits.encrypted.unwrap_or(ENCRYPTED),
            changed: limits.changed.or(by_kind),
            gone: limits.gone.unwrap_or(GONE),
        })
    }
}
