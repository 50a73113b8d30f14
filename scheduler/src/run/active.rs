//! State of a run that the machine takes care of.

use super::words::{Action, Seen};
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FailureClass};

/// Activity for a run whose end the machine waits for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Activity {
    Starting,
    Converting,
    /// The conversion was told to stop, for this reason; none if only this process ends.
    Aborting(Option<Failure>),
    Committing,
    Publishing,
    /// The store is being told that the output is lost.
    Superseding,
    Completing,
    /// Files that the attempt left are being removed; then the attempt ends for this reason; none if only this process ends.
    Discarding(Option<Failure>),
    /// The store is being told that it failed, for now or for good.
    Ending,
    /// The store is being asked how the run is, since it refused something.
    Inspecting(Refusal),
}

/// Request that the store refused, and the reason.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    Start(Failure),
    Commit(Failure),
    /// To end the attempt, for this reason.
    End(Failure),
    /// To note that the output is visible, or lost.
    Complete,
}

#[derive(Clone, Debug)]
pub(super) struct Active {
    /// The newest attempt, 0 before the first.
    pub(super) attempt: u32,
    pub(super) failures: u32,
    /// Number of the failures that were lost executors.
    pub(super) lost_executors: u32,
    pub(super) replans: u32,
    /// Number of times the store has refused something since the attempt started.
    pub(super) refusals: u32,
    /// Number of the manifest's output, from 1.
    pub(super) generation: u32,
    pub(super) activity: Activity,
    /// Moment by which the conversion must have ended.
    pub(super) deadline: Option<DateTime<Utc>>,
    /// Time at which to ask again, and the action to ask.
    pub(super) again: Option<(DateTime<Utc>, Action)>,
    /// Action that was asked last; `tries` counts the times in a row without an answer.
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

    /// Number of the failures that count against another of this class.
    pub(super) fn failures_like(&self, class: FailureClass) -> u32 {
        match class {
            FailureClass::LostExecutor => self.lost_executors,
            _ => self.failures.saturating_sub(self.lost_executors),
        }
    }

    /// Tells whether the run takes one of the turns. A run whose output only waits for storage does not hold up others.
    pub(super) fn has_turn(&self) -> bool {
        !matches!(self.activity, Activity::Publishing | Activity::Superseding | Activity::Completing) || self.tries == 0
    }
}
