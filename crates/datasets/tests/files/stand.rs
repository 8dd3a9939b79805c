//! A directory with a `rekindle.yaml`'s worth of paths, and a vault.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rekindle_datasets::{
    Aside, CaptureContext, CaptureError, Captured, Dataset, DatasetRecord, InPlaceError, Journal,
    PointSource, Surroundings, dataset_of, files::FilesRecord,
};
use rekindle_stack::{Dataset as Settings, Stack};
use rekindle_vault::{
    BackupOptions, Password, Progress, Snapshot, SnapshotDraft, TreePath, Vault, durable,
    store::LocalStore,
};

const PASSWORD: &str = "a password of tests";
pub const AT: &str = "index/files";

/// A place for a stack's directory `app`, a vault, and what is restored.
pub struct Stand(pub PathBuf);

impl Stand {
    pub fn new(place: &Path) -> Self {
        fs::create_dir_all(place.join("app")).unwrap();
        Self(place.to_owned())
    }

    pub fn app(&self, name: &str) -> PathBuf {
        self.0.join("app").join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        let path = self.app(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.app(name)).unwrap()
    }

    pub fn vault(&self) -> Vault {
        let store = Arc::new(LocalStore::new(self.0.join("vault")));
        let password = Password::new(PASSWORD);
        if self.0.join("vault/config").exists() {
            Vault::open(store, &password).unwrap()
        } else {
            Vault::create(store, &password).unwrap()
        }
    }

    pub fn restic(&self) -> rekindle_testing::restic::Restic {
        rekindle_testing::restic::Restic::new(self.0.join("vault"), PASSWORD)
    }

    /// The dataset of these settings, as they stand in a `rekindle.yaml` in `app`.
    pub fn dataset(&self, settings: &str) -> Result<Box<dyn Dataset>, CaptureError> {
        let text = format!(
            "stack: s\nvault: {{ at: /v, password_env: P }}\nservices:\n  index: {{ datasets: [ {{ kind: files, {settings} }} ] }}\n"
        );
        let loaded = Stack::parse(&text, &self.app("rekindle.yaml")).unwrap();
        let settings: &Settings = &loaded.stack.services[0].datasets[0];
        let surroundings = Surroundings {
            service: "index".to_owned(),
            directory: self.0.join("app"),
            runtime: None,
        };
        dataset_of(settings, &surroundings).map(Option::unwrap)
    }

    pub fn back_up(&self, settings: &str) -> Result<(Snapshot, Captured), CaptureError> {
        let dataset = self.dataset(settings)?;
        let vault = self.vault();
        let backup = vault.start_backup(BackupOptions::default()).unwrap();
        let context = CaptureContext {
            at: TreePath::new(AT).unwrap(),
            label: "a test".to_owned(),
            previous: None,
            progress: &Progress::default(),
        };
        let captured = dataset.capture(&backup, &context)?;
        let draft = SnapshotDraft {
            paths: vec![format!("/{AT}")],
            tags: Vec::new(),
        };
        Ok((backup.finish(draft).unwrap(), captured))
    }

    /// Calls with what a restore in place is told.
    pub fn with_source<R>(
        &self,
        point: &Snapshot,
        record: &DatasetRecord,
        part: Option<&str>,
        call: impl FnOnce(&PointSource<'_>) -> R,
    ) -> R {
        let vault = self.vault();
        let (index, _) = vault.load_readable_index().unwrap();
        call(&PointSource {
            vault: &vault,
            index: &index,
            snapshot: point,
            at: TreePath::new(AT).unwrap(),
            record,
            part: part.map(|part| TreePath::new(part).unwrap()),
            progress: &Arc::default(),
        })
    }

    /// The names in a directory of the stack.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.app(directory)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

pub fn record(captured: &Captured) -> &FilesRecord {
    match &captured.record {
        DatasetRecord::Files(record) => record,
        other => panic!("{other:?}"),
    }
}

/// A journal in a file, as `recovery` has one.
pub struct FileJournal(pub PathBuf);

impl Journal for FileJournal {
    fn write(&mut self, aside: &Aside) -> Result<(), InPlaceError> {
        let bytes = serde_json::to_vec(aside).unwrap();
        durable::replace(&self.0, &bytes, 0o600).map_err(|source| InPlaceError::Journal {
            path: self.0.display().to_string(),
            source,
        })
    }
}

impl FileJournal {
    pub fn of(stand: &Stand) -> Self {
        Self(stand.0.join("journal.json"))
    }

    pub fn read(&self) -> Option<Aside> {
        let bytes = fs::read(&self.0).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}
