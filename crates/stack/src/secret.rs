//! Secrets: where they come from, and how they stay out of every output.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Longest secret file read; one larger is not a secret but a mistake.
pub const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A secret text. `Debug` and `Display` print `***`; the memory is overwritten on drop.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over. Copies made of it before are the caller's to erase.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret is found: every secret key `K` may also be given as `K_file` or `K_env`.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// A file that holds the secret and nothing else; line ends at its end are ignored.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// An environment variable, or, if it is not set, a line of the stack's `env.file`.
    EnvOrFile {
        /// The name of the variable.
        name: String,
        /// The file.
        file: PathBuf,
    },
    /// Written in `rekindle.yaml` itself.
    Inline(Secret),
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file is missing, or not ours to read.
    #[error("secret file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, or something else that has no content.
    #[error("secret file {} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Nothing but line ends in the file.
    #[error("secret file {} is empty", .0.display())]
    EmptyFile(PathBuf),
    /// More than [`MAX_SECRET_BYTES`].
    #[error("secret file {} is larger than {MAX_SECRET_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    /// Not UTF-8.
    #[error("secret file {} is not text", .0.display())]
    NotText(PathBuf),
    /// The variable is not set, or is not UTF-8.
    #[error("environment variable {0} is not set")]
    EnvMissing(String),
    /// The variable is set to nothing.
    #[error("environment variable {0} is empty")]
    EnvEmpty(String),
    /// The variable is not set, and not in the stack's `env.file` either.
    #[error("{name} is no environment variable, and not in {} either", file.display())]
    NotInEnvFile {
        /// The variable.
        name: String,
        /// The file.
        file: PathBuf,
    },
}

impl SecretSource {
    /// Reads the secret now; it is not kept here.
    ///
    /// # Errors
    /// [`SecretError`] if it is missing, empty, too large or not text.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::File(path) => read_file(path),
            Self::Env(name) => match std::env::var(name) {
                Ok(text) if text.is_empty() => Err(SecretError::EnvEmpty(name.clone())),
                Ok(text) => Ok(Secret::new(text)),
                Err(_) => Err(SecretError::EnvMissing(name.clone())),
            },
            Self::EnvOrFile { name, file } => match std::env::var(name) {
                Ok(text) if !text.is_empty() => Ok(Secret::new(text)),
                _ => read_env_file(name, file),
            },
            Self::Inline(secret) => Ok(secret.clone()),
        }
    }

    /// Whether others than owner and group may read the file.
    ///
    /// Files under `/run/secrets` are exempt: Docker and Podman mount them world-readable inside
    /// the container, where nobody else is, and offer no way to change that.
    pub fn is_readable_by_others(&self) -> bool {
        match self {
            Self::File(path) => is_exposed(path, Path::new("/run/secrets")),
            Self::EnvOrFile { name, file } => {
                std::env::var_os(name).is_none() && others_may_read(file)
            }
            Self::Env(_) | Self::Inline(_) => false,
        }
    }
}

fn read_env_file(name: &str, file: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read {
        path: file.to_owned(),
        source,
    };
    let data = file.metadata().map_err(failed)?;
    if !data.is_file() {
        return Err(SecretError::NotAFile(file.to_owned()));
    }
    if data.len() > crate::compose::MAX_COMPOSE_BYTES {
        return Err(SecretError::TooLarge(file.to_owned()));
    }
    let text = Zeroizing::new(std::fs::read_to_string(file).map_err(failed)?);
    let mut read = crate::compose::parse_dotenv(&text, &|name| std::env::var(name).ok());
    let value = read.values.remove(name).filter(|value| !value.is_empty());
    value
        .map(Secret::new)
        .ok_or_else(|| SecretError::NotInEnvFile {
            name: name.to_owned(),
            file: file.to_owned(),
        })
}

fn is_exposed(path: &Path, container_mount: &Path) -> bool {
    !path.starts_with(container_mount) && others_may_read(path)
}

pub(crate) fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|data| data.permissions().mode() & 0o004 != 0)
}

fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read {
        path: path.to_owned(),
        source,
    };
    // Looked at before it is opened: opening a named pipe would wait for a writer.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(SecretError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    // Room for the largest, so that growing never leaves a copy of a secret in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES as usize + 1));
    file.take(MAX_SECRET_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(SecretError::TooLarge(path.to_owned()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::NotText(path.to_owned()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(SecretError::EmptyFile(path.to_owned())),
        text => Ok(Secret::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, SecretSource) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::io::Write::write_all(&mut File::create(&path).unwrap(), content).unwrap();
        (dir, SecretSource::File(path))
    }

    #[test]
    fn line_ends_at_the_end_of_a_secret_file_do_not_belong_to_the_secret() {
        for content in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            let (_dir, source) = file(content.as_bytes());
            assert_eq!(source.read().unwrap().expose(), "s3cret");
        }
        let (_dir, source) = file(b" s3cret \n");
        assert_eq!(source.read().unwrap().expose(), " s3cret ");
    }

    #[test]
    fn an_empty_missing_large_or_binary_secret_file_is_refused() {
        let (_dir, empty) = file(b"\n");
        assert!(matches!(empty.read(), Err(SecretError::EmptyFile(_))));
        let (_dir, binary) = file(&[0xff, 0xfe]);
        assert!(matches!(binary.read(), Err(SecretError::NotText(_))));
        let (_dir, large) = file(&vec![b'x'; MAX_SECRET_BYTES as usize + 1]);
        assert!(matches!(large.read(), Err(SecretError::TooLarge(_))));
        let missing = SecretSource::File("/nonexistent/secret".into());
        assert!(matches!(missing.read(), Err(SecretError::Read { .. })));
        let directory = SecretSource::File("/".into());
        assert!(matches!(directory.read(), Err(SecretError::NotAFile(_))));
        let unset = SecretSource::Env("REKINDLE_TEST_NOT_SET".into());
        assert!(matches!(unset.read(), Err(SecretError::EnvMissing(_))));
    }

    #[test]
    fn a_file_that_a_container_engine_mounted_is_not_called_exposed() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, source) = file(b"s3cret");
        let SecretSource::File(path) = source else {
            panic!()
        };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        assert!(is_exposed(&path, Path::new("/run/secrets")));
        assert!(!is_exposed(&path, dir.path()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
        assert!(!is_exposed(&path, Path::new("/run/secrets")));
    }

    #[test]
    fn a_secret_never_prints_itself() {
        let source = SecretSource::Inline(Secret::new("hunter2"));
        assert_eq!(
            format!("{source:?} {}", source.read().unwrap()),
            "Inline(***) ***"
        );
    }
}
