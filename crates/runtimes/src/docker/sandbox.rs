//! A second instance of a service: same image, fresh storage, no network; nothing stays of it.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use bollard::Docker as Client;
use bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountType, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

use super::containers::{Container, inspect};
use super::dialect::understood;
use super::engine::{Doing, Engine, PATIENCE};
use super::exec::{Inside, exec};
use super::failure::{Failure, is_gone};
use super::state::state_of;
use super::storage::storage_of;
use crate::{
    ExecCommand, ExecOutcome, ExecStreams, LogRequest, RuntimeError, Sandbox, SandboxRequest,
    ServiceState, StorageKind, owner,
};

/// On every container that we make, with who made it.
const OWNER: &str = "io.rekindle.owner";

/// A container that is removed, with its anonymous volumes, when this is dropped.
pub(super) struct Disposable {
    client: Client,
    id: String,
}

impl Disposable {
    pub(super) fn create(
        engine: &Engine,
        doing: Doing<'_>,
        mut body: ContainerCreateBody,
    ) -> Result<Self, RuntimeError> {
        sweep(engine, doing);
        let owner = owner::this_process()
            .map_err(|source| super::failure::threads(&engine.name(), source))?;
        body.labels
            .get_or_insert_default()
            .insert(OWNER.into(), owner);
        let client = engine.client()?;
        let made = engine.ask(doing, async |client| {
            client.create_container(None, body).await
        })?;
        Ok(Self {
            client,
            id: made.id,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Disposable {
    fn drop(&mut self) {
        let removed = crate::net::wait_for(tokio_timeout(remove(&self.client, &self.id)));
        if let Ok(Some(Ok(()))) = removed {
            return;
        }
        // The next one that is made finds it by its label.
        tracing::warn!(container = %self.id, "a container of ours could not be removed; it will be next time");
    }
}

async fn tokio_timeout<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, work).await.ok()
}

async fn remove(client: &Client, id: &str) -> Result<(), Failure> {
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    match client.remove_container(id, Some(options)).await {
        Err(failure) if !is_gone(&failure) => Err(failure),
        _ => Ok(()),
    }
}

/// Removes what processes of this machine left that were killed. What cannot be removed now is, some other time.
fn sweep(engine: &Engine, doing: Doing<'_>) {
    let filters = HashMap::from([("label".to_owned(), vec![OWNER.to_owned()])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let swept = engine.ask(doing, async |client| {
        for container in understood(client.list_containers(Some(options)).await)? {
            let owner = container
                .labels
                .as_ref()
                .and_then(|labels| labels.get(OWNER));
            if let (Some(owner), Some(id)) = (owner, &container.id)
                && owner::is_gone(owner)
            {
                remove(&client, id).await?;
            }
        }
        Ok(())
    });
    if let Err(error) = swept {
        tracing::warn!(%error, "what an earlier process left could not be removed");
    }
}

/// A sandbox of a service.
pub(super) struct DockerSandbox {
    engine: Arc<Engine>,
    service: String,
    container: Disposable,
}

impl DockerSandbox {
    pub(super) fn create(
        engine: &Arc<Engine>,
        service: &str,
        like: &Container,
        request: &SandboxRequest,
    ) -> Result<Self, RuntimeError> {
        let doing = Doing {
            what: "make a sandbox of",
            service,
        };
        if !request.mounts.is_empty() && !engine.endpoint().is_local() {
            return Err(RuntimeError::Unsupported {
                runtime: engine.name(),
                what: "is on another machine, where directories of this one cannot be seen".into(),
            });
        }
        let container = Disposable::create(engine, doing, body_of(engine, doing, like, request))?;
        Ok(Self {
            engine: Arc::clone(engine),
            service: service.into(),
            container,
        })
    }

    fn inside(&self) -> Inside<'_> {
        Inside {
            engine: &self.engine,
            container: self.container.id(),
            service: &self.service,
        }
    }

    fn inspect(&self, doing: Doing<'_>) -> Result<Vec<Container>, RuntimeError> {
        Ok(inspect(&self.engine, self.container.id(), doing)?
            .into_iter()
            .collect())
    }
}

/// The service's own image, environment, program, user, limits and health check, and nothing that leads to what
/// it keeps or whom it talks to. Labels are not taken along: by them it would be taken for the service.
fn body_of(
    engine: &Engine,
    doing: Doing<'_>,
    like: &Container,
    request: &SandboxRequest,
) -> ContainerCreateBody {
    let config = like.config.clone().unwrap_or_default();
    let host = like.host_config.clone().unwrap_or_default();
    let mut env = config.env.unwrap_or_default();
    env.extend(
        request
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    let (entrypoint, cmd) = match &request.command {
        // As the entry point, so that nothing of the image's own is put before or after it.
        Some(command) => (Some(command.clone()), None),
        None => (config.entrypoint, config.cmd),
    };
    let found = storage_of(std::slice::from_ref(like)).into_iter();
    let storage: Vec<crate::Storage> = found.map(|one| one.seen_from_here(engine, doing)).collect();
    let mounts: Vec<Mount> = requested(request)
        .chain(settings_of(&storage, request))
        .collect();
    let taken: Vec<&str> = mounts
        .iter()
        .filter_map(|mount| mount.target.as_deref())
        .collect();
    let fresh = storage
        .iter()
        .map(|one| one.inside.to_string_lossy().into_owned());
    let volumes = fresh
        .filter(|inside| !taken.contains(&inside.as_str()))
        .collect();
    ContainerCreateBody {
        image: like.image.clone(),
        env: Some(env),
        entrypoint,
        cmd,
        user: config.user,
        working_dir: config.working_dir,
        healthcheck: config.healthcheck,
        stop_signal: config.stop_signal,
        tty: config.tty,
        volumes: Some(volumes),
        host_config: Some(HostConfig {
            network_mode: Some("none".into()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            mounts: Some(mounts),
            memory: host.memory,
            nano_cpus: host.nano_cpus,
            shm_size: host.shm_size,
            ulimits: host.ulimits,
            tmpfs: host.tmpfs,
            cap_drop: host.cap_drop,
            readonly_rootfs: host.readonly_rootfs,
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

fn requested(request: &SandboxRequest) -> impl Iterator<Item = Mount> {
    request
        .mounts
        .iter()
        .map(|(here, inside)| bind(&here.to_string_lossy(), &inside.to_string_lossy(), false))
}

/// Single files that the service gets from this machine are its settings; a sandbox may read them.
fn settings_of(
    storage: &[crate::Storage],
    request: &SandboxRequest,
) -> impl Iterator<Item = Mount> {
    let is_requested =
        |inside: &std::path::Path| request.mounts.iter().any(|(_, own)| own == inside);
    storage.iter().filter_map(move |one| {
        let here = one.here.as_ref()?;
        let is_setting =
            one.kind == StorageKind::Bind && here.is_file() && !is_requested(&one.inside);
        is_setting.then(|| bind(&here.to_string_lossy(), &one.inside.to_string_lossy(), true))
    })
}

fn bind(source: &str, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.into()),
        target: Some(target.into()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

impl Sandbox for DockerSandbox {
    fn start(&mut self) -> Result<(), RuntimeError> {
        let doing = Doing {
            what: "start the sandbox of",
            service: &self.service,
        };
        self.engine.ask(doing, async |client| {
            client.start_container(self.container.id(), None).await
        })
    }

    fn state(&self) -> Result<ServiceState, RuntimeError> {
        let doing = Doing {
            what: "look at the sandbox of",
            service: &self.service,
        };
        let containers = self.inspect(doing)?;
        Ok(state_of(&self.service, &containers, Vec::new()))
    }

    fn exec(
        &self,
        command: &ExecCommand,
        streams: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError> {
        exec(self.inside(), command, streams)
    }

    fn logs(&self, request: &LogRequest, out: &mut dyn Write) -> Result<(), RuntimeError> {
        let doing = Doing {
            what: "read the log of the sandbox of",
            service: &self.service,
        };
        let containers = self.inspect(doing)?;
        super::logs::logs(&self.engine, doing, &containers, request, out)
    }
}
