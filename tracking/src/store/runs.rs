//! Interface for runs, used by people and builders: submission, listings and requests.

use crate::{Page, QueuedManifest, Run, RunCount, RunFilter, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Manifest, ManifestFile, ManifestId, RunState};

/// Runs: submission, reads and requests.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Assigns a manifest's files to it and queues its run. Unknown files are tracked; a file that is in another
    /// manifest, or converted, refuses the whole manifest. An existing run is unchanged. Returns whether the run is
    /// new.
    async fn submit(&self, queued: &QueuedManifest, priority: i32, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// Releases files that submissions assigned to manifests before a time and that have no run, because the submitting
    /// process died. Returns their number. Checks only a bounded number of the oldest ones.
    async fn release_abandoned(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> TrackingResult<u64>;

    /// A run with its attempts, without its result.
    async fn run_head(&self, id: &ManifestId) -> TrackingResult<Option<Run>>;

    /// A run with its attempts and its result. The cost grows with its files.
    async fn run(&self, id: &ManifestId) -> TrackingResult<Option<Run>>;

    /// The manifest of a run.
    async fn manifest(&self, id: &ManifestId) -> TrackingResult<Option<Manifest>>;

    /// Lists runs, newest first. May be eventually consistent.
    async fn list_runs(&self, filter: &RunFilter) -> TrackingResult<Page<Run>>;

    /// Number of open runs, by state. May be eventually consistent; the cost grows with their number.
    async fn count_runs(&self) -> TrackingResult<Vec<RunCount>>;

    /// Cancels a run: a queued one ends at once, as by [`AttemptStore::fail`](crate::AttemptStore::fail); for an
    /// active one the request is recorded, and its attempt can no longer be committed. Returns the resulting state.
    /// Refused if it is committed or has ended.
    async fn cancel(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<RunState>;

    /// Queues a failed or cancelled run again, with all its files; refused if another manifest has any of them. A
    /// queued run is unchanged.
    async fn requeue(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Updates files of a failed or cancelled run to their present content: `manifest` equals its own except for their
    /// sizes, entity tags and versions. Files that belong to another manifest are unchanged, and so are runs in other
    /// states.
    async fn refresh(&self, manifest: &Manifest, changed: &[ManifestFile], now: DateTime<Utc>) -> TrackingResult<()>;

    /// Queues a completed run again, to replace its output. Its files stay completed. A queued run is unchanged.
    async fn force(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Changes the priority of a queued run; has no effect on others.
    async fn prioritise(&self, id: &ManifestId, priority: i32, now: DateTime<Utc>) -> TrackingResult<()>;
}
