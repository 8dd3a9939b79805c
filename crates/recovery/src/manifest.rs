//! What a recovery point says of itself: `/recovery-point.json`.

use jiff::Timestamp;
use rekindle_datasets::{DatasetRecord, postgres::PostgresRecord};
use rekindle_vault::{BlobKind, Id, Index, Snapshot, Vault};
use serde::{Deserialize, Serialize};

use crate::{RecoveryError, configuration::ConfigurationRecord, tripwire::TripwireRecord};

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
    /// What is missing in datasets that are there: files that vanished while they were read, objects that were refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partly: Vec<String>,
    /// What a person should know.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The configuration that lies beside the datasets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationRecord>,
    /// How far the moments of the datasets lie apart, in seconds; `None` if there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_seconds: Option<f64>,
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
    /// The moment whose state it is, as exactly as the service could say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// How much changed since the point before, and before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tripwire: Option<TripwireRecord>,
    /// What it is.
    #[serde(flatten)]
    pub record: DatasetRecord,
}

impl DatasetEntry {
    /// A dataset that was just stored from files that lay elsewhere: how old its state is, nobody knows.
    pub(crate) fn imported(
        service: String,
        path: String,
        started: Timestamp,
        record: DatasetRecord,
    ) -> Self {
        Self {
            service,
            path,
            started,
            captured: Timestamp::now(),
            as_of: None,
            tripwire: None,
            record,
        }
    }

    /// The moment whose state it is: as the service said, else when it was captured.
    #[must_use]
    pub fn moment(&self) -> Timestamp {
        self.as_of.unwrap_or(self.captured)
    }
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
            partly: Vec::new(),
            warnings: Vec::new(),
            configuration: None,
            skew_seconds: None,
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

    /// The PostgreSQL cluster of this service, and what is known of it.
    pub(crate) fn postgres(&self, service: &str) -> Option<(&DatasetEntry, &PostgresRecord)> {
        let entries = self.datasets.iter();
        let mut of_service = entries.filter(|entry| entry.service == service);
        of_service.find_map(|entry| Some((entry, entry.record.postgres()?)))
    }

    /// As [`Manifest::postgres`], of this point, which must have one.
    pub(crate) fn postgres_in(
        &self,
        point: Id,
        service: &str,
    ) -> Result<(&DatasetEntry, &PostgresRecord), RecoveryError> {
        let missing = || RecoveryError::ServiceNotInPoint {
            point,
            service: service.to_owned(),
            known: self.services(),
        };
        self.postgres(service).ok_or_else(missing)
    }

    /// The dataset that lies there.
    pub(crate) fn dataset_at(&self, path: &str) -> Option<&DatasetEntry> {
        self.datasets.iter().find(|entry| entry.path == path)
    }

    /// How far the moments of the datasets lie apart, in seconds.
    pub(crate) fn skew(&self) -> Option<f64> {
        let moments = self.datasets.iter().map(DatasetEntry::moment);
        let (first, last) = (moments.clone().min()?, moments.max()?);
        (self.datasets.len() > 1).then(|| last.duration_since(first).as_secs_f64())
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
