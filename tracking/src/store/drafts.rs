//! Store of manifests in the making.

use crate::{Draft, Lock, QueuedManifest, TrackedFile, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, ManifestId, ObjectUri};

/// Manifests in the making, under the locks of their dates.
#[async_trait]
pub trait DraftStore: Send + Sync {
    /// The next batch index of a date; no two calls get the same.
    async fn next_batch_index(&self, date: DatePrefix) -> TrackingResult<u64>;

    /// Begins a manifest, under the lock of its date: what it is meant to hold, before the first file is claimed.
    async fn begin_draft(&self, draft: &Draft, lock: &Lock) -> TrackingResult<()>;

    /// Claims files for a draft, under the lock of its date: each one that is as it was seen (same state and version)
    /// becomes manifested in it. Returns the files that the draft holds now, those it held before included; the others
    /// changed meanwhile. May happen for some of the files only.
    async fn claim(
        &self,
        id: &ManifestId,
        seen: &[TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<ObjectUri>>;

    /// Queues the run of a draft whose document is written; `queued` holds the files that were claimed. No error, and no
    /// change, if the run is queued or further already.
    async fn finish_draft(&self, queued: &QueuedManifest, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Forgets a draft that holds no file, under the lock of its date.
    async fn drop_draft(&self, id: &ManifestId, lock: &Lock) -> TrackingResult<()>;

    /// The drafts begun before a time.
    async fn drafts(&self, begun_before: DateTime<Utc>) -> TrackingResult<Vec<Draft>>;
}
