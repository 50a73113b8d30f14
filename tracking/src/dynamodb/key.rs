//! The keys of items.
//!
//! The lock table may be the tracking table, so that locks and batch indexes have keys of the same schema as files. The
//! partition of a file is a date or `no-date`; those of locks and batch indexes begin with a prefix that no date has.

use super::item::{Item, cut, text};
use millwork_manifest::{DatePrefix, ManifestId, ObjectUri};
use sha2::{Digest, Sha256};

/// Partition of files without a date in their key. The date assigned to them may depend on the day, so that it cannot
/// be part of the key.
pub(super) const NO_DATE: &str = "no-date";
/// Partition of the items of dates in the metrics table.
pub(super) const BACKLOGS: &str = "PENDING";
/// Limit of a sort key in DynamoDB, in bytes.
const MAX_SORT_KEY: usize = 1024;
/// Length of the beginning of a longer URI that is kept for readability, in bytes.
const KEPT_OF_URI: usize = 900;

fn pair(partition: (&str, String), sort: (&str, String)) -> Item {
    [partition, sort].map(|(name, value)| (name.to_owned(), text(value))).into()
}

/// Key of a file: the date in its object key, and its URI.
pub(super) fn file(uri: &ObjectUri) -> Item {
    let date = DatePrefix::of_key(&uri.key()).map_or_else(|| NO_DATE.to_owned(), |date| date.to_string());
    pair(("date_prefix", date), ("file_key", fitting(uri.as_str())))
}

/// The key of a lock.
pub(super) fn lock(name: &str) -> Item {
    pair(("date_prefix", name.to_owned()), ("file_key", "LOCK".to_owned()))
}

/// Key of the last batch index of a date.
pub(super) fn batch_index(date: DatePrefix) -> Item {
    pair(("date_prefix", format!("BATCH#{date}")), ("file_key", "INDEX".to_owned()))
}

/// Key of a counter or record of a day.
pub(super) fn metric(day: impl Into<String>, kind: impl Into<String>) -> Item {
    pair(("metric_date", day.into()), ("metric_type", kind.into()))
}

/// Partition of the audit records of a day.
pub(super) fn audits(day: DatePrefix) -> String {
    format!("AUDIT#{day}")
}

/// Key of a change plan, in the metrics table.
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

/// Key of the commit record of one generation of a manifest's output.
pub(super) fn commit(id: &ManifestId, generation: u32) -> Item {
    in_runs(format!("COMMIT#{id}#{generation}"))
}

/// Key that no item has: ids of manifests never begin with this character.
pub(super) fn nothing() -> Item {
    in_runs("#PING".to_owned())
}

/// Key of a part of a text that is too long for one item.
pub(super) fn part(hash: &str, id: &ManifestId, index: usize) -> Item {
    in_runs(format!("PART#{id}#{hash}#{index}"))
}

/// A URI as a sort key: the URI itself, or its beginning and a hash if it is too long.
fn fitting(uri: &str) -> String {
    if uri.len() <= MAX_SORT_KEY {
        return uri.to_owned();
    }
    format!("{}#{}", cut(uri, KEPT_OF_URI), hash(uri.as_bytes()))
}

/// First 128 bits of a SHA-256, in hexadecimal: enough that collisions cannot be constructed in practice.
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
