//! Health checks of Compose, as far as they can be asked from here.

use super::endpoint::host_and_port;
use crate::compose::Service;

/// The URL that a check by `curl` or `wget` asks, as this machine reaches it; `None` if the port is
/// not published, or the check is of another kind.
pub(super) fn url(service: &Service) -> Option<String> {
    let health = service.health.as_ref().filter(|health| !health.disabled)?;
    let line = health.test.join(" ");
    if !line.contains("curl") && !line.contains("wget") {
        return None;
    }
    let start = line.find("http://").or_else(|| line.find("https://"))?;
    let ends = |c: char| c.is_whitespace() || "\"'|;)".contains(c);
    let url = line[start..].split(ends).next()?;
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let default = if scheme == "https" { 443 } else { 80 };
    let port = match authority.rsplit_once(':') {
        Some((_, port)) => port.parse().ok()?,
        None => default,
    };
    service.published(port)?;
    let (host, port) = host_and_port(service, port);
    // What a shell would still have to fill in is nobody's URL.
    let is_plain = !path.contains(['$', '`', '{']);
    is_plain.then(|| format!("{scheme}://{host}:{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{HealthTest, Port};

    #[test]
    fn the_url_of_a_check_is_that_of_the_published_port() {
        let table = [
            (
                "curl -f http://localhost:8080/healthz",
                Some("http://localhost:18080/healthz"),
            ),
            (
                "wget -qO- 'http://127.0.0.1:8080/api/health' || exit 1",
                Some("http://localhost:18080/api/health"),
            ),
            ("curl -f http://localhost:9999/", None),
            ("curl -f http://localhost:8080/$PATH", None),
            ("pg_isready", None),
        ];
        let mut service = Service::new("app");
        service.ports = vec![Port::new(8080, Some(18080))];
        for (line, expected) in table {
            let test = vec!["CMD-SHELL".to_owned(), line.to_owned()];
            service.health = Some(HealthTest::new(test));
            assert_eq!(url(&service).as_deref(), expected, "{line}");
        }
    }
}
