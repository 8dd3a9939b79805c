//! Where the engine keeps volumes: elsewhere with another `data-root`, without root, or by Podman.

use std::path::PathBuf;
use std::time::Duration;

use rekindle_stack::compose::{Project, Volume};

use super::engine::{Doing, Engine};
use super::failure::is_gone;
use crate::RuntimeError;

/// Whoever asks has something to fall back on, and does not wait long.
const LIMIT: Duration = Duration::from_secs(10);

/// Notes of each volume of the `local` driver where the engine keeps it, or will.
pub(super) fn locate(engine: &Engine, project: &mut Project) -> Result<(), RuntimeError> {
    if !engine.endpoint().is_local() {
        return Ok(());
    }
    let mut root = None;
    for volume in &mut project.volumes {
        if volume.driver.is_none() && is_name(&volume.name) {
            volume.directory = directory(engine, volume, &mut root)?;
        }
    }
    Ok(())
}

/// Other names would be other questions.
fn is_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_letter)
}

fn directory(
    engine: &Engine,
    volume: &Volume,
    root: &mut Option<Option<PathBuf>>,
) -> Result<Option<PathBuf>, RuntimeError> {
    let doing = Doing {
        what: "find the volume",
        service: &volume.name,
    };
    let asked = engine.try_within(LIMIT, async |client| {
        client.inspect_volume(&volume.name).await
    })?;
    match asked {
        Ok(found) => Ok(Some(found.mountpoint.into()).filter(|path: &PathBuf| path.is_absolute())),
        // Not made yet: it will lie beside the others.
        Err(failure) if is_gone(&failure) => {
            let root = match root {
                Some(root) => root.clone(),
                None => root.insert(data_root(engine)?).clone(),
            };
            Ok(root.map(|root| root.join("volumes").join(&volume.name).join("_data")))
        }
        Err(failure) => Err(engine.explain(doing, failure)),
    }
}

/// `DockerRootDir`.
fn data_root(engine: &Engine) -> Result<Option<PathBuf>, RuntimeError> {
    let doing = Doing {
        what: "find the data root of",
        service: "the engine",
    };
    let info = engine.ask_within(LIMIT, doing, async |client| client.info().await)?;
    let root = info.docker_root_dir.map(PathBuf::from);
    Ok(root.filter(|root| root.is_absolute()))
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        assert!(is_name("shop_data") && is_name("7.x-y"));
        for name in ["", "../x", "a/b", ".x", "a?b", "a b"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
