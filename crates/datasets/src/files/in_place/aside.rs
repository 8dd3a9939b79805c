//! What a restore of files set aside, and what it put there: enough for undo after a crash at any moment.

use std::{
    ffi::OsStr,
    fs::Metadata,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{io, mounts, plan::Plan, refused};
use crate::{Aside, InPlaceError, Journal};

/// What a restore in place of files set aside. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesAside {
    /// When it began; a part of all names that it gives.
    pub stamp: String,
    /// The recovery point.
    pub point: String,
    /// What is about to be done.
    pub stage: Stage,
    /// One for each path that is replaced.
    pub swaps: Vec<Swap>,
}

/// What is about to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// The point's files are restored beside the live ones.
    #[default]
    Building,
    /// What is there is set aside, at the swap of this number.
    SettingAside {
        /// From 0.
        number: usize,
    },
    /// What was restored gets its place, at the swap of this number.
    Promoting {
        /// From 0.
        number: usize,
    },
    /// Done; what was there stands aside.
    Held,
}

/// One path that is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The path.
    pub live: PathBuf,
    /// The directory in which its successor is built.
    pub holder: PathBuf,
    /// The successor: the directory itself, or a file in it.
    pub candidate: PathBuf,
    /// Where what is there is set aside.
    pub aside: PathBuf,
    /// Where what was restored is set aside by an undo.
    pub restored: PathBuf,
    /// The inode number of what is there; `None` if nothing is.
    pub old_inode: Option<u64>,
    /// The inode number of the successor, once it is built.
    #[serde(default)]
    pub new_inode: Option<u64>,
    /// Whether nothing takes its place.
    #[serde(default)]
    pub is_vacated: bool,
    /// Whether the name is a server's own, so that whatever has it later on goes with what was restored.
    #[serde(default)]
    pub is_owned: bool,
    /// Set if the path is a mount point, which cannot be renamed: what is in it changes places then.
    #[serde(default)]
    pub content: Option<OldRoot>,
}

/// What a mount point itself looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldRoot {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl OldRoot {
    pub(super) fn of(directory: &Metadata) -> Self {
        Self {
            mode: directory.mode() & 0o7777,
            uid: directory.uid(),
            gid: directory.gid(),
        }
    }
}

impl FilesAside {
    pub(super) fn new(point: String, plan: &Plan) -> Result<Self, InPlaceError> {
        let stamp = stamp();
        let swaps = plan
            .targets
            .iter()
            .map(|target| Swap::new(target, &stamp))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            stamp,
            point,
            stage: Stage::Building,
            swaps,
        })
    }

    /// For names in one directory that are a server's own: each a file, or with `true` a directory.
    pub(crate) fn of_names(
        point: String,
        directory: &Path,
        names: &[(&str, bool)],
    ) -> Result<Self, InPlaceError> {
        let stamp = stamp();
        let swap = |(name, is_directory): &(&str, bool)| -> Result<Swap, InPlaceError> {
            let file_name = (!is_directory).then(|| OsStr::new(name));
            let mut swap = Swap::of(&directory.join(name), file_name, false, &stamp)?;
            swap.is_owned = true;
            Ok(swap)
        };
        Ok(Self {
            swaps: names.iter().map(swap).collect::<Result<_, _>>()?,
            stamp,
            point,
            stage: Stage::Building,
        })
    }

    /// Whether nothing was renamed yet.
    pub(crate) fn is_untouched(&self) -> bool {
        self.stage == Stage::Building
    }

    /// How far it has come.
    pub(crate) fn in_words(&self) -> String {
        let names: Vec<_> = self
            .swaps
            .iter()
            .map(|swap| swap.live.display().to_string())
            .collect();
        let names = names.join(", ");
        match self.stage {
            Stage::Building => format!("files were being restored beside {names}"),
            Stage::Held => format!("{names} have been replaced"),
            Stage::SettingAside { .. } | Stage::Promoting { .. } => {
                format!("{names} were being replaced, by renames")
            }
        }
    }

    /// Makes the journal say what comes next.
    pub(crate) fn enter(
        &mut self,
        stage: Stage,
        journal: &mut dyn Journal,
    ) -> Result<(), InPlaceError> {
        self.stage = stage;
        journal.write(&Aside::Files(self.clone()))
    }

    /// Where what was there is now, in words.
    pub(crate) fn standing(&self) -> Vec<String> {
        let there = self.swaps.iter().filter(|swap| swap.old_inode.is_some());
        there
            .map(|swap| format!("{} is now {}", swap.live.display(), swap.aside.display()))
            .collect()
    }

    /// A journal is acted on only if every name in it is one that this program gives: what it names is renamed and deleted.
    pub(super) fn ensure_sound(&self) -> Result<(), InPlaceError> {
        for swap in &self.swaps {
            let names = Names::new(&swap.live, &self.stamp, swap.content.is_some())?;
            let is_candidate =
                swap.candidate == swap.holder || swap.candidate.parent() == Some(&swap.holder);
            let is_sound = swap.holder == names.holder
                && swap.aside == names.aside
                && swap.restored == names.restored
                && is_candidate
                && !self.stamp.is_empty()
                && swap.live.is_absolute();
            if !is_sound {
                let reason = format!("the journal of {} names other places", swap.live.display());
                return Err(refused(reason, None));
            }
        }
        Ok(())
    }
}

