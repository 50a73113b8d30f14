//! Events and actions of the machine.

use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FailureClass, ManifestId, RunState};
use millwork_tracking::Run;

/// State of a run as read from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Id of the run's manifest.
    pub id: ManifestId,
    /// State of the run.
    pub state: RunState,
    /// Number of attempts started so far.
    pub attempts: u32,
    /// Number of failed attempts since the run was queued.
    pub failures: u32,
    /// Number of those failures that were the loss of an executor.
    pub lost_executors: u32,
    /// Number of the latest attempts in a row that ended without a report.
    pub silent_attempts: u32,
    /// True if a cancellation was requested.
    pub cancel_requested: bool,
    /// Generation of the manifest's output, from 1.
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

/// Event for the machine.
#[derive(Clone, Debug)]
pub enum Event {
    /// Timer tick: time limits and retry times are checked.
    Tick,
    /// The process is about to end: attempts are aborted, commits are finished.
    Stop,
    /// A run was queued; if it is urgent, the beginning of the queue may have changed.
    Queued {
        /// True if the new entry may go before existing ones.
        is_urgent: bool,
    },
    /// Beginning of the queue, in answer to [`Action::LookForDue`].
    Due(Vec<Seen>),
    /// Active runs, in answer to [`Action::LookForOpen`].
    Open(Vec<Seen>),
    /// The store did not answer a read of the queue or of active runs.
    LookFailed,
    /// Cancellation of the run was requested, and recorded in the store.
    Cancel(ManifestId),
    /// An attempt has started.
    Started(ManifestId, u32),
    /// The attempt's plan was submitted to the executors.
    Planned(ManifestId, u32),
    /// The attempt's output is complete, and private.
    Converted(ManifestId, u32),
    /// The attempt's plan lacked columns, which are known now.
    NeedsReplan(ManifestId, u32),
    /// The attempt ended without a commit: it failed, or was aborted.
    AttemptFailed(ManifestId, u32, Failure),
    /// The attempt's output was committed.
    Committed(ManifestId, u32),
    /// The output was published.
    Published(ManifestId),
    /// The publication failed, and must be repeated.
    PublishFailed(ManifestId, Failure),
    /// The output can never be published: files of the commit record are gone.
    Lost(ManifestId, Failure),
    /// The attempt's files were removed, as far as possible.
    Discarded(ManifestId, u32),
    /// The store has made the requested change: the run is queued, or has ended.
    Settled(ManifestId),
    /// The store refused the request because of the run's state: another process, or a request, came first.
    Refused(ManifestId, Failure),
    /// The store did not answer; the request may have had its effect.
    Unanswered(ManifestId),
    /// Present state of the run, in answer to [`Action::Inspect`].
    Found(ManifestId, Option<Seen>),
}

/// Action for the shell. Only one action of a run is in progress at a time, except for [`Action::SetRunning`] and
/// [`Action::Abort`], which have no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read this many entries from the beginning of the queue.
    LookForDue(usize),
    /// Read the active runs.
    LookForOpen,
    /// Start an attempt.
    Start(ManifestId),
    /// Survey, plan, submit, and wait for the reports.
    Convert(ManifestId, u32),
    /// Record that executors are working on the attempt.
    SetRunning(ManifestId, u32),
    /// Abort the conversion, which then ends as a failed attempt.
    Abort(ManifestId, u32),
    /// Check the outcome, and commit it as the manifest's output.
    Commit(ManifestId, u32),
    /// Publish the committed output.
    Publish(ManifestId),
    /// Record that the output is published.
    Complete(ManifestId),
    /// Give up the committed output, and queue the run as its next generation.
    Supersede(ManifestId, u32, Failure, DateTime<Utc>),
    /// Remove the files of an attempt.
    Discard(ManifestId, u32),
    /// Queue the run again, not before this time.
    RetryLater(ManifestId, u32, Failure, DateTime<Utc>),
    /// End the run without an output.
    Fail(ManifestId, u32, Failure),
    /// Read the present state of the run.
    Inspect(ManifestId),
    /// Drop the run from memory: it is queued, has ended, or belongs to another process.
    Forget(ManifestId),
}
