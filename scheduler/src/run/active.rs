//! State of a run inside the machine.

use super::words::{Action, Seen};
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FailureClass};

/// Activity for a run whose end the machine waits for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Activity {
    Starting,
    Converting,
    /// The conversion was told to stop, for this reason; `None` if only because this process ends.
    Aborting(Option<Failure>),
    Committing,
    Publishing,
    /// The store is being told that the committed output is lost.
    Superseding,
    Completing,
    /// Files of the attempt are being removed; then the attempt ends for this reason, or `None` if this process ends.
    Discarding(Option<Failure>),
    /// The store is being told that the attempt or the run has failed.
    Ending,
    /// The present state of the run is being read, since the store refused a request.
    Inspecting(Refusal),
}

/// A request that the store refused, with its reason.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    Start(Failure),
    Commit(Failure),
    /// To end the attempt with this failure.
    End(Failure),
    /// To record that the output is published, or lost.
    Complete,
}

#[derive(Clone, Debug)]
pub(super) struct Active {
    /// Number of the newest attempt, 0 before the first.
    pub(super) attempt: u32,
    pub(super) failures: u32,
    /// Number of failures that were due to lost executors.
    pub(super) lost_executors: u32,
    pub(super) replans: u32,
    /// Number of the store's refusals since the attempt started.
    pub(super) refusals: u32,
    /// Generation of the manifest's output, from 1.
    pub(super) generation: u32,
    pub(super) activity: Activity,
    /// Time limit of the conversion.
    pub(super) deadline: Option<DateTime<Utc>>,
    /// Time at which an action is to be repeated, and the action.
    pub(super) again: Option<(DateTime<Utc>, Action)>,
    /// Last requested action; `tries` counts the consecutive times without an answer.
    pub(super) asked: Option<Action>,
    pub(super) tries: u32,
}

impl Active {
    pub(super) fn new(seen: &Seen, activity: Activity) -> Self {
        Self {
            attempt: seen.attempts,
            failures: seen.failures,
            lost_executors: seen.lost_executors,
            replans: 0,
            refusals: 0,
            generation: seen.generation,
            activity,
            deadline: None,
            again: None,
            asked: None,
            tries: 0,
        }
    }

    /// Number of failures that count towards the retry limit of this class.
    pub(super) fn failures_like(&self, class: FailureClass) -> u32 {
        match class {
            FailureClass::LostExecutor => self.lost_executors,
            _ => self.failures.saturating_sub(self.lost_executors),
        }
    }

    /// Tells whether the run counts towards the limit of concurrent runs. A run whose output only waits for storage
    /// does not block others.
    pub(super) fn has_turn(&self) -> bool {
        !matches!(self.activity, Activity::Publishing | Activity::Superseding | Activity::Completing) || self.tries == 0
    }
}
