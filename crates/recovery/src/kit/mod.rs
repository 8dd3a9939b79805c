//! The kit: everything that somebody needs to restore when this machine, and this program, are gone.
//!
//! [`make_kit`] gathers it: one file sealed by age, and a page to print that holds no secret. The
//! file is a tar archive, so that `age -d | tar x` opens it; [`open_kit`] does the same with what we
//! have. [`kit_state`] tells whether the last kit still fits the configuration and the keys.
//!
//! Absent on purpose: the secrets of services. What is restored to a directory does not need them.

mod archive;
mod facts;
mod freshness;
mod make;
mod open;
mod page;
mod text;

pub use facts::{KitFacts, KitPlace, KitService};
pub use freshness::{KitState, kit_state};
pub use make::{Kit, KitError, KitSeal, KitSource, make_kit};
pub use open::{KitKey, OpenedKit, open_kit};
