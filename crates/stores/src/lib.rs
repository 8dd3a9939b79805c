//! Vaults elsewhere: S3-compatible stores, Google Cloud Storage, Azure, and servers reached by SFTP.
//!
//! Start at [`open`]: from [`StoreSettings`] it makes a [`Store`] that retries and keeps to its
//! limits; `open.rs` shows the order of those wrappers. The engine above is synchronous; the small
//! async runtime that waits for the network is hidden in `runtime.rs` and nowhere else.
//!
//! Beside that, [`HttpApi`]: the same client for servers that are asked and answer, and are no stores.
//! And there is [`s3`]: a client for buckets that are backed up or restored, whatever is in them.
//!
//! Absent on purpose: what a vault is. A store moves whole objects and knows no more of them than
//! which folder they lie in.

mod cloud;
mod error;
mod escape;
mod http;
mod limited;
mod open;
mod recording;
mod retrying;
mod retrying_locks;
mod runtime;
pub mod s3;
mod settings;
mod sftp;
mod xml;

pub use cloud::{
    azure::azure,
    gcs::gcs,
    object_lock::{LockMode, ObjectLock},
    s3::s3,
};
pub use error::{OpenStoreError, hint_of};
pub use http::{HttpAnswer, HttpApi, HttpApiError, HttpCall};
pub use limited::Limited;
pub use open::{open, open_bare};
pub use recording::{Recorded, Recording};
pub use rekindle_vault::Store;
pub use retrying::{RetryPolicy, Retrying};
pub use settings::{Encryption, StoreSettings};
pub use sftp::SftpStore;
