//! From a project to a `rekindle.yaml`.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::path::{Path, PathBuf};

use rekindle_stack::compose::{Project, Source, load, parse};
use rekindle_stack::discover::{
    Difference, Found, Proposal, Recommendation, differences, override_file, propose, recommend,
    uncovered,
};
use rekindle_stack::{Loaded, Name, Stack, TemplateServices, VaultLocation, template};

const ALL: [&str; 6] = ["assistant", "chat", "cloud", "matrix", "papers", "shop"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/projects")
        .join(name)
}

fn project(name: &str) -> Project {
    load(&folder(name), &[], &|_| None).unwrap()
}

fn written(proposal: &Proposal, base: &Path) -> String {
    let Found::Project(name) = &proposal.found else {
        panic!("{:?}", proposal.found);
    };
    let name: Name = name.parse().unwrap();
    let vault = VaultLocation::Local("/backups/vault".into());
    let password = Path::new("/etc/rekindle/vault-password");
    let services = TemplateServices::Project(proposal);
    let text = template(&name, &vault, None, password, &services);
    text.replace(&base.display().to_string(), "/srv/project")
}

fn understood(text: &str) -> Loaded {
    let loaded = Stack::parse(text, Path::new("/srv/project/rekindle.yaml"));
    loaded.unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// `UPDATE=1` writes the expected texts anew.
fn expect(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        #[allow(
            clippy::disallowed_methods,
            reason = "it is versioned, and need not survive a crash"
        )]
        std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "{}", path.display());
}

#[test]
fn each_project_becomes_the_file_that_lies_beside_it() {
    for name in ALL {
        let base = folder(name);
        let text = written(&propose(&project(name), &base), &base);
        expect(&base.join("expected-rekindle.yaml"), &text);
        let loaded = understood(&text);
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
        let again = written(&propose(&project(name), &base), &base);
        assert_eq!(text, again, "the same project gives the same text");
    }
}

#[test]
fn each_project_gets_the_patch_that_lies_beside_it() {
    for name in ALL {
        let patch = override_file(&project(name)).unwrap();
        expect(&folder(name).join("expected-patch.yaml"), &patch);
    }
}

#[test]
fn with_the_patch_nothing_is_missing_that_can_be_known() {
    for name in ALL {
        let mut sources: Vec<Source> = project(name)
            .files
            .iter()
            .map(|path| Source {
                path: path.clone(),
                text: std::fs::read_to_string(path).unwrap(),
            })
            .collect();
        sources.push(Source {
            path: "compose.rekindle.yaml".into(),
            text: override_file(&project(name)).unwrap(),
        });
        let read_file = |path: &Path| std::fs::read_to_string(path);
        let patched = parse(&sources, &folder(name), &|_| None, &read_file).unwrap();
        let left = recommend(&patched);
        let unknown =
            |left: &Recommendation| matches!(left, Recommendation::HealthCheck { test: None, .. });
        assert!(left.iter().all(unknown), "{name}: {left:?}");
        assert!(override_file(&patched).is_none());
    }
}

#[test]
fn docker_compose_takes_the_patch() {
    let has_referee = std::process::Command::new("docker-compose")
        .arg("version")
        .output()
        .is_ok();
    if !has_referee {
        return rekindle_testing::skip::record("docker-compose is not installed: no referee");
    }
    std::thread::scope(|scope| {
        for name in ["assistant", "chat", "cloud", "shop"] {
            scope.spawn(move || {
                let mut command = std::process::Command::new("docker-compose");
                command.current_dir(folder(name)).arg("config").arg("-q");
                let patch = folder(name).join("expected-patch.yaml");
                let mut files: Vec<PathBuf> = project(name).files;
                files.push(patch);
                command.env("COMPOSE_FILE", std::env::join_paths(files).unwrap());
                let output = command.output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{name}: {said}");
            });
        }
    });
}

#[test]
fn no_secret_of_a_project_is_written_into_its_yaml() {
    let secrets = [
        "hunter2",
        "cloud-password",
        "root password",
        "-secret-",
        "papers-db-32",
        "default-21",
        "minio-user-15",
    ];
    for name in ALL {
        let base = folder(name);
        let proposal = propose(&project(name), &base);
        let text = written(&proposal, &base) + &override_file(&project(name)).unwrap_or_default();
        let shown = format!("{:?} {:?}", proposal.secrets, proposal.notes);
        for secret in secrets {
            assert!(!text.contains(secret), "{name}: {secret}");
            assert!(!shown.contains(secret), "{name}: {secret} in Debug");
        }
    }
}

