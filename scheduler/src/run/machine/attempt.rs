//! Attempts: start, conversion, publication, failure and cancellation.

use super::{Machine, cancelled};
use crate::run::active::Activity;
use crate::run::pauses;
use crate::run::words::Action;
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FailureClass, ManifestId};

/// Limit of how often an attempt is planned again because of columns that its plan did not know. One pass finds all
/// columns; more would mean that the input changes.
const MAX_REPLANS: u32 = 2;

impl Machine {
    pub(super) fn started(&mut self, id: ManifestId, attempt: u32, now: DateTime<Utc>, actions: &mut Vec<Action>) {
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.activity == Activity::Starting) else { return };
        run.attempt = attempt;
        run.refusals = 0;
        if self.stops {
            // The store still has it in planning, from where the next scheduler continues.
            self.forget(id, actions);
        } else {
            run.deadline = Some(now + self.limits.run_timeout);
            self.ask(&id, Activity::Converting, Action::Convert(id.clone(), attempt), actions);
        }
    }

    pub(super) fn planned(&self, id: ManifestId, attempt: u32, actions: &mut Vec<Action>) {
        if self.is_at(&id, attempt, |activity| *activity == Activity::Converting) {
            actions.push(Action::SetRunning(id, attempt));
        }
    }

    pub(super) fn converted(&mut self, id: ManifestId, attempt: u32, actions: &mut Vec<Action>) {
        match self.at(&id, attempt) {
            Some(Activity::Converting) => {
                self.ask(&id, Activity::Committing, Action::Commit(id.clone(), attempt), actions)
            }
            // The conversion completed just before it was told to stop.
            Some(Activity::Aborting(reason)) => {
                let reason = reason.clone();
                self.discard(&id, reason, actions);
            }
            _ => {}
        }
    }

    pub(super) fn needs_replan(&mut self, id: ManifestId, attempt: u32, actions: &mut Vec<Action>) {
        let reason = match self.at(&id, attempt) {
            Some(Activity::Converting) => None,
            Some(Activity::Aborting(reason)) => Some(reason.clone()),
            _ => return,
        };
        let Some(run) = self.runs.get_mut(&id) else { return };
        if let Some(reason) = reason {
            return self.discard(&id, reason, actions);
        }
        run.replans += 1;
        if run.replans > MAX_REPLANS {
            let message = "the columns keep changing: the input changes while it is read";
            return self.discard(&id, Some(Failure::new(FailureClass::Input, message)), actions);
        }
        // Files left by the attempt are removed at the start of the next.
        self.ask(&id, Activity::Starting, Action::Start(id.clone()), actions);
    }

    pub(super) fn attempt_failed(&mut self, id: ManifestId, attempt: u32, failure: Failure, actions: &mut Vec<Action>) {
        let reason = match self.at(&id, attempt) {
            Some(Activity::Converting | Activity::Committing) => Some(failure),
            Some(Activity::Aborting(reason)) => reason.clone(),
            _ => return,
        };
        self.discard(&id, reason, actions);
    }

    pub(super) fn discarded(&mut self, id: ManifestId, attempt: u32, now: DateTime<Utc>, actions: &mut Vec<Action>) {
        let Some(Activity::Discarding(reason)) = self.at(&id, attempt) else { return };
        let Some(failure) = reason.clone() else { return self.forget(id, actions) };
        let Some(run) = self.runs.get(&id) else { return };
        let failures = run.failures_like(failure.class);
        let action = if failures < self.limits.retries_after(failure.class) {
            let not_before = now + pauses::before_retry(failure.class, failures);
            Action::RetryLater(id.clone(), attempt, failure, not_before)
        } else {
            Action::Fail(id.clone(), attempt, failure)
        };
        self.ask(&id, Activity::Ending, action, actions);
    }

    pub(super) fn committed(&mut self, id: &ManifestId, attempt: u32, actions: &mut Vec<Action>) {
        if self.is_at(id, attempt, |activity| *activity == Activity::Committing) {
            self.ask(id, Activity::Publishing, Action::Publish(id.clone()), actions);
        }
    }

    pub(super) fn published(&mut self, id: &ManifestId, actions: &mut Vec<Action>) {
        if self.activity(id) == Some(&Activity::Publishing) {
            self.ask(id, Activity::Completing, Action::Complete(id.clone()), actions);
        }
    }

    pub(super) fn forget_settled(&mut self, id: ManifestId, actions: &mut Vec<Action>) {
        if matches!(self.activity(&id), Some(Activity::Ending | Activity::Superseding | Activity::Completing)) {
            self.forget(id, actions);
        }
    }

    /// Converts the run again, since its committed output is lost. The pause grows with each time, since whatever
    /// removed private files may do so again.
    pub(super) fn lost(&mut self, id: &ManifestId, failure: Failure, now: DateTime<Utc>, actions: &mut Vec<Action>) {
        let Some(run) = self.runs.get(id).filter(|run| run.activity == Activity::Publishing) else { return };
        let not_before = now + pauses::before_converting_anew(run.generation);
        let action = Action::Supersede(id.clone(), run.attempt, failure, not_before);
        self.ask(id, Activity::Superseding, action, actions);
    }

    pub(super) fn cancel(&mut self, id: &ManifestId, actions: &mut Vec<Action>) {
        let Some(run) = self.runs.get_mut(id) else { return };
        // In the other activities the store refuses what comes next, or it is too late.
        if run.activity == Activity::Converting {
            run.activity = Activity::Aborting(Some(cancelled()));
            run.deadline = None;
            actions.push(Action::Abort(id.clone(), run.attempt));
        }
    }

    pub(super) fn time_out(&mut self, now: DateTime<Utc>, actions: &mut Vec<Action>) {
        let minutes = self.limits.run_timeout.num_minutes();
        for (id, run) in &mut self.runs {
            if run.activity == Activity::Converting && run.deadline.is_some_and(|at| at <= now) {
                let message = format!("the attempt took longer than {minutes} minutes (the limit)");
                run.activity = Activity::Aborting(Some(Failure::new(FailureClass::Timeout, message)));
                run.deadline = None;
                actions.push(Action::Abort(id.clone(), run.attempt));
            }
        }
    }
}
