//! Addresses of TCP ports as people write them.

use std::fmt;
use std::str::FromStr;

/// A TCP port of a host, written `host:port`, an IPv6 address in brackets: `[::1]:5432`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpAddress {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, 1 to 65535.
    pub port: u16,
}

/// Why a text is no [`TcpAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TcpAddressError(&'static str);

impl FromStr for TcpAddress {
    type Err = TcpAddressError;

    fn from_str(text: &str) -> Result<Self, TcpAddressError> {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or(TcpAddressError("the port is missing"))?;
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        let host = if is_bracketed {
            &host[1..host.len() - 1]
        } else {
            host
        };
        let is_strange = |c: char| c.is_whitespace() || c.is_control() || "/@[]?#".contains(c);
        if host.is_empty() || host.contains(is_strange) {
            return Err(TcpAddressError("the host is missing, or no name of one"));
        }
        if host.contains(':') && !is_bracketed {
            return Err(TcpAddressError("an IPv6 address stands in brackets"));
        }
        let port = port.parse().ok().filter(|port| *port != 0);
        Ok(Self {
            host: host.to_owned(),
            port: port.ok_or(TcpAddressError("the port is no number from 1 to 65535"))?,
        })
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_is_written() {
        for text in ["localhost:5432", "10.0.0.7:1", "[::1]:65535"] {
            assert_eq!(text.parse::<TcpAddress>().unwrap().to_string(), text);
        }
        for text in [
            "localhost",
            ":80",
            "h:0",
            "h:65536",
            "h:x",
            "::1:80",
            "http://h:80",
            "a b:1",
        ] {
            assert!(text.parse::<TcpAddress>().is_err(), "{text}");
        }
    }
}
