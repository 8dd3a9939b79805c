//! Containers of other Compose programs than the one that these tests have: made by hand, with the labels as those
//! write them.

use rekindle_runtimes::{Condition, RunState, Runtime as _};
use rekindle_testing::docker::Engine;

use crate::project::{at, engine};

const IMAGE: &str = "rekindle-test/app:1";

fn create(engine: &Engine, name: &str, labels: &[String]) {
    let mut words = vec!["create", "--network=none", "--name", name];
    for label in labels {
        words.extend(["--label", label.as_str()]);
    }
    words.push(IMAGE);
    engine.run(words);
}

fn write(engine: &Engine, file: &str, text: &str) -> String {
    let path = engine.dir().join(file);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Source: `pkg/compose/create.go` and `pkg/api/labels.go` of docker/compose 2.
#[test]
fn containers_of_compose_2_are_services_with_what_they_wait_for() {
    let Some(engine) = engine() else { return };
    let file = write(&engine, "compose.yaml", "services: {}\n");
    let override_file = write(&engine, "compose.override.yaml", "services: {}\n");
    let directory = engine.dir().display().to_string();
    let labels = |service: &str, oneoff: &str, needs: &str| -> Vec<String> {
        [
            ("config-hash", "2825a8b8d0115cbc2a30cf51d5bd1a27"),
            ("container-number", "1"),
            ("depends_on", needs),
            ("image", "sha256:7397f267f2ab0522de1b813f586dc48a"),
            ("oneoff", oneoff),
            ("project", "shop"),
            ("project.config_files", &format!("{file},{override_file}")),
            ("project.working_dir", &directory),
            ("service", service),
            ("version", "2.32.1"),
        ]
        .map(|(name, value)| format!("com.docker.compose.{name}={value}"))
        .into()
    };
    create(&engine, "shop-db-1", &labels("db", "False", ""));
    let needs = "db:service_healthy:true,setup:service_completed_successfully:false,cache:service_started:false";
    create(&engine, "shop-app-1", &labels("app", "False", needs));
    create(
        &engine,
        "shop-app-run-7397f267f2ab",
        &labels("app", "True", needs),
    );

    let docker = at(&engine, "shop");
    let listed = docker.list().unwrap();
    let units: Vec<_> = listed.iter().map(|state| state.unit.as_str()).collect();
    assert_eq!(
        units,
        ["shop-app-1", "shop-db-1"],
        "what was run once is none"
    );
    let needs: Vec<_> = listed[0]
        .depends_on
        .iter()
        .map(|need| (need.service.as_str(), need.condition))
        .collect();
    let expected = [
        ("db", Condition::Healthy),
        ("setup", Condition::CompletedSuccessfully),
        ("cache", Condition::Started),
    ];
    assert_eq!(needs, expected);
    assert!(listed[1].depends_on.is_empty());
    let files = docker.compose_files().unwrap().unwrap();
    let named: Vec<_> = files
        .files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(named, [file, override_file]);
    assert_eq!(files.directory, engine.dir());
    docker.start("db").unwrap();
    assert_eq!(docker.state("db").unwrap().run, RunState::Running);
}

/// Source: `podman_compose.py` 1.0.3. It says nothing of what is waited for, and names files as they were given.
#[test]
fn containers_of_podman_compose_are_services_with_what_their_file_says() {
    let Some(engine) = engine() else { return };
    let described = "services:\n  db: { image: 'rekindle-test/app:1' }\n  \
                     app: { image: 'rekindle-test/app:1', depends_on: { db: { condition: service_healthy } } }\n";
    write(&engine, "docker-compose.yml", described);
    let directory = engine.dir().display().to_string();
    for service in ["app", "db"] {
        let labels = [
            "io.podman.compose.config-hash=123".to_owned(),
            "io.podman.compose.project=shop".into(),
            "io.podman.compose.version=0.0.1".into(),
            "com.docker.compose.project=shop".into(),
            format!("com.docker.compose.project.working_dir={directory}"),
            "com.docker.compose.project.config_files=docker-compose.yml".into(),
            "com.docker.compose.container-number=1".into(),
            format!("com.docker.compose.service={service}"),
        ];
        create(&engine, &format!("shop_{service}_1"), &labels);
    }
    let docker = at(&engine, "shop");
    let listed = docker.list().unwrap();
    let names: Vec<_> = listed.iter().map(|state| state.name.as_str()).collect();
    assert_eq!(names, ["app", "db"]);
    assert_eq!(listed[0].depends_on.len(), 1, "{:?}", listed[0]);
    assert_eq!(listed[0].depends_on[0].condition, Condition::Healthy);
    assert!(docker.projects().unwrap().contains("shop"));
}
