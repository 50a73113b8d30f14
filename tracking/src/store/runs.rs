//! Store of runs as people and builders see them: submitted, listed, steered.

use crate::{Page, QueuedManifest, Run, RunCount, RunFilter, RunState, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Manifest, ManifestFile, ManifestId};

/// Runs: submitted, read, and steered by request.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Puts a manifest's files in it and queues its run. A file that is unknown is tracked; one that is in another
    /// manifest, or converted, refuses the whole. A run that is there stays as it is; returns whether it is new.
    async fn submit(&self, queued: &QueuedManifest, priority: i32, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// Puts back the files that submissions put in manifests before a time, and that have no run: whoever submitted them
    /// died. Returns how many. Its cost does not grow with their number: it looks at some of those that came first.
    async fn release_abandoned(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> TrackingResult<u64>;

    /// Returns a run with its attempts, but without what it produced.
    async fn run_head(&self, id: &ManifestId) -> TrackingResult<Option<Run>>;

    /// Returns a run with its attempts and what it produced. Its cost grows with its files.
    async fn run(&self, id: &ManifestId) -> TrackingResult<Option<Run>>;

    /// The manifest of a run.
    async fn manifest(&self, id: &ManifestId) -> TrackingResult<Option<Manifest>>;

    /// A listing of runs, newest first. It may lag behind.
    async fn list_runs(&self, filter: &RunFilter) -> TrackingResult<Page<Run>>;

    /// The runs that have not ended, by state. It may lag behind, and its cost grows with their number.
    async fn count_runs(&self) -> TrackingResult<Vec<RunCount>>;

    /// Ends a run by request: one that is queued at once, as by [`AttemptStore::fail`](crate::AttemptStore::fail); for one that has a turn it is noted, and its
    /// attempt can no longer be committed. Returns the state it is in then. Refused if it is committed or has ended.
    async fn cancel(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<RunState>;

    /// Puts a failed or cancelled run back in the queue, with all its files; refused if some are in another manifest
    /// by now. No error if it is queued.
    async fn requeue(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Takes over the content that some files of a run have by now, which failed or was cancelled: `manifest` is its own but for
    /// their sizes, entity tags and versions. Files that are another manifest's by now stay as they are, and so does all of a run
    /// that is in another state.
    async fn refresh(&self, manifest: &Manifest, changed: &[ManifestFile], now: DateTime<Utc>) -> TrackingResult<()>;

    /// Queues a completed run once more, for an output that takes the place of the one it has. Its files stay completed.
    /// No error if it is queued.
    async fn force(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Changes the priority of a run that is queued; nothing happens to others.
    async fn prioritise(&self, id: &ManifestId, priority: i32, now: DateTime<Utc>) -> TrackingResult<()>;
}
