//! Rules by which pending files of a date are grouped into manifests.

use crate::{MAX_MANIFEST_BYTES, ObjectUri};
use chrono::{DateTime, Utc};

/// Bytes per gigabyte in the size limit (1024³).
const GB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Limit of the entries of files in a document, in bytes: leaves 1 MiB for other contents, such as trace contexts.
const MAX_ENTRIES_BYTES: u64 = MAX_MANIFEST_BYTES - (1 << 20);

/// Limits of one manifest, all of which apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchCaps {
    /// Limit of the total size in bytes; a single larger file is allowed.
    pub max_bytes: u64,
    /// Limit of the number of files.
    pub max_files: usize,
    /// Longest time that files which fill less than half a batch wait, from the arrival of the oldest.
    pub max_wait_seconds: u64,
}

impl BatchCaps {
    /// Default of `MAX_BATCH_SIZE_GB`, in GiB.
    pub const BATCH_GB: f64 = 0.7;
    /// Default of `MAX_FILES_PER_MANIFEST`.
    pub const FILES: u32 = 200;
    /// Default of `MAX_WAIT_SECONDS`.
    pub const WAIT_SECONDS: u64 = 1800;

    /// Limits from the settings `MAX_BATCH_SIZE_GB`, `MAX_FILES_PER_MANIFEST` and `MAX_WAIT_SECONDS`.
    pub fn new(max_batch_size_gb: f64, max_files: usize, max_wait_seconds: u64) -> Self {
        Self { max_bytes: (max_batch_size_gb * GB) as u64, max_files: max_files.max(1), max_wait_seconds }
    }
}

impl BatchCaps {
    /// Number of pending files of which [`cut`] must see all that there are, to know that there are no more: one beyond a manifest.
    pub fn window(&self) -> usize {
        self.max_files.saturating_add(1)
    }

    /// Tells whether this many files and bytes fill a manifest.
    pub fn are_reached(&self, files: u64, bytes: u64) -> bool {
        files >= self.max_files as u64 || bytes >= self.max_bytes
    }
}

impl Default for BatchCaps {
    fn default() -> Self {
        Self::new(Self::BATCH_GB, Self::FILES as usize, Self::WAIT_SECONDS)
    }
}

/// A file that is pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingFile {
    /// Address of the file.
    pub uri: ObjectUri,
    /// Size of the file as stored, in bytes.
    pub size_bytes: u64,
    /// Upper limit of its size in the document of a manifest, in bytes.
    pub entry_bytes: u64,
    /// Time of arrival.
    pub arrived_at: DateTime<Utc>,
}

/// Rule for the remaining files that do not fill a manifest. `WhenAged` cuts them at once if they fill at least half
/// of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Wait for more files, up to [`BatchCaps::max_wait_seconds`] of age at this time.
    WhenAged(DateTime<Utc>),
    /// Cut the remaining files now.
    Now,
    /// Leave the remaining files pending: more files exist than were read.
    Never,
}

/// Cuts the pending files of one date into batches, in order. Files in no batch remain pending.
///
/// Every batch respects both limits, except that a file above the size limit is a batch of its own. The document of a
/// batch stays within [`MAX_MANIFEST_BYTES`].
pub fn cut(files: &[PendingFile], caps: &BatchCaps, flush: Flush) -> Vec<Vec<PendingFile>> {
    let mut batches = Vec::new();
    let mut open: Vec<PendingFile> = Vec::new();
    let (mut open_bytes, mut document_bytes) = (0, 0);
    for file in files {
        if file.size_bytes > caps.max_bytes {
            batches.push(vec![file.clone()]);
            continue;
        }
        if open_bytes + file.size_bytes > caps.max_bytes || document_bytes + file.entry_bytes > MAX_ENTRIES_BYTES {
            batches.push(std::mem::take(&mut open));
            (open_bytes, document_bytes) = (0, 0);
        }
        open_bytes += file.size_bytes;
        document_bytes += file.entry_bytes;
        open.push(file.clone());
        if open.len() >= caps.max_files || open_bytes >= caps.max_bytes {
            batches.push(std::mem::take(&mut open));
            (open_bytes, document_bytes) = (0, 0);
        }
    }
    if !open.is_empty() && rest_is_due(&open, open_bytes, caps, flush) {
        batches.push(open);
    }
    batches
}

