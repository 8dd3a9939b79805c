//! Where a service's port is reached from this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};

use bollard::models::{EndpointSettings, PortBinding};

use super::containers::{Container, inspect};
use super::endpoint::Endpoint;
use super::engine::{Doing, Engine};
use crate::RuntimeError;

/// Where a port of a container is reached: where it is published, else its own address on a network that begins on
/// this machine, else nowhere.
pub(super) fn address(
    engine: &Engine,
    doing: Doing<'_>,
    container: &Container,
    port: u16,
) -> Result<Option<SocketAddr>, RuntimeError> {
    let endpoint = engine.endpoint();
    match network_of(container) {
        Network::Host => Ok(host_address(endpoint, None, port)),
        // It lives in the network of another container, and so do its ports.
        Network::Of(id) => {
            let other = inspect(engine, &id, doing)?;
            Ok(other.and_then(|other| own_address(endpoint, &other, port)))
        }
        Network::Own => Ok(own_address(endpoint, container, port)),
    }
}

enum Network {
    Own,
    Host,
    Of(String),
}

fn network_of(container: &Container) -> Network {
    let mode = container
        .host_config
        .as_ref()
        .and_then(|host| host.network_mode.as_deref());
    match mode {
        Some("host") => Network::Host,
        Some(mode) => match mode.strip_prefix("container:") {
            Some(id) => Network::Of(id.to_owned()),
            None => Network::Own,
        },
        None => Network::Own,
    }
}

fn own_address(endpoint: &Endpoint, container: &Container, port: u16) -> Option<SocketAddr> {
    let settings = container.network_settings.as_ref()?;
    let published = settings
        .ports
        .as_ref()
        .and_then(|ports| ports.get(&format!("{port}/tcp")));
    let bindings = published.and_then(Option::as_ref).into_iter().flatten();
    if let Some(found) = bindings
        .filter_map(|binding| published_at(endpoint, binding))
        .next()
    {
        return Some(found);
    }
    if !endpoint.is_local() {
        return None;
    }
    let networks = settings.networks.as_ref()?;
    let mut names: Vec<_> = networks.keys().collect();
    names.sort();
    let on_link = names
        .into_iter()
        .filter_map(|name| networks.get(name))
        .find_map(address_on_link);
    on_link.map(|ip| SocketAddr::new(ip, port))
}

fn published_at(endpoint: &Endpoint, binding: &PortBinding) -> Option<SocketAddr> {
    let port = binding.host_port.as_deref()?.parse().ok()?;
    let ip = binding.host_ip.as_deref().unwrap_or_default();
    let ip = if ip.is_empty() {
        None
    } else {
        ip.parse::<IpAddr>().ok()
    };
    host_address(endpoint, ip, port)
}

/// A port of the engine's machine. What listens on all its addresses is reached at the nearest.
fn host_address(endpoint: &Endpoint, ip: Option<IpAddr>, port: u16) -> Option<SocketAddr> {
    let on_all = ip.is_none_or(|ip| ip.is_unspecified());
    if endpoint.is_local() {
        let here = match ip {
            Some(ip) if !on_all => ip,
            Some(IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
            _ => Ipv4Addr::LOCALHOST.into(),
        };
        return Some(SocketAddr::new(here, port));
    }
    match ip {
        Some(ip) if !on_all => (!ip.is_loopback()).then(|| SocketAddr::new(ip, port)),
        _ => (endpoint.host()?, port).to_socket_addrs().ok()?.next(),
    }
}

/// The container's address, if one of ours lies in the same network: then it begins on this machine. An engine in a
/// virtual machine has networks that do not.
fn address_on_link(network: &EndpointSettings) -> Option<IpAddr> {
    let ip: Ipv4Addr = network.ip_address.as_deref()?.parse().ok()?;
    let length = u32::try_from(network.ip_prefix_len?)
        .ok()
        .filter(|bits| (1..=32).contains(bits))?;
    // Connecting a datagram socket sends nothing; it only shows which address we would speak from.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((ip, 9)).ok()?;
    let IpAddr::V4(ours) = socket.local_addr().ok()?.ip() else {
        return None;
    };
    let net = |ip: Ipv4Addr| u32::from(ip) >> (32 - length);
    (net(ours) == net(ip)).then_some(IpAddr::V4(ip))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::NetworkSettings;

    use super::*;

    fn published(host_ip: &str) -> Container {
        let binding = PortBinding {
            host_ip: Some(host_ip.into()),
            host_port: Some("25432".into()),
        };
        Container {
            network_settings: Some(NetworkSettings {
                ports: Some(HashMap::from([
                    ("5432/tcp".to_owned(), Some(vec![binding])),
                    ("8080/tcp".to_owned(), None),
                ])),
                ..NetworkSettings::default()
            }),
            ..Container::default()
        }
    }

    fn at(endpoint: &Endpoint, host_ip: &str, port: u16) -> Option<String> {
        own_address(endpoint, &published(host_ip), port).map(|found| found.to_string())
    }

    #[test]
    fn a_published_port_is_reached_on_the_address_it_is_published_on() {
        let here = Endpoint::Socket("/var/run/docker.sock".into());
        assert_eq!(at(&here, "0.0.0.0", 5432).unwrap(), "127.0.0.1:25432");
        assert_eq!(at(&here, "", 5432).unwrap(), "127.0.0.1:25432");
        assert_eq!(at(&here, "::", 5432).unwrap(), "[::1]:25432");
        assert_eq!(at(&here, "10.1.2.3", 5432).unwrap(), "10.1.2.3:25432");
        assert_eq!(
            at(&here, "0.0.0.0", 8080),
            None,
            "exposed, but not published"
        );
        assert_eq!(at(&here, "0.0.0.0", 9), None);
    }

    #[test]
    fn a_port_of_another_machine_is_reached_there_unless_it_is_published_inwards_only() {
        let far = Endpoint::Tcp("192.0.2.7:2375".into());
        assert_eq!(at(&far, "0.0.0.0", 5432).unwrap(), "192.0.2.7:25432");
        assert_eq!(at(&far, "127.0.0.1", 5432), None);
    }
}
