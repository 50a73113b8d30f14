//! Conversion speed.

use std::collections::VecDeque;

/// Length of the busy time over which the speed is averaged, in seconds.
const WINDOW_SECONDS: f64 = 300.0;

/// Bytes of completed runs per busy time. Idle time does not count, so that the last measured speed remains until there
/// is work again.
#[derive(Default)]
pub(super) struct Throughput {
    samples: VecDeque<(f64, u64)>,
    seconds: f64,
    bytes: u64,
}

impl Throughput {
    /// Adds a span of busy time.
    pub(super) fn add(&mut self, seconds: f64, bytes: u64) {
        self.samples.push_back((seconds, bytes));
        self.seconds += seconds;
        self.bytes += bytes;
        // Old samples are dropped only while the remaining ones still cover the window: runs can take longer than that.
        while let Some(&(seconds, bytes)) = self.samples.front() {
            if self.seconds - seconds < WINDOW_SECONDS || self.bytes == bytes {
                break;
            }
            self.samples.pop_front();
            self.seconds -= seconds;
            self.bytes -= bytes;
        }
    }

    /// Average speed; `None` until a run has completed.
    pub(super) fn bytes_per_second(&self) -> Option<f64> {
        (self.bytes > 0 && self.seconds > 0.0).then(|| self.bytes as f64 / self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minutes_count() {
        let mut throughput = Throughput::default();
        assert_eq!(throughput.bytes_per_second(), None);
        throughput.add(100.0, 1_000_000);
        throughput.add(300.0, 600);
        assert_eq!(throughput.bytes_per_second(), Some(2.0));
    }

    #[test]
    fn runs_that_take_longer_than_the_window_are_measured_all_the_same() {
        let mut throughput = Throughput::default();
        throughput.add(10.0, 6000);
        (0..59).for_each(|_| throughput.add(10.0, 0));
        assert_eq!(throughput.bytes_per_second(), Some(10.0));
    }
}
