//! Compose files: read as Compose itself reads them.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use rekindle_stack::compose::{
    ComposeError, Condition, MountKind, Origin, Project, Service, Source, load, parse,
};

fn projects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects")
}

fn nothing(_: &str) -> Option<String> {
    None
}

fn read(name: &str) -> Project {
    load(&projects().join(name), &[], &nothing).unwrap()
}

fn read_text(text: &str) -> Result<Project, ComposeError> {
    let source = Source {
        path: "compose.yaml".into(),
        text: text.to_owned(),
    };
    let no_file = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    parse(&[source], Path::new("/srv/shop"), &nothing, &no_file)
}

const ALL: [&str; 7] = [
    "assistant",
    "chat",
    "cloud",
    "forms",
    "matrix",
    "papers",
    "shop",
];

/// Those without what came after Compose 1.29, which Debian 12 has; a run of it takes seconds.
const REFEREED: [&str; 4] = ["assistant", "chat", "cloud", "forms"];

/// What two readings of one service must agree on.
fn essence(service: &Service) -> BTreeMap<&'static str, String> {
    let environment = service.environment.iter().map(|(name, variable)| {
        let value = variable
            .value
            .as_ref()
            .map(|value| value.expose().to_owned());
        (name, value)
    });
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts.join("\n")
    };
    let ports = service.ports.iter().map(|port| format!("{port:?}"));
    let mounts = service.mounts.iter().map(|mount| format!("{mount:?}"));
    BTreeMap::from([
        ("image", format!("{:?}", service.image)),
        ("command", format!("{:?}", service.command.0)),
        (
            "environment",
            format!("{:?}", environment.collect::<BTreeMap<_, _>>()),
        ),
        ("ports", sorted(ports.collect())),
        ("mounts", sorted(mounts.collect())),
        ("depends_on", format!("{:?}", service.depends_on)),
        (
            "health",
            format!(
                "{:?}",
                service.health.as_ref().map(|h| (&h.test.0, h.disabled))
            ),
        ),
        ("restart", format!("{:?}", service.restart)),
        ("profiles", format!("{:?}", service.profiles)),
    ])
}

/// `docker-compose config` prints a project with everything filled in and merged; what we read of the
/// files must be what we read of that.
#[test]
fn docker_compose_itself_understands_every_project_as_we_do() {
    if Command::new("docker-compose")
        .arg("version")
        .output()
        .is_err()
    {
        return rekindle_testing::skip::record("docker-compose is not installed: no referee");
    }
    for name in REFEREED {
        let ours = read(name);
        let profiles = ours
            .services
            .iter()
            .flat_map(|service| service.profiles.clone());
        let profiles = profiles.collect::<Vec<_>>().join(",");
        let mut command = Command::new("docker-compose");
        command.arg("config").current_dir(projects().join(name));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command.env("COMPOSE_PROFILES", profiles);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        let source = Source {
            path: "config.yaml".into(),
            text: String::from_utf8(output.stdout).unwrap(),
        };
        let directory = projects().join(name);
        let theirs = parse(&[source], &directory, &nothing, &|path| {
            std::fs::read_to_string(path)
        });
        let theirs = theirs.unwrap();
        assert_eq!(ours.services.len(), theirs.services.len(), "{name}");
        for service in &ours.services {
            let other = theirs.service(&service.name).unwrap();
            assert_eq!(essence(service), essence(other), "{name}: {}", service.name);
        }
        let names = |project: &Project| -> Vec<_> {
            let volume = |v: &rekindle_stack::compose::Volume| (v.key.clone(), v.external);
            project
                .volumes
                .iter()
                .map(volume)
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect()
        };
        assert_eq!(names(&ours), names(&theirs), "{name}");
    }
}

