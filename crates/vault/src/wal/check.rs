//! Whether the archive is whole: names and lengths, and on request every byte.

use std::thread;

use super::{
    FOLDER, WalArchive, WalFile, WalListed,
    keys::{KEY_FILE, KeyFile, WalKeys},
};
use crate::{
    age,
    check::{CheckReport, Thoroughness},
    error::VaultError,
    progress::Progress,
    store::ObjectKey,
    together,
    vault::Vault,
};

impl Vault {
    /// Checks the WAL archive; changes nothing, and makes no key file. Returns the files that are long enough to be
    /// read.
    pub(crate) fn check_wal(
        &self,
        thoroughness: Thoroughness,
        progress: &Progress,
        report: &mut CheckReport,
    ) -> Result<Vec<WalListed>, VaultError> {
        let files = self.check_wal_names(report)?;
        let (_, key_file) = WalKeys::load(self)?;
        check_key_file(&key_file, !files.is_empty(), report);
        report.wal_files = files.len();
        if thoroughness == Thoroughness::AllData {
            progress.expect_bytes(files.iter().map(|listed| listed.stored_bytes).sum());
            self.read_wal(&files, progress, report)?;
        }
        Ok(files)
    }

    /// Reads these files of the archive and verifies them; returns those that are damaged.
    pub(crate) fn read_wal(
        &self,
        files: &[WalListed],
        progress: &Progress,
        report: &mut CheckReport,
    ) -> Result<Vec<WalFile>, VaultError> {
        let (keys, _) = WalKeys::load(self)?;
        read_all(&self.archive_of(keys), files, progress, report)
    }

    /// What is there and long enough to be read.
    fn check_wal_names(&self, report: &mut CheckReport) -> Result<Vec<WalListed>, VaultError> {
        let least_bytes = age::sealed_bytes(1, 0) as u64;
        let mut files = Vec::new();
        for object in self.store.list(FOLDER)? {
            let (key, stored_bytes) = (object.key, object.size_bytes);
            match WalFile::of_key(&key) {
                None => report.oddity(left_over(&key)),
                Some(_) if stored_bytes < least_bytes => {
                    report.loss(format!("`{key}` is cut: it has {stored_bytes} bytes"));
                }
                Some(file) => files.push(WalListed { file, stored_bytes }),
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

fn left_over(key: &ObjectKey) -> String {
    if key.name().contains(".zst.age-tmp-") {
        format!("`{key}` was left by an interrupted write")
    } else {
        format!("`{key}` is no file of the WAL archive")
    }
}

/// The archive opens without the file; stock tools need it.
fn check_key_file(file: &KeyFile, is_needed: bool, report: &mut CheckReport) {
    match file {
        KeyFile::Missing if is_needed => report.oddity(format!(
            "`{KEY_FILE}` is gone, so other programs cannot read the WAL archive; the next use of the archive makes it anew"
        )),
        KeyFile::Unreadable(error) => report.oddity(format!(
            "`{KEY_FILE}` does not open ({error}), so other programs cannot read the WAL archive by this password; unless it \
             opens by another password of the vault, remove it, and the next use of the archive makes it anew"
        )),
        KeyFile::Missing | KeyFile::Ours { .. } | KeyFile::Other(_) => {}
    }
}

fn read_all(
    archive: &WalArchive,
    files: &[WalListed],
    progress: &Progress,
    report: &mut CheckReport,
) -> Result<Vec<WalFile>, VaultError> {
    let mut damaged = Vec::new();
    let threads = thread::available_parallelism().map_or(2, Into::into);
    let outcomes = together::each_of(threads, files, |listed| {
        let outcome = archive.get(&listed.file).map(drop);
        progress.did_bytes(listed.stored_bytes);
        outcome
    });
    for (listed, outcome) in files.iter().zip(outcomes) {
        match outcome {
            Ok(()) => report.verified_bytes += listed.stored_bytes,
            Err(error) => {
                report.losses(vec![error.into()])?;
                damaged.push(listed.file.clone());
            }
        }
    }
    Ok(damaged)
}
