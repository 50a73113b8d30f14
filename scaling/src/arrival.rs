//! Arrival rate of new work.

use std::time::Duration;

/// Time window in which new runs are counted.
pub const ARRIVAL_WINDOW: Duration = Duration::from_secs(BIN_SECONDS * BINS as u64);

/// Length and number of the bins of the window; long enough that a steady flow, with a manifest a minute or more, shows
/// in each.
const BIN_SECONDS: u64 = 60;
const BINS: usize = 10;

/// Arrival rate in bytes per second: the median over the minutes of the window. `queued` has age and bytes of each run.
/// A burst, such as a month queued at once, counts as backlog: it affects only one or two minutes, which the median
/// ignores. Regular arrivals count as flow.
pub fn arrival_rate(queued: impl IntoIterator<Item = (Duration, u64)>) -> f64 {
    let mut bins = [0_u64; BINS];
    for (age, bytes) in queued {
        let bin = usize::try_from(age.as_secs() / BIN_SECONDS).ok().and_then(|bin| bins.get_mut(bin));
        if let Some(bin) = bin {
            *bin = bin.saturating_add(bytes);
        }
    }
    bins.sort_unstable();
    let middle = (bins[BINS / 2 - 1] as f64 + bins[BINS / 2] as f64) / 2.0;
    middle / BIN_SECONDS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_steady_flow_is_its_rate() {
        let flow = (0..600).step_by(10).map(|age| (at(age), 1000));
        assert_eq!(arrival_rate(flow), 100.0);
        // 1,690 manifests of 0.7 GB a day.
        let flow = (0..600).step_by(51).map(|age| (at(age), 700_000_000));
        assert!((11e6..14e6).contains(&arrival_rate(flow)));
    }

    #[test]
    fn a_burst_is_no_flow_and_what_is_old_does_not_count() {
        assert_eq!(arrival_rate((0..100).map(|age| (at(age), 1 << 40))), 0.0);
        assert_eq!(arrival_rate((600..6000).map(|age| (at(age), 1 << 40))), 0.0);
        assert_eq!(arrival_rate([]), 0.0);
        assert!(arrival_rate((0..600).map(|age| (at(age), u64::MAX))).is_finite());
    }
}
