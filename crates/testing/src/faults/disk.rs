//! A disk that is soon full.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::TestingError;
use crate::process::{run, temp_dir};

/// A file system in memory of a few MiB. Unmounted when dropped.
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Mounts one that holds `mib` MiB.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if we may not mount.
    pub fn new(mib: u32) -> Result<Self, TestingError> {
        Self::mount(&format!("size={mib}m,mode=0755"))
    }

    /// Mounts one that holds `mib` MiB, but runs out of inodes after `files` files.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_few_inodes(mib: u32, files: u32) -> Result<Self, TestingError> {
        Self::mount(&format!("size={mib}m,nr_inodes={files},mode=0755"))
    }

    fn mount(options: &str) -> Result<Self, TestingError> {
        let dir = temp_dir()?;
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "rekindle-test"])
            .arg(dir.path());
        match run(&mut mount) {
            Ok(_) => Ok(Self { dir }),
            Err(error) => Err(TestingError::Unavailable {
                what: "a small file system".into(),
                why: error.to_string(),
            }),
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes it read-only, as the kernel does with a disk that fails.
    ///
    /// # Errors
    /// [`TestingError::Failed`], for one if a file is open for writing.
    pub fn make_read_only(&self) -> Result<(), TestingError> {
        run(Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(self.path()))
        .map(drop)
    }

    /// Makes it larger or smaller.
    ///
    /// # Errors
    /// [`TestingError::Failed`] if it holds more than that.
    pub fn resize(&self, mib: u32) -> Result<(), TestingError> {
        let size = format!("remount,size={mib}m");
        run(Command::new("mount").args(["-o", &size]).arg(self.path())).map(drop)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if run(Command::new("umount").arg(self.path())).is_err() {
            // Something still has a file open; the mount goes when that does.
            let _ = run(Command::new("umount").arg("-l").arg(self.path()));
        }
    }
}
