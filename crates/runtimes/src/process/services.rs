//! What the configuration says of the services.

use std::path::PathBuf;

use rekindle_stack::{Dataset, RestartPolicy, Run, Service, Stack};

use super::{
    place::log_directory,
    record::{Policy, Spec},
};
use crate::{Condition, Dependency, Storage, StorageKind};

/// One service as the runtime needs it.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub name: String,
    pub run: Option<Run>,
    pub log: PathBuf,
    pub depends_on: Vec<Dependency>,
    pub storage: Vec<Storage>,
}

pub(super) fn describe(stack: &Stack) -> Vec<Described> {
    let logs = log_directory().join(stack.name.as_str());
    let describe = |service: &Service| Described {
        name: service.name.to_string(),
        run: service.run.clone(),
        log: log_of(service).unwrap_or_else(|| logs.join(format!("{}.log", service.name))),
        depends_on: needs(service),
        storage: storage(service),
    };
    stack.services.iter().map(describe).collect()
}

fn log_of(service: &Service) -> Option<PathBuf> {
    service.run.as_ref()?.log.clone()
}

/// What `depends_on` of the configuration means.
pub(crate) fn needs(service: &Service) -> Vec<Dependency> {
    let need = |name: &rekindle_stack::Name| Dependency {
        service: name.to_string(),
        condition: Condition::Healthy,
    };
    service.depends_on.iter().map(need).collect()
}

/// The directories that datasets of a service name: what is known of an ordinary program's files.
pub(crate) fn storage(service: &Service) -> Vec<Storage> {
    let paths = service.datasets.iter().flat_map(|dataset| match dataset {
        Dataset::Files(files) => files.paths.clone(),
        Dataset::Postgres(postgres) => postgres.data_directory.clone().into_iter().collect(),
        _ => Vec::new(),
    });
    let storage = paths.map(|path| Storage {
        name: path.display().to_string(),
        kind: StorageKind::Directory,
        inside: path.clone(),
        here: Some(path),
        read_only: false,
    });
    storage.collect()
}

/// What a supervisor is told.
pub(super) fn spec(service: &Described, run: &Run, launch: String) -> Spec {
    let env = run.env.iter();
    Spec {
        launch,
        argv: run.command.argv(),
        directory: run.directory.clone(),
        env: env
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        env_file: run.env_file.clone(),
        user: run.user.clone(),
        restart: match run.restart {
            RestartPolicy::No => Policy::No,
            RestartPolicy::OnFailure => Policy::OnFailure,
            RestartPolicy::Always => Policy::Always,
        },
        stop_signal: run.stop_signal.to_string(),
        log: service.log.clone(),
        log_limit_bytes: LOG_LIMIT_BYTES,
        pid_file: run.pid_file.clone(),
        first_delay: FIRST_DELAY,
    }
}

const LOG_LIMIT_BYTES: u64 = 16 << 20;

const FIRST_DELAY: std::time::Duration = std::time::Duration::from_millis(200);
