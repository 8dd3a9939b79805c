//! Where a vault lies.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::suggest;

/// The place of a vault or of a copy of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaultLocation {
    /// A directory of this machine.
    Local(PathBuf),
    /// `s3://bucket/prefix?endpoint=…&region=…`: any S3-compatible store.
    S3 {
        /// The bucket.
        bucket: String,
        /// Path inside the bucket without slashes around it; empty for the whole bucket.
        prefix: String,
        /// URL of a store that is not AWS.
        endpoint: Option<String>,
        /// Region, if the store has them.
        region: Option<String>,
    },
    /// `gs://bucket/prefix`: Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// Path inside the bucket without slashes around it.
        prefix: String,
    },
    /// `az://container/prefix`: Azure Blob Storage.
    Azure {
        /// The container.
        container: String,
        /// Path inside the container without slashes around it.
        prefix: String,
    },
    /// `sftp://user@host:port/path`, with the keys of the SSH client.
    Sftp {
        /// Login name, if another than the current one.
        user: Option<String>,
        /// The server.
        host: String,
        /// Its port, if another than 22.
        port: Option<u16>,
        /// Absolute path on the server.
        path: String,
    },
}

/// Why a text is no [`VaultLocation`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LocationError {
    message: String,
    help: Option<String>,
}

const SCHEMES: [&str; 4] = ["s3", "gs", "az", "sftp"];

impl LocationError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    /// What to do about it, where that is known.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl VaultLocation {
    /// Parses a path or one of the URLs above. A relative path is taken from `base`.
    ///
    /// # Errors
    /// [`LocationError`] for an unknown scheme or parameter, a missing bucket or host, or
    /// credentials in the URL, which belong in keys of their own.
    pub fn parse(text: &str, base: &Path) -> Result<Self, LocationError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            if text.is_empty() {
                return Err(LocationError::new("the location is empty"));
            }
            return Ok(Self::Local(base.join(text)));
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (head, path) = rest.split_once('/').unwrap_or((rest, ""));
        if (scheme != "sftp" && text.contains('@')) || (rest.contains('@') && !is_user(head)) {
            return Err(LocationError {
                message: "credentials do not belong in the URL of a vault".into(),
                help: Some(
                    "use `credentials_file` or `credentials_env`; SFTP uses SSH keys".into(),
                ),
            });
        }
        let mut parameters = parameters(
            query,
            if scheme == "s3" {
                &["endpoint", "region"]
            } else {
                &[]
            },
        )?;
        let bucket = || match head {
            "" => Err(LocationError::new("the URL names no bucket")),
            name => Ok(name.to_owned()),
        };
        let prefix = path.trim_matches('/').to_owned();
        match scheme {
            "s3" => Ok(Self::S3 {
                bucket: bucket()?,
                prefix,
                region: parameters.pop().flatten(),
                endpoint: parameters.pop().flatten(),
            }),
            "gs" => Ok(Self::Gcs {
                bucket: bucket()?,
                prefix,
            }),
            "az" => Ok(Self::Azure {
                container: bucket()?,
                prefix,
            }),
            "sftp" => sftp(head, path),
            other => Err(LocationError {
                message: "the URL's scheme is unknown".into(),
                help: suggest::help(other, SCHEMES, "known schemes, besides a path"),
            }),
        }
    }
}

/// Whether `head` is `user@host` or `user@host:port`, without a password.
fn is_user(head: &str) -> bool {
    head.split_once('@')
        .is_some_and(|(user, host)| !user.contains(':') && !host.contains('@'))
}

fn sftp(head: &str, path: &str) -> Result<VaultLocation, LocationError> {
    let (user, host) = head
        .split_once('@')
        .map_or((None, head), |(user, host)| (Some(user), host));
    let (host, port) = host
        .split_once(':')
        .map_or((host, None), |(host, port)| (host, Some(port)));
    if host.is_empty() || user == Some("") {
        return Err(LocationError::new("the URL names no host"));
    }
    if path.is_empty() {
        return Err(LocationError::new(
            "the URL names no directory on the server",
        ));
    }
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(LocationError::new(
            "the URL's port is not a number from 1 to 65535",
        )),
    });
    Ok(VaultLocation::Sftp {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port: port.transpose()?,
        path: format!("/{path}"),
    })
}

