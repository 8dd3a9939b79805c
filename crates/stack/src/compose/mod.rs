//! Compose projects, as far as recovery needs to know them.
//!
//! Start at [`load`]: it finds the Compose files of a directory, merges them as Compose does, fills
//! in variables, and gives a [`Project`]: services with image, environment, storage, ports,
//! dependencies and health checks. Keys that do not matter here are passed over; what is wrong is
//! noted with its line ([`Note`]), and does not keep the rest from being read, because on the day of
//! a recovery half a project is better than none.
//!
//! Source of all rules: the Compose Specification (`compose-spec/compose-spec`: `spec.md`,
//! `12-interpolation.md`, `13-merge.md`) and Docker's "Environment variables in Compose".
//!
//! Absent on purpose: starting anything, networks, and every output of a variable's value.

mod dotenv;
mod forms;
mod interpolate;
mod item;
mod load;
mod merge;
mod model;
mod reader;
mod service;
mod storage;

pub use dotenv::{DotEnv, parse_dotenv};
pub use interpolate::{Interpolated, InterpolationError, interpolate};
pub use load::{ComposeError, MAX_COMPOSE_BYTES, Source, find_files, is_usual_name, load, parse};
pub use model::{
    Condition, Dependency, HealthTest, Mount, MountKind, Note, Origin, Port, Project, Service,
    Variable, Volume, Words,
};
