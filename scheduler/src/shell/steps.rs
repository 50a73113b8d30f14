//! The steps of an attempt: which it is at, since when, and how long each took.

use chrono::{DateTime, Utc};
use millwork_api::{Step, StepTime};

/// The steps of one attempt so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    now: Option<(Step, DateTime<Utc>)>,
    ended: Vec<StepTime>,
}

/// Limit of the steps that are remembered of an attempt: each once, and a few twice where one is taken up again.
const MOST: usize = 24;

impl Steps {
    /// Notes that a step begins, and the one before ends.
    pub(crate) fn begin(&mut self, step: Step, now: DateTime<Utc>) {
        if self.now.is_some_and(|(at, _)| at == step) {
            return;
        }
        self.end(now);
        self.now = Some((step, now));
    }

    /// Notes that the step that goes on has ended.
    pub(crate) fn end(&mut self, now: DateTime<Utc>) {
        let Some((step, began_at)) = self.now.take() else { return };
        if self.ended.len() < MOST {
            let seconds = (now - began_at).as_seconds_f64().max(0.0);
            self.ended.push(StepTime { step, began_at, seconds });
        }
    }

    /// The step that goes on, and since when.
    pub(crate) fn now(&self) -> Option<(Step, DateTime<Utc>)> {
        self.now
    }

    /// The steps up to now, in order, the one that goes on as far as it is.
    pub(crate) fn until(&self, now: DateTime<Utc>) -> Vec<StepTime> {
        let mut all = self.clone();
        all.end(now);
        all.ended
    }

    /// The steps that have ended, in order.
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
