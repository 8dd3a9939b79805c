//! Everything about PostgreSQL (13 to 18) that backup and restore need, without an async runtime.
//!
//! Start at [`wire::take`] for a base backup over a connection, at [`in_place::Session`] for one of
//! a data directory within reach, at [`dump`] for logical ones. [`Client`] is the one connection
//! they share; [`server`] runs servers on directories that were restored; [`wal`] reads the
//! write-ahead log; [`layout`] knows names and places and does no I/O.
//!
//! Absent on purpose: where backups are stored. What is captured goes to a [`PgdataSink`].

mod client;
mod control_file;
pub mod dump;
mod error;
mod identity;
pub mod in_place;
pub mod layout;
mod options;
mod portable_config;
mod programs;
mod restored;
pub mod server;
mod sink;
pub mod wal;
pub mod wire;

pub use client::{Client, Mode, Row, Rows, quote_identifier, quote_literal};
pub use control_file::ControlFile;
pub use error::{Error, ServerError};
pub use identity::{ServerIdentity, identity};
pub use layout::{Lsn, SegmentName, SegmentSize, Timeline};
pub use options::{ConnectOptions, Host, SslMode};
pub use portable_config::{PortableConfig, portable_config};
pub use restored::{RestoredDirectory, major_of_directory, prepare_restored};
pub use sink::{EntryMeta, PgdataSink};
