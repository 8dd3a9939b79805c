//! Dumps that are found in what the service keeps, by path or as a stream.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rekindle_datasets::meilisearch::MeilisearchWay;
use rekindle_runtimes::{
    ExecCommand, ExecOutcome, ExecStreams, LogRequest, Runtime, RuntimeError, Sandbox,
    SandboxRequest, ServiceState, Storage, StorageAccess, StorageKind,
};

use crate::common::{ADMIN, LIMITED, World, all};

/// Knows where a service keeps its files, and nothing else.
struct Keeper {
    root: PathBuf,
    by_path: bool,
}

fn cannot<T>() -> Result<T, RuntimeError> {
    Err(RuntimeError::Unsupported {
        runtime: "a fixture".to_owned(),
        what: "cannot".to_owned(),
    })
}

impl Runtime for Keeper {
    fn describe(&self) -> String {
        "a fixture".to_owned()
    }
    fn list(&self) -> Result<Vec<ServiceState>, RuntimeError> {
        cannot()
    }
    fn start(&self, _: &str) -> Result<(), RuntimeError> {
        cannot()
    }
    fn stop(&self, _: &str, _: Duration) -> Result<(), RuntimeError> {
        cannot()
    }
    fn pause(&self, _: &str) -> Result<(), RuntimeError> {
        cannot()
    }
    fn resume(&self, _: &str) -> Result<(), RuntimeError> {
        cannot()
    }
    fn logs(&self, _: &str, _: &LogRequest, _: &mut dyn Write) -> Result<(), RuntimeError> {
        cannot()
    }
    fn exec(
        &self,
        _: &str,
        _: &ExecCommand,
        _: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError> {
        cannot()
    }
    fn address(&self, _: &str, _: u16) -> Result<Option<SocketAddr>, RuntimeError> {
        Ok(None)
    }
    fn storage(&self, service: &str) -> Result<Vec<Storage>, RuntimeError> {
        assert_eq!(service, "search");
        Ok(vec![Storage {
            name: "data".to_owned(),
            kind: StorageKind::Volume,
            inside: "/meili_data".into(),
            here: self.by_path.then(|| self.root.clone()),
            read_only: false,
        }])
    }
    fn open_storage(&self, _: &str, _: &Storage) -> Result<Box<dyn StorageAccess>, RuntimeError> {
        Ok(Box::new(Streams(self.root.clone())))
    }
    fn sandbox(&self, _: &str, _: &SandboxRequest) -> Result<Box<dyn Sandbox>, RuntimeError> {
        cannot()
    }
}

/// Hands files out as `tar` streams, as a container engine does.
struct Streams(PathBuf);

struct Running(Child);

impl Read for Running {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.stdout.as_mut().unwrap().read(buffer)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl StorageAccess for Streams {
    fn read(&mut self, path: &Path) -> Result<Box<dyn Read + '_>, RuntimeError> {
        if !self.0.join(path).exists() {
            return cannot();
        }
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(self.0.join(path).parent().unwrap())
            .arg("-cf")
            .arg("-");
        let child = tar
            .arg(path.file_name().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Ok(Box::new(Running(child)))
    }
    fn write(&mut self, _: &Path, _: &mut (dyn Read + Send)) -> Result<(), RuntimeError> {
        cannot()
    }
    fn rename(&mut self, _: &Path, _: &Path) -> Result<(), RuntimeError> {
        cannot()
    }
    fn copy_file(&mut self, _: &Path, _: &mut dyn Write) -> Result<u64, RuntimeError> {
        cannot()
    }
}

#[test]
fn a_dump_is_found_in_what_the_service_keeps() {
    let world = World::new();
    let root = world.server.dump_directory().parent().unwrap().to_owned();
    for by_path in [true, false] {
        let keeper = Keeper {
            root: root.clone(),
            by_path,
        };
        let dataset = world.dataset_in(ADMIN, "", Some(Arc::new(keeper)));
        let point = world.capture(&*dataset).unwrap();
        assert_eq!(point.meilisearch().way, MeilisearchWay::Storage);
        let (_home, other) = world.imported(&point);
        assert_eq!(all(&other), all(&world.server));
        let stays = point
            .warnings
            .iter()
            .any(|text| text.contains("stays where it is"));
        assert_eq!(stays, !by_path, "{:?}", point.warnings);
    }
}

#[test]
fn where_no_dump_is_found_or_may_be_made_the_api_is_read_and_that_is_told() {
    let world = World::new();
    let elsewhere = rekindle_testing::temp_dir().unwrap();
    for (key, said) in [(ADMIN, "dump_directory"), (LIMITED, "dumps.create")] {
        let keeper = Keeper {
            root: elsewhere.path().to_owned(),
            by_path: true,
        };
        let dataset = world.dataset_in(key, "", Some(Arc::new(keeper)));
        let point = world.capture(&*dataset).unwrap();
        assert_eq!(point.meilisearch().way, MeilisearchWay::Api);
        assert!(
            point.warnings.iter().any(|text| text.contains(said)),
            "{:?}",
            point.warnings
        );
    }
}
