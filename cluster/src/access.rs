//! Authentication and encryption of connections between schedulers and executors.

use crate::Secret;
use crate::guard::Guarded;
use millwork_net::rustls::pki_types::{CertificateDer, ServerName};
use millwork_net::tokio_rustls::TlsStream;
use millwork_net::{CertificatesInUse, ClientTls, ClientTrust, Identity, ServerTls, TlsError, certificate_names};
use std::io;
use std::path::PathBuf;
use tokio::net::TcpStream;
use tokio_util::either::Either;

/// ALPN protocol inside TLS.
const PROTOCOLS: &[&str] = &["h2"];
/// End of the URI in a scheduler's certificate, such as `spiffe://example.org/millwork/scheduler`.
const SCHEDULER: &str = "/scheduler";
/// End of the URI in an executor's certificate.
const EXECUTOR: &str = "/executor";
/// First byte of a TLS connection: the type of a handshake record.
const TLS_RECORD: u8 = 0x16;

/// TLS policy of a scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    #[default]
    Off,
    /// Accepts both TLS and plain text, for the migration of a fleet.
    Permissive,
    /// Accepts only TLS with the certificate of an executor.
    Strict,
}

impl std::str::FromStr for TlsMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "permissive" => Ok(Self::Permissive),
            "strict" => Ok(Self::Strict),
            other => Err(format!("`{other}` is none of off, permissive, strict")),
        }
    }
}

/// PEM files of one side.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate authorities for both sides' certificates.
    pub authorities: PathBuf,
    /// Certificate and key of this side.
    pub identity: Identity,
}

/// Credentials by which a scheduler authenticates executors.
#[derive(Clone)]
pub struct DoorAccess {
    pub(crate) secret: Secret,
    tls: Option<(ServerTls, TlsMode)>,
}

/// Credentials by which an executor authenticates its scheduler.
#[derive(Clone)]
pub struct Access {
    pub(crate) secret: Secret,
    tls: Option<ClientTls>,
}

impl DoorAccess {
    /// Loads the certificates. `tls` is `None` for connections without TLS.
    pub fn new(secret: Secret, tls: Option<(TlsFiles, TlsMode)>) -> Result<Self, TlsError> {
        let open = |(files, mode): (TlsFiles, TlsMode)| {
            let trust = ClientTrust::Required(files.authorities);
            ServerTls::open("executors", files.identity, trust, PROTOCOLS).map(|tls| (tls, mode))
        };
        let tls = tls.filter(|(_, mode)| *mode != TlsMode::Off).map(open).transpose()?;
        Ok(Self { secret, tls })
    }

    /// Adds its certificates to those in use.
    pub fn note_certificates(&self, in_use: &CertificatesInUse) {
        if let Some((tls, _)) = &self.tls {
            tls.note_in(in_use);
        }
    }

    /// Sets up an accepted connection, with TLS or plain text by its first byte, as far as the mode allows.
    pub(crate) async fn open(&self, mut stream: Guarded<TcpStream>) -> io::Result<Stream<Guarded<TcpStream>>> {
        let Some((tls, mode)) = &self.tls else { return Ok(Either::Left(stream)) };
        let is_tls = stream.first_byte().await? == TLS_RECORD;
        if !is_tls && *mode == TlsMode::Permissive {
            return Ok(Either::Left(stream));
        }
        if !is_tls {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a connection without TLS"));
        }
        let stream = tls.acceptor().accept(stream).await?;
        check_role(stream.get_ref().1.peer_certificates(), EXECUTOR)?;
        Ok(Either::Right(Box::new(stream.into())))
    }
}

impl Access {
    /// Loads the certificates. `tls` is `None` for connections without TLS.
    pub fn new(secret: Secret, tls: Option<TlsFiles>) -> Result<Self, TlsError> {
        let open = |files: TlsFiles| ClientTls::open("scheduler", files.authorities, Some(files.identity), PROTOCOLS);
        Ok(Self { secret, tls: tls.map(open).transpose()? })
    }

    /// Adds its certificates to those in use.
    pub fn note_certificates(&self, in_use: &CertificatesInUse) {
        if let Some(tls) = &self.tls {
            tls.note_in(in_use);
        }
    }

    /// Sets up an outgoing connection.
    pub(crate) async fn open(&self, stream: TcpStream, host: &str) -> io::Result<Stream<TcpStream>> {
        let Some(tls) = &self.tls else { return Ok(Either::Left(stream)) };
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
        let stream = tls.connector().connect(name, stream).await?;
        check_role(stream.get_ref().1.peer_certificates(), SCHEDULER)?;
        Ok(Either::Right(Box::new(stream.into())))
    }
}

/// A connection, with TLS or without.
pub(crate) type Stream<S> = Either<S, Box<TlsStream<S>>>;

/// Refuses a certificate of another role, so that an executor's key cannot be used to act as a scheduler.
fn check_role(chain: Option<&[CertificateDer<'_>]>, role: &str) -> io::Result<()> {
    let names = chain.and_then(|chain| chain.first()).map(certificate_names).unwrap_or_default();
    if names.iter().any(|name| name.starts_with("spiffe://") && name.ends_with(role)) {
        return Ok(());
    }
    let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let text =
        format!("the certificate of the other end has no name that ends in {role}, such as spiffe://…{role}: {found}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_has_one_of_three_names() {
        assert_eq!("strict".parse(), Ok(TlsMode::Strict));
        assert_eq!("permissive".parse(), Ok(TlsMode::Permissive));
        assert_eq!("off".parse(), Ok(TlsMode::Off));
        assert!("Strict".parse::<TlsMode>().is_err());
    }

    #[test]
    fn a_certificate_that_tells_no_role_is_refused() {
        let error = check_role(None, EXECUTOR).unwrap_err().to_string();
        assert!(error.contains("/executor") && error.contains("none"), "{error}");
    }
}
