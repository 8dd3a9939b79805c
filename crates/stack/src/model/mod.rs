//! The words of a stack, as types. Their documentation is that of the keys, and becomes the schema.

mod dataset;
mod rules;
mod run;
mod service;
mod stack;
mod tripwire;
mod vault;

pub use dataset::{
    CaptureMethod, Dataset, FilesDataset, LogicalDump, MeilisearchDataset, PostgresDataset,
    RedisDataset, RedisPart, S3Dataset, S3Tags, S3Versions, WalMode,
};
pub use rules::{
    Check, CheckLevel, Contact, EnvFile, Expectation, Notification, NotifyOn, Retention,
    ScheduledTask, ScheduledWork, SqlQuery,
};
pub use run::{CommandLine, RestartPolicy, Run, StopSignal};
pub use service::{DuringBackup, HealthCheck, HealthProbe, Priority, Service};
pub use stack::{Runtime, Stack};
pub use tripwire::{Tripwire, TripwireLimits};
pub use vault::{Compression, ObjectLock, ObjectLockMode, StoreOptions, Vault, VaultCopy};
