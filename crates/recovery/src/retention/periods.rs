//! Hours, days, weeks, months and years, as people at a place count them.

use jiff::{Timestamp, tz::TimeZone};
use rekindle_stack::Retention;

/// A rule that keeps the newest point of each of so many periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Rule {
    pub const ALL: [Self; 5] = [
        Self::Hourly,
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
        Self::Yearly,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// How many periods it keeps.
    pub const fn count(self, rules: &Retention) -> Option<u32> {
        match self {
            Self::Hourly => rules.hourly,
            Self::Daily => rules.daily,
            Self::Weekly => rules.weekly,
            Self::Monthly => rules.monthly,
            Self::Yearly => rules.yearly,
        }
    }

    /// The name of the period that a time lies in. Weeks are those of ISO 8601. The hour that comes
    /// twice when clocks are set back is two hours: it carries its offset.
    pub fn period(self, time: Timestamp, zone: &TimeZone) -> String {
        let local = time.to_zoned(zone.clone());
        match self {
            Self::Hourly => local.strftime("%Y-%m-%d %H:00%:z").to_string(),
            Self::Daily => local.strftime("%Y-%m-%d").to_string(),
            Self::Weekly => {
                let week = local.date().iso_week_date();
                format!("{}-W{:02}", week.year(), week.week())
            }
            Self::Monthly => local.strftime("%Y-%m").to_string(),
            Self::Yearly => local.strftime("%Y").to_string(),
        }
    }
}
