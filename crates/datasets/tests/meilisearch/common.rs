//! A vault, a stand-in with two indexes, and a dataset of it.

use std::{path::PathBuf, sync::Arc};

use rekindle_datasets::{
    CaptureContext, CaptureError, Captured, Dataset, DatasetRecord, PointSource, Surroundings,
    dataset_of,
    meilisearch::{DUMP_FILE, MeilisearchRecord},
};
use rekindle_stack::Stack;
use rekindle_testing::{
    meilisearch_stand_in::{MeilisearchStandIn, StandInOptions},
    temp_dir,
};
use rekindle_vault::{
    BackupOptions, Index, Password, Progress, Snapshot, SnapshotDraft, TreePath, Vault,
    store::LocalStore,
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const ADMIN: &str = rekindle_testing::meilisearch_stand_in::ADMIN_KEY;
pub const LIMITED: &str = rekindle_testing::meilisearch_stand_in::LIMITED_KEY;
const AT: &str = "search/meilisearch";

pub struct World {
    pub place: TempDir,
    pub server: MeilisearchStandIn,
    pub vault: Vault,
}

/// A captured point.
pub struct Point {
    pub snapshot: Snapshot,
    pub record: DatasetRecord,
    pub warnings: Vec<String>,
    pub partly: Vec<String>,
}

impl Point {
    pub fn meilisearch(&self) -> &MeilisearchRecord {
        match &self.record {
            DatasetRecord::Meilisearch(record) => record,
            other => panic!("{other:?}"),
        }
    }
}

pub fn movies(count: u64) -> Vec<Value> {
    // Numbers that a float would spoil, text that looks like JSON, and line breaks.
    let movie = |id| json!({ "id": id, "title": format!("a \"film\" {id}\nof two lines"), "big": 9_007_199_254_740_993_u64 + id });
    (0..count).map(movie).collect()
}

impl World {
    pub fn new() -> Self {
        let place = temp_dir().unwrap();
        let home = place.path().join("server");
        std::fs::create_dir(&home).unwrap();
        let server = MeilisearchStandIn::start_in(&home, &StandInOptions::default()).unwrap();
        server.put("movies", "id", &movies(250));
        server.put(
            "users",
            "name",
            &[json!({ "name": "ä" }), json!({ "name": "b" })],
        );
        server.set_settings(
            "movies",
            &json!({ "filterableAttributes": ["title"], "stopWords": ["the"] }),
        );
        let store = LocalStore::new(place.path().join("vault"));
        let vault = Vault::create(Arc::new(store), &Password::new("test")).unwrap();
        Self {
            place,
            server,
            vault,
        }
    }

    /// The dataset with these further keys.
    pub fn dataset(&self, key: &str, more: &str) -> Box<dyn Dataset> {
        self.dataset_in(key, more, None)
    }

    pub fn dataset_in(
        &self,
        key: &str,
        more: &str,
        runtime: Option<Arc<dyn rekindle_runtimes::Runtime>>,
    ) -> Box<dyn Dataset> {
        let yaml = format!(
            "stack: s\nvault: {{ at: v, password: p }}\nservices:\n  search: {{ datasets: [ {{ kind: meilisearch, url: \"{}\", \
             key: {key}{more} }} ] }}\n",
            self.server.url()
        );
        let loaded = Stack::parse(&yaml, &self.place.path().join("rekindle.yaml")).unwrap();
        let surroundings = Surroundings {
            service: "search".to_owned(),
            directory: self.place.path().to_owned(),
            runtime,
        };
        let settings = &loaded.stack.services[0].datasets[0];
        dataset_of(settings, &surroundings).unwrap().unwrap()
    }

    /// The dataset whose dumps are read where the server puts them.
    pub fn by_dump(&self) -> Box<dyn Dataset> {
        let more = format!(
            ", dump_directory: {}",
            self.server.dump_directory().display()
        );
        self.dataset(ADMIN, &more)
    }

    pub fn capture(&self, dataset: &dyn Dataset) -> Result<Point, CaptureError> {
        let backup = self.vault.start_backup(BackupOptions::default()).unwrap();
        let progress = Progress::default();
        let context = CaptureContext {
            at: TreePath::new(AT).unwrap(),
            label: "test".to_owned(),
            previous: None,
            progress: &progress,
        };
        let captured: Captured = dataset.capture(&backup, &context)?;
        let snapshot = backup.finish(SnapshotDraft::default()).unwrap();
        Ok(Point {
            snapshot,
            record: captured.record,
            warnings: captured.warnings,
            partly: captured.partly,
        })
    }

    pub fn index(&self) -> Index {
        self.vault.load_index().unwrap()
    }

    /// What the point holds, as a file.
    pub fn dump_of(&self, point: &Point) -> PathBuf {
        let (index, path) = (self.index(), self.place.path().join("taken.dump"));
        let at = format!("{AT}/{DUMP_FILE}");
        let node = self
            .vault
            .find_node(&index, &point.snapshot, at)
            .unwrap()
            .unwrap();
        let mut file = std::fs::File::create(&path).unwrap();
        self.vault.copy_file(&index, &node, &mut file).unwrap();
        path
    }

    /// A server that began with what the point holds.
    pub fn imported(&self, point: &Point) -> (TempDir, MeilisearchStandIn) {
        let home = temp_dir().unwrap();
        let options = StandInOptions {
            import_dump: Some(self.dump_of(point)),
            ..StandInOptions::default()
        };
        let server = MeilisearchStandIn::start_in(home.path(), &options).unwrap();
        (home, server)
    }
}

pub fn source<'a>(
    world: &'a World,
    index: &'a Index,
    point: &'a Point,
    progress: &'a Arc<Progress>,
) -> PointSource<'a> {
    PointSource {
        vault: &world.vault,
        index,
        snapshot: &point.snapshot,
        at: TreePath::new(AT).unwrap(),
        record: &point.record,
        part: None,
        progress,
    }
}

/// The error with all its causes.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    rekindle_datasets::with_causes(error)
}

/// Everything that a server holds, index by index.
pub fn all(server: &MeilisearchStandIn) -> Vec<(String, Vec<Value>, Value)> {
    let names = server.indexes().into_iter();
    names
        .map(|name| {
            let (documents, settings) = (server.documents(&name), server.settings(&name));
            (name, documents.unwrap(), settings.unwrap())
        })
        .collect()
}
