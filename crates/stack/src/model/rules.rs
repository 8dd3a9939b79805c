use std::path::PathBuf;

use schemars::JsonSchema;

use crate::choice::choice;
use crate::cron::CronExpression;
use crate::name::Name;
use crate::period::Period;
use crate::secret::SecretSource;

/// Something done by itself.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct ScheduledTask {
    /// When: minute, hour, day of month, month, day of week, as in crontab.
    pub every: CronExpression,
    /// What.
    #[schemars(rename = "do")]
    pub work: ScheduledWork,
    /// With `do: verify`: how far to prove the point. Default: `restored`.
    pub level: Option<CheckLevel>,
    /// With `do: drill`, which needs it: the scenario to rehearse.
    pub scenario: Option<Name>,
    /// With `do: verify` or `do: drill`: `latest`, `random`, or the id of a recovery point.
    /// Default: `latest`.
    pub point: Option<String>,
}

choice! {
    /// What a schedule can do.
    "scheduled work" ScheduledWork {
        /// Make a recovery point.
        Backup = "backup",
        /// Prove one.
        Verify = "verify",
        /// Rehearse a recovery in a sandbox.
        Drill = "drill",
    }
}

choice! {
    /// How far a recovery point is proved.
    "level" CheckLevel {
        /// Read back, and its hashes match.
        Checked = "checked",
        /// A real server started on it in isolation.
        Restored = "restored",
        /// The checks of the data passed.
        Queried = "queried",
        /// All datasets together passed, and the application is well on them.
        Whole = "whole",
    }
}

/// Which recovery points are kept: of the last so many hours, days, … that have one, the newest.
///
/// With no key at all, all points are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct Retention {
    /// The newest so many points, whenever they were made.
    #[schemars(range(min = 1))]
    pub last: Option<u32>,
    /// One of each of so many hours.
    #[schemars(range(min = 1))]
    pub hourly: Option<u32>,
    /// One of each of so many days.
    #[schemars(range(min = 1))]
    pub daily: Option<u32>,
    /// One of each of so many weeks.
    #[schemars(range(min = 1))]
    pub weekly: Option<u32>,
    /// One of each of so many months.
    #[schemars(range(min = 1))]
    pub monthly: Option<u32>,
    /// One of each of so many years.
    #[schemars(range(min = 1))]
    pub yearly: Option<u32>,
    /// How long points made before a risky change are kept.
    pub pre_change: Option<Period>,
    /// How long WAL is kept, and with it the moments that can be restored.
    pub wal: Option<Period>,
    /// Points with one of these tags are kept, whatever the other keys say.
    #[schemars(extend("default" = []))]
    pub keep_tags: Vec<String>,
}

impl Retention {
    /// Whether no rule is given that would remove a recovery point.
    pub fn keeps_all_points(&self) -> bool {
        let counts = [
            self.last,
            self.hourly,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ];
        counts.iter().all(Option::is_none)
    }
}

/// A question to the restored data. It has either `expect` or `equals`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct Check {
    /// What it is about; unique in the stack.
    pub name: String,
    /// The question.
    #[schemars(flatten)]
    pub query: SqlQuery,
    /// The answer it must have.
    #[schemars(flatten, with = "crate::schema::ExpectationKeys")]
    pub expectation: Expectation,
}

/// SQL that answers with one value.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct SqlQuery {
    /// The service to ask; one with a `postgres` dataset.
    pub service: Name,
    /// The database to ask. Default: that of the dataset's URL.
    pub database: Option<String>,
    /// A query whose answer is one row of one column.
    pub sql: String,
}

/// What a check's answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    /// This text, number or boolean.
    Value(serde_json::Value),
    /// The answer to another query, asked at the same point.
    Equals(SqlQuery),
}

/// Who is told what.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct Notification {
    /// URL that the message is posted to.
    pub webhook: SecretSource,
    /// The occasions.
    #[schemars(extend("default" = ["failure", "recovery"]))]
    pub on: Vec<NotifyOn>,
}

choice! {
    /// An occasion to tell someone.
    "occasion" NotifyOn {
        /// Something failed.
        Failure = "failure",
        /// What had failed is well again.
        Recovery = "recovery",
        /// Something was done as it should.
        Success = "success",
    }
}

/// The stack's `.env` file.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct EnvFile {
    /// The file.
    pub file: PathBuf,
    /// The keys of it that may be read and changed through Rekindle; no other is.
    #[schemars(extend("default" = []))]
    pub allow: Vec<String>,
}

/// Who is to be called.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct Contact {
    /// What for.
    pub role: String,
    /// Telephone number, address, channel.
    pub reach: String,
}
