//! What of a project must survive, found without being told.
//!
//! Start at [`propose`]: of a Compose [`Project`](crate::compose::Project) it makes a [`Proposal`], service by
//! service: which engine it is ([`recognise`]), which datasets hold its state, how they are reached, with which
//! credentials, what it depends on. [`template`](crate::template) writes it as a commented
//! `rekindle.yaml`;
//! [`Proposal::matrix`] as a table of components. [`uncovered`] holds a configuration against the
//! project and names every volume that no dataset covers; [`recommend`] what Docker should be told
//! besides, as a Compose override file. [`propose_units`] does the same for units of systemd.
//!
//! All of it is pure: the same project gives the same text.
//!
//! Absent on purpose: looking at anything that runs, and any secret in what is written.

mod buckets;
mod coverage;
mod credentials;
mod datasets;
mod endpoint;
mod engine;
mod health;
mod image;
mod matrix;
mod patch;
mod propose;
mod render;
mod storage;
mod units;

pub use coverage::{Difference, Uncovered, differences, uncovered};
pub use credentials::{Credential, SecretFile};
pub use engine::{Component, Engine, recognise};
pub use image::ImageName;
pub use matrix::ComponentRow;
pub use patch::{Recommendation, override_file, recommend};
pub use propose::{Found, Proposal, ProposedService, propose};
pub use storage::volume_directory;
pub use units::{
    ConfigurationFiles, Unit, drop_in, is_known, propose_units, read_configuration, recognise_unit,
    recommend_units,
};
