//! Events that the machine hears, and actions that it asks for.

use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FailureClass, ManifestId};
use millwork_tracking::{Run, RunState};

/// A run as the store shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Id of the run's manifest.
    pub id: ManifestId,
    /// State of the run.
    pub state: RunState,
    /// Attempts started so far.
    pub attempts: u32,
    /// Attempts that failed since it was queued.
    pub failures: u32,
    /// Number of those failures that were the loss of an executor.
    pub lost_executors: u32,
    /// Number of the newest attempts that ended without a word.
    pub silent_attempts: u32,
    /// True if the run is to be cancelled.
    pub cancel_requested: bool,
    /// Number of the manifest's output, from 1.
    pub generation: u32,
}

impl From<&Run> for Seen {
    fn from(run: &Run) -> Self {
        let failed = run.history.iter().rev().filter_map(|attempt| attempt.failure.as_ref());
        let counted = failed.filter(|failure| failure.class != FailureClass::Cancelled).take(run.failures as usize);
        let lost = counted.filter(|failure| failure.class == FailureClass::LostExecutor).count();
        let silent = run.history.iter().rev().take_while(|attempt| attempt.ended_at.is_none()).count();
        Self {
            lost_executors: lost as u32,
            silent_attempts: silent as u32,
            id: run.manifest_id.clone(),
            state: run.state,
            attempts: run.attempts,
            failures: run.failures,
            cancel_requested: run.cancel_requested,
            generation: run.generation,
        }
    }
}

/// Event that the machine hears.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// This process is to end: attempts are given up, commits are finished.
    Stop,
    /// Something is in the queue; if it is urgent, the beginning of the queue may be another now.
    Queued {
        /// True if the new entry may go before what was there.
        is_urgent: bool,
    },
    /// The queue's beginning, in answer to [`Action::LookForDue`].
    Due(Vec<Seen>),
    /// The runs that have a turn, in answer to [`Action::LookForOpen`].
    Open(Vec<Seen>),
    /// The store did not answer one of these looks.
    LookFailed,
    /// Somebody wants the run cancelled; the store knows.
    Cancel(ManifestId),
    /// An attempt has started.
    Started(ManifestId, u32),
    /// The attempt's plan is with the executors.
    Planned(ManifestId, u32),
    /// The attempt's output is complete, and private.
    Converted(ManifestId, u32),
    /// The attempt's plan lacked columns; they are known now.
    NeedsReplan(ManifestId, u32),
    /// The attempt came to nothing: before its commit, or by having been aborted.
    AttemptFailed(ManifestId, u32, Failure),
    /// The attempt's output is the manifest's.
    Committed(ManifestId, u32),
    /// The output is visible.
    Published(ManifestId),
    /// The publication did not come to its end; it must, later.
    PublishFailed(ManifestId, Failure),
    /// The output can never be made visible: what the record names is gone.
    Lost(ManifestId, Failure),
    /// Files that the attempt left are removed, as far as that was possible.
    Discarded(ManifestId, u32),
    /// The store has done what was asked for a run: the run is queued, or has ended.
    Settled(ManifestId),
    /// The store says that the run is not as it should be: another process, or a request, was faster.
    Refused(ManifestId, Failure),
    /// The store did not answer; what was asked may have happened.
    Unanswered(ManifestId),
    /// The run as it is, in answer to [`Action::Inspect`].
    Found(ManifestId, Option<Seen>),
}

/// Action that the machine asks for. Of the actions of one run, one is going on at a time, beside [`Action::SetRunning`] and
/// [`Action::Abort`], which have no answer of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the store for the beginning of the queue.
    LookForDue(usize),
    /// Ask the store for the runs that have a turn.
    LookForOpen,
    /// Start an attempt.
    Start(ManifestId),
    /// Survey, plan, submit, wait.
    Convert(ManifestId, u32),
    /// Note that executors are at work.
    SetRunning(ManifestId, u32),
    /// Give up the conversion; it ends as an attempt that failed.
    Abort(ManifestId, u32),
    /// Check the outcome and decide that it is the manifest's.
    Commit(ManifestId, u32),
    /// Make the committed output visible.
    Publish(ManifestId),
    /// Note that it is.
    Complete(ManifestId),
    /// Give the committed output up, and queue the run as its next generation.
    Supersede(ManifestId, u32, Failure, DateTime<Utc>),
    /// Remove what an attempt left.
    Discard(ManifestId, u32),
    /// Queue the run again.
    RetryLater(ManifestId, u32, Failure, DateTime<Utc>),
    /// End the run without output.
    Fail(ManifestId, u32, Failure),
    /// Ask the store how the run is.
    Inspect(ManifestId),
    /// Forget what is remembered of the run here: it is queued, or has ended, or is another process's.
    Forget(ManifestId),
}
