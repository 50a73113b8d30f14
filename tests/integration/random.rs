//! Random numbers that a seed decides, and histories by the thousand.

use std::ops::Range;
use std::sync::Mutex;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(Mutex<u64>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn percent(&self, share: u64) -> bool {
        self.next() % 100 < share
    }
}

/// Takes every seed through a history, on all cores. `MILLWORK_SEEDS=first..last` says which.
pub(crate) fn each_seed(default: Range<u64>, history: impl Fn(u64) + Copy + Send + std::panic::RefUnwindSafe) {
    let range = std::env::var("MILLWORK_SEEDS").ok();
    let range = range.as_deref().and_then(|range| range.split_once(".."));
    let seeds = range.map_or(default, |(first, last)| first.parse().unwrap()..last.parse().unwrap());
    let seeds: Vec<u64> = seeds.collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for part in seeds.chunks(seeds.len().div_ceil(threads)) {
            scope.spawn(move || {
                for seed in part {
                    let result = std::panic::catch_unwind(|| history(*seed));
                    assert!(result.is_ok(), "replay with MILLWORK_SEEDS={seed}..{}", seed + 1);
                }
            });
        }
    });
}
