//! Uploads to buckets that were begun and never finished: the bucket keeps their parts, which cost, and lists no object.

use crate::bucket::fail;
use crate::transfer::client;
use crate::{Location, StorageResult};
use chrono::{DateTime, Utc};

/// Uploads that were begun before a time and are still open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUploads {
    /// Number of unfinished uploads, of the first 1,000 that the bucket tells.
    pub count: u64,
    /// Time at which the oldest was begun.
    pub oldest: Option<DateTime<Utc>>,
    /// True if the bucket has more than were looked at.
    pub has_more: bool,
}

/// Counts the uploads below a place that were begun before a time and are still open; none for a directory, which has no uploads.
pub async fn open_uploads(place: &Location, before: DateTime<Utc>) -> StorageResult<Option<OpenUploads>> {
    let Location::Bucket { bucket, prefix } = place else { return Ok(None) };
    let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let listed = client().await.list_multipart_uploads().bucket(bucket).prefix(&folder).send().await;
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
