//! The Compose command, for the one thing that labels cannot give back: a container that is gone.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::failure::cut;
use super::labels::{CONFIG_FILES, Labels, WORKING_DIR};
use crate::RuntimeError;

/// Building nothing and pulling nothing; still, many containers take time.
const LIMIT: Duration = Duration::from_secs(600);

/// Where a project is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposeFiles {
    /// The Compose files, in the order in which the later ones win.
    pub files: Vec<PathBuf>,
    /// The directory that relative paths in them, and `.env`, belong to.
    pub directory: PathBuf,
}

/// What is done with the services that are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up {
    /// Containers are made where they are missing, and nothing is started: storage can be filled first.
    CreateOnly,
    /// Containers are made where they are missing, and started, with what they depend on.
    Start,
}

impl ComposeFiles {
    /// Where the labels of a container say that its project is described; `None` if they do not.
    pub(super) fn of(labels: &Labels) -> Option<Self> {
        let directory = PathBuf::from(labels.get(WORKING_DIR)?);
        let files = labels
            .get(CONFIG_FILES)?
            .split(',')
            .map(|file| directory.join(file))
            .collect();
        Some(Self { files, directory })
    }
}

/// A Compose command that is installed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// `docker compose`.
    Plugin,
    /// `docker-compose`.
    Standalone,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plugin => "docker compose",
            Self::Standalone => "docker-compose",
        })
    }
}

impl Program {
    fn command(self) -> Command {
        match self {
            Self::Plugin => {
                let mut command = Command::new("docker");
                command.arg("compose");
                command
            }
            Self::Standalone => Command::new("docker-compose"),
        }
    }

    fn find() -> Option<Self> {
        [Self::Plugin, Self::Standalone]
            .into_iter()
            .find(|program| {
                let mut command = program.command();
                command
                    .arg("version")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            })
    }
}

/// Makes containers of these services (all that are in no profile, if none is named), and starts them if told to.
/// Containers that are there and fit the files stay as they are.
///
/// # Errors
/// [`RuntimeError`] without Compose, without a file, or with what Compose said.
pub(super) fn up(
    endpoint: &Endpoint,
    project: &str,
    compose: &ComposeFiles,
    services: &[&str],
    how: Up,
) -> Result<(), RuntimeError> {
    let failed = |reason: String, hint: &str| RuntimeError::Failed {
        doing: "make the containers of project".into(),
        service: project.into(),
        reason,
        hint: Some(hint.into()),
    };
    if let Some(missing) = compose.files.iter().find(|file| !file.exists()) {
        return Err(failed(
            format!("there is no file {}", missing.display()),
            "bring the Compose file back first, from the recovery point or from where it is kept",
        ));
    }
    let Some(program) = Program::find() else {
        return Err(failed(
            "there is neither `docker compose` nor `docker-compose` here".into(),
            "install the Compose plugin: apt-get install docker-compose-plugin, or docker-compose",
        ));
    };
    let mut command = command(program, endpoint, project, compose);
    command.args(["up", "--no-build"]);
    match how {
        Up::CreateOnly => command.args(["--no-start"]),
        Up::Start => command.args(["--detach"]),
    };
    if how == Up::CreateOnly && !services.is_empty() {
        command.arg("--no-deps");
    }
    command.args(services);
    let (is_done, said) = run(command)
        .map_err(|source| RuntimeError::Io {
            doing: format!("run `{program}`"),
            source,
        })?
        .ok_or_else(|| RuntimeError::TookTooLong {
            doing: "make the containers of project".into(),
            service: project.into(),
            limit: LIMIT,
        })?;
    if is_done {
        return Ok(());
    }
    Err(failed(
        format!("`{program}` said: {}", cut(last_lines(&said), 2000)),
        "the same by hand: `docker compose up`, in the project's directory",
    ))
}

fn command(
    program: Program,
    endpoint: &Endpoint,
    project: &str,
    compose: &ComposeFiles,
) -> Command {
    let mut command = program.command();
    command
        .arg("--project-name")
        .arg(project)
        .arg("--project-directory")
        .arg(&compose.directory);
    for file in &compose.files {
        command.arg("--file").arg(file);
    }
    command
        .env("DOCKER_HOST", endpoint.as_docker_host())
        .env_remove("DOCKER_CONTEXT")
        // Which services there are is decided by who calls, and not by what is set where we run.
        .env_remove("COMPOSE_FILE")
        .env_remove("COMPOSE_PROJECT_NAME")
        .env_remove("COMPOSE_PROFILES")
        .current_dir(if compose.directory.is_dir() {
            &compose.directory
        } else {
            Path::new("/")
        });
    if let Endpoint::Tls { certificates, .. } = endpoint {
        command
            .env("DOCKER_TLS_VERIFY", "1")
            .env("DOCKER_CERT_PATH", certificates);
    } else {
        command.env_remove("DOCKER_TLS_VERIFY");
    }
    command
}

/// Whether it ended well, and all that it said; `None` if it took too long and was killed.
fn run(mut command: Command) -> std::io::Result<Option<(bool, String)>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let readers = [
        child
            .stdout
            .take()
            .map(|pipe| thread::spawn(move || text_of(pipe))),
        child
            .stderr
            .take()
            .map(|pipe| thread::spawn(move || text_of(pipe))),
    ];
    let Some(is_done) = wait(&mut child)? else {
        return Ok(None);
    };
    let mut said = String::new();
    for reader in readers.into_iter().flatten() {
        said.push_str(&reader.join().unwrap_or_default());
    }
    Ok(Some((is_done, said)))
}

fn wait(child: &mut Child) -> std::io::Result<Option<bool>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if started.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn text_of(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Compose tells its progress first and its trouble last.
fn last_lines(said: &str) -> &str {
    let start = said
        .trim_end()
        .rmatch_indices('\n')
        .nth(11)
        .map_or(0, |(at, _)| at + 1);
    &said[start..]
}