fn rest_is_due(rest: &[PendingFile], rest_bytes: u64, caps: &BatchCaps, flush: Flush) -> bool {
    let is_aged = |now: DateTime<Utc>| {
        let wait = i64::try_from(caps.max_wait_seconds).unwrap_or(i64::MAX);
        rest.iter().map(|file| file.arrived_at).min().is_some_and(|oldest| (now - oldest).num_seconds() >= wait)
    };
    match flush {
        Flush::Never => false,
        Flush::Now => true,
        Flush::WhenAged(now) => {
            let half_full = rest_bytes >= caps.max_bytes.div_ceil(2) || rest.len() >= caps.max_files.div_ceil(2);
            half_full || is_aged(now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn files(sizes: &[u64]) -> Vec<PendingFile> {
        let file = |(i, size_bytes): (usize, &u64)| PendingFile {
            uri: format!("s3://in/2025-12-23-{i}.ndjson").parse().unwrap(),
            size_bytes: *size_bytes,
            entry_bytes: 100,
            arrived_at: at(i as i64),
        };
        sizes.iter().enumerate().map(file).collect()
    }

    fn caps(max_bytes: u64, max_files: usize) -> BatchCaps {
        BatchCaps { max_bytes, max_files, max_wait_seconds: 1800 }
    }

    fn lengths(batches: &[Vec<PendingFile>]) -> Vec<usize> {
        batches.iter().map(Vec::len).collect()
    }

    #[test]
    fn two_hundred_files_of_three_and_a_half_megabytes_are_one_manifest() {
        let batches = cut(&files(&[3_670_016; 200]), &BatchCaps::default(), Flush::WhenAged(at(0)));
        assert_eq!(lengths(&batches), [200]);
    }

    #[test]
    fn a_small_rest_waits_until_its_oldest_file_is_old_enough() {
        let pending = files(&[10; 3]);
        assert!(cut(&pending, &caps(100, 100), Flush::WhenAged(at(1799))).is_empty());
        assert_eq!(lengths(&cut(&pending, &caps(100, 100), Flush::WhenAged(at(1800)))), [3]);
        assert_eq!(lengths(&cut(&pending, &caps(100, 100), Flush::Now)), [3]);
    }

    #[test]
    fn a_rest_of_half_a_batch_goes() {
        assert_eq!(lengths(&cut(&files(&[10; 5]), &caps(100, 100), Flush::WhenAged(at(0)))), [5]);
        assert_eq!(lengths(&cut(&files(&[1; 5]), &caps(100, 10), Flush::WhenAged(at(0)))), [5]);
    }

    #[test]
    fn a_document_stays_within_its_limit() {
        let mut pending = files(&[1; 31]);
        pending.iter_mut().for_each(|file| file.entry_bytes = 2 << 20);
        assert_eq!(lengths(&cut(&pending, &caps(100, 100), Flush::Now)), [15, 15, 1]);
    }

    #[test]
    fn a_file_above_the_cap_goes_alone() {
        assert_eq!(lengths(&cut(&files(&[10, 500, 10]), &caps(100, 100), Flush::Now)), [1, 2]);
    }

    proptest! {
        #[test]
        fn caps_hold_and_no_file_is_lost_or_doubled(
            sizes in prop::collection::vec(0u64..150, 0..200), max_bytes in 1u64..200, max_files in 1usize..20,
        ) {
            let pending = files(&sizes);
            let caps = caps(max_bytes, max_files);
            let batches = cut(&pending, &caps, Flush::Now);
            for batch in &batches {
                let bytes: u64 = batch.iter().map(|f| f.size_bytes).sum();
                prop_assert!(!batch.is_empty() && batch.len() <= max_files);
                prop_assert!(bytes <= max_bytes || batch.len() == 1);
            }
            let mut cut_files: Vec<_> = batches.concat();
            cut_files.sort_by_key(|f| f.arrived_at);
            prop_assert_eq!(cut_files, pending);
        }

        #[test]
        fn what_waits_is_less_than_half_a_batch(sizes in prop::collection::vec(1u64..150, 0..200)) {
            let caps = caps(200, 10);
            let pending = files(&sizes);
            let cut_count: usize = lengths(&cut(&pending, &caps, Flush::WhenAged(at(0)))).iter().sum();
            prop_assert!(pending.len() - cut_count < 5);
        }
    }
}
