//! TLS with rustls, and certificates and keys from PEM files that are read again when they change.

use crate::Watched;
use crate::certificates::{CertificateEnd, CertificatesInUse, end};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file does not exist, or has other content.
    #[error("cannot read {what} from `{}`: {cause}; it must be a PEM file", path.display())]
    File {
        /// Kind of the expected content.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        cause: pem::Error,
    },
    /// The certificate was refused by rustls.
    #[error("cannot use `{}` for TLS: {cause}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Cause, such as a key that does not match.
        cause: rustls::Error,
    },
    /// The certificate authorities cannot be used.
    #[error("cannot check certificates of clients by `{}`: {cause}", path.display())]
    Authority {
        /// File of the authorities.
        path: PathBuf,
        /// The cause.
        cause: rustls::server::VerifierBuilderError,
    },
}

/// PEM files of a certificate with its chain, and of its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Certificate, followed by its chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Client certificates that a server requests.
#[derive(Clone, Debug)]
pub enum ClientTrust {
    /// No certificate is requested.
    Unasked,
    /// A certificate of one of these authorities is requested; a client without one is accepted.
    Asked(PathBuf),
    /// A certificate of one of these authorities is required; a client without one is refused in the handshake.
    Required(PathBuf),
}

/// Loaded settings of one side, with the expiry of its certificates.
struct Loaded<C> {
    config: Arc<C>,
    ends: Vec<CertificateEnd>,
}

/// TLS of a server, version 1.2 or 1.3.
#[derive(Clone)]
pub struct ServerTls(Arc<Watched<Loaded<ServerConfig>>>);

impl ServerTls {
    /// Loads the files. `purpose` labels the connections in metrics, `protocols` are ALPN names, such as `http/1.1` or
    /// `h2`.
    pub fn open(
        purpose: &'static str,
        identity: Identity,
        trust: ClientTrust,
        protocols: &'static [&'static str],
    ) -> Result<Self, TlsError> {
        let mut paths = vec![identity.certificate.clone(), identity.key.clone()];
        let authorities = match &trust {
            ClientTrust::Asked(path) | ClientTrust::Required(path) => Some(path.clone()),
            ClientTrust::Unasked => None,
        };
        paths.extend(authorities.clone());
        let load = move || {
            let config = Arc::new(server_config(&identity, &trust, protocols)?);
            Ok(Loaded { config, ends: ends(purpose, Some(&identity), authorities.as_deref())? })
        };
        Ok(Self(Arc::new(Watched::open("certificates of a server", paths, load)?)))
    }

    /// Adds its certificates to those in use, as long as it is there.
    pub fn note_in(&self, in_use: &CertificatesInUse) {
        note_in(&self.0, in_use);
    }

    /// Acceptor with the current files.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.0.current().config.clone().into()
    }
}

/// TLS of a client that trusts only the authorities of a file.
#[derive(Clone)]
pub struct ClientTls(Arc<Watched<Loaded<ClientConfig>>>);

impl ClientTls {
    /// Loads the files. `purpose` labels the connections in metrics, `identity` is sent to servers that request it.
    pub fn open(
        purpose: &'static str,
        authorities: PathBuf,
        identity: Option<Identity>,
        protocols: &'static [&'static str],
    ) -> Result<Self, TlsError> {
        let mut paths = vec![authorities.clone()];
        paths.extend(identity.iter().flat_map(|identity| [identity.certificate.clone(), identity.key.clone()]));
        let load = move || {
            let config = Arc::new(client_config(&authorities, identity.as_ref(), protocols)?);
            Ok(Loaded { config, ends: ends(purpose, identity.as_ref(), Some(&authorities))? })
        };
        Ok(Self(Arc::new(Watched::open("certificates of a client", paths, load)?)))
    }

    /// Adds its certificates to those in use, as long as it is there.
    pub fn note_in(&self, in_use: &CertificatesInUse) {
        note_in(&self.0, in_use);
    }

    /// Connector with the current files.
    pub fn connector(&self) -> TlsConnector {
        self.0.current().config.clone().into()
    }
}

fn note_in<C: Send + Sync + 'static>(settings: &Arc<Watched<Loaded<C>>>, in_use: &CertificatesInUse) {
    let used = Arc::downgrade(settings);
    in_use.put(move || Some(used.upgrade()?.current().ends.clone()));
}

/// Expiry of the files of one side: a chain expires with the first of its certificates, a set of authorities with the
/// last.
fn ends(
    purpose: &'static str,
    identity: Option<&Identity>,
    authorities: Option<&Path>,
) -> Result<Vec<CertificateEnd>, TlsError> {
    let mut found = Vec::new();
    let mut put = |file: &Path, ends: Option<i64>| {
        found.extend(ends.map(|ends| CertificateEnd { purpose, file: file.to_owned(), ends }));
    };
    if let Some(Identity { certificate, .. }) = identity {
        put(certificate, read_certificates("a certificate", certificate)?.iter().filter_map(end).min());
    }
    if let Some(file) = authorities {
        put(file, read_certificates("certificates of authorities", file)?.iter().filter_map(end).max());
    }
    Ok(found)
}

/// Names in a certificate: of hosts, and URIs such as `spiffe://…`. None if it cannot be parsed.
pub fn certificate_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    certificate.valid_dns_names().chain(certificate.valid_uri_names()).map(str::to_owned).collect()
}

/// Cryptography provider for all TLS of Millwork; libraries in the process may use others.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn server_config(identity: &Identity, trust: &ClientTrust, protocols: &[&str]) -> Result<ServerConfig, TlsError> {
    let (chain, key) = read_identity(identity)?;
    let unusable = |cause| TlsError::Unusable { path: identity.certificate.clone(), cause };
    let verifier = |path: &PathBuf, is_required: bool| {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(read_authorities(path)?), provider());
        let builder = if is_required { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|cause| TlsError::Authority { path: path.clone(), cause })
    };
    let verifier = match trust {
        ClientTrust::Unasked => WebPkiClientVerifier::no_client_auth(),
        ClientTrust::Asked(path) => verifier(path, false)?,
        ClientTrust::Required(path) => verifier(path, true)?,
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(unusable)?.with_client_cert_verifier(verifier);
    let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = names(protocols);
    Ok(config)
}

fn client_config(
    authorities: &Path,
    identity: Option<&Identity>,
    protocols: &[&str],
) -> Result<ClientConfig, TlsError> {
    let roots = read_authorities(authorities)?;
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|cause| TlsError::Unusable { path: authorities.to_owned(), cause })?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = read_identity(identity)?;
            let unusable = |cause| TlsError::Unusable { path: identity.certificate.clone(), cause };
            builder.with_client_auth_cert(chain, key).map_err(unusable)?
        }
    };
    config.alpn_protocols = names(protocols);
    Ok(config)
}

fn names(protocols: &[&str]) -> Vec<Vec<u8>> {
    protocols.iter().map(|name| name.as_bytes().to_vec()).collect()
}

fn read_identity(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = read_certificates("a certificate", &identity.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&identity.key);
    let key = key.map_err(|cause| TlsError::File { what: "a private key", path: identity.key.clone(), cause })?;
    Ok((chain, key))
}

fn read_authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates("certificates of authorities", path)? {
        roots.add(certificate).map_err(|cause| TlsError::Unusable { path: path.to_owned(), cause })?;
    }
    Ok(roots)
}

/// Reads certificates, of which the file must have at least one.
fn read_certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |cause| TlsError::File { what, path: path.to_owned(), cause };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(found) }
}

#[cfg(test)]
mod tests;
