//! What an earlier call has archived already.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rekindle_vault::Id;
use serde::{Deserialize, Serialize};

use super::identity::FileIdentity;
use crate::wal::state;

/// Notes beside the segments, one file for each that is durable in the vault and that the archiver
/// has not marked as done yet. A used one stays until the next sweep: the server may ask again.
///
/// A note is a shortcut and no more: without it the segment is read and compared again. So it need
/// not be durable itself, only never wrong: it is written after the archive said that the segment
/// is durable, it names the file's very bytes and the very vault, and one cut short by a crash does
/// not parse.
pub(crate) struct Markers {
    folder: PathBuf,
    vault: Id,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    vault: Id,
    file: FileIdentity,
}

impl Markers {
    /// The notes in `ours`, about this vault.
    pub(crate) fn new(ours: &Path, vault: Id) -> Self {
        let folder = ours.join("pushed");
        Self { folder, vault }
    }

    /// Whether exactly this file is in exactly this vault.
    pub(crate) fn is_archived(&self, name: &str, path: &Path) -> bool {
        let Ok(text) = fs::read(self.folder.join(name)) else {
            return false;
        };
        let Ok(marker) = serde_json::from_slice::<Marker>(&text) else {
            return false;
        };
        let identity = fs::metadata(path).map(|data| FileIdentity::of(&data));
        marker.vault == self.vault && identity.is_ok_and(|identity| identity == marker.file)
    }

    /// Notes that exactly this file is durable in the vault.
    pub(crate) fn note(&self, name: &str, file: FileIdentity) -> io::Result<()> {
        let text = serde_json::to_vec(&Marker {
            vault: self.vault,
            file,
        })?;
        File::create(self.folder.join(name))?.write_all(&text)
    }

    /// Makes the folder for them.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        state::make_folder(&self.folder)
    }

    /// Removes those that `is_wanted` says no to: nobody will ask about them again.
    pub(crate) fn sweep(&self, is_wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Some(name) if is_wanted(name) => {}
                _ => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_segment(content: &[u8]) -> (tempfile::TempDir, Markers, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let markers = Markers::new(dir.path(), Id::of(b"vault"));
        markers.prepare().unwrap();
        let path = dir.path().join("segment");
        write(&path, content);
        let identity = FileIdentity::of(&fs::metadata(&path).unwrap());
        markers.note("segment", identity).unwrap();
        (dir, markers, path)
    }

    fn write(path: &Path, content: &[u8]) {
        File::create(path).unwrap().write_all(content).unwrap();
    }

    #[test]
    fn a_note_counts_for_the_file_and_the_vault_it_was_made_for() {
        let (dir, markers, path) = with_segment(b"one");
        assert!(markers.is_archived("segment", &path));
        assert!(!markers.is_archived("other", &path));
        let elsewhere = Markers::new(dir.path(), Id::of(b"another"));
        assert!(!elsewhere.is_archived("segment", &path));
    }

    #[test]
    fn other_bytes_under_the_same_name_are_not_archived() {
        let (dir, markers, path) = with_segment(b"one");
        let other = dir.path().join("other");
        write(&other, b"two");
        fs::rename(&other, &path).unwrap();
        assert!(!markers.is_archived("segment", &path));
    }

    #[test]
    fn a_note_cut_anywhere_is_none() {
        let (dir, markers, path) = with_segment(b"one");
        let file = dir.path().join("pushed/segment");
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            write(&file, &whole[..length]);
            assert!(!markers.is_archived("segment", &path), "{length} bytes");
        }
        write(&file, &whole);
        assert!(markers.is_archived("segment", &path));
    }

    #[test]
    fn what_nobody_will_ask_about_is_swept_up() {
        let (_dir, markers, path) = with_segment(b"one");
        markers.sweep(|name| name == "segment").unwrap();
        assert!(markers.is_archived("segment", &path));
        markers.sweep(|_| false).unwrap();
        assert!(!markers.is_archived("segment", &path));
    }
}
