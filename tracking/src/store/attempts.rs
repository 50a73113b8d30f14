//! Store of attempts at runs, as the scheduler makes them.

use crate::{Lock, Run, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, ManifestId};

/// Attempts at runs.
///
/// The lock of the runs, which [`Self::start_attempt`] shows, keeps two schedulers from starting attempts at a time; the number of an
/// attempt keeps whoever made an older one from everything else.
#[async_trait]
pub trait AttemptStore: Send + Sync {
    /// The queued runs whose time has come, in the order in which they are to start: by priority, then by age. Its cost
    /// does not grow with their number. It may lag behind: only [`Self::start_attempt`] tells.
    async fn due(&self, limit: usize, now: DateTime<Utc>) -> TrackingResult<Vec<Run>>;

    /// The runs in [`OPEN`](crate::RunState::OPEN), oldest first. It may lag behind. What a crash left of runs that were about to fail is
    /// finished here.
    async fn open_runs(&self) -> TrackingResult<Vec<Run>>;

    /// Starts an attempt at a run that is queued or, after a crash, planning or running; [`LockLost`](crate::TrackingError::LockLost) if
    /// somebody else runs manifests now. Refused if some of the files are in another manifest by now, or if the run is
    /// to be cancelled. Returns the attempt's number, from 1. Made again, it starts another attempt.
    async fn start_attempt(&self, id: &ManifestId, lock: &Lock, now: DateTime<Utc>) -> TrackingResult<u32>;

    /// Notes that an attempt's plan is with the executors. Nothing happens if the run is further, or elsewhere.
    async fn set_running(&self, id: &ManifestId, attempt: u32, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Puts a run back in the queue after an attempt that failed, not to be started before a time. False, and no change, if
    /// the run is to be cancelled. Refused if the attempt is not the run's newest, or is committed.
    async fn retry_later(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool>;

    /// Ends a run without output, after this attempt, or 0 if there was none. By [`Cancelled`](millwork_manifest::FailureClass::Cancelled) it is
    /// cancelled, else failed. If one file is at fault, it alone fails, and the others wait for a new manifest; else all of
    /// them fail. A forced run is completed again instead, with the output it had, and its files stay as they are. Refused
    /// if the attempt is not the run's newest, or is committed.
    async fn fail(&self, id: &ManifestId, attempt: u32, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<()>;
}
