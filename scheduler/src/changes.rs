//! Notifications of changes in runs, for subscribers.

use crate::commit::RunResult;
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, ManifestId, RunState};
use serde::Serialize;
use std::sync::Arc;

/// A change of a run's state.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Id of the run's manifest.
    pub manifest_id: ManifestId,
    /// New state of the run.
    pub state: RunState,
    /// Number of the run's attempt; 0 if none applies.
    pub attempt: u32,
    /// Failure of the run, or of its attempt.
    pub failure: Option<Failure>,
    /// Time of the change.
    pub at: DateTime<Utc>,
}

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct EndedRun {
    /// Id of the run's manifest.
    pub manifest_id: ManifestId,
    /// Result of the run, or the failure.
    pub outcome: Result<Arc<RunResult>, Failure>,
}
