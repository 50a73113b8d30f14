//! Expiry times of the certificates that the program uses.

use chrono::NaiveDateTime;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// DER tags (X.690, "Encoding of tag") that occur at the beginning of a certificate.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Expiry of the certificates of one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateEnd {
    /// Purpose of the connections that use the file, such as `api`.
    pub purpose: &'static str,
    /// The PEM file.
    pub file: PathBuf,
    /// Last valid second, in Unix time.
    pub ends: i64,
}

/// Callback that returns the expiry times of a server or client; `None` once that is gone.
type Teller = Box<dyn Fn() -> Option<Vec<CertificateEnd>> + Send>;

/// Servers and clients with TLS of a program: a handful, each opened once. Clones are of one list.
#[derive(Clone, Default)]
pub struct CertificatesInUse(Arc<Mutex<Vec<Teller>>>);

impl CertificatesInUse {
    /// Adds a server or a client to those that are asked.
    pub(crate) fn put(&self, teller: impl Fn() -> Option<Vec<CertificateEnd>> + Send + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(teller));
    }

    /// Expiry times of all certificates in use, sorted, without duplicates. Files that have changed are read again.
    pub fn ends(&self) -> Vec<CertificateEnd> {
        let mut ends = Vec::new();
        let mut tell = |teller: &Teller| teller().map(|told| ends.extend(told)).is_some();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|teller| tell(teller));
        ends.sort();
        ends.dedup_by(|later, first| (later.purpose, &later.file) == (first.purpose, &first.file));
        ends
    }
}

/// Last valid second of a certificate, in Unix time; `None` if it cannot be parsed.
pub(crate) fn end(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (signed, _) = value(certificate, SEQUENCE)?;
    let rest = value(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_number, rest) = value(rest, INTEGER)?;
    let (_algorithm, rest) = value(rest, SEQUENCE)?;
    let (_issuer, rest) = value(rest, SEQUENCE)?;
    let (validity, _) = value(rest, SEQUENCE)?;
    let (_first, last) = time(validity)?;
    time(last).map(|(last, _)| last)
}

/// Parses a time into Unix seconds. Also returns the remaining bytes.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    if let Some((text, rest)) = value(der, GENERALIZED_TIME) {
        return Some((seconds(std::str::from_utf8(text).ok()?)?, rest));
    }
    let (text, rest) = value(der, UTC_TIME)?;
    let text = std::str::from_utf8(text).ok()?;
    // RFC 5280, 4.1.2.5.1: two-digit years are from 1950 to 2049.
    let century = if text.get(..2)? < "50" { "20" } else { "19" };
    Some((seconds(&format!("{century}{text}"))?, rest))
}

fn seconds(text: &str) -> Option<i64> {
    Some(NaiveDateTime::parse_from_str(text, "%Y%m%d%H%M%SZ").ok()?.and_utc().timestamp())
}

/// Content of the first element, if it has this tag, and the remaining bytes.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        // Lengths of up to four bytes, which is enough for PEM files.
        let digits = rest.get(..usize::from(first & 0x7f)).filter(|digits| digits.len() <= 4)?;
        length = digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit));
        rest = &rest[digits.len()..];
    }
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn until(year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["x".repeat(300)]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(1999, 5, 6), date_time_ymd(year, 2, 3));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_end_is_read_in_both_ways_to_write_a_year() {
        for year in [1999, 2026, 2049, 2050, 9998] {
            assert_eq!(end(&until(year)), Some(date_time_ymd(year, 2, 3).unix_timestamp()), "{year}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = until(2031);
        for length in 0..whole.len() {
            let cut = CertificateDer::from(&whole[..length]);
            assert_eq!(end(&cut), None, "{length} bytes of {}", whole.len());
        }
        for wrong in
            [&[0x30, 0xff][..], &[0x30, 0x85, 0, 0, 0, 0, 0], &[0x31, 0], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(end(&CertificateDer::from(wrong)), None, "{wrong:?}");
        }
    }
}
