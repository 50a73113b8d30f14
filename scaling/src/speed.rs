//! Conversion speed of executors.

/// Assumed input bytes per second of a busy slot before any measurement: the speed of a core with uncompressed text
/// from a bucket that answers within 20 ms.
pub const START_SLOT_BYTES_PER_SECOND: f64 = 300e6;
/// Assumed slots per executor before any measurement.
pub const START_SLOTS: f64 = 4.0;
/// Number of slots that can share one task.
pub const LANES_OF_A_TASK: f64 = 4.0;
/// Weight of the assumed values, in seconds of one busy slot: the first second of measurement changes little, an hour
/// decides.
pub const WEIGHT_SECONDS: f64 = 60.0;
/// Least plausible speed, in bytes per second: a lower one would demand all executors for any backlog.
const SLOWEST: f64 = 1000.0;

/// Sums over the time in which executors had tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Stored input of completed runs, in bytes.
    pub bytes: f64,
    /// Busy time of all slots, in seconds.
    pub slot_seconds: f64,
    /// Busy time of all executors, in seconds.
    pub executor_seconds: f64,
}

/// Speed of executors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Stored input bytes per second of a busy slot.
    pub slot_bytes_per_second: f64,
    /// Number of slots per executor.
    pub slots: f64,
}

impl Speed {
    /// Speed from measurements, blended with assumed values where these are few. `slots` is the assumed number of slots
    /// per executor.
    pub fn learnt(measured: Measured, slots: f64) -> Self {
        let Measured { bytes, slot_seconds, executor_seconds } = measured;
        let known = |value: f64| if value.is_finite() && value > 0.0 { value } else { 0.0 };
        let (slot_seconds, executor_seconds) = (known(slot_seconds), known(executor_seconds));
        // Before the first run is completed, the busy time says nothing about the speed.
        let rate = match known(bytes) {
            0.0 => START_SLOT_BYTES_PER_SECOND,
            bytes => (bytes + START_SLOT_BYTES_PER_SECOND * WEIGHT_SECONDS) / (slot_seconds + WEIGHT_SECONDS),
        };
        let weight = WEIGHT_SECONDS / slots.max(1.0);
        let slots = (slot_seconds + slots.max(1.0) * weight) / (executor_seconds + weight);
        Self { slot_bytes_per_second: rate.max(SLOWEST), slots: slots.max(1.0) }
    }

    /// Speed of a fully busy executor, in bytes per second.
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
