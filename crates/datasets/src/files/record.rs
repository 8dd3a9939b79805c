//! What is known of captured files and directories.

use rekindle_vault::{TreeReport, Trouble, TroubleKind};
use serde::{Deserialize, Serialize};

/// Troubles that are named in a record; of more there is the number.
const MOST_NAMED: usize = 1000;

/// What is known of captured files and directories. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesRecord {
    /// The declared paths.
    #[serde(default)]
    pub paths: Vec<PathRecord>,
    /// Patterns of what was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Whether other file systems, mounted below, were left out.
    #[serde(default)]
    pub one_file_system: bool,
    /// What is not in the point as it lay on the disk: the first 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<TroubleRecord>,
    /// How many there are of those.
    #[serde(default)]
    pub trouble_count: u64,
}

/// A declared path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRecord {
    /// As in `rekindle.yaml`.
    pub declared: String,
    /// Where it lay on the machine that was backed up, for people.
    pub source: String,
    /// Where it lies below the dataset.
    pub place: String,
    /// What it is.
    pub kind: PathKind,
    /// Names of regular files.
    #[serde(default)]
    pub files: u64,
    /// Directories, with the path itself.
    #[serde(default)]
    pub directories: u64,
    /// Links, pipes and devices.
    #[serde(default)]
    pub others: u64,
    /// Bytes of the files.
    #[serde(default)]
    pub bytes: u64,
    /// Entries that the patterns left out, each with all that is below it.
    #[serde(default)]
    pub left_out: u64,
    /// Sockets, which are not backed up.
    #[serde(default)]
    pub sockets: u64,
    /// Where other file systems are mounted that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_file_systems: Vec<String>,
}

/// What a declared path is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// A directory.
    #[default]
    Directory,
    /// A file, or something else that is no directory.
    File,
    /// It was not there, and need not be.
    Missing,
}

/// An entry that is not in the point as it lay on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleRecord {
    /// Where it lay.
    pub path: String,
    /// `vanished`, `changed`, `unreadable` or `attributes`.
    pub what: String,
    /// Why, where there is a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl FilesRecord {
    /// Files of all paths.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.paths.iter().map(|path| path.files).sum()
    }

    /// Bytes of the files of all paths.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.paths.iter().map(|path| path.bytes).sum()
    }

    pub(super) fn add_troubles(&mut self, troubles: &[Trouble]) {
        self.trouble_count += troubles.len() as u64;
        let room = MOST_NAMED.saturating_sub(self.troubles.len());
        self.troubles
            .extend(troubles.iter().take(room).map(TroubleRecord::of));
    }
}

impl PathRecord {
    pub(super) fn count(&mut self, report: &TreeReport) {
        self.kind = if report.directories > 0 {
            PathKind::Directory
        } else {
            PathKind::File
        };
        self.files = report.files;
        self.directories = report.directories;
        self.others = report.others;
        self.bytes = report.bytes;
        self.left_out = report.left_out;
        self.sockets = report.sockets;
        let mounts = report.other_file_systems.iter();
        self.other_file_systems = mounts.map(|path| path.display().to_string()).collect();
    }
}

impl TroubleRecord {
    fn of(trouble: &Trouble) -> Self {
        let (what, why) = match &trouble.kind {
            TroubleKind::Vanished => ("vanished", None),
            TroubleKind::Changed => ("changed", None),
            TroubleKind::Unreadable(why) => ("unreadable", Some(why.clone())),
            TroubleKind::Attributes(why) => ("attributes", Some(why.clone())),
        };
        Self {
            path: trouble.source.display().to_string(),
            what: what.to_owned(),
            why,
        }
    }
}