struct Names {
    holder: PathBuf,
    aside: PathBuf,
    restored: PathBuf,
}

impl Names {
    /// Beside a path, or in it if it cannot be renamed.
    fn new(live: &Path, stamp: &str, inside: bool) -> Result<Self, InPlaceError> {
        if inside {
            return Ok(Self {
                holder: live.join(format!(".rekindle-new-{stamp}")),
                aside: live.join(format!(".rekindle-aside-{stamp}")),
                restored: live.join(format!(".rekindle-restored-{stamp}")),
            });
        }
        let name = live.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| {
            let reason = format!(
                "the name of {} is no text, and cannot be noted",
                live.display()
            );
            refused(reason, Some("restore it to a directory with `--to`"))
        })?;
        Ok(Self {
            holder: live.with_file_name(format!(".{name}.rekindle-new-{stamp}")),
            aside: live.with_file_name(format!("{name}.rekindle-aside-{stamp}")),
            restored: live.with_file_name(format!("{name}.rekindle-restored-{stamp}")),
        })
    }
}

/// A part of all names that one restore gives.
fn stamp() -> String {
    Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ").to_string()
}

impl Swap {
    fn new(target: &super::Target, stamp: &str) -> Result<Self, InPlaceError> {
        let name = target.file_name.as_deref();
        Self::of(&target.live, name, target.is_mount, stamp)
    }

    fn of(
        live: &Path,
        file_name: Option<&OsStr>,
        is_mount: bool,
        stamp: &str,
    ) -> Result<Self, InPlaceError> {
        let names = Names::new(live, stamp, is_mount)?;
        let candidate = match file_name {
            None => names.holder.clone(),
            Some(name) => names.holder.join(name),
        };
        let all = [live, &candidate, &names.aside];
        if all.iter().any(|path| path.to_str().is_none()) {
            let reason = format!(
                "the path {} is no text, and cannot be noted",
                live.display()
            );
            return Err(refused(
                reason,
                Some("restore it to a directory with `--to`"),
            ));
        }
        let mut swap = Self {
            live: live.to_owned(),
            candidate,
            old_inode: None,
            new_inode: None,
            is_vacated: false,
            is_owned: false,
            content: is_mount.then_some(OldRoot {
                mode: 0,
                uid: 0,
                gid: 0,
            }),
            holder: names.holder,
            aside: names.aside,
            restored: names.restored,
        };
        swap.look()?;
        Ok(swap)
    }

    /// Notes what is there now.
    fn look(&mut self) -> Result<(), InPlaceError> {
        let old = match std::fs::symlink_metadata(&self.live) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            other => Some(other.map_err(io("look at", &self.live))?),
        };
        self.old_inode = old.as_ref().map(MetadataExt::ino);
        if self.content.is_some() {
            self.content = old.as_ref().map(OldRoot::of);
        }
        Ok(())
    }

    /// What is there may have been replaced while its successor was built, as whoever writes a file anew does: all of
    /// that is set aside. But what the names lead to must be what it was.
    pub(super) fn look_again(&mut self, all: &[PathBuf]) -> Result<(), InPlaceError> {
        let was_mount = self.content.is_some();
        let mounted: Vec<_> = mounts::below(all, &self.live).collect();
        let is_as_planned = match was_mount {
            // One mount may lie on another.
            true => !mounted.is_empty() && mounted.iter().all(|mount| *mount == self.live),
            false => mounted.is_empty(),
        };
        let way = match self.live.parent() {
            Some(parent) if !was_mount => parent,
            _ => &self.live,
        };
        let way_now = std::fs::canonicalize(way).map_err(io("look at", way))?;
        if way_now != way || !is_as_planned {
            let reason = format!(
                "{} leads elsewhere than when its successor was begun, or something else is mounted there",
                self.live.display()
            );
            return Err(refused(
                reason,
                Some("look what was changed, and try again"),
            ));
        }
        self.look()
    }
}
