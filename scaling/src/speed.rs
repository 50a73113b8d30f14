//! The rate at which executors convert.

/// Bytes of stored input that a busy slot converts a second, as long as nothing has been measured: what a core did with plain text from
/// a bucket that answers within 20 ms.
pub const START_SLOT_BYTES_PER_SECOND: f64 = 300e6;
/// Slots of an executor, as long as none has worked.
pub const START_SLOTS: f64 = 4.0;
/// Slots that can share one task.
pub const LANES_OF_A_TASK: f64 = 4.0;
/// Seconds of one busy slot that the start values count for, beside what was measured: so that the first second, which tells little,
/// changes little, and an hour tells all.
pub const WEIGHT_SECONDS: f64 = 60.0;
/// The slowest rate that is believed, in bytes a second: below it, any backlog would need all executors that there can be.
const SLOWEST: f64 = 1000.0;

/// Sums of what executors did while they had tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Stored input of runs that were completed, in bytes.
    pub bytes: f64,
    /// Time in which a slot's executor had a task, over all slots.
    pub slot_seconds: f64,
    /// Time in which an executor had a task, over all executors.
    pub executor_seconds: f64,
}

/// The rate of executors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Bytes of stored input that a busy slot converts a second.
    pub slot_bytes_per_second: f64,
    /// Slots of an executor.
    pub slots: f64,
}

impl Speed {
    /// The rate that measurements tell, with the start values where they tell little. `slots` is the start value of an executor's slots.
    pub fn learnt(measured: Measured, slots: f64) -> Self {
        let Measured { bytes, slot_seconds, executor_seconds } = measured;
        let known = |value: f64| if value.is_finite() && value > 0.0 { value } else { 0.0 };
        let (slot_seconds, executor_seconds) = (known(slot_seconds), known(executor_seconds));
        // Before the first run is completed, its time tells nothing.
        let rate = match known(bytes) {
            0.0 => START_SLOT_BYTES_PER_SECOND,
            bytes => (bytes + START_SLOT_BYTES_PER_SECOND * WEIGHT_SECONDS) / (slot_seconds + WEIGHT_SECONDS),
        };
        let weight = WEIGHT_SECONDS / slots.max(1.0);
        let slots = (slot_seconds + slots.max(1.0) * weight) / (executor_seconds + weight);
        Self { slot_bytes_per_second: rate.max(SLOWEST), slots: slots.max(1.0) }
    }

    /// Bytes that an executor converts a second when it has enough to do.
    pub fn of_executor(self) -> f64 {
        self.slot_bytes_per_second * self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_takes_the_place_of_the_start_values() {
        let start = Speed::learnt(Measured::default(), 4.0);
        assert_eq!(start, Speed { slot_bytes_per_second: START_SLOT_BYTES_PER_SECOND, slots: 4.0 });
        let hour = Measured { bytes: 100e6 * 8.0 * 3600.0, slot_seconds: 8.0 * 3600.0, executor_seconds: 3600.0 };
        let learnt = Speed::learnt(hour, 4.0);
        assert!((100e6..102e6).contains(&learnt.slot_bytes_per_second), "{learnt:?}");
        assert!((7.9..=8.0).contains(&learnt.slots), "{learnt:?}");
        let second = Measured { bytes: 1.0, slot_seconds: 1.0, executor_seconds: 1.0 };
        assert!(Speed::learnt(second, 4.0).slot_bytes_per_second > 0.9 * START_SLOT_BYTES_PER_SECOND);
    }

    #[test]
    fn nonsense_is_no_rate() {
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            let speed = Speed::learnt(Measured { bytes: bad, slot_seconds: bad, executor_seconds: bad }, 4.0);
            assert!(speed.of_executor().is_finite() && speed.of_executor() > 0.0, "{bad}: {speed:?}");
        }
    }

    #[test]
    fn a_long_run_that_is_not_completed_tells_nothing_yet() {
        let measured = Measured { bytes: 0.0, slot_seconds: 5000.0, executor_seconds: 1250.0 };
        assert_eq!(Speed::learnt(measured, 4.0).slot_bytes_per_second, START_SLOT_BYTES_PER_SECOND);
    }
}
