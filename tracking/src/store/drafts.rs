//! Interface for drafts.

use crate::{Draft, Lock, QueuedManifest, TrackedFile, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, ManifestId, ObjectUri};

/// Drafts: manifests that are being made, under the locks of their dates.
#[async_trait]
pub trait DraftStore: Send + Sync {
    /// Next batch index of a date; every call gets a different one.
    async fn next_batch_index(&self, date: DatePrefix) -> TrackingResult<u64>;

    /// Begins a draft with its intended files, under the lock of its date, before the first file is claimed.
    async fn begin_draft(&self, draft: &Draft, lock: &Lock) -> TrackingResult<()>;

    /// Claims files for a draft, under the lock of its date: each unchanged file (same state and version) becomes
    /// manifested in it. Returns all files that the draft holds, including earlier ones; the others have changed
    /// meanwhile. May succeed for some of the files only.
    async fn claim(
        &self,
        id: &ManifestId,
        seen: &[TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<ObjectUri>>;

    /// Queues the run of a draft whose document is written; `queued` contains the claimed files. Has no effect if the
    /// run is queued or has advanced already.
    async fn finish_draft(&self, queued: &QueuedManifest, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Removes a draft that holds no file, under the lock of its date.
    async fn drop_draft(&self, id: &ManifestId, lock: &Lock) -> TrackingResult<()>;

    /// Drafts begun before a time.
    async fn drafts(&self, begun_before: DateTime<Utc>) -> TrackingResult<Vec<Draft>>;
}
