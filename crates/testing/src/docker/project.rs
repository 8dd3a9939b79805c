//! Compose projects on a private engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::engine::is_installed;
use crate::TestingError;
use crate::process::run;

/// A service becomes healthy within seconds; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// A Compose project: a directory with a Compose file, and what runs of it. It goes with its engine.
#[derive(Clone, Debug)]
pub struct Project {
    host: String,
    name: String,
    file: PathBuf,
}

impl Project {
    pub(super) fn create(
        host: &str,
        projects: &Path,
        name: &str,
        compose: &str,
    ) -> Result<Self, TestingError> {
        if !is_installed("docker-compose") {
            return Err(TestingError::Unavailable {
                what: "Docker Compose".into(),
                why: "there is no program `docker-compose`; `make deps` installs it".into(),
            });
        }
        let dir = projects.join(name);
        fs::create_dir_all(&dir).map_err(TestingError::file("create", &dir))?;
        let file = dir.join("docker-compose.yml");
        fs::write(&file, compose).map_err(TestingError::file("write", &file))?;
        Ok(Self {
            host: host.into(),
            name: name.into(),
            file,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its Compose file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// Starts all services that are in no profile, in the background.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with Compose's words.
    pub fn up(&self) -> Result<(), TestingError> {
        self.compose(["up", "--detach"]).map(drop)
    }

    /// Runs any command of Compose on this project and returns what it prints.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with Compose's words.
    pub fn compose<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<String, TestingError> {
        let mut command = Command::new("docker-compose");
        command
            .env("DOCKER_HOST", &self.host)
            .env_remove("DOCKER_TLS_VERIFY")
            .args(["--no-ansi", "--project-name", &self.name, "--file"])
            .arg(&self.file)
            .args(arguments)
            .current_dir(self.dir());
        run(&mut command)
    }

    /// The id of the first container of a service, also of a stopped one.
    ///
    /// # Panics
    /// If it has none.
    #[track_caller]
    pub fn container(&self, service: &str) -> String {
        let containers = self.containers(service);
        match containers.first() {
            Some(id) => id.clone(),
            None => panic!("project {} has no container of {service}", self.name),
        }
    }

    /// The ids of all containers of a service, also of stopped ones.
    ///
    /// # Panics
    /// If the engine does not answer.
    #[track_caller]
    pub fn containers(&self, service: &str) -> Vec<String> {
        let of_project = format!("label=com.docker.compose.project={}", self.name);
        let of_service = format!("label=com.docker.compose.service={service}");
        let listed = self.docker(&[
            "ps",
            "--all",
            "--no-trunc",
            "--quiet",
            "--filter",
            &of_project,
            "--filter",
            &of_service,
        ]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Waits until the health check of a service succeeds.
    ///
    /// # Panics
    /// With the container's log, if it does not within 90 s.
    #[track_caller]
    pub fn wait_healthy(&self, service: &str) {
        self.wait_health(service, "healthy");
    }

    /// Waits until a service has this health: `healthy`, `unhealthy`.
    ///
    /// # Panics
    /// With the container's log, if it does not come to that within 90 s.
    #[track_caller]
    pub fn wait_health(&self, service: &str, wanted: &str) {
        let start = Instant::now();
        let container = self.container(service);
        loop {
            let health = self.docker(&[
                "inspect",
                "--format",
                "{{.State.Health.Status}}",
                &container,
            ]);
            if health == wanted {
                return;
            }
            if start.elapsed() > PATIENCE {
                let log = self.docker(&["logs", "--tail", "30", &container]);
                panic!("{service} is {health} and not {wanted}\n{log}");
            }
            sleep(Duration::from_millis(100));
        }
    }

    #[track_caller]
    fn docker(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_HOST", &self.host)
            .env_remove("DOCKER_TLS_VERIFY");
        match run(&mut command) {
            Ok(said) => said.trim_end().to_owned(),
            Err(error) => panic!("{error:?}"),
        }
    }
}