#[test]
fn secrets_that_stand_in_the_middle_of_a_file_get_one_of_their_own() {
    let written = |name: &str| {
        let proposal = propose(&project(name), &folder(name));
        let file = |file: &rekindle_stack::discover::SecretFile| {
            (
                file.name.display().to_string(),
                file.content.expose().to_owned(),
            )
        };
        proposal.secrets.iter().map(file).collect::<Vec<_>>()
    };
    let one = |name: &str, content: &str| vec![(name.to_owned(), content.to_owned())];
    assert_eq!(
        written("shop"),
        one("rekindle-secrets/db-password", "hunter2-in-the-file")
    );
    assert_eq!(
        written("matrix"),
        one("rekindle-secrets/synapse-db-password", "matrix-default-21")
    );
    let keys = "AWS_ACCESS_KEY_ID=minio-user-15\nAWS_SECRET_ACCESS_KEY=minio-secret-16\n";
    assert_eq!(written("chat"), one("rekindle-secrets/minio-keys", keys));
    for name in ["assistant", "cloud", "papers"] {
        assert!(written(name).is_empty(), "{name}: by reference");
    }
}

#[test]
fn nothing_of_a_project_is_left_uncovered_by_its_own_proposal() {
    for name in ALL {
        let base = folder(name);
        let text = written(&propose(&project(name), &base), &base);
        let text = text.replace("/srv/project", &base.display().to_string());
        let stack = Stack::parse(&text, &base.join("rekindle.yaml"))
            .unwrap()
            .stack;
        assert_eq!(uncovered(&project(name), &stack), [], "{name}");
        assert_eq!(differences(&project(name), &stack), [], "{name}");
    }
}

#[test]
fn what_no_dataset_covers_is_named() {
    let text = "\
stack: chat
vault: { at: /v, password_env: X }
services:
  postgres: { stateless: true }
  redis: { datasets: [ { kind: redis, url: \"redis://redis\" } ] }
  minio: { datasets: [ { kind: files, paths: [/var/lib/docker/volumes] } ] }
  gone: { stateless: true }
";
    let stack = understood(text).stack;
    let project = project("chat");
    let found: Vec<_> = uncovered(&project, &stack)
        .into_iter()
        .map(|u| (u.service, u.what))
        .collect();
    let backups = folder("chat").join("backups").display().to_string();
    // The files dataset of another service covers all volumes by their directory.
    assert_eq!(
        found,
        [("postgres".to_owned(), format!("directory {backups}"))]
    );
    let fewer = text.replace("/var/lib/docker/volumes", "/elsewhere");
    let found: Vec<_> = uncovered(&project, &understood(&fewer).stack)
        .into_iter()
        .map(|u| u.what)
        .collect();
    let expected = [
        "volume postgres_data",
        &format!("directory {backups}"),
        "volume minio_data",
        "volume meili_data",
    ];
    assert_eq!(found, expected);
    let names: Vec<_> = differences(&project, &stack);
    assert!(names.contains(&Difference::OnlyInProject("meilisearch".into())));
    assert!(names.contains(&Difference::OnlyInStack("gone".into())));
}

#[test]
fn the_matrix_says_what_to_do_with_each_service() {
    let rows = propose(&project("assistant"), &folder("assistant")).matrix();
    let row = |name: &str| rows.iter().find(|row| row.service == name).unwrap();
    assert!(row("db").needs_restore && row("db").component.contains("pgvector"));
    assert!(!row("release-mcp").stateful);
    assert_eq!(row("release-mcp").what_to_do, "build and start again");
    assert!(row("vectors").stateful);
    assert_eq!(rows.len(), project("assistant").services.len());
}

#[test]
fn a_variable_that_is_not_set_is_looked_up_in_the_env_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        use std::io::Write as _;
        let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    write(
        ".env",
        "REKINDLE_TEST_IN_FILE='of the file'\nPATH=not this\n",
    );
    write(
        "rekindle.yaml",
        "stack: s\nvault: { at: v, password_env: REKINDLE_TEST_IN_FILE }\n\
         services: { r: { datasets: [ { kind: redis, url: \"redis://r\", password_env: REKINDLE_TEST_NOWHERE } ] } }\n\
         env: { file: .env }\n",
    );
    let loaded = Stack::load(&folder.path().join("rekindle.yaml")).unwrap();
    let password = loaded.stack.vault.password.read().unwrap();
    assert_eq!(password.expose(), "of the file");
    let told: Vec<_> = loaded
        .unreadable_secrets
        .iter()
        .map(|problem| problem.message.clone())
        .collect();
    let expected = format!(
        "REKINDLE_TEST_NOWHERE is no environment variable, and not in {} either",
        folder.path().join(".env").display()
    );
    assert_eq!(told, [expected]);
}
