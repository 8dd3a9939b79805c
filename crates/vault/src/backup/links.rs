//! Files with several names.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::open_folder::OpenFolder;
use crate::{path::TreePath, tree::Node};

/// The names of files that have more than one, as a walk meets them. Their directories stay open as long.
#[derive(Default)]
pub(super) struct Links(Mutex<Met>);

#[derive(Default)]
struct Met {
    first_names: HashMap<(u64, u64), FirstName>,
    second_names: Vec<SecondName>,
}

/// The name that a file is read under, and where it lies: further names are given its entry.
struct FirstName {
    at: TreePath,
    _folder: Option<Arc<OpenFolder>>,
}

/// A further name of a file, and how it looked there.
pub(super) struct SecondName {
    pub source: PathBuf,
    pub at: TreePath,
    pub node: Node,
    pub first: TreePath,
    pub folder: Option<Arc<OpenFolder>>,
}

impl SecondName {
    /// Whether what was read under the first name is the same file: it may have been replaced by another one meanwhile.
    pub fn is_name_of(&self, first: &Node) -> bool {
        (first.device_id, first.inode) == (self.node.device_id, self.node.inode)
    }
}

impl Links {
    /// Whether a file was met before under another name. Its names are kept then.
    pub fn is_second_name(
        &self,
        source: &Path,
        at: &TreePath,
        node: &Node,
        folder: Option<&Arc<OpenFolder>>,
    ) -> bool {
        if node.links < 2 || node.inode == 0 {
            return false;
        }
        let mut met = self.met();
        let key = (node.device_id, node.inode);
        let Some(first) = met.first_names.get(&key).map(|first| first.at.clone()) else {
            let first = FirstName {
                at: at.clone(),
                _folder: folder.cloned(),
            };
            met.first_names.insert(key, first);
            return false;
        };
        met.second_names.push(SecondName {
            source: source.to_owned(),
            at: at.clone(),
            node: node.clone(),
            first,
            folder: folder.cloned(),
        });
        true
    }

    pub fn take_second_names(&self) -> Vec<SecondName> {
        std::mem::take(&mut self.met().second_names)
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
