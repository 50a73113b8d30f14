//! Knowledge of the runs that have a turn, in this process. All of it can be read or made anew.

use super::steps::Steps;
use super::watch::Shown;
use crate::commit::RunResult;
use crate::engine::TaskNow;
use ballista_core::JobId;
use millwork_conversion::{AttemptOutcome, Columns, Survey};
use millwork_manifest::{Manifest, ManifestId};
use millwork_storage::Staging;
use millwork_tracking::Commit;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;
use tracing::Span;

/// Knowledge of one run.
#[derive(Default)]
pub(super) struct Work {
    pub(super) manifest: Option<Arc<Manifest>>,
    /// Which output of the manifest it is, from 1.
    pub(super) generation: u32,
    /// The newest attempt that was started here.
    pub(super) attempt: u32,
    /// Survey and columns of the input that the attempt before found out.
    pub(super) columns: Option<(Arc<Survey>, Columns)>,
    /// Ends the conversion.
    pub(super) abort: CancellationToken,
    /// The Ballista job, while there is one.
    pub(super) job: Option<JobId>,
    /// The newest attempt's steps, and what was shown of how far it is.
    pub(super) steps: Steps,
    pub(super) shown: Shown,
    /// Stored bytes of the input of its tasks.
    pub(super) input_bytes: u64,
    /// Tasks as they were when all had ended.
    pub(super) tasks: Vec<TaskNow>,
    /// The newest attempt's plan, as text.
    pub(super) plan: String,
    /// Outcome of the conversion.
    pub(super) outcome: Option<(Staging, Box<AttemptOutcome>)>,
    /// Commit of the outcome, checked and settled.
    pub(super) prepared: Option<Arc<Prepared>>,
    /// Commit of the outcome, once the store has taken it.
    pub(super) committed: Option<Arc<Prepared>>,
    /// Number of times in a row that something of the output was found to be lost.
    pub(super) losses: u32,
    /// Number of times the publication failed.
    pub(super) publications: u32,
    /// The newest attempt, in a trace and in the log, once there is one.
    pub(super) span: Option<Span>,
    /// Obstacle to the publication, as it was last found.
    pub(super) obstacle: Option<String>,
}

/// A commit that is ready to be made, or was.
pub(super) struct Prepared {
    pub(super) commit: Commit,
    pub(super) result: RunResult,
}

/// Runs that this scheduler works on, by manifest.
#[derive(Default)]
pub(super) struct Works(Mutex<HashMap<ManifestId, Work>>);

impl Works {
    fn all(&self) -> MutexGuard<'_, HashMap<ManifestId, Work>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes what is known of a run.
    pub(super) fn with<T>(&self, id: &ManifestId, access: impl FnOnce(&mut Work) -> T) -> T {
        access(self.all().entry(id.clone()).or_default())
    }

    /// Reads what is known of a run, if anything is.
    pub(super) fn look<T>(&self, id: &ManifestId, access: impl FnOnce(&Work) -> T) -> Option<T> {
        self.all().get(id).map(access)
    }

    /// Changes what is known of a run, if it still is as it should be.
    pub(super) fn seen(&self, id: &ManifestId, is: impl FnOnce(&Work) -> bool, change: impl FnOnce(&mut Work)) {
        if let Some(work) = self.all().get_mut(id).filter(|work| is(work)) {
            change(work);
        }
    }

    /// The runs that have a job.
    pub(super) fn jobs(&self) -> Vec<(ManifestId, JobId)> {
        self.all().iter().filter_map(|(id, work)| Some((id.clone(), work.job.clone()?))).collect()
    }

    /// The job of a run, if it has one.
    pub(super) fn job(&self, id: &ManifestId) -> Option<JobId> {
        self.all().get(id).and_then(|work| work.job.clone())
    }

    /// Obstacle to the publication of a run, as it was last found.
    pub(super) fn obstacle(&self, id: &ManifestId) -> Option<String> {
        self.all().get(id).and_then(|work| work.obstacle.clone())
    }

    /// Tells whether a run has a turn.
    pub(super) fn has(&self, id: &ManifestId) -> bool {
        self.all().contains_key(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    pub(super) fn abort(&self, id: &ManifestId, attempt: u32) {
        if let Some(work) = self.all().get(id).filter(|work| work.attempt == attempt) {
            work.abort.cancel();
        }
    }

    pub(super) fn remove(&self, id: &ManifestId) {
        self.all().remove(id);
    }
}
