//! The keys of items.
//!
//! The lock table may be the tracking table, so locks and batch indexes have keys of the same shape as files. A file's
//! partition is a date or `no-date`, theirs have a prefix that no date has.

use super::item::{Item, cut, text};
use millwork_manifest::{DatePrefix, ManifestId, ObjectUri};
use sha2::{Digest, Sha256};

/// The partition of files whose key holds no date. Their assigned date may depend on the day, so it cannot be part of
/// their identity.
pub(super) const NO_DATE: &str = "no-date";
/// The partition of backlogs in the metrics table.
pub(super) const BACKLOGS: &str = "PENDING";
/// The longest sort key that DynamoDB takes, in bytes.
const MAX_SORT_KEY: usize = 1024;
/// Length of the beginning that is kept of a longer URI, for people, in bytes.
const KEPT_OF_URI: usize = 900;

fn pair(partition: (&str, String), sort: (&str, String)) -> Item {
    [partition, sort].map(|(name, value)| (name.to_owned(), text(value))).into()
}

/// The key of a file: the date in its object key, and its URI.
pub(super) fn file(uri: &ObjectUri) -> Item {
    let date = DatePrefix::of_key(&uri.key()).map_or_else(|| NO_DATE.to_owned(), |date| date.to_string());
    pair(("date_prefix", date), ("file_key", fitting(uri.as_str())))
}

/// The key of a lock.
pub(super) fn lock(name: &str) -> Item {
    pair(("date_prefix", name.to_owned()), ("file_key", "LOCK".to_owned()))
}

/// The key of a date's last batch index.
pub(super) fn batch_index(date: DatePrefix) -> Item {
    pair(("date_prefix", format!("BATCH#{date}")), ("file_key", "INDEX".to_owned()))
}

/// The key of a number or note of a day.
pub(super) fn metric(day: impl Into<String>, kind: impl Into<String>) -> Item {
    pair(("metric_date", day.into()), ("metric_type", kind.into()))
}

/// The partition of a day's notes.
pub(super) fn audits(day: DatePrefix) -> String {
    format!("AUDIT#{day}")
}

/// The key of a planned change, in the metrics table.
pub(super) fn plan(id: &str) -> Item {
    metric(format!("PLAN#{id}"), "PLAN")
}

fn in_runs(key: String) -> Item {
    Item::from([("manifest_id".to_owned(), text(key))])
}

/// The key of a run.
pub(super) fn run(id: &ManifestId) -> Item {
    in_runs(id.to_string())
}

/// The key of a manifest's document.
pub(super) fn document(id: &ManifestId) -> Item {
    in_runs(format!("DOC#{id}"))
}

/// The key of the commit record of one generation of a manifest's output.
pub(super) fn commit(id: &ManifestId, generation: u32) -> Item {
    in_runs(format!("COMMIT#{id}#{generation}"))
}

/// The key of no item: no manifest's id begins with a sign like this one's.
pub(super) fn nothing() -> Item {
    in_runs("#PING".to_owned())
}

/// The key of a part of a text that is too long for one item.
pub(super) fn part(hash: &str, id: &ManifestId, index: usize) -> Item {
    in_runs(format!("PART#{id}#{hash}#{index}"))
}

/// A URI as a sort key: itself, or, where it is too long, its beginning and a hash of all of it.
fn fitting(uri: &str) -> String {
    if uri.len() <= MAX_SORT_KEY {
        return uri.to_owned();
    }
    format!("{}#{}", cut(uri, KEPT_OF_URI), hash(uri.as_bytes()))
}

/// 128 bits of SHA-256, in hexadecimal: nobody can make two names that share them.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort_key(uri: &str) -> String {
        file(&uri.parse().unwrap())["file_key"].as_s().unwrap().clone()
    }

    #[test]
    fn a_file_is_found_by_the_date_in_its_key() {
        let key = |uri: &str| file(&uri.parse().unwrap())["date_prefix"].as_s().unwrap().clone();
        assert_eq!(key("s3://in/2025-12-23-a.ndjson"), "2025-12-23");
        assert_eq!(key("s3://in/a.ndjson"), NO_DATE);
    }

    #[test]
    fn long_uris_fit_and_stay_different() {
        let long = |end: &str| format!("s3://in/{}{end}", "é".repeat(600));
        let (a, b) = (sort_key(&long("a")), sort_key(&long("b")));
        assert!(a.len() <= MAX_SORT_KEY && a != b);
        assert!(a.starts_with("s3://in/é") && a.len() >= KEPT_OF_URI);
        assert_eq!(a, sort_key(&long("a")));
        assert_eq!(sort_key("s3://in/a"), "s3://in/a");
    }
}
