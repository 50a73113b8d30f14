//! Detection of changes of the machine's clock, which is not always monotonic.

use chrono::{DateTime, Duration, Utc};
use std::time::Instant;

/// Difference between the clock and the time that has passed, above which the clock was set: 2 s. Slower corrections need no notice.
const SET: Duration = Duration::seconds(2);

/// Clock of the machine, compared with the time that passes in the process.
pub(super) struct Clock {
    last: (Instant, DateTime<Utc>),
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { last: (Instant::now(), Utc::now()) }
    }

    /// The present time, and the amount by which the clock was set since the last call, if it was: negative if it was set
    /// back.
    pub(super) fn read(&mut self) -> (DateTime<Utc>, Option<Duration>) {
        let now = Utc::now();
        (now, self.set_by_at(Instant::now(), now))
    }

    fn set_by_at(&mut self, at: Instant, now: DateTime<Utc>) -> Option<Duration> {
        let (last_at, last) = std::mem::replace(&mut self.last, (at, now));
        let passed = Duration::from_std(at.saturating_duration_since(last_at)).ok()?;
        let by = now - last - passed;
        (by.abs() > SET).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_from_time_that_passes() {
        let mut clock = Clock::new();
        let (began, since) = clock.last;
        let at = |seconds: u64| began + std::time::Duration::from_secs(seconds);
        let time = |seconds: i64| since + Duration::seconds(seconds);
        assert_eq!(clock.set_by_at(at(10), time(10)), None);
        assert_eq!(clock.set_by_at(at(20), time(21)), None, "a second more");
        assert_eq!(clock.set_by_at(at(30), time(31 - 3600)), Some(Duration::seconds(-3600)));
        assert_eq!(clock.set_by_at(at(90), time(91 - 3600)), None, "a minute later");
        assert_eq!(clock.set_by_at(at(100), time(101)), Some(Duration::seconds(3600)));
    }
}
