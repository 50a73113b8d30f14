//! Checks of certificate expiry.

use chrono::{DateTime, Utc};
use millwork_api::Check;
use millwork_scheduler::judge_certificate;
use std::path::Path;
use x509_parser::pem::Pem;

/// Limit of the certificates per file that are checked: 100.
const MAX_CERTIFICATES: usize = 100;
/// Limit of a certificate file, in bytes: 1 MiB.
const MAX_BYTES: u64 = 1 << 20;

/// Checks the certificates of a PEM file.
pub(super) fn check(file: &Path, now: DateTime<Utc>) -> Vec<Check> {
    let name = format!("certificate {}", file.display());
    let broken = |found: String| vec![Check::broken(&name, found, "name a file with certificates in PEM")];
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.len() > MAX_BYTES => return broken(format!("it has more than {MAX_BYTES} bytes")),
        Ok(_) => {}
        Err(error) => return broken(error.to_string()),
    }
    let content = match std::fs::read(file) {
        Ok(content) => content,
        Err(error) => return broken(error.to_string()),
    };
    let mut checks = Vec::new();
    for pem in Pem::iter_from_buffer(&content).take(MAX_CERTIFICATES) {
        let Ok(pem) = pem else { return broken("it cannot be read".to_owned()) };
        if pem.label == "CERTIFICATE" {
            checks.push(match pem.parse_x509() {
                Ok(certificate) => judge_certificate(&name, certificate.validity().not_after.timestamp(), now),
                Err(_) => Check::broken(&name, "one of its certificates cannot be read", "have it issued anew"),
            });
        }
    }
    if checks.is_empty() { broken("there is no certificate in it".to_owned()) } else { checks }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_api::Verdict;

    #[test]
    fn what_is_no_certificate_is_said_to_be_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in ["", "secret", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(file.path(), content).unwrap();
            let checks = check(file.path(), Utc::now());
            assert!(checks.iter().all(|check| check.verdict == Verdict::Broken), "{content}: {checks:?}");
        }
        assert_eq!(check(Path::new("/nowhere.pem"), Utc::now())[0].verdict, Verdict::Broken);
    }
}
