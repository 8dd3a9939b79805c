//! TLS: as a client of a server and, while it takes data from us, as its master.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::address::RedisOptions;
use super::error::RedisError;

/// The certificate that we show, and its key. Both are read when they are needed: they are renewed now and then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM: the certificate, and what leads from it to its authority.
    pub cert_file: PathBuf,
    /// PEM.
    pub key_file: PathBuf,
}

type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Identity {
    fn read(&self) -> Result<Shown, RedisError> {
        let chain = certificates(&self.cert_file)?;
        let key = PrivateKeyDer::from_pem_file(&self.key_file)
            .map_err(|error| unreadable(&self.key_file, &error))?;
        Ok((chain, key))
    }

    fn unusable(&self, error: &rustls::Error) -> RedisError {
        RedisError::Tls(format!(
            "{} with the key {}: {error}",
            self.cert_file.display(),
            self.key_file.display()
        ))
    }
}

/// How a server is spoken to: its certificate is verified, and ours is shown if it asks for one and we have one.
///
/// # Errors
/// [`RedisError::Tls`] if a file cannot be read or does not fit.
pub fn of_client(options: &RedisOptions) -> Result<ClientConfig, RedisError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| RedisError::Tls(error.to_string()))?
        .with_root_certificates(roots(options.ca_file.as_deref())?);
    let Some(identity) = &options.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let (chain, key) = identity.read()?;
    let made = builder.with_client_auth_cert(chain, key);
    made.map_err(|error| identity.unusable(&error))
}

/// How a server is answered that takes us for its master. It verifies our certificate by its own authorities, and proves
/// itself by a word of its own, not by a certificate.
///
/// # Errors
/// As [`of_client`].
pub fn of_master(identity: &Identity) -> Result<ServerConfig, RedisError> {
    let (chain, key) = identity.read()?;
    let made = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| RedisError::Tls(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    made.map_err(|error| identity.unusable(&error))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, RedisError> {
    let certificates = match ca_file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(path) => certificates(path)?,
    };
    let mut store = RootCertStore::empty();
    // The system's store may hold some that rustls cannot read; one good one is enough.
    let (added, _) = store.add_parsable_certificates(certificates);
    if added == 0 {
        let what = "no certificate of an authority was found to verify the server's by";
        return Err(RedisError::Tls(what.to_owned()));
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RedisError> {
    let all = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?;
    all.collect::<Result<_, _>>()
        .map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> RedisError {
    RedisError::Tls(format!("read {}: {error}", path.display()))
}

/// What to do about a TLS that did not come about, by what it said.
pub fn hint(message: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["CertificateRequired", CLOSED_AT_ONCE]) {
        return "a server with `tls-auth-clients yes` wants a certificate of its clients, signed by an authority that it \
                knows: `cert_file` and `key_file`";
    }
    if says(&["Expired", "expired"]) {
        return "renew the server's certificate; is the clock of this machine right?";
    }
    if says(&["NotValidForName", "not valid for name"]) {
        return "name the server in `url` as its certificate does";
    }
    if says(&["InvalidContentType", "corrupt message", NEVER_BEGUN]) {
        return "does the server speak TLS on this port (`tls-port`)? `redis://` speaks without";
    }
    "`ca_file` names the authority that signed the server's certificate; `redis://` speaks without TLS"
}

/// How a connection is told of that ended before the first answer, though TLS had come about: since TLS 1.3 that is how a
/// server refuses a client's certificate.
pub const CLOSED_AT_ONCE: &str = "the server closed the connection as soon as it was made";

/// How a server is told of that says nothing: one that speaks no TLS waits for the end of a command.
pub const NEVER_BEGUN: &str = "the server did not answer to the beginning of TLS";
