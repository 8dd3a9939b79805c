//! A Docker engine of one's own, images that need no registry, and Compose projects on it.
//!
//! ```no_run
//! use rekindle_testing::docker::{Engine, Image};
//!
//! let Some(engine) = Engine::start_or_skip() else { return };
//! engine.load(&Image::Redis).unwrap();
//! let shop = engine.project("shop", "services: { cache: { image: rekindle-test/redis:7 } }").unwrap();
//! shop.up().unwrap();
//! ```
//!
//! An engine is up in half a second and shares nothing with any other: own socket, storage, addresses and
//! control group, no packet filter. It goes with everything it made when its [`Engine`] is dropped, or when the
//! process that had it is killed: `warden.sh` sees to that. It needs root and `make deps`.
//!
//! [`Engine::start_podman`] gives Podman in its place: the same calls on its socket, in namespaces of its own for mounts
//! and networks (`podman.sh`). Its images and containers are as private.
//!
//! [`Systemd`] is a machine in a container, with a systemd that tests may do anything to.
//!
//! Images are made of programs that are installed on this machine, with the entry points' contract of the
//! official ones (`POSTGRES_*`, `PGDATA`, user 999, data in a volume), and are kept in the cache of test servers.

mod engine;
mod health;
mod images;
mod project;
mod systemd;
mod warden;

pub use engine::Engine;
pub use images::Image;
pub use project::Project;
pub use systemd::Systemd;
