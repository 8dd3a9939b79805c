//! What opens the vault never goes into it.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use jiff::Timestamp;
use rekindle_stack::{S3Credentials, Secret, SecretSource, Stack};

/// Largest file taken. A configuration file is a hundredth of it.
const MAX_BYTES: u64 = 1024 * 1024;

/// Shorter secrets would be found in the middle of words.
const SHORTEST: usize = 4;

/// The secrets of the vault and of its copies.
pub(super) struct Forbidden {
    /// Files that hold one, by device and inode: a link is the same file.
    files: Vec<(u64, u64)>,
    values: Vec<Secret>,
    /// Whether one stands in `rekindle.yaml` itself.
    inline: bool,
}

/// What may be stored of a file.
pub(super) struct Allowed {
    pub bytes: Vec<u8>,
    pub changed: Timestamp,
    pub redacted: bool,
}

impl Forbidden {
    pub fn of(stack: &Stack) -> Self {
        let vault = &stack.vault;
        let of_copies = vault
            .copies
            .iter()
            .flat_map(|copy| copy.password.iter().chain(&copy.credentials));
        let sources = std::iter::once(&vault.password)
            .chain(&vault.credentials)
            .chain(of_copies);
        let mut forbidden = Self {
            files: Vec::new(),
            values: Vec::new(),
            inline: false,
        };
        for source in sources {
            forbidden.add(source);
        }
        forbidden
    }

    fn add(&mut self, source: &SecretSource) {
        match source {
            SecretSource::File(path) => {
                self.files
                    .extend(fs::metadata(path).map(|data| (data.dev(), data.ino())));
            }
            SecretSource::Inline(_) => self.inline = true,
            _ => {}
        }
        let Ok(secret) = source.read() else { return };
        // Of a pair of keys the second is the secret; as a whole it stands nowhere else.
        if let Ok(keys) = S3Credentials::parse(&secret) {
            self.values.push(keys.secret_access_key);
            self.values.extend(keys.session_token);
        }
        self.values.push(Secret::new(secret.expose().trim()));
    }

    /// Whether a secret of the vault stands in `rekindle.yaml` itself.
    pub fn are_inline(&self) -> bool {
        self.inline
    }

    /// Reads a file; secrets of the vault in it are replaced by `***`. `Err` says why it is not taken.
    pub fn read(&self, path: &Path) -> Result<Allowed, &'static str> {
        let data = fs::metadata(path).map_err(|_| "it cannot be read")?;
        if self.files.contains(&(data.dev(), data.ino())) {
            return Err("it opens the vault, which it must not lie in");
        }
        if !data.is_file() {
            return Err("it is not a regular file");
        }
        if data.len() > MAX_BYTES {
            return Err("it is larger than 1 MiB");
        }
        let bytes = fs::read(path).map_err(|_| "it cannot be read")?;
        let changed = data
            .modified()
            .ok()
            .and_then(|time| Timestamp::try_from(time).ok());
        let (bytes, redacted) = self.redact(bytes)?;
        Ok(Allowed {
            bytes,
            changed: changed.unwrap_or_default(),
            redacted,
        })
    }

    fn redact(&self, bytes: Vec<u8>) -> Result<(Vec<u8>, bool), &'static str> {
        let mut text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(other)
                if self
                    .values
                    .iter()
                    .any(|value| is_in(other.as_bytes(), value)) =>
            {
                return Err("a secret of the vault is in it, and it is not text");
            }
            Err(other) => return Ok((other.into_bytes(), false)),
        };
        let mut redacted = false;
        for value in self
            .values
            .iter()
            .map(Secret::expose)
            .filter(|value| !value.is_empty())
        {
            if !text.contains(value) {
                continue;
            }
            if value.len() < SHORTEST {
                return Err("it may hold the vault's password, which is too short to tell");
            }
            text = text.replace(value, "***");
            redacted = true;
        }
        Ok((text.into_bytes(), redacted))
    }
}

fn is_in(bytes: &[u8], value: &Secret) -> bool {
    let value = value.expose().as_bytes();
    !value.is_empty() && bytes.windows(value.len()).any(|window| window == value)
}
