//! TLS as libpq's `sslmode` means it.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned,
};
use sha2::Digest;

use crate::error::Error;
use crate::options::{ConnectOptions, Host, SslMode};

/// Makes a TLS connection out of `tcp`, after the server has agreed to it.
pub(super) fn handshake(
    options: &ConnectOptions,
    tcp: TcpStream,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Error> {
    let failed = |reason: String| Error::Tls {
        address: options.address(),
        reason,
    };
    let name = server_name(options).map_err(failed)?;
    let config = client_config(options).map_err(failed)?;
    let mut connection =
        ClientConnection::new(Arc::new(config), name).map_err(|error| failed(error.to_string()))?;
    let mut tcp = tcp;
    tcp.set_read_timeout(Some(options.connect_timeout))
        .map_err(|error| failed(error.to_string()))?;
    while connection.is_handshaking() {
        connection
            .complete_io(&mut tcp)
            .map_err(|error| failed(error.to_string()))?;
    }
    Ok(StreamOwned::new(connection, tcp))
}

/// A host that is no valid DNS name can still be encrypted to, but not verified.
fn server_name(options: &ConnectOptions) -> Result<ServerName<'static>, String> {
    let Host::Tcp(host) = &options.host else {
        return Err("a Unix socket has no TLS".to_owned());
    };
    match ServerName::try_from(host.clone()) {
        Ok(name) => Ok(name),
        Err(_) if options.ssl_mode != SslMode::VerifyFull => {
            ServerName::try_from("postgres.invalid").map_err(|error| error.to_string())
        }
        Err(error) => Err(format!("`{host}`: {error}")),
    }
}

fn client_config(options: &ConnectOptions) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new(options, provider.clone())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// What is looked at in the server's certificate.
#[derive(Debug)]
enum Demand {
    Nothing,
    TrustedCa {
        chain: Arc<WebPkiServerVerifier>,
        roots: Vec<CertificateDer<'static>>,
        name: bool,
    },
}

#[derive(Debug)]
struct Verifier {
    demand: Demand,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(options: &ConnectOptions, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let name = options.ssl_mode == SslMode::VerifyFull;
        // libpq's `require` verifies the CA where a root certificate is given.
        let verified = matches!(options.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull)
            || (options.ssl_mode == SslMode::Require && options.ssl_root_cert.is_some());
        let demand = match verified {
            false => Demand::Nothing,
            true => {
                let roots = root_certificates(options)?;
                let chain = chain_verifier(&roots, provider.clone())?;
                Demand::TrustedCa { chain, roots, name }
            }
        };
        Ok(Self { demand, provider })
    }
}

fn root_certificates(options: &ConnectOptions) -> Result<Vec<CertificateDer<'static>>, String> {
    let Some(path) = &options.ssl_root_cert else {
        return Ok(rustls_native_certs::load_native_certs().certs);
    };
    let unreadable =
        |error: rustls::pki_types::pem::Error| format!("read {}: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    certificates.collect::<Result<_, _>>().map_err(unreadable)
}

fn chain_verifier(
    roots: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut store = RootCertStore::empty();
    // The system's store may hold certificates rustls cannot read; one good one is enough.
    let (added, _) = store.add_parsable_certificates(roots.iter().cloned());
    if added == 0 {
        return Err("no CA certificate was found to verify the server's by".to_owned());
    }
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider);
    builder.build().map_err(|error| error.to_string())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Demand::TrustedCa { chain, roots, name } = &self.demand else {
            return Ok(ServerCertVerified::assertion());
        };
        // A self-signed certificate that is itself the root we were told to trust, as `openssl req
        // -x509` makes it: webpki refuses a CA as a server, OpenSSL and libpq do not.
        if roots.iter().any(|root| root == end_entity) {
            if *name {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        // The chain is verified before the name, so a wrong name means a good chain.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !name => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The `tls-server-end-point` binding of RFC 5929: the certificate's hash by the hash function of
/// its signature, MD5 and SHA-1 replaced by SHA-256. `None` where the RFC leaves it undefined.
pub(super) fn end_point_binding(connection: &ClientConnection) -> Option<Vec<u8>> {
    let certificate = connection.peer_certificates()?.first()?;
    Some(match signature_hash(certificate)? {
        Hash::Sha256 => sha2::Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => sha2::Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => sha2::Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Debug, PartialEq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { OID … }, … }`.
fn signature_hash(certificate: &[u8]) -> Option<Hash> {
    const SEQUENCE: u8 = 0x30;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let (inside, _) = der_value(certificate, SEQUENCE)?;
    let (_, after_tbs) = der_value(inside, SEQUENCE)?;
    let (algorithm, _) = der_value(after_tbs, SEQUENCE)?;
    let (oid, _) = der_value(algorithm, OBJECT_IDENTIFIER)?;
    // 1.2.840.113549.1.1.x are RSA's, 1.2.840.10045.4.3.x ECDSA's.
    match (oid.split_last()?, oid.len()) {
        ((last, [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01]), 9) => match last {
            4 | 5 | 11 => Some(Hash::Sha256),
            12 => Some(Hash::Sha384),
            13 => Some(Hash::Sha512),
            _ => None,
        },
        ((last, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03]), 8) => match last {
            2 => Some(Hash::Sha256),
            3 => Some(Hash::Sha384),
            4 => Some(Hash::Sha512),
            _ => None,
        },
        _ => None,
    }
}

/// Splits one DER value off: its content, and what follows.
fn der_value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    (found == tag).then_some(())?;
    let (length, rest) = match first {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (digits.len() <= 4).then_some(())?;
            (
                digits
                    .iter()
                    .fold(0, |length, digit| length << 8 | usize::from(*digit)),
                rest,
            )
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_found_behind_the_signed_part() {
        let certificate = |oid: &[u8]| {
            let algorithm = [&[0x30, oid.len() as u8 + 2, 0x06, oid.len() as u8], oid].concat();
            let inside = [&[0x30, 0x81, 0x02, 1, 2], algorithm.as_slice()].concat();
            [&[0x30, 0x82, 0, inside.len() as u8], inside.as_slice()].concat()
        };
        let rsa_384 = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 12];
        assert_eq!(signature_hash(&certificate(&rsa_384)), Some(Hash::Sha384));
        let ed25519 = [0x2b, 0x65, 0x70];
        assert_eq!(signature_hash(&certificate(&ed25519)), None);
        assert_eq!(signature_hash(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
