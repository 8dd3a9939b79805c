//! Directories that a walk is not done with.

use std::sync::Arc;

use super::worker::Shared;
use crate::path::TreePath;

/// Held by whoever may still add to a directory, or to one below it. When nobody does any more, the directory is complete,
/// and the thread that was the last gives its entries up for its listing.
pub(super) struct OpenFolder {
    at: TreePath,
    /// Given back after this one is dropped: a directory is complete before the one it lies in.
    _above: Option<Arc<OpenFolder>>,
    shared: Arc<Shared>,
}

impl OpenFolder {
    pub fn new(at: TreePath, above: Option<&Arc<Self>>, shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            at,
            _above: above.cloned(),
            shared: Arc::clone(shared),
        })
    }
}

impl Drop for OpenFolder {
    fn drop(&mut self) {
        if self.shared.failure.has_happened() {
            return;
        }
        if let Err(error) = self.shared.freeze(&self.at) {
            self.shared.failure.set(error);
        }
    }
}
