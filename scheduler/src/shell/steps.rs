//! Steps of an attempt: the current one, and the duration of each.

use chrono::{DateTime, Utc};
use millwork_api::{Step, StepTime};

/// Steps of an attempt so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    now: Option<(Step, DateTime<Utc>)>,
    ended: Vec<StepTime>,
}

/// Limit of the recorded steps of an attempt: each once, and a few twice if repeated.
const MOST: usize = 24;

impl Steps {
    /// Starts a step, and ends the previous one.
    pub(crate) fn begin(&mut self, step: Step, now: DateTime<Utc>) {
        if self.now.is_some_and(|(at, _)| at == step) {
            return;
        }
        self.end(now);
        self.now = Some((step, now));
    }

    /// Ends the current step.
    pub(crate) fn end(&mut self, now: DateTime<Utc>) {
        let Some((step, began_at)) = self.now.take() else { return };
        if self.ended.len() < MOST {
            let seconds = (now - began_at).as_seconds_f64().max(0.0);
            self.ended.push(StepTime { step, began_at, seconds });
        }
    }

    /// The current step and its start time.
    pub(crate) fn now(&self) -> Option<(Step, DateTime<Utc>)> {
        self.now
    }

    /// All steps in order, with the current one up to `now`.
    pub(crate) fn until(&self, now: DateTime<Utc>) -> Vec<StepTime> {
        let mut all = self.clone();
        all.end(now);
        all.ended
    }

    /// Finished steps, in order.
    pub(crate) fn ended(&self) -> &[StepTime] {
        &self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Duration;

    #[test]
    fn steps_follow_each_other_and_a_repeated_one_goes_on() {
        let at = |seconds| DateTime::UNIX_EPOCH + Duration::seconds(seconds);
        let mut steps = Steps::default();
        steps.begin(Step::Survey, at(0));
        steps.begin(Step::Plan, at(2));
        steps.begin(Step::Plan, at(3));
        steps.begin(Step::Convert, at(5));
        let times: Vec<_> = steps.ended().iter().map(|time| (time.step, time.seconds)).collect();
        assert_eq!(times, [(Step::Survey, 2.0), (Step::Plan, 3.0)]);
        assert_eq!(steps.now(), Some((Step::Convert, at(5))));
    }
}
