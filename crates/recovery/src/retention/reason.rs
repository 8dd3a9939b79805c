//! Why a recovery point is kept.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::{Level, wal::utc};

/// What a person may override by its name, for one point by hand. No retention ever does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForgetGuard {
    /// A hold on the point, its service or the vault.
    Hold,
    /// A restore in place that is not ended.
    OpenRecovery,
    /// The newest point of a service, or with all services.
    Newest,
    /// The newest of those points of a service that are proven furthest.
    LastProven,
    /// A base backup that moments within `retention.wal` begin from.
    WalWindow,
}

impl ForgetGuard {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Hold,
        Self::OpenRecovery,
        Self::Newest,
        Self::LastProven,
        Self::WalWindow,
    ];

    /// The name, as in `--force NAME`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::OpenRecovery => "open-recovery",
            Self::Newest => "newest",
            Self::LastProven => "last-proven",
            Self::WalWindow => "wal-window",
        }
    }
}

impl fmt::Display for ForgetGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ForgetGuard {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|guard| guard.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no guard of that name; there are {names}")
        })
    }
}

impl Serialize for ForgetGuard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Why a recovery point is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A hold of this name.
    Hold(String),
    /// Nothing goes now: what stands in the way is told once.
    Blocked,
    /// The newest point of these services.
    Newest(Vec<String>),
    /// The newest point with every service of the stack.
    NewestWhole,
    /// The newest of the points of these services that are proven furthest, to this level.
    LastProven(Vec<String>, Level),
    /// Moments within `retention.wal` begin here.
    Wal(String),
    /// Its time has not come: a clock was, or is, wrong.
    Future,
    /// Made before a change, and kept until then.
    PreChange(Timestamp),
    /// A tag of `keep_tags`.
    Tag(String),
    /// One of the newest so many.
    Last {
        /// Its place, 1 for the newest.
        place: u32,
        /// Of how many.
        of: u32,
        /// The datasets for whose sake.
        datasets: Vec<String>,
    },
    /// The newest of a period.
    Period {
        /// `hourly` to `yearly`.
        rule: &'static str,
        /// Which one.
        period: String,
        /// The datasets for whose sake.
        datasets: Vec<String>,
    },
    /// No rule forgets points of these datasets.
    NoRule(Vec<String>),
    /// Made of dumps from elsewhere, which no backup makes anew.
    Imported,
    /// Nothing of this stack's services is in it.
    NotOurs,
}

impl Reason {
    /// The guard that keeps it, if it is one.
    #[must_use]
    pub const fn guard(&self) -> Option<ForgetGuard> {
        match self {
            Self::Hold(_) => Some(ForgetGuard::Hold),
            Self::Newest(_) | Self::NewestWhole => Some(ForgetGuard::Newest),
            Self::LastProven(..) => Some(ForgetGuard::LastProven),
            Self::Wal(_) => Some(ForgetGuard::WalWindow),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(name) => write!(f, "hold `{name}`"),
            Self::Blocked => f.write_str("nothing is forgotten now"),
            Self::Newest(services) => write!(f, "newest of {}", services.join(", ")),
            Self::NewestWhole => f.write_str("newest with all services"),
            Self::LastProven(services, level) => {
                write!(f, "last {} of {}", level.name(), services.join(", "))
            }
            Self::Wal(text) => f.write_str(text),
            Self::Future => f.write_str("from the future: a clock was wrong"),
            Self::PreChange(until) => write!(f, "pre-change until {}", utc(*until)),
            Self::Tag(tag) => write!(f, "tag `{tag}`"),
            Self::Last {
                place,
                of,
                datasets,
            } => write!(f, "last {place} of {of} ({})", datasets.join(", ")),
            Self::Period {
                rule,
                period,
                datasets,
            } => write!(f, "{rule} {period} ({})", datasets.join(", ")),
            Self::NoRule(datasets) => write!(f, "no rule forgets {}", datasets.join(", ")),
            Self::Imported => f.write_str("imported: no backup makes it anew"),
            Self::NotOurs => f.write_str("nothing of this stack is in it"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
