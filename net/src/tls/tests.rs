//! Tests of handshakes, with certificates made for each test.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A certificate authority, with files of the certificates it issues.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    place: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, place }
    }

    fn path(&self) -> PathBuf {
        self.place.path().join("ca.pem")
    }

    /// Writes a certificate for this name, replacing an existing one.
    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.place.path().join(format!("{name}.{kind}"));
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        std::fs::write(file("crt"), certificate.pem()).unwrap();
        Identity { certificate: file("crt"), key: file("key") }
    }
}

/// Sends a byte in each direction. Returns true if both arrived.
async fn talk(server: &ServerTls, client: &ClientTls) -> bool {
    let (near, far) = tokio::io::duplex(64 << 10);
    let serving = async {
        let mut stream = server.acceptor().accept(near).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte + 1).await?;
        stream.flush().await
    };
    let asking = async {
        let name = ServerName::try_from("server").unwrap();
        let mut stream = client.connector().connect(name, far).await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        stream.read_u8().await
    };
    let (served, heard) = tokio::join!(serving, asking);
    served.is_ok() && heard.is_ok_and(|byte| byte == 2)
}

fn server(authority: &Authority, trust: ClientTrust) -> ServerTls {
    ServerTls::open("test", authority.identity("server"), trust, &["h2"]).unwrap()
}

fn client(authority: &Authority, identity: Option<Identity>) -> ClientTls {
    ClientTls::open("test", authority.path(), identity, &["h2"]).unwrap()
}

#[tokio::test]
async fn only_certificates_of_the_authority_are_trusted() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let open = server(&ours, ClientTrust::Unasked);
    assert!(talk(&open, &client(&ours, None)).await);
    assert!(!talk(&open, &client(&theirs, None)).await, "the client does not know the authority");
    let strict = server(&ours, ClientTrust::Required(ours.path()));
    assert!(talk(&strict, &client(&ours, Some(ours.identity("executor")))).await);
    assert!(!talk(&strict, &client(&ours, None)).await, "no certificate");
    let foreign = ClientTls::open("test", ours.path(), Some(theirs.identity("executor")), &["h2"]).unwrap();
    assert!(!talk(&strict, &foreign).await, "of another authority");
    let asked = server(&ours, ClientTrust::Asked(ours.path()));
    assert!(talk(&asked, &client(&ours, None)).await);
    assert!(!talk(&asked, &foreign).await);
}

#[tokio::test]
async fn a_new_certificate_is_used_and_a_bad_one_is_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = server(&old, ClientTrust::Unasked);
    let (trusts_old, trusts_new) = (client(&old, None), client(&new, None));
    assert!(talk(&server, &trusts_old).await && !talk(&server, &trusts_new).await);
    let at = |authority: &Authority, name: &str| authority.place.path().join(name);
    let renewed = new.identity("server");
    std::fs::copy(&renewed.certificate, at(&old, "server.crt")).unwrap();
    std::fs::copy(&renewed.key, at(&old, "server.key")).unwrap();
    server.0.look_now();
    assert!(talk(&server, &trusts_new).await && !talk(&server, &trusts_old).await);
    // A certificate without its key, as during a replacement of both files.
    std::fs::copy(&new.identity("other").certificate, at(&old, "server.crt")).unwrap();
    server.0.look_now();
    assert!(talk(&server, &trusts_new).await, "the one before stays in use");
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let authority = Authority::new();
    let mut identity = authority.identity("server");
    std::fs::write(&identity.certificate, "nothing").unwrap();
    let error = |identity| ServerTls::open("test", identity, ClientTrust::Unasked, &[]).err().unwrap().to_string();
    let message = error(identity.clone());
    assert!(message.starts_with("cannot read a certificate from `") && message.contains("server.crt"), "{message}");
    identity.certificate = authority.identity("other").certificate;
    identity.key = authority.place.path().join("gone.key");
    let message = error(identity.clone());
    assert!(message.starts_with("cannot read a private key from `") && message.contains("gone.key"), "{message}");
    identity.key = authority.identity("third").key;
    let message = error(identity);
    assert!(message.starts_with("cannot use `") && message.contains("other.crt"), "{message}");
}

#[test]
fn a_certificate_tells_its_names() {
    let certificate = read_certificates("a certificate", &Authority::new().identity("server").certificate).unwrap();
    assert_eq!(certificate_names(&certificate[0]), ["server"]);
    assert!(certificate_names(&CertificateDer::from(vec![1, 2, 3])).is_empty());
}

#[test]
fn ends_are_told_of_the_files_as_they_are_now() {
    let authority = Authority::new();
    let tls = server(&authority, ClientTrust::Required(authority.path()));
    let (identity, in_use) = (authority.identity("server"), crate::CertificatesInUse::default());
    tls.note_in(&in_use);
    let told = |file: &Path| {
        in_use.ends().into_iter().filter(|end| end.file == file).map(|end| (end.purpose, end.ends)).collect::<Vec<_>>()
    };
    // Default expiry in rcgen, in the far future.
    let far = rcgen::date_time_ymd(4096, 1, 1).unix_timestamp();
    assert_eq!(told(&authority.path()), [("test", far)]);
    assert_eq!(told(&identity.certificate), [("test", far)]);
    let mut params = CertificateParams::new(vec!["server".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2031, 2, 3);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    std::fs::write(&identity.key, key.serialize_pem()).unwrap();
    std::fs::write(&identity.certificate, certificate.pem()).unwrap();
    tls.0.look_now();
    assert_eq!(told(&identity.certificate), [("test", rcgen::date_time_ymd(2031, 2, 3).unix_timestamp())]);
    drop(tls);
    assert_eq!(told(&identity.certificate), [], "nobody uses it");
}
