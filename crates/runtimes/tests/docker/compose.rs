//! Containers that are gone are made again.

use std::time::Duration;

use rekindle_runtimes::docker::Up;
use rekindle_runtimes::{RunState, Runtime as _};

use crate::project::{sh, shop};

#[test]
fn after_everything_was_removed_containers_come_back_empty_are_filled_and_then_started() {
    let Some(shop) = shop() else { return };
    let docker = &shop.docker;
    let files = docker.compose_files().unwrap().unwrap();
    assert_eq!(files.files, [shop.project.file()]);
    assert_eq!(files.directory, shop.project.dir());
    sh(docker, "app", "echo precious >/data/x; chown 4242 /data/x");
    let data = |storage: Vec<rekindle_runtimes::Storage>| {
        storage
            .into_iter()
            .find(|one| one.name == "shop_files")
            .unwrap()
    };
    let mut saved = Vec::new();
    let storage = data(docker.storage("app").unwrap());
    let mut access = docker.open_storage("app", &storage).unwrap();
    std::io::copy(
        &mut access.read(std::path::Path::new("")).unwrap(),
        &mut saved,
    )
    .unwrap();
    drop(access);

    shop.engine
        .run(["rm", "--force", "--volumes", "shop_app_1", "shop_cache_1"]);
    shop.engine
        .run(["volume", "rm", "shop_files", "shop_cache"]);
    assert!(docker.list().unwrap().is_empty());
    assert_eq!(
        docker.compose_files().unwrap(),
        None,
        "nothing is left that could say"
    );

    docker.compose_up(&files, &["app"], Up::CreateOnly).unwrap();
    let state = docker.state("app").unwrap();
    assert_eq!(state.run, RunState::Created);
    assert_eq!(
        docker.state("cache").unwrap().run,
        RunState::Absent,
        "only what was named"
    );
    let storage = data(docker.storage("app").unwrap());
    let mut access = docker.open_storage("app", &storage).unwrap();
    access
        .write(std::path::Path::new(""), &mut saved.as_slice())
        .unwrap();
    drop(access);

    docker.compose_up(&files, &[], Up::Start).unwrap();
    assert_eq!(docker.state("app").unwrap().run, RunState::Running);
    assert_eq!(
        sh(docker, "app", "cat /data/x; stat -c %u /data/x").1,
        "precious\n4242\n"
    );
    assert_eq!(
        docker.state("worker").unwrap().run,
        RunState::Absent,
        "its profile is not on"
    );
    docker.compose_up(&files, &["worker"], Up::Start).unwrap();
    assert_eq!(docker.state("worker").unwrap().run, RunState::Running);
    docker.stop("worker", Duration::from_secs(1)).unwrap();
}

#[test]
fn what_compose_refuses_is_told_in_its_own_words() {
    let Some(shop) = shop() else { return };
    let mut files = shop.docker.compose_files().unwrap().unwrap();
    let error = shop
        .docker
        .compose_up(&files, &["nobody"], Up::Start)
        .unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
    std::fs::write(
        shop.project.file(),
        "services: { gone: { image: 'rekindle-test/no-such-image:1' } }\nversion: '3.8'\n",
    )
    .unwrap();
    let error = shop
        .docker
        .compose_up(&files, &["gone"], Up::Start)
        .unwrap_err();
    assert!(error.to_string().contains("no-such-image"), "{error}");
    files.files = vec!["/nowhere/compose.yml".into()];
    let error = shop.docker.compose_up(&files, &[], Up::Start).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("there is no file /nowhere/compose.yml"),
        "{error}"
    );
}
