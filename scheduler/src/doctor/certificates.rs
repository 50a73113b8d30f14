//! Checks of certificate expiry.

use chrono::{DateTime, Duration, Utc};
use millwork_api::Check;
use millwork_net::{CertificateEnd, CertificatesInUse};

/// Time before expiry from which a certificate is reported, in days: 14, to leave time for renewal.
const SOON: Duration = Duration::days(14);

/// Checks the expiry of a certificate; `end` is its last valid second, in Unix time.
pub fn judge_certificate(name: &str, end: i64, now: DateTime<Utc>) -> Check {
    const REMEDY: &str = "have it renewed: it is read again when its file changes, without a restart";
    let Some(end) = DateTime::from_timestamp(end, 0) else {
        return Check::broken(name, "its end is no time", REMEDY);
    };
    let left = end - now;
    match (left < Duration::zero(), left < SOON) {
        (true, _) => Check::broken(name, format!("it ended at {end}"), REMEDY),
        (_, true) => Check::warning(name, format!("it ends at {end}, in {}", millwork_diagnosis::span(left)), REMEDY),
        _ => Check::fine(name, format!("it is good until {end}")),
    }
}

/// Checks the certificates that this process uses.
pub(super) fn checks(in_use: &CertificatesInUse, now: DateTime<Utc>) -> Vec<Check> {
    let of = |end: CertificateEnd| {
        judge_certificate(&format!("certificate {} ({})", end.file.display(), end.purpose), end.ends, now)
    };
    in_use.ends().into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_api::Verdict;

    #[test]
    fn a_certificate_is_told_of_two_weeks_before_its_end() {
        let now = DateTime::from_timestamp(1_000_000_000, 0).unwrap();
        let verdict = |days: i64| judge_certificate("c", now.timestamp() + days * 86_400, now).verdict;
        assert_eq!([verdict(-1), verdict(13), verdict(15)], [Verdict::Broken, Verdict::Warning, Verdict::Fine]);
        assert_eq!(judge_certificate("c", i64::MAX, now).verdict, Verdict::Broken);
    }
}
