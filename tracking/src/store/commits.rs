//! Store of commits, which decide what the output of a manifest is.

use crate::{Commit, Replaced, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, ManifestId};

/// Commits, and what becomes of them.
#[async_trait]
pub trait CommitStore: Send + Sync {
    /// Decides that this attempt's output is the manifest's (of this generation), for ever. False if another attempt, or the
    /// same one before, has won, or if the run is to be cancelled: then nothing changes.
    ///
    /// The record must hold all that is needed to finish the publication, by whoever comes.
    async fn commit(&self, commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// The commit of a run whose publication is not finished.
    async fn unpublished(&self, id: &ManifestId) -> TrackingResult<Option<Commit>>;

    /// Gives up the output that this attempt committed, since it can never be shown: what its record names is gone. The run
    /// is queued as its next generation, not to be started before a time; its record counts no more, but is kept, for who
    /// removes what is left of it. The files stay in the run. Refused unless the run is committing, by this attempt.
    async fn supersede(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()>;

    /// The records whose places a run's next output takes, newest first, until that is committed: of outputs that were given
    /// up, and of the one that is shown, if there is one. None for a run that was never committed. Those of a run that failed
    /// or was cancelled are of outputs that were given up.
    async fn replaced(&self, id: &ManifestId) -> TrackingResult<Vec<Replaced>>;

    /// Notes that a committed run's output is in its place: the run and its files are completed.
    async fn complete(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;
}
