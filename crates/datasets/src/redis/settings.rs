//! Settings of a server that say where its data lies.

use std::collections::BTreeMap;

use super::client::Client;
use super::error::RedisError;

const NAMES: [&str; 13] = [
    "dir",
    "dbfilename",
    "appendonly",
    "appendfilename",
    "appenddirname",
    "aof-use-rdb-preamble",
    "databases",
    "maxmemory",
    "maxmemory-policy",
    "save",
    "rdbchecksum",
    "cluster-enabled",
    "tls-replication",
];

/// Those that could be asked for.
#[derive(Clone, Debug, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Asks for each; a server may know fewer, or let us ask for none.
    pub fn read(client: &mut Client) -> Result<Self, RedisError> {
        let mut settings = BTreeMap::new();
        for name in NAMES {
            if let Some(value) = client.setting(name)? {
                settings.insert(name.to_owned(), value);
            }
        }
        Ok(Self(settings))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A setting that is a file's name, or what it is unless it was set.
    pub fn file_name(&self, name: &str, default: &str) -> String {
        let set = self.get(name).filter(|name| !name.is_empty());
        set.unwrap_or(default).to_owned()
    }

    pub fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}
