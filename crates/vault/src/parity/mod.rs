//! Parity: brings back files of a vault that lies on one disk, after bit rot, bad sectors, or the loss of whole files.
//!
//! Files of about one size form groups. Of each group lie some parity objects in `rekindle/parity/groups`; as many members
//! of the group may be lost, or as many blocks at each place of them damaged, as there are parity objects. Checksums of
//! all blocks in the parity objects tell which are damaged; what is brought back is proven by its SHA-256.
//!
//! Start at [`Vault::update_parity`](crate::Vault::update_parity). `plan.rs` decides which files form groups; `code.rs` is
//! the mathematics; `heal.rs` is called by [`Vault::heal`](crate::Vault::heal). Absent on purpose: key files, so that a
//! removed password stays removed.

mod code;
mod config_copy;
mod field;
mod found;
mod heal;
mod kind;
mod make;
mod object;
mod plan;
mod prune;
mod rebuild;
mod scheme;
mod there;
mod update;
mod verify;

pub(crate) use config_copy::mirrored_config;
pub use heal::ParityHealed;
pub(crate) use heal::{Healer, files, packs_and_wal, parity};
pub(crate) use object::{fuzz, fuzz_text};
pub use scheme::{BadParityScheme, ParityScheme};
pub use update::ParityReport;
pub use verify::ParityStatus;
