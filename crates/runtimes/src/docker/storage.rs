//! What of a service outlives its containers.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bollard::models::MountPoint;
use bollard::query_parameters::ContainerArchiveInfoOptionsBuilder;

use super::containers::{Container, id_of};
use super::engine::{Doing, Engine};
use crate::{Storage, StorageKind};

/// An anonymous volume's name is a hash.
const ANONYMOUS_LENGTH: usize = 64;

/// Storage, and a container that has it.
pub(super) struct Found {
    /// `here` is where it lies on the engine's machine, whichever that is.
    pub(super) storage: Storage,
    pub(super) container: String,
}

/// The volumes and bind mounts of a service's containers, each once, in the order of their paths inside. What is in
/// memory only is not among them.
pub(super) fn storage_of(containers: &[Container]) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    for container in containers {
        for mount in container.mounts.iter().flatten() {
            let Some(storage) = storage(mount) else {
                continue;
            };
            let is_known = all.iter().any(|known| is_same(&known.storage, &storage));
            if !is_known {
                let container = id_of(container);
                all.push(Found { storage, container });
            }
        }
    }
    all.sort_by(|one, other| one.storage.inside.cmp(&other.storage.inside));
    all
}

/// Whether both are the same storage at the same place.
pub(super) fn is_same(one: &Storage, other: &Storage) -> bool {
    one.name == other.name && one.inside == other.inside
}

fn storage(mount: &MountPoint) -> Option<Storage> {
    let source = mount
        .source
        .as_ref()
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let (name, kind) = match mount.typ.as_deref()? {
        "volume" => {
            let name = mount.name.clone()?;
            let kind = if is_hash(&name) {
                StorageKind::Anonymous
            } else {
                StorageKind::Volume
            };
            (name, kind)
        }
        "bind" => (
            source.as_ref()?.to_string_lossy().into_owned(),
            StorageKind::Bind,
        ),
        _ => return None,
    };
    Some(Storage {
        name,
        kind,
        inside: mount.destination.clone()?.into(),
        here: source,
        read_only: mount.rw == Some(false),
    })
}

pub(super) fn is_hash(name: &str) -> bool {
    name.len() == ANONYMOUS_LENGTH && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Found {
    /// The storage, with its path if that leads to the same files here. An engine in a virtual machine, or a process of
    /// ours in a container, may have other files at the same path.
    pub(super) fn seen_from_here(self, engine: &Engine, doing: Doing<'_>) -> Storage {
        let mut storage = self.storage;
        let candidate = storage
            .here
            .take()
            .filter(|path| engine.endpoint().is_local() && is_readable(path));
        let inside = storage.inside.to_string_lossy().into_owned();
        storage.here = candidate.filter(|path| {
            // What is written to meanwhile has another time each time it is looked at.
            (0..3).any(|_| looks_alike(engine, doing, &self.container, &inside, path) == Some(true))
        });
        storage
    }
}

fn is_readable(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => fs::read_dir(path).is_ok(),
        Ok(_) => fs::File::open(path).is_ok(),
        Err(_) => false,
    }
}

/// Whether a container sees at `inside` what we see at `path`: the same rights, and changed at the same nanosecond.
/// `None` if the engine does not tell.
fn looks_alike(
    engine: &Engine,
    doing: Doing<'_>,
    container: &str,
    inside: &str,
    path: &Path,
) -> Option<bool> {
    let options = ContainerArchiveInfoOptionsBuilder::default()
        .path(inside)
        .build();
    let theirs = engine
        .ask(doing, async |client| {
            client
                .get_container_archive_info(container, Some(options))
                .await
        })
        .ok()?;
    let ours = fs::metadata(path).ok()?;
    let their_time: jiff::Timestamp = theirs.modification_time?.parse().ok()?;
    let our_time = i128::from(ours.mtime()) * 1_000_000_000 + i128::from(ours.mtime_nsec());
    let is_same_mode = ours.mode() & 0o777 == theirs.file_mode & 0o777;
    Some(is_same_mode && their_time.as_nanosecond() == our_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(typ: &str, name: Option<&str>, source: &str, inside: &str) -> MountPoint {
        MountPoint {
            typ: Some(typ.into()),
            name: name.map(str::to_owned),
            source: Some(source.into()),
            destination: Some(inside.into()),
            rw: Some(true),
            ..MountPoint::default()
        }
    }

    fn of(mounts: Vec<MountPoint>) -> Vec<Storage> {
        let container = Container {
            mounts: Some(mounts),
            ..Container::default()
        };
        let found = storage_of(&[container.clone(), container]);
        found.into_iter().map(|found| found.storage).collect()
    }

    #[test]
    fn volumes_and_binds_are_storage_and_memory_is_not() {
        let hash = "0123456789abcdef".repeat(4);
        let found = of(vec![
            mount("volume", Some("shop_data"), "/v/shop_data/_data", "/data"),
            mount("bind", None, "/srv/conf", "/conf"),
            mount("volume", Some(&hash), "/v/h/_data", "/cache"),
            mount("tmpfs", None, "", "/tmp"),
        ]);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.kind))
            .collect();
        assert_eq!(
            found,
            [
                (hash.as_str(), StorageKind::Anonymous),
                ("/srv/conf", StorageKind::Bind),
                ("shop_data", StorageKind::Volume),
            ],
            "by path inside, each once"
        );
    }
}