#[test]
fn interpolation_is_that_of_docker_compose() {
    let texts = [
        "$A",
        "${A}",
        "x${A}y",
        "${EMPTY}",
        "${EMPTY-d}",
        "${EMPTY:-d}",
        "${NONE-d}",
        "${NONE:-d}",
        "${NONE:-}",
        "${A-d}",
        "${A:-d}",
        "${A:?e}",
        "${A?e}",
        "${EMPTY?e}",
        "$$",
        "$$A",
        "$${A}",
        "a$$b",
        "${NONE}",
        "${QUOTED}",
        "${SPACED}",
        "$A$A",
        "${A}${A}",
        "${NONE:-a b}",
        "${NONE:-a:b}",
        "$_U",
    ];
    if Command::new("docker-compose")
        .arg("version")
        .output()
        .is_err()
    {
        return rekindle_testing::skip::record("docker-compose is not installed: no referee");
    }
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        use std::io::Write as _;
        let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    write(
        ".env",
        "A=1\nEMPTY=\nQUOTED='it is'\nSPACED=two words\n_U=under\n",
    );
    let variables: String = texts
        .iter()
        .enumerate()
        .map(|(index, text)| format!("      V{index}: \"{text}\"\n"))
        .collect();
    let yaml =
        format!("version: \"3.8\"\nservices:\n  s:\n    image: i\n    environment:\n{variables}");
    write("compose.yaml", &yaml);
    let output = Command::new("docker-compose")
        .arg("config")
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let theirs = read_text(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let ours = load(folder.path(), &[], &nothing).unwrap();
    for (index, text) in texts.iter().enumerate() {
        let value = |project: &Project| {
            let variable = &project.services[0].environment[&format!("V{index}")];
            variable
                .value
                .as_ref()
                .map(|value| value.expose().to_owned())
        };
        assert_eq!(value(&ours), value(&theirs), "{text}");
    }
}

#[test]
fn what_docker_compose_refuses_to_interpolate_is_told() {
    if Command::new("docker-compose")
        .arg("version")
        .output()
        .is_err()
    {
        return rekindle_testing::skip::record("docker-compose is not installed: no referee");
    }
    // Each run of the referee takes a second, most of it waiting for Python.
    let texts = ["${NONE:?e}", "${EMPTY:?e}", "${NONE?e}", "$", "${", "${A"];
    std::thread::scope(|scope| {
        for text in texts {
            scope.spawn(move || refused(text));
        }
    });
}

fn refused(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("compose.yaml");
    let yaml = format!("version: \"3.8\"\nservices:\n  s:\n    image: \"{text}\"\n");
    std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), yaml.as_bytes()).unwrap();
    let mut command = Command::new("docker-compose");
    let command = command
        .arg("config")
        .current_dir(&folder)
        .env("A", "1")
        .env("EMPTY", "");
    assert!(
        !command.output().unwrap().status.success(),
        "the referee takes {text}"
    );
    let lookup = |name: &str| match name {
        "A" => Some("1".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let notes = load(folder.path(), &[], &lookup).unwrap().notes;
    assert!(notes.iter().any(|note| note.line == 4), "{text}: {notes:?}");
}

#[test]
fn the_name_of_a_project_is_the_one_that_compose_gives_it() {
    for (name, expected) in [("shop", "shop"), ("chat", "nchat"), ("cloud", "cloud")] {
        assert_eq!(read(name).name, expected);
    }
    assert_eq!(
        read("matrix").volume("bridge").unwrap().name,
        "matrix-bridge"
    );
    assert_eq!(
        read("chat").volume("redis_data").unwrap().name,
        "nchat_redis_data"
    );
    assert_eq!(read("assistant").volume("vectors").unwrap().name, "vectors");
}

#[test]
fn overrides_extends_anchors_and_secrets_come_together() {
    let papers = read("papers");
    let names: Vec<_> = papers
        .files
        .iter()
        .map(|path| path.file_name().unwrap())
        .collect();
    assert_eq!(names, ["compose.yaml", "compose.override.yaml"]);
    let web = papers.service("webserver").unwrap();
    assert_eq!(web.value("PAPERLESS_URL"), Some("https://papers.example"));
    assert_eq!(web.value("PAPERLESS_DBHOST"), Some("db"));
    assert_eq!(web.ports.len(), 2, "lists grow");
    let kinds: Vec<_> = web.mounts.iter().map(|mount| &mount.kind).collect();
    assert!(matches!(
        kinds[..],
        [
            MountKind::Volume(_),
            MountKind::Volume(_),
            MountKind::Bind(_),
            MountKind::Anonymous,
            MountKind::Tmpfs
        ]
    ));
    let mailer = papers.service("mailer").unwrap();
    assert_eq!(mailer.mounts, web.mounts, "extended");
    assert_eq!(mailer.profiles, ["mail"]);
    assert!(mailer.depends_on.iter().any(|need| need.service == "db"));
    let db = papers.service("db").unwrap();
    assert_eq!(db.restart.as_deref(), Some("unless-stopped"), "overridden");
    assert!(papers.secrets["db_password"].ends_with("papers/db_password.txt"));
    let configuration = papers.configuration_files();
    let names: Vec<_> = configuration
        .iter()
        .map(|path| path.file_name().unwrap())
        .collect();
    let all = [
        "compose.yaml",
        "compose.override.yaml",
        "app.env",
        "db_password.txt",
    ];
    assert_eq!(names, all);
}

#[test]
fn it_is_known_where_each_value_comes_from() {
    let chat = read("chat");
    let of = |service: &str, name: &str| {
        chat.service(service).unwrap().environment[name]
            .origin
            .clone()
    };
    assert_eq!(
        of("postgres", "POSTGRES_PASSWORD"),
        Origin::Variable("POSTGRES_PASSWORD".into())
    );
    assert_eq!(
        of("postgres", "POSTGRES_USER"),
        Origin::Written,
        "the default"
    );
    assert_eq!(of("hasura", "HASURA_GRAPHQL_DATABASE_URL"), Origin::Written);
    let cloud = read("cloud");
    let origin = &cloud.service("mariadb").unwrap().environment["MYSQL_PASSWORD"].origin;
    assert!(matches!(origin, Origin::File(path) if path.ends_with("db.env")));
    let matrix = read("matrix");
    let origin = &matrix.service("synapse-db").unwrap().environment["POSTGRES_PASSWORD"].origin;
    assert_eq!(*origin, Origin::Written);
}

#[test]
fn no_value_of_a_variable_is_in_any_output() {
    let secrets = [
        "hunter2",
        "cloud-password",
        "-secret-",
        "papers-db-32",
        "default-21",
    ];
    for name in ALL {
        let shown = format!("{:?}", read(name));
        for secret in secrets {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_the_rest_is_read() {
    let text = "\
services:
  a:
    image: x
    ports: 80
    volumes:
      - data:/data
      - 'a:b:c:d'
    environment: nothing
    depends_on: { b: { condition: service_perfect } }
    env_file: gone.env
    unheard_of: true
  b:
    extends: { file: other.yaml, service: b }
    environment: { A: \"$\", B: \"${NONE:?tell me}\", C: $NONE }
";
    let project = read_text(text).unwrap();
    let told: Vec<_> = project.notes.iter().map(ToString::to_string).collect();
    for expected in [
        "compose.yaml:4: `ports` must be a list",
        "compose.yaml:7: a volume that is not understood",
        "compose.yaml:8: `environment` must be a mapping or a list",
        "compose.yaml:9: the condition for `b` is unknown",
        "compose.yaml:10: gone.env cannot be read: entity not found",
        "compose.yaml:2: the volume `data` is not declared below `volumes`",
        "compose.yaml:12: `extends` from another file is not followed",
        "compose.yaml:14: a `$` begins no variable; one that is meant as it is, is written `$$`",
        "compose.yaml:14: the variable NONE must be set: tell me",
        "compose.yaml:14: the variable NONE is not set",
    ] {
        assert!(
            told.iter().any(|line| line == expected),
            "{expected} not in {told:#?}"
        );
    }
    assert_eq!(told.len(), 10, "{told:#?}");
    let a = project.service("a").unwrap();
    assert_eq!(a.depends_on[0].condition, Condition::Started);
    assert_eq!(a.mounts.len(), 1);
}

#[test]
fn what_is_no_compose_file_is_refused() {
    for (text, expected) in [
        ("services:\n  a: {\n", "compose.yaml:"),
        ("- a\n", "compose.yaml:1: a Compose file is a mapping"),
        ("volumes: {}\n", "compose.yaml:1: there are no `services`"),
        (
            "services: {a: {image: x}, a: {image: y}}\n",
            "compose.yaml:1: the key `a` is given twice",
        ),
    ] {
        let error = read_text(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    let error = load(empty.path(), &[], &nothing).unwrap_err();
    assert!(matches!(error, ComposeError::NotFound { .. }));
}

#[test]
fn circles_of_extends_end() {
    let text = "services:\n  a: { extends: b }\n  b: { extends: { service: a } }\n  c: { extends: gone }\n";
    let project = read_text(text).unwrap();
    assert_eq!(project.services.len(), 3);
    assert_eq!(project.notes.len(), 3);
}

#[test]
fn tags_of_later_versions_of_compose_do_not_stop_the_reading() {
    let text = "services:\n  a:\n    image: x\n    ports: !reset []\n    environment: !override { A: 1 }\n";
    let project = read_text(text).unwrap();
    assert_eq!(project.services[0].value("A"), Some("1"));
}
