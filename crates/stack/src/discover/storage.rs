//! Which mounts hold state.

use std::path::{Path, PathBuf};

use super::datasets;
use super::engine::{Component, recognise};
use crate::compose::{Mount, MountKind, Project, Service, Volume};

/// Where Docker's `local` driver keeps volumes, unless its `data-root` is another.
const DOCKER_VOLUMES: &str = "/var/lib/docker/volumes";

/// The directory of a volume of Docker's `local` driver, as root sees it: where the engine says, else where it
/// usually is.
pub fn volume_directory(volume: &Volume) -> PathBuf {
    let usual = || Path::new(DOCKER_VOLUMES).join(&volume.name).join("_data");
    volume.directory.clone().unwrap_or_else(usual)
}

/// What a mount is to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// State of the service.
    State,
    /// Files that somebody wrote for it, and that it only reads.
    Configuration,
    /// Part of the machine, or nothing that lasts.
    Nothing,
}

/// Places of the machine that no project owns.
const SYSTEM: [&str; 24] = [
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/tmp",
    "/boot",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr/share",
    "/usr/src",
    "/var/log",
    "/var/lib/docker",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/hosts",
    "/etc/passwd",
    "/etc/group",
    "/etc/ssl",
    "/etc/machine-id",
];

/// What a mount is.
pub(super) fn role(mount: &Mount) -> Role {
    match &mount.kind {
        MountKind::Volume(_) if mount.read_only => Role::Nothing,
        MountKind::Volume(_) => Role::State,
        MountKind::Bind(path) if is_of_the_system(path) => Role::Nothing,
        MountKind::Bind(_) if mount.read_only => Role::Configuration,
        MountKind::Bind(_) => Role::State,
        MountKind::Anonymous | MountKind::Tmpfs | MountKind::Other(_) => Role::Nothing,
    }
}

fn is_of_the_system(path: &Path) -> bool {
    path == Path::new("/") || SYSTEM.iter().any(|system| path.starts_with(system))
}

/// Where a mount lies on this machine.
pub(super) fn directory(project: &Project, mount: &Mount) -> Option<PathBuf> {
    match &mount.kind {
        MountKind::Bind(path) => Some(path.clone()),
        MountKind::Volume(key) => project.volume(key).map(volume_directory),
        MountKind::Anonymous | MountKind::Tmpfs | MountKind::Other(_) => None,
    }
}

/// The mounts of a service that hold files to back up as files: not those in which a server keeps data that is
/// captured otherwise, nor those that an earlier service has already, nor their parts.
pub(super) fn own_files<'a>(project: &Project, service: &'a Service) -> Vec<(&'a Mount, PathBuf)> {
    let mut own: Vec<(&Mount, PathBuf)> = Vec::new();
    for mount in &service.mounts {
        let Some(directory) = directory(project, mount).filter(|_| role(mount) != Role::Nothing)
        else {
            continue;
        };
        let is_server_data = holds_server_data(project, service, mount);
        if !is_server_data && !is_elsewhere(project, service, mount) {
            own.push((mount, directory));
        }
    }
    let all: Vec<PathBuf> = own.iter().map(|(_, directory)| directory.clone()).collect();
    own.retain(|(_, directory)| {
        !all.iter()
            .any(|other| directory != other && directory.starts_with(other))
    });
    own.dedup_by(|a, b| a.1 == b.1);
    own
}

/// Whether a database that is captured by its own means keeps its files there.
pub(super) fn holds_server_data(project: &Project, service: &Service, mount: &Mount) -> bool {
    datasets::is_captured(project, service) && is_data_of(service, &recognise(service), mount)
}

/// Whether a server keeps its data there.
pub(super) fn is_data_of(service: &Service, component: &Component, mount: &Mount) -> bool {
    let target = Path::new(&mount.target);
    let is_at = |data: &str| {
        target.starts_with(data) || mount.target != "/" && Path::new(data).starts_with(target)
    };
    let is_usual = component.data.iter().any(|data| is_at(data));
    is_usual || role(mount) == Role::State && is_only_volume(service)
}

/// A server of a captured kind with one volume keeps its data in it, wherever that is mounted.
fn is_only_volume(service: &Service) -> bool {
    let state = service
        .mounts
        .iter()
        .filter(|mount| role(mount) == Role::State);
    state.count() == 1
}

/// Whether a mount is taken with another service: one that a server keeps its data in, or an earlier one that
/// writes to it.
fn is_elsewhere(project: &Project, service: &Service, mount: &Mount) -> bool {
    let mut is_earlier = true;
    project.services.iter().any(|other| {
        if other.name == service.name {
            is_earlier = false;
            return false;
        }
        let mut shared = other
            .mounts
            .iter()
            .filter(|m| m.kind == mount.kind && role(m) != Role::Nothing);
        shared.any(|m| {
            holds_server_data(project, other, m) || takes_it(is_earlier, role(m), role(mount))
        })
    })
}

/// Of two services the one that writes has the files, else the first.
fn takes_it(is_earlier: bool, other: Role, own: Role) -> bool {
    match (other, own) {
        (Role::State, Role::Configuration) => true,
        (Role::Configuration, Role::State) => false,
        _ => is_earlier,
    }
}
