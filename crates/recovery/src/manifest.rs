//! What a recovery point says of itself: `/recovery-point.json`.

use jiff::Timestamp;
use rekindle_datasets::DatasetRecord;
use rekindle_vault::{BlobKind, Index, Snapshot, Vault};
use serde::{Deserialize, Serialize};

use crate::{RecoveryError, tripwire::TripwireRecord};

/// Where the manifest lies in a recovery point.
pub(crate) const PATH: &str = "recovery-point.json";
/// The version of the manifest. Within it, fields are only added.
const FORMAT: u32 = 1;

/// What a recovery point holds. Described in `docs/format.md`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this document.
    pub format: u32,
    /// The program that wrote it.
    pub program: String,
    /// The stack it is of.
    pub stack: String,
    /// When the backup began.
    pub started: Timestamp,
    /// When everything was captured.
    pub captured: Timestamp,
    /// The datasets, in the order of their capture.
    pub datasets: Vec<DatasetEntry>,
    /// What could not be captured, and why.
    #[serde(default)]
    pub skipped: Vec<String>,
    /// What a person should know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A dataset of a recovery point.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatasetEntry {
    /// Whose it is.
    pub service: String,
    /// Where it lies in the point: `<service>/<kind>`.
    pub path: String,
    /// When its capture began.
    pub started: Timestamp,
    /// When it was captured.
    pub captured: Timestamp,
    /// How much changed since the point before, and before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tripwire: Option<TripwireRecord>,
    /// What it is.
    #[serde(flatten)]
    pub record: DatasetRecord,
}

impl Manifest {
    pub(crate) fn new(stack: &str, started: Timestamp) -> Self {
        Self {
            format: FORMAT,
            program: concat!("rekindle ", env!("CARGO_PKG_VERSION")).to_owned(),
            stack: stack.to_owned(),
            started,
            captured: started,
            datasets: Vec::new(),
            skipped: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Reads the manifest of a snapshot.
    pub(crate) fn read(
        vault: &Vault,
        index: &Index,
        snapshot: &Snapshot,
    ) -> Result<Self, RecoveryError> {
        let none = |source| RecoveryError::NoManifest {
            point: snapshot.id,
            source,
        };
        let node = vault
            .find_node(index, snapshot, PATH)
            .map_err(|error| none(Some(Box::new(error))))?
            .ok_or_else(|| none(None))?;
        let mut bytes = Vec::new();
        for id in node.content.iter().flatten() {
            let blob = vault.read_blob(index, BlobKind::Data, id);
            bytes.extend(blob.map_err(|error| none(Some(Box::new(error))))?);
        }
        serde_json::from_slice(&bytes).map_err(|error| none(Some(Box::new(error.into()))))
    }

    /// The dataset of this service.
    pub(crate) fn dataset(&self, service: &str) -> Option<&DatasetEntry> {
        self.datasets.iter().find(|entry| entry.service == service)
    }

    /// What the tripwire recorded of the dataset that lies there.
    pub(crate) fn tripwire_at(&self, path: &str) -> Option<&TripwireRecord> {
        let entry = self.datasets.iter().find(|entry| entry.path == path)?;
        entry.tripwire.as_ref()
    }

    /// The services that it has something of, for people.
    pub(crate) fn services(&self) -> String {
        let names: Vec<_> = self
            .datasets
            .iter()
            .map(|d| format!("`{}`", d.service))
            .collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }
}
