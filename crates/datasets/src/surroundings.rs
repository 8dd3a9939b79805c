//! Where a dataset's service lives.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, sync::Arc};

use rekindle_runtimes::Runtime;
use rekindle_stack::ServiceUrl;

/// Where a dataset's service lives, and what runs it.
#[derive(Clone)]
pub struct Surroundings {
    /// The service's name.
    pub service: String,
    /// The directory of `rekindle.yaml`, where relative paths begin.
    pub directory: PathBuf,
    /// What runs the service; `None` if nobody can say.
    pub runtime: Option<Arc<dyn Runtime>>,
}

impl Surroundings {
    /// Where the service of `url` is really reached. A host that is the service's own name is what other services call
    /// it, in a network that this machine need not be part of; the runtime knows better. `None` if the URL is right as
    /// it is, or nobody knows better.
    #[must_use]
    pub fn address_of(&self, url: &ServiceUrl, default_port: u16) -> Option<SocketAddr> {
        let (host, port) = url.hosts().first()?;
        if *host != self.service {
            return None;
        }
        let port = port.unwrap_or(default_port);
        let found = self.runtime.as_ref()?.address(&self.service, port);
        found
            .inspect_err(|error| {
                let service = self.service.as_str();
                tracing::warn!(%error, service, "where the service listens is not known");
            })
            .ok()
            .flatten()
    }

    /// Words that make a command line run where the service runs, with these environment variables of ours; `None` if
    /// it runs here, or nobody knows how.
    #[must_use]
    pub fn command_prefix(&self, env: &[&str]) -> Option<Vec<OsString>> {
        let found = self.runtime.as_ref()?.command_prefix(&self.service, env);
        found
            .inspect_err(|error| tracing::debug!(%error, "no commands run where the service runs"))
            .ok()
            .flatten()
    }

    /// The URL with the address at which the service is really reached.
    #[must_use]
    pub fn reachable(&self, url: &ServiceUrl, default_port: u16) -> ServiceUrl {
        let address = self.address_of(url, default_port);
        address.map_or_else(|| url.clone(), |address| url.at_address(address))
    }
}
