//! What is true of Podman only.

use std::os::unix::fs::symlink;

use rekindle_runtimes::Runtime as _;
use rekindle_runtimes::docker::{Docker, Endpoint};

use crate::project::{sh, shop_of};

#[test]
fn podman_is_known_as_such_whatever_its_socket_is_called() {
    let Some(shop) =
        shop_of("services: { app: { image: 'rekindle-test/app:1' } }\nversion: '3.8'\n")
    else {
        return;
    };
    // As the package `podman-docker` does.
    let link = shop.engine.dir().join("docker.sock");
    symlink(shop.engine.socket(), &link).unwrap();
    let docker = Docker::at(Endpoint::Socket(link), "shop");
    assert_eq!(sh(&docker, "app", "true").0, 0);
    assert!(
        docker.describe().starts_with("Podman at"),
        "{}",
        docker.describe()
    );
    // Of an engine without a helping word in its path the same is asked.
    assert!(shop.docker.engine_name().starts_with("Podman at"));
}

#[test]
fn a_published_port_is_found_and_one_in_a_network_elsewhere_is_not() {
    let port = rekindle_testing::free_port().unwrap();
    let Some(shop) = shop_of(&format!(
        "version: '3.8'\nservices:\n  app: {{ image: 'rekindle-test/app:1', ports: ['127.0.0.1:{port}:8080'] }}\n  \
         inner: {{ image: 'rekindle-test/app:1' }}\n"
    )) else {
        return;
    };
    let address = |service| shop.docker.address(service, 8080).unwrap();
    assert_eq!(
        address("app").unwrap().to_string(),
        format!("127.0.0.1:{port}")
    );
    assert_eq!(
        address("inner"),
        None,
        "its network does not begin on this machine"
    );
}
