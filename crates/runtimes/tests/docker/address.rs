//! Where services are reached.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rekindle_runtimes::Runtime as _;

use crate::project::{shop_of, until};

#[test]
fn a_port_is_reached_where_it_is_published_or_at_the_container_itself() {
    let port = rekindle_testing::free_port().unwrap();
    let Some(shop) = shop_of(&format!(
        "version: '3.8'\nservices:\n  app: {{ image: 'rekindle-test/app:1', ports: ['127.0.0.1:{port}:8080'] }}\n  \
         inner: {{ image: 'rekindle-test/app:1' }}\n  beside: {{ image: 'rekindle-test/app:1', network_mode: 'service:inner', \
         command: ['sleep', '1000'] }}\n  none: {{ image: 'rekindle-test/app:1', network_mode: none }}\n  \
         host: {{ image: 'rekindle-test/app:1', network_mode: host, command: ['sleep', '1000'] }}\n"
    )) else {
        return;
    };
    let address = |service| shop.docker.address(service, 8080).unwrap();
    assert_eq!(
        address("app").unwrap().to_string(),
        format!("127.0.0.1:{port}")
    );
    let inner = address("inner").unwrap();
    assert_eq!(
        address("beside"),
        Some(inner),
        "it has the network of the other one"
    );
    assert_eq!(address("none"), None);
    assert_eq!(address("host").unwrap().to_string(), "127.0.0.1:8080");
    for service in ["app", "inner"] {
        let said = || {
            let mut stream = TcpStream::connect(address(service)?).ok()?;
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        };
        until("an answer", || {
            said().is_some_and(|text| text.contains("well"))
        });
    }
}
