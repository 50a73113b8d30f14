//! Incomplete uploads to buckets: the bucket keeps and bills their parts, but lists no object.

use crate::bucket::fail;
use crate::{Location, Storage, StorageResult};
use chrono::{DateTime, Utc};

/// Uploads begun before a given time that are still open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUploads {
    /// Number of incomplete uploads, among the first 1,000 that the bucket lists.
    pub count: u64,
    /// Start time of the oldest.
    pub oldest: Option<DateTime<Utc>>,
    /// True if the bucket has more than the listed ones.
    pub has_more: bool,
}

impl Storage {
    /// Counts the uploads below a location that were begun before a time and are still open; `None` for a directory, which
    /// has no uploads.
    pub async fn open_uploads(&self, place: &Location, before: DateTime<Utc>) -> StorageResult<Option<OpenUploads>> {
        let Location::Bucket { bucket, prefix } = place else { return Ok(None) };
        let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let listed = self.buckets.client().await.list_multipart_uploads().bucket(bucket).prefix(&folder).send().await;
        let listed = listed.map_err(|e| fail("list the uploads of", place, e))?;
        let begun = |upload: &aws_sdk_s3::types::MultipartUpload| {
            let at = upload.initiated()?;
            DateTime::from_timestamp(at.secs(), at.subsec_nanos())
        };
        let old: Vec<_> = listed.uploads().iter().filter_map(begun).filter(|at| *at < before).collect();
        Ok(Some(OpenUploads {
            count: old.len() as u64,
            oldest: old.into_iter().min(),
            has_more: listed.is_truncated().unwrap_or(false),
        }))
    }
}
