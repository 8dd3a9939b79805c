//! What it takes to reach a server.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use rekindle_stack::S3Credentials;

use crate::StoreSettings;

/// Where a server is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// `https://host:port`; without a scheme it is HTTPS. `None` is AWS.
    pub endpoint: Option<String>,
    /// The region that requests are signed for; `us-east-1` where none is given, which most servers take.
    pub region: Option<String>,
    /// Whether a bucket's name stands in the path of the URL, not in its host. Default: yes if there is an endpoint.
    pub path_style: Option<bool>,
    /// Access keys.
    pub credentials: S3Credentials,
    /// PEM file of the authority that signed the server's certificate, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Where the endpoint's host is reached, if its name cannot be resolved here. The port of the endpoint counts.
    pub resolved: Option<SocketAddr>,
    /// How long one request is tried again before its failure is told.
    pub retry_for: Duration,
    /// How long a transfer may stand still, in both directions, before it counts as broken.
    pub stall: Duration,
}

impl S3Settings {
    /// The server at `endpoint`, with nothing else set.
    #[must_use]
    pub fn new(endpoint: Option<String>, credentials: S3Credentials) -> Self {
        Self {
            endpoint,
            region: None,
            path_style: None,
            credentials,
            ca_file: None,
            resolved: None,
            retry_for: StoreSettings::DEFAULT_RETRY_FOR,
            stall: StoreSettings::DEFAULT_STALL,
        }
    }
}
