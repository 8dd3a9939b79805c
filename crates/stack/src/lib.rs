//! The words of a stack, and `rekindle.yaml`, which says them.
//!
//! Start at [`Stack::load`]: it reads the file, and either gives a [`Stack`] whose every name,
//! length of time, URL and reference has been checked, or all that is wrong, each with its line,
//! its column and a way out. [`find_config`] tells which file counts; [`show`] prints what is in
//! effect, [`json_schema`] describes the keys to editors, [`template`] begins a new file.
//!
//! The documentation of the types is that of the keys: the JSON Schema is made of it.
//!
//! Absent on purpose: networks, threads, async, and any I/O but reading the file and its secrets.

mod address;
mod choice;
pub mod compose;
mod cron;
pub mod discover;
mod excerpt;
mod find;
mod keys;
mod load;
mod location;
mod mask;
mod model;
mod name;
mod node;
mod period;
mod problem;
mod read;
mod s3_credentials;
mod schema;
mod secret;
mod show;
mod suggest;
mod template;
mod url;
mod yaml;

pub use address::{TcpAddress, TcpAddressError};
pub use cron::{CronError, CronExpression};
pub use find::{ConfigNotFound, FILE_NAME, find_config};
pub use load::{Loaded, MAX_CONFIG_BYTES};
pub use location::{LocationError, VaultLocation};
pub use model::*;
pub use name::{Name, NameError};
pub use period::{Period, PeriodError};
pub use problem::{ConfigErrors, Problem};
pub use s3_credentials::{S3Credentials, S3CredentialsError};
pub use schema::json_schema;
pub use secret::{MAX_SECRET_BYTES, Secret, SecretError, SecretSource};
pub use show::show;
pub use template::{TemplateServices, template};
pub use url::{ServiceUrl, UrlError};
