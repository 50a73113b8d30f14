//! Interface for commits, which decide on the output of a manifest.

use crate::{Commit, Replaced, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, ManifestId};

/// Commits and their publication.
#[async_trait]
pub trait CommitStore: Send + Sync {
    /// Decides permanently that this attempt's output is that of the manifest, in this generation. Returns false,
    /// without a change, if another attempt or an earlier call has committed, or a cancellation is requested.
    ///
    /// The record must contain everything that another process needs to finish the publication.
    async fn commit(&self, commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// Commit of a run whose publication is not finished.
    async fn unpublished(&self, id: &ManifestId) -> TrackingResult<Option<Commit>>;

    /// Gives up the output that this attempt committed, since it is lost and can never be published. The run is queued
    /// as its next generation, not to be started before a given time; its record is no longer valid, but kept for the
    /// removal of remaining files. The input files stay in the run. Refused unless the run is committing with this
    /// attempt.
    async fn supersede(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()>;

    /// Records that the next output of a run replaces, newest first: of outputs that were given up, and of the
    /// published one, if there is one. Empty for a run that was never committed. For a failed or cancelled run they are
    /// of outputs that were given up.
    async fn replaced(&self, id: &ManifestId) -> TrackingResult<Vec<Replaced>>;

    /// Records that a committed run's output is published: the run and its files become completed.
    async fn complete(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;
}
