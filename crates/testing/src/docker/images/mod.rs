//! Images that need no registry: made of what apt and pip installed, kept in the cache as `docker load` reads
//! them.

mod archive;
mod recipe;
mod root;
mod systemd;

use std::path::PathBuf;

use crate::TestingError;
use crate::postgres::{Major, cached_file};

use archive::write_archive;

/// An image that a private engine can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Image {
    /// `rekindle-test/app:1`: a small web application on port 8080 with a volume `/data`, a health check that
    /// succeeds while `/srv/health` exists, and a shell. It says what is in its volume at `/cgi-bin/info`.
    App,
    /// `rekindle-test/redis:7`: data in `/data`, user 999, health by `redis-cli ping`.
    Redis,
    /// `rekindle-test/postgres:MAJOR`: data in `/var/lib/postgresql/data`, user 999.
    Postgres(Major),
    /// `rekindle-test/systemd`: systemd with a bus, a journal and a shell. See [`super::Systemd`].
    Systemd,
    /// `rekindle-test/s3:1`: rclone's S3 on port 9000, whose buckets are the directories in its volume `/data`. Its keys are
    /// [`ACCESS_KEY`](crate::servers::ACCESS_KEY) and [`SECRET_KEY`](crate::servers::SECRET_KEY).
    S3,
}

impl Image {
    /// What `image:` of a Compose file must say.
    pub fn name(&self) -> String {
        match self {
            Self::App => "rekindle-test/app:1".into(),
            Self::Redis => "rekindle-test/redis:7".into(),
            Self::Systemd => "rekindle-test/systemd:1".into(),
            Self::S3 => "rekindle-test/s3:1".into(),
            Self::Postgres(major) => format!("rekindle-test/postgres:{}", major.number()),
        }
    }

    /// The file that `docker load` reads; made first if it is not in the cache.
    pub(super) fn archive(&self) -> Result<PathBuf, TestingError> {
        let name = self.name().replace(['/', ':'], "-");
        let key = format!("{name}-{:016x}.tar", recipe::fingerprint());
        cached_file(&key, |partial| {
            let recipe = recipe::recipe(*self)?;
            write_archive(&self.name(), &recipe, partial)
        })
    }
}
