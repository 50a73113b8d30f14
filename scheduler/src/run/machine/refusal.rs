//! Handling of requests that the store refused: the run is read again, and continues from its present state.

use super::{Machine, cancelled};
use crate::run::active::{Activity, Refusal};
use crate::run::pauses;
use crate::run::words::{Action, Seen};
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, ManifestId, RunState};

impl Machine {
    pub(super) fn refused(&mut self, id: ManifestId, failure: Failure, now: DateTime<Utc>, actions: &mut Vec<Action>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let refusal = match (&run.activity, &run.asked) {
            (Activity::Starting, _) => Refusal::Start(failure),
            (Activity::Committing, _) => Refusal::Commit(failure),
            (Activity::Ending, Some(Action::Fail(.., reason) | Action::RetryLater(.., reason, _))) => {
                Refusal::End(reason.clone())
            }
            (Activity::Superseding | Activity::Completing, _) => Refusal::Complete,
            _ => return,
        };
        run.refusals += 1;
        let is_again = run.refusals > 1;
        self.ask(&id, Activity::Inspecting(refusal), Action::Inspect(id.clone()), actions);
        if is_again {
            // A run that is refused repeatedly, for no apparent reason, is read again only after a pause, to avoid a
            // busy loop.
            actions.pop();
            self.again(&id, now, pauses::before_asking_again);
        }
    }

    pub(super) fn found(&mut self, id: ManifestId, seen: Option<Seen>, actions: &mut Vec<Action>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Activity::Inspecting(refusal) = &run.activity else { return };
        let refusal = refusal.clone();
        let Some(seen) = seen else { return self.forget(id, actions) };
        let is_mine = run.attempt == seen.attempts && seen.state != RunState::Queued;
        (run.attempt, run.generation) = (seen.attempts, seen.generation);
        (run.failures, run.lost_executors) = (seen.failures, seen.lost_executors);
        match seen.state {
            RunState::Committing => self.ask(&id, Activity::Publishing, Action::Publish(id.clone()), actions),
            RunState::Queued | RunState::Planning | RunState::Running if seen.cancel_requested => {
                self.discard(&id, Some(cancelled()), actions);
            }
            RunState::Queued | RunState::Planning | RunState::Running => match refusal {
                // The run is ready to start and the store refuses, so that it can never start: its files are in another
                // manifest.
                Refusal::Start(failure) => {
                    self.ask(&id, Activity::Ending, Action::Fail(id.clone(), seen.attempts, failure), actions);
                }
                Refusal::Commit(failure) | Refusal::End(failure) if is_mine => {
                    self.discard(&id, Some(failure), actions);
                }
                Refusal::Commit(_) | Refusal::End(_) | Refusal::Complete => self.forget(id, actions),
            },
            RunState::Draft | RunState::Completed | RunState::Failed | RunState::Cancelled => self.forget(id, actions),
        }
    }
}
