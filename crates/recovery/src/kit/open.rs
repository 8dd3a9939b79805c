//! Opening a kit into a directory.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rekindle_stack::Secret;
use rekindle_vault::{
    age::{self, Identity},
    durable,
};
use zeroize::Zeroizing;

use super::{KitError, archive};

/// What opens a kit.
#[derive(Clone, Debug)]
pub enum KitKey {
    /// The secret key of a recipient.
    Identity(Box<Identity>),
    /// The passphrase.
    Passphrase(Secret),
}

/// Where a kit was opened to.
#[derive(Clone, Debug)]
pub struct OpenedKit {
    /// The configuration, ready for use.
    pub config: PathBuf,
    /// All files.
    pub files: Vec<PathBuf>,
}

/// Writes what is in a kit into a new or empty directory, readable by its owner only.
///
/// # Errors
/// [`KitError::Seal`] if the key does not fit; [`KitError::NotAKit`]; [`KitError::Io`], also if the
/// directory is not empty.
pub fn open_kit(sealed: Vec<u8>, key: &KitKey, to: &Path) -> Result<OpenedKit, KitError> {
    let plain = match key {
        KitKey::Identity(identity) => age::open(std::slice::from_ref(&**identity), sealed),
        KitKey::Passphrase(secret) => age::open_with_passphrase(secret.expose(), sealed),
    };
    let plain = Zeroizing::new(plain.map_err(|source| KitError::Seal {
        doing: "open the kit",
        source,
    })?);
    let entries = archive::unpack(&plain).map_err(|reason| KitError::NotAKit {
        reason: reason.to_owned(),
    })?;
    let config = to.join("rekindle.yaml");
    if !entries.iter().any(|entry| entry.name == "rekindle.yaml") {
        return Err(KitError::NotAKit {
            reason: "there is no rekindle.yaml in it".to_owned(),
        });
    }
    make_empty(to)?;
    let mut files = Vec::new();
    for entry in &entries {
        let path = to.join(&entry.name);
        if let Some(folder) = path.parent() {
            make_private(folder)?;
        }
        durable::create(&path, &entry.content, 0o600).map_err(failed("write", &path))?;
        files.push(path);
    }
    Ok(OpenedKit { config, files })
}

fn make_empty(to: &Path) -> Result<(), KitError> {
    make_private(to)?;
    let mut inside = fs::read_dir(to).map_err(failed("list", to))?;
    match inside.next() {
        None => Ok(()),
        Some(_) => Err(failed("open the kit into", to)(std::io::Error::new(
            std::io::ErrorKind::DirectoryNotEmpty,
            "the directory is not empty",
        ))),
    }
}

fn make_private(folder: &Path) -> Result<(), KitError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(failed("make", folder))?;
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(folder, mode).map_err(failed("close to others", folder))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KitError {
    let path = path.display().to_string();
    move |source| KitError::Io {
        doing,
        path,
        source,
    }
}
