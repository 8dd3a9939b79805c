use schemars::JsonSchema;

/// When a backup is suspicious, as after an attack on the data: then it is told, and nothing of the
/// service is forgotten until somebody says that it is fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tripwire {
    /// Never: `false`.
    Off,
    /// From these shares on.
    On(TripwireLimits),
}

impl Default for Tripwire {
    fn default() -> Self {
        Self::On(TripwireLimits::default())
    }
}

/// Shares of a dataset from which on a change is suspicious, as in `50%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct TripwireLimits {
    /// So much was replaced by what does not compress, though it usually does. Default: 5%.
    #[schemars(with = "Option<crate::schema::Percent>")]
    pub encrypted: Option<u8>,
    /// So much was replaced by anything. Default: 50%; for a database, which rewrites itself at
    /// times, never.
    #[schemars(with = "Option<crate::schema::Percent>")]
    pub changed: Option<u8>,
    /// So much is gone. Default: 50%.
    #[schemars(with = "Option<crate::schema::Percent>")]
    pub gone: Option<u8>,
}