/// The values of the parameters `known`, in that order.
fn parameters(query: &str, known: &[&'static str]) -> Result<Vec<Option<String>>, LocationError> {
    let mut values = vec![None; known.len()];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(index) = known.iter().position(|name| *name == key) else {
            return Err(LocationError {
                message: "the URL has an unknown parameter".into(),
                help: suggest::help(key, known.iter().copied(), "known parameters"),
            });
        };
        if value.is_empty() {
            return Err(LocationError::new(format!(
                "the URL's parameter `{key}` has no value"
            )));
        }
        values[index] = Some(value.to_owned());
    }
    Ok(values)
}

impl fmt::Display for VaultLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = |prefix: &str| if prefix.is_empty() { "" } else { "/" };
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::S3 {
                bucket,
                prefix,
                endpoint,
                region,
            } => {
                write!(f, "s3://{bucket}{}{prefix}", slash(prefix))?;
                let mut separator = '?';
                for (key, value) in [("endpoint", endpoint), ("region", region)] {
                    if let Some(value) = value {
                        write!(f, "{separator}{key}={value}")?;
                        separator = '&';
                    }
                }
                Ok(())
            }
            Self::Gcs { bucket, prefix } => write!(f, "gs://{bucket}{}{prefix}", slash(prefix)),
            Self::Azure { container, prefix } => {
                write!(f, "az://{container}{}{prefix}", slash(prefix))
            }
            Self::Sftp {
                user,
                host,
                port,
                path,
            } => {
                f.write_str("sftp://")?;
                user.iter().try_for_each(|user| write!(f, "{user}@"))?;
                f.write_str(host)?;
                port.iter().try_for_each(|port| write!(f, ":{port}"))?;
                f.write_str(path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_location_is_read_and_written_back() {
        for text in [
            "/backups/vault",
            "s3://bucket",
            "s3://bucket/a/b?endpoint=http://minio:9000&region=eu-1",
            "gs://bucket/prefix",
            "az://container/prefix",
            "sftp://me@host:2222/srv/vault",
            "sftp://host/srv/vault",
        ] {
            let location = VaultLocation::parse(text, Path::new("/base")).unwrap();
            assert_eq!(location.to_string(), text);
        }
    }

    #[test]
    fn a_relative_path_is_taken_from_the_base() {
        let location = VaultLocation::parse("vault", Path::new("/etc/rekindle")).unwrap();
        assert_eq!(location, VaultLocation::Local("/etc/rekindle/vault".into()));
    }

    #[test]
    fn a_bad_location_is_refused_and_a_password_in_it_is_not_quoted() {
        for text in [
            "",
            "s3://",
            "gs:///x",
            "s4://bucket",
            "s3://bucket?endpiont=x",
            "s3://b?endpoint=",
            "sftp://host",
            "sftp:///path",
            "sftp://host:0/path",
            "s3://key:hunter2@bucket",
            "sftp://me:hunter2@host/x",
            "sftp://me:hun/ter2@host/x",
        ] {
            let wrong = VaultLocation::parse(text, Path::new("/")).unwrap_err();
            assert!(!format!("{wrong:?}").contains("hun"), "{wrong:?}");
        }
    }

    #[test]
    fn a_misspelt_scheme_or_parameter_is_corrected() {
        let help = |text| VaultLocation::parse(text, Path::new("/")).unwrap_err().help;
        assert_eq!(help("sfpt://h/x").as_deref(), Some("did you mean `sftp`?"));
        assert_eq!(
            help("s3://b?endpiont=x").as_deref(),
            Some("did you mean `endpoint`?")
        );
    }
}
