//! The end of certificates.

use chrono::{DateTime, Duration, Utc};
use millwork_api::Check;
use std::path::Path;
use x509_parser::pem::Pem;

/// Time before the end of a certificate from which it is told of, in days: 14, so that somebody is there to renew it.
const SOON: Duration = Duration::days(14);
/// Limit of the certificates of a file that are looked at: 100.
const MAX_CERTIFICATES: usize = 100;
/// Limit of a file of certificates, in bytes: 1 MiB.
const MAX_BYTES: u64 = 1 << 20;

/// Looks at the certificates of a file in PEM.
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
                Ok(certificate) => judge(&name, certificate.validity().not_after.timestamp(), now),
                Err(_) => Check::broken(&name, "one of its certificates cannot be read", "have it issued anew"),
            });
        }
    }
    if checks.is_empty() { broken("there is no certificate in it".to_owned()) } else { checks }
}

fn judge(name: &str, not_after: i64, now: DateTime<Utc>) -> Check {
    const REMEDY: &str = "have it renewed: it is read again when its file changes, without a restart";
    let Some(end) = DateTime::from_timestamp(not_after, 0) else {
        return Check::broken(name, "its end is no time", REMEDY);
    };
    let left = end - now;
    match (left < Duration::zero(), left < SOON) {
        (true, _) => Check::broken(name, format!("it ended at {end}"), REMEDY),
        (_, true) => Check::warning(name, format!("it ends at {end}, in {}", millwork_diagnosis::span(left)), REMEDY),
        _ => Check::fine(name, format!("it is good until {end}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_api::Verdict;

    #[test]
    fn a_certificate_is_told_of_two_weeks_before_its_end() {
        let now = DateTime::from_timestamp(1_000_000_000, 0).unwrap();
        let verdict = |days: i64| judge("c", now.timestamp() + days * 86_400, now).verdict;
        assert_eq!([verdict(-1), verdict(13), verdict(15)], [Verdict::Broken, Verdict::Warning, Verdict::Fine]);
        assert_eq!(judge("c", i64::MAX, now).verdict, Verdict::Broken);
    }

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
