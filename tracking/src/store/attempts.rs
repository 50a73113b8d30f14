//! Interface for attempts at runs, used by the scheduler.

use crate::{Lock, Run, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, ManifestId};

/// Attempts at runs.
///
/// The leader lock, whose token [`Self::start_attempt`] checks, prevents two schedulers from starting attempts at the
/// same time; the attempt number prevents a scheduler with an older attempt from any other change.
#[async_trait]
pub trait AttemptStore: Send + Sync {
    /// Queued runs that are due, in the order in which they are to start: by priority, then by age. The cost does not
    /// grow with their number. May be eventually consistent: only [`Self::start_attempt`] is authoritative.
    async fn due(&self, limit: usize, now: DateTime<Utc>) -> TrackingResult<Vec<Run>>;

    /// Runs in [`OPEN`](millwork_manifest::RunState::OPEN), oldest first. May be eventually consistent. Also finishes failing
    /// runs that a crash interrupted.
    async fn open_runs(&self) -> TrackingResult<Vec<Run>>;

    /// Starts an attempt at a run that is queued or, after a crash, planning or running. Fails with
    /// [`LockLost`](crate::TrackingError::LockLost) if another process runs manifests now. Refused if another manifest
    /// has any of the files, or a cancellation is requested. Returns the attempt's number, from 1. A repeated call
    /// starts another attempt.
    async fn start_attempt(&self, id: &ManifestId, lock: &Lock, now: DateTime<Utc>) -> TrackingResult<u32>;

    /// Records that an attempt's plan was submitted to the executors. Has no effect if the run has advanced, or has
    /// another attempt.
    async fn set_running(&self, id: &ManifestId, attempt: u32, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Queues a run again after a failed attempt, not to be started before a given time. Returns false, without a
    /// change, if a cancellation is requested. Refused if the attempt is not the run's newest, or is committed.
    async fn retry_later(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool>;

    /// Ends a run without output after this attempt, or 0 if there was none: cancelled if the failure is
    /// [`Cancelled`](millwork_manifest::FailureClass::Cancelled), else failed. If particular files are at fault,
    /// only these fail, and the others become pending; else all of them fail. A forced run becomes completed again
    /// with its previous output, and its files stay unchanged. Refused if the attempt is not the run's newest, or is
    /// committed.
    async fn fail(&self, id: &ManifestId, attempt: u32, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<()>;
}
