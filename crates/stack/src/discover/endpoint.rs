//! Where a service is reached.

use crate::compose::Service;

/// Host and port: of this machine where the port is published, else the service's own, which the
/// runtime knows how to reach.
pub(super) fn host_and_port(service: &Service, port: u16) -> (String, u16) {
    let Some(published) = service.published(port) else {
        return (service.name.clone(), port);
    };
    let host = match published.host.as_deref() {
        None | Some("" | "0.0.0.0" | "127.0.0.1" | "::" | "::1" | "localhost") => {
            "localhost".to_owned()
        }
        Some(address) if address.contains(':') => format!("[{address}]"),
        Some(address) => address.to_owned(),
    };
    (host, published.published.unwrap_or(port))
}

/// What the URL is, for the comment beside it.
pub(super) fn why(service: &Service, port: u16) -> String {
    match service.published(port) {
        Some(_) => format!("Port {port} is published by this machine."),
        None => format!(
            "Port {port} is not published: {} is found through Docker.",
            service.name
        ),
    }
}

/// Percent-encodes what a part of a URL may not hold.
pub(super) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
