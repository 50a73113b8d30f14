//! Busy time of executors.

use std::time::{Duration, Instant};

/// Sum of the time in which executors had tasks, and of their slots' time.
#[derive(Debug)]
pub(super) struct Busy {
    since: Instant,
    slots: u32,
    executors: u32,
    slot_time: Duration,
    executor_time: Duration,
}

impl Default for Busy {
    fn default() -> Self {
        let zero = Duration::ZERO;
        Self { since: Instant::now(), slots: 0, executors: 0, slot_time: zero, executor_time: zero }
    }
}

impl Busy {
    /// Sets the number of executors that have tasks, and the number of their slots.
    pub(super) fn set(&mut self, executors: u32, slots: u32) {
        self.add(Instant::now());
        (self.executors, self.slots) = (executors, slots);
    }

    /// Returns the time of slots and of executors since the last call.
    pub(super) fn take(&mut self) -> (Duration, Duration) {
        self.add(Instant::now());
        (std::mem::take(&mut self.slot_time), std::mem::take(&mut self.executor_time))
    }

    fn add(&mut self, now: Instant) {
        let time = now.saturating_duration_since(self.since);
        self.slot_time += time * self.slots;
        self.executor_time += time * self.executors;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_by_slots_while_there_are_tasks() {
        let mut busy = Busy::default();
        let start = busy.since;
        busy.set(2, 8);
        busy.since = start;
        busy.add(start + Duration::from_secs(3));
        let (slots, executors) = (busy.slot_time, busy.executor_time);
        assert_eq!((slots, executors), (Duration::from_secs(24), Duration::from_secs(6)));
        busy.since = start + Duration::from_secs(3);
        (busy.executors, busy.slots) = (0, 0);
        busy.add(start + Duration::from_secs(9));
        assert_eq!(busy.slot_time, Duration::from_secs(24), "nobody had anything to do");
        busy.take();
        assert_eq!(busy.slot_time, Duration::ZERO);
    }
}
