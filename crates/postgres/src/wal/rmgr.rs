//! Resource managers: who writes and replays a record.

use std::fmt;

/// The resource manager of a record: the part of the server whose record it is. Source:
/// PostgreSQL's `access/rmgrlist.h`; the numbers are the same from 13 to 18.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rmgr(u8);

/// In the order of their numbers.
const NAMES: [&str; 22] = [
    "XLOG",
    "Transaction",
    "Storage",
    "CLOG",
    "Database",
    "Tablespace",
    "MultiXact",
    "RelMap",
    "Standby",
    "Heap2",
    "Heap",
    "Btree",
    "Hash",
    "Gin",
    "Gist",
    "Sequence",
    "SPGist",
    "BRIN",
    "CommitTs",
    "ReplicationOrigin",
    "Generic",
    "LogicalMessage",
];

/// Extensions may register managers from this number on, since 15.
const FIRST_CUSTOM: u8 = 128;

impl Rmgr {
    /// Checkpoints, restore points, parameters, page images.
    pub const XLOG: Self = Self(0);
    /// Commits and aborts.
    pub const TRANSACTION: Self = Self(1);
    /// Creation and truncation of relation files.
    pub const STORAGE: Self = Self(2);
    /// Creation and removal of databases.
    pub const DATABASE: Self = Self(4);
    /// Locks and lists of running transactions, for standbys.
    pub const STANDBY: Self = Self(8);
    /// More kinds of changes of rows.
    pub const HEAP2: Self = Self(9);
    /// Changes of rows.
    pub const HEAP: Self = Self(10);

    /// The manager of this number.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether a record can have it.
    pub(super) const fn is_possible(self) -> bool {
        (self.0 as usize) < NAMES.len() || self.0 >= FIRST_CUSTOM
    }
}

/// As `pg_waldump` names it.
impl fmt::Display for Rmgr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "custom{:03}", self.0),
        }
    }
}

impl fmt::Debug for Rmgr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rmgr({self})")
    }
}
