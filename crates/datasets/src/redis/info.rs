//! What a server says of itself.

use std::collections::BTreeMap;

use super::rdb::{RdbFamily, RdbVersion};

/// A section of `INFO`.
#[derive(Clone, Debug, Default)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.trim_end().to_owned()))
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }

    /// Of the section `replication`: `master`, or `replica of HOST:PORT`; empty if it is not told.
    pub fn role(&self) -> String {
        match self.get("role") {
            Some("slave") => format!(
                "replica of {}:{}",
                self.get("master_host").unwrap_or("?"),
                self.get("master_port").unwrap_or("?")
            ),
            Some(role) => role.to_owned(),
            None => String::new(),
        }
    }

    /// Keys by database, of the section `keyspace`: `db0:keys=5,expires=1,avg_ttl=0`.
    pub fn keys(&self) -> BTreeMap<u64, u64> {
        let count = |(name, value): (&String, &String)| {
            let database = name.strip_prefix("db")?.parse().ok()?;
            let keys = value
                .split(',')
                .find_map(|part| part.strip_prefix("keys="))?;
            Some((database, keys.parse().ok()?))
        };
        self.0.iter().filter_map(count).collect()
    }
}

/// Which server it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerVersion {
    /// `Redis` or `Valkey`, or what else it calls itself.
    pub name: String,
    /// Its version, as in `7.0.15`.
    pub version: String,
}

impl ServerVersion {
    pub(super) fn of(info: &Info) -> Self {
        if let Some(version) = info.get("valkey_version") {
            return Self {
                name: "Valkey".to_owned(),
                version: version.to_owned(),
            };
        }
        Self {
            name: "Redis".to_owned(),
            version: info.get("redis_version").unwrap_or_default().to_owned(),
        }
    }

    /// Major and minor.
    #[must_use]
    pub fn numbers(&self) -> (u32, u32) {
        let mut parts = self
            .version
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// Whether it keeps its append-only files in a directory with a manifest.
    #[must_use]
    pub fn has_append_directory(&self) -> bool {
        self.name == "Valkey" || self.numbers() >= (7, 0)
    }

    /// Whether one server of this version reads an RDB. Source: `rdb.h` of each version, and "RDB_FOREIGN_VERSION" of Valkey's.
    ///
    /// A version that is newer than all that are known here is believed to read what its predecessor reads.
    ///
    /// # Errors
    /// With the newest that it reads.
    pub fn reads(&self, rdb: RdbVersion) -> Result<(), RdbVersion> {
        let redis = |number| RdbVersion {
            family: RdbFamily::Redis,
            number,
        };
        let valkey = |number| RdbVersion {
            family: RdbFamily::Valkey,
            number,
        };
        let numbers = self.numbers();
        let newest = if self.name == "Valkey" {
            // Versions from 12 on are Redis' own, which Valkey does not read.
            match numbers >= (9, 0) && rdb.family == RdbFamily::Valkey {
                true => valkey(80),
                false => redis(11),
            }
        } else {
            // From which version on each was written, newest first.
            let since = [
                ((8, 4), 13),
                ((7, 4), 12),
                ((7, 2), 11),
                ((7, 0), 10),
                ((5, 0), 9),
            ];
            let found = since.into_iter().find(|(since, _)| numbers >= *since);
            redis(found.map_or(8, |(_, number)| number))
        };
        let is_read = rdb.family == newest.family && rdb.number <= newest.number;
        if is_read { Ok(()) } else { Err(newest) }
    }
}

impl std::fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, version: &str) -> ServerVersion {
        ServerVersion {
            name: name.into(),
            version: version.into(),
        }
    }

    fn rdb(family: RdbFamily, number: u32) -> RdbVersion {
        RdbVersion { family, number }
    }

    #[test]
    fn each_version_reads_what_it_wrote_and_nothing_newer() {
        use RdbFamily::{Redis, Valkey};
        assert!(server("Redis", "6.2.5").reads(rdb(Redis, 9)).is_ok());
        assert_eq!(
            server("Redis", "6.2.5").reads(rdb(Redis, 10)),
            Err(rdb(Redis, 9))
        );
        assert!(server("Redis", "7.0.15").reads(rdb(Redis, 10)).is_ok());
        assert!(server("Redis", "7.0.15").reads(rdb(Redis, 11)).is_err());
        assert!(server("Redis", "7.0.15").reads(rdb(Valkey, 80)).is_err());
        assert!(server("Valkey", "8.1.0").reads(rdb(Redis, 11)).is_ok());
        assert!(server("Valkey", "8.1.0").reads(rdb(Valkey, 80)).is_err());
        assert!(server("Valkey", "9.1.2").reads(rdb(Valkey, 80)).is_ok());
        assert!(server("Valkey", "9.1.2").reads(rdb(Redis, 12)).is_err());
    }

    #[test]
    fn keys_are_read_by_database() {
        let info = Info::parse(
            "# Keyspace\r\ndb0:keys=5,expires=1,avg_ttl=0\r\ndb15:keys=2,expires=0\r\n",
        );
        assert_eq!(
            info.keys().into_iter().collect::<Vec<_>>(),
            [(0, 5), (15, 2)]
        );
    }

    #[test]
    fn valkey_is_told_from_redis() {
        let info =
            Info::parse("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n");
        assert_eq!(ServerVersion::of(&info).to_string(), "Valkey 9.1.2");
    }
}
